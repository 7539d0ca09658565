"""Adding a passkey, signing in and confirming with one."""

import json
import re
import secrets
import sqlite3
from typing import Any

from flask import abort, current_app, jsonify, render_template, request, session
from flask.typing import ResponseReturnValue

from app import replace_session_id, require_member, sign_in_as
from features.passkeys.ceremony import (
    Used,
    add_options,
    check_new_passkey,
    check_passkey,
    find_passkeys,
    get_options,
    is_on_hold,
    is_proof,
    read_attachment,
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
from features.passkeys.json_api import (
    read_json,
    read_json_next,
    refuse_in_json,
    require_json_member,
)
from features.passkeys.room import bp, find_host
from foundation.storage.database import fetch_row, get_db, transaction
from foundation.storage.digests import digest_session
from foundation.storage.journal import record_sparingly
from foundation.web.feature import find_title
from foundation.web.guards import read_next, with_next
from foundation.web.logs import warn_sparingly
from foundation.web.notices import notify
from foundation.web.sessions import (
    IS_MEMBER,
    Member,
    adopt_session,
    current_member,
    is_still_signed_in,
    move_session,
    name_device,
    session_table,
    this_digest,
    this_session,
)
from foundation.web.visitor import create_visitor, find_visitor
from foundation.words.clock import now


@bp.post("/passkeys/options")
def options() -> ResponseReturnValue:
    """What the browser needs for `navigator.credentials`: JSON, for one of PURPOSES."""
    purpose = read_json().get("for")
    if purpose == "add":
        return respond_with_options(add_options(require_json_member()))
    if purpose == "confirm":
        return respond_with_options(get_options("confirm", require_json_member()))
    if purpose == "sign-in" and current_member():  # in another tab, meanwhile
        return refuse_in_json("passkey-refused", next=way_on())
    if purpose == "sign-in":
        if find_visitor() is None:  # a page that was open for days, or one that sets no cookie
            create_visitor()
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
            attachment = read_attachment(credential)
        store_passkey(member, made, attachment, challenge)
    except (Refused, sqlite3.IntegrityError):  # the latter: it is known already
        return refuse_passkey("passkey-refused")
    notify("done-passkey-added")
    return respond_with_next("/account")


def store_passkey(member: Member, made: Any, attachment: str, challenge: bytes) -> None:
    with transaction() as db:
        prune_challenges()
        spend_challenge(challenge)
        if not is_still_signed_in(db):
            raise Refused  # signed out, or removed, while the browser was asking
        db.execute(
            "INSERT INTO passkeys (author_id, credential_id, public_key, sign_count, host, name,"
            " is_backed_up, attachment, added_by, created_at, used_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                member.id, encode(made.credential_id), made.credential_public_key, made.sign_count,
                find_host(), name_device(request.user_agent.string) or "Passkey",
                made.credential_backed_up, attachment, this_digest(), now(), now(),
            ),
        )  # fmt: skip
        record_sparingly("passkey_added", member.username)


@bp.post("/passkeys/sign-in")
def sign_in_by_passkey() -> ResponseReturnValue:
    if current_member():
        return refuse_in_json("passkey-refused")
    session_id = secrets.token_hex(32)
    found = use_passkey("sign-in", None, session_id)
    if isinstance(found, str):
        return refuse_passkey(found)
    adopt_session(found.id, session_id)
    return jsonify(next=way_on())


@bp.post("/passkeys/confirm")
def confirm_passkey() -> ResponseReturnValue:
    """It is really the member who sits here: asked before another device or passkey is added."""
    member, session_id = require_json_member(), secrets.token_hex(32)
    found = use_passkey("confirm", member, session_id)
    if isinstance(found, str):
        return refuse_passkey(found)
    move_session(session_id)
    current_app.logger.info("%s confirmed with a passkey", found.username)
    if session.get("proved_at") != session["passkey_confirmed_at"] and find_title(read_json_next()):
        return refuse_in_json("passkey-new")  # or the program would ask again and again
    return respond_with_next("/account")


@bp.get("/passkeys/confirm")
def ask_to_confirm() -> ResponseReturnValue:
    member, next_ = require_member(), read_next()
    return render_template(
        "passkeys/confirm.html",
        next=next_ or "/account",
        app_title=find_title(next_),
        is_ending=bool(ENDING.match(next_ or "")),
        is_on_hold=not find_passkeys(member.id) and is_on_hold(member),
    )


ENDING = re.compile(r"/(devices/\w+/end|devices/end-others|passkeys/\d+/remove)\b")


def way_on() -> str:
    return with_next("/welcome", read_json_next())


def respond_with_next(otherwise: str) -> ResponseReturnValue:
    return jsonify(next=read_json_next() or otherwise)


def use_passkey(purpose: str, member: Member | None, session_id: str) -> Member | str:
    """Whose passkey it is, or the sentence that says why it is refused. This browser's session gets
    that id, or begins by it. Failures write nothing, except for a counter that goes back, which is
    in the journal."""
    try:
        with refusing_odd_input():
            credential = read_json()["credential"]
            challenge = require_challenge(credential, purpose)
            credential_id, user_handle = read_ids(credential)
        known = find_passkey(credential_id)
        if known is None or user_handle not in (None, bytes.fromhex(known["public_id"])):
            return "passkey-refused"
        if member and known["author_id"] != member.id:
            return "passkey-refused"
        with refusing_odd_input():
            used = check_passkey(credential, challenge, known["public_key"])
            is_platform = read_attachment(credential) == "platform"  # the other may be a QR code
            attachment = known["attachment"] or ("platform" if is_platform else "")
        with transaction():
            prune_challenges()
            spend_challenge(challenge)
            return record_use(known, used, attachment, session_id, is_new=member is None)
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


def record_use(
    known: sqlite3.Row, used: Used, attachment: str, session_id: str, is_new: bool
) -> Member | str:
    """In the caller's transaction."""
    fresh = find_passkey(known["credential_id"])  # removed meanwhile, or used on another thread
    if fresh is None:
        raise Refused
    owner = Member(fresh["author_id"], fresh["username"])
    if used.sign_count <= fresh["sign_count"] and (used.sign_count or fresh["sign_count"]):
        record_sparingly("passkey_counter", owner.username)
        return "passkey-counter"
    get_db().execute(
        "UPDATE passkeys SET sign_count = ?, is_backed_up = ?, attachment = ?, used_at = ?"
        " WHERE id = ?",
        (used.sign_count, used.is_backed_up, attachment, now(), fresh["id"]),
    )
    if is_new:
        begin_session(owner, fresh, session_id)
    else:
        move_confirmed_session(session_id, fresh["created_at"])
    return owner


def begin_session(owner: Member, passkey: sqlite3.Row, session_id: str) -> None:
    sign_in_as(owner, session_id, "passkey", "passkey_used", added_by=passkey["added_by"])
    if not is_proof(passkey["created_at"]):
        session_table().store(digest_session(session_id), json.dumps({"is_unproved": True}))


def move_confirmed_session(session_id: str, added_at: int) -> None:
    """To another id, with the note that it was confirmed, by a passkey that was added then: both at
    once, or the browser would be left with an id that is gone."""
    if not is_still_signed_in(get_db()):
        raise Refused
    at, digest = now(), digest_session(session_id)
    if is_proof(added_at):
        session["proved_at"] = at
    session["passkey_confirmed_at"] = at
    replace_session_id(digest)
    session_table().store(digest, this_session().dump())


def refuse_passkey(sentence: str) -> ResponseReturnValue:
    warn_sparingly("Somebody's passkey was refused")
    return refuse_in_json(sentence)
