"""Adding a passkey, signing in and confirming with one."""

import secrets
import sqlite3
from typing import Any

from flask import abort, current_app, jsonify, render_template, request, session
from flask.typing import ResponseReturnValue

from app import require_member, sign_in_as
from features.passkeys.ceremony import (
    add_options,
    check_new_passkey,
    check_passkey,
    get_options,
    where_to_confirm,
)
from features.passkeys.challenges import (
    Refused,
    decode,
    encode,
    prune_challenges,
    refusing_odd_input,
    require_challenge,
    spend_challenge,
)
from features.passkeys.json_api import read_json, refuse_in_json, require_json_member
from features.passkeys.room import bp, find_host
from foundation.storage.database import fetch_row, transaction
from foundation.storage.journal import record_sparingly
from foundation.web.guards import parse_next
from foundation.web.notices import notify
from foundation.web.sessions import (
    IS_MEMBER,
    Member,
    adopt_session,
    current_member,
    is_still_signed_in,
    name_device,
    this_digest,
)
from foundation.web.visitor import find_visitor
from foundation.words.clock import now


@bp.post("/passkeys/options")
def options() -> ResponseReturnValue:
    """What the browser needs for `navigator.credentials`: JSON, for one of PURPOSES."""
    purpose = read_json().get("for")
    if purpose == "add":
        return respond_with_options(add_options(require_json_member()))
    if purpose == "confirm":
        return respond_with_options(get_options("confirm", require_json_member()))
    if purpose == "sign-in" and not current_member() and find_visitor():
        return respond_with_options(get_options("sign-in", None))
    return refuse_in_json("passkey-refused")


def respond_with_options(made: Any) -> ResponseReturnValue:
    from webauthn import options_to_json

    return current_app.response_class(options_to_json(made), mimetype="application/json")


@bp.post("/passkeys/add")
def add_passkey() -> ResponseReturnValue:
    member = require_json_member()
    if where_to_confirm(member):
        abort(403, "passkey-first")
    try:
        with refusing_odd_input():
            credential = read_json()["credential"]
            challenge = require_challenge(credential, "add")
            made = check_new_passkey(credential, challenge)
        store_passkey(member, made, challenge)
    except (Refused, sqlite3.IntegrityError):  # the latter: it is known already
        return refuse_in_json("passkey-refused")
    notify("done-passkey-added")
    return jsonify(next="/devices")


def store_passkey(member: Member, made: Any, challenge: bytes) -> None:
    with transaction() as db:
        prune_challenges()
        spend_challenge(challenge)
        if not is_still_signed_in(db):
            raise Refused  # signed out, or removed, while the browser was asking
        db.execute(
            "INSERT INTO passkeys (author_id, credential_id, public_key, sign_count, host, name,"
            " added_by, created_at, used_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                member.id, encode(made.credential_id), made.credential_public_key, made.sign_count,
                find_host(), name_device(request.user_agent.string) or "Passkey", this_digest(),
                now(), now(),
            ),
        )  # fmt: skip
        record_sparingly("passkey_added", member.username)


@bp.post("/passkeys/sign-in")
def sign_in_by_passkey() -> ResponseReturnValue:
    if current_member():
        return refuse_in_json("passkey-refused")
    session_id, asked = secrets.token_hex(32), read_json()
    found = use_passkey(asked, "sign-in", None, session_id)
    if isinstance(found, str):
        return refuse_in_json(found)
    adopt_session(found.id, session_id)
    return respond_with_next(asked, "/")


@bp.post("/passkeys/confirm")
def confirm_passkey() -> ResponseReturnValue:
    """It is really the member who sits here: asked before another device or passkey is added."""
    member = require_json_member()
    asked = read_json()
    found = use_passkey(asked, "confirm", member)
    if isinstance(found, str):
        return refuse_in_json(found)
    session["passkey_confirmed_at"] = now()
    return respond_with_next(asked, "/devices")


@bp.get("/passkeys/confirm")
def ask_to_confirm() -> ResponseReturnValue:
    require_member()
    next_ = parse_next(request.args.get("next", "")) or "/devices"
    return render_template("passkeys/confirm.html", next=next_)


def respond_with_next(asked: dict[str, Any], otherwise: str) -> ResponseReturnValue:
    return jsonify(next=parse_next(str(asked.get("next") or "")) or otherwise)


def use_passkey(
    asked: dict[str, Any], purpose: str, member: Member | None, session_id: str = ""
) -> Member | str:
    """Whose passkey it is, or the sentence that says why it is refused. Failures write nothing,
    except for a counter that goes back, which is in the journal."""
    try:
        with refusing_odd_input():
            credential = asked["credential"]
            challenge = require_challenge(credential, purpose)
            credential_id, user_handle = read_ids(credential)
        known = find_passkey(credential_id)
        if known is None or user_handle not in (None, bytes.fromhex(known["public_id"])):
            return "passkey-refused"
        if member and known["author_id"] != member.id:
            return "passkey-refused"
        with refusing_odd_input():
            count = check_passkey(credential, challenge, known)
        return record_use(known, count, challenge, session_id)
    except Refused:
        return "passkey-refused"


def read_ids(credential: dict[str, Any]) -> tuple[str, bytes | None]:
    """Which passkey it says it is, and whose: some say that only where they have to."""
    handle = credential["response"].get("userHandle")
    return encode(decode(str(credential["rawId"]))), decode(handle) if handle else None


def find_passkey(credential_id: str) -> sqlite3.Row | None:
    """If its owner is a member."""
    return fetch_row(
        "SELECT passkeys.*, username, public_id FROM passkeys"
        " JOIN authors ON authors.id = author_id"
        f" WHERE credential_id = ?2 AND host = ?3 AND {IS_MEMBER}",
        (now(), credential_id, find_host()),
    )


def record_use(known: sqlite3.Row, count: int, challenge: bytes, session_id: str) -> Member | str:
    with transaction() as db:
        prune_challenges()
        spend_challenge(challenge)
        fresh = find_passkey(known["credential_id"])  # removed meanwhile, or used on another thread
        if fresh is None:
            raise Refused
        owner = Member(fresh["author_id"], fresh["username"])
        if count <= fresh["sign_count"] and (count or fresh["sign_count"]):
            record_sparingly("passkey_counter", owner.username)
            return "passkey-counter"
        sql = "UPDATE passkeys SET sign_count = ?, used_at = ? WHERE id = ?"
        db.execute(sql, (count, now(), fresh["id"]))
        if session_id:
            added_by = fresh["added_by"]
            sign_in_as(owner, session_id, "passkey", "passkey_used", added_by=added_by)
    return owner
