"""Passkeys: a member's phone or computer signs in with its own screen lock, without a text and
without another device.

The browser makes a key pair and keeps the private one. To sign in it signs a *challenge* of ours.
The challenges are not stored: each holds its purpose and time, and an HMAC that ties it to the
browser that asked. `webauthn` checks what comes back; it has to be told both times that the screen
lock is required. The library is imported where it is used, because it is large.
"""

import hmac
import json
import secrets
import sqlite3
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from flask import (
    Blueprint,
    abort,
    current_app,
    g,
    has_request_context,
    jsonify,
    redirect,
    render_template,
    request,
    session,
)
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from app import ROW_ID, require_member, sign_in_as
from foundation.storage.database import fetch_row, fetch_rows, get_db, transaction
from foundation.storage.digests import keyed_digest
from foundation.storage.journal import record
from foundation.typed.mistakes import Mistake, parse_line
from foundation.web.feature import Feature
from foundation.web.forms import Form
from foundation.web.guards import parse_next
from foundation.web.notices import notify
from foundation.web.responses import show_error
from foundation.web.sessions import (
    IS_MEMBER,
    Member,
    adopt_session,
    current_member,
    name_device,
    session_table,
    this_digest,
)
from foundation.web.visitor import find_visitor
from foundation.words.clock import MINUTE, now
from foundation.words.sentences import is_sentence, say

passkeys = Blueprint("passkeys", __name__)

CHALLENGE_LIFETIME = 5 * MINUTE
CONFIRMED_FOR = 5 * MINUTE
LONGEST_NAME = 40
PURPOSES = ("sign-in", "add", "confirm")

# Challenges ---------------------------------------------------------------------------------------

HEAD = struct.Struct(">BQ8s")  # purpose, time, random


def make_challenge(purpose: str) -> bytes:
    head = HEAD.pack(PURPOSES.index(purpose), now(), secrets.token_bytes(8))
    return head + bytes.fromhex(tie(head, purpose))


def tie(head: bytes, purpose: str) -> str:
    """To whom the challenge was given: to a session, or before signing in to a browser."""
    owner = this_digest() if current_member() else (find_visitor() or "")
    return keyed_digest("passkey challenge", head.hex(), purpose, owner)


def require_challenge(credential: dict[str, Any], purpose: str) -> bytes:
    """The challenge that was answered, if it is ours, for this, and in time. Raises Refused."""
    client_data = parse_json(decode(credential["response"]["clientDataJSON"]))
    challenge = decode(client_data["challenge"])
    head, mac = challenge[: HEAD.size], challenge[HEAD.size :]
    number, at, _ = HEAD.unpack(head)
    is_ours = hmac.compare_digest(mac.hex(), tie(head, purpose))
    if not is_ours or number != PURPOSES.index(purpose) or not 0 <= now() - at < CHALLENGE_LIFETIME:
        raise Refused
    return challenge


def spend_challenge(challenge: bytes) -> None:
    """In the transaction that succeeds. Raises Refused the second time."""
    try:
        get_db().execute(
            "INSERT INTO used_challenges VALUES (?, ?)",
            (keyed_digest("used challenge", challenge.hex()), now() + CHALLENGE_LIFETIME),
        )
    except sqlite3.IntegrityError:
        raise Refused from None


class Refused(Exception):
    """What the browser sent is no good, whatever it is."""


@contextmanager
def refusing_odd_input() -> Iterator[None]:
    """Around what parses and checks what anybody may send: the library raises many kinds."""
    try:
        yield
    except sqlite3.Error:
        raise
    except Exception as error:
        raise Refused from error


def decode(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def encode(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode()


def find_host() -> str | None:
    """What passkeys are tied to. None: BASE_URL is an IP address, where there can be none."""
    host = urlsplit(current_app.config["BASE_URL"]).hostname or ""
    try:
        ip_address(host)
    except ValueError:
        return host
    return None


# Asking, and checking the answer ------------------------------------------------------------------


@passkeys.before_request
def require_host() -> None:
    if find_host() is None:
        abort(404)


@passkeys.post("/passkeys/options")
def options() -> ResponseReturnValue:
    """What the browser needs for `navigator.credentials`: JSON, for one of PURPOSES."""
    purpose = read_json().get("for")
    if purpose == "add":
        return answer_options(add_options(require_json_member()))
    if purpose == "confirm":
        return answer_options(get_options("confirm", require_json_member()))
    if purpose == "sign-in" and not current_member() and find_visitor():
        return answer_options(get_options("sign-in", None))
    return refuse("passkey-refused")


def answer_options(made: Any) -> ResponseReturnValue:
    from webauthn import options_to_json

    return current_app.response_class(options_to_json(made), mimetype="application/json")


def add_options(member: Member) -> Any:
    from webauthn import generate_registration_options
    from webauthn.helpers import structs

    if must_confirm(member):
        abort(403, "passkey-first")
    return generate_registration_options(
        rp_id=find_host() or "",
        rp_name=current_app.config["GROUP_NAME"],
        user_id=find_user_handle(member.id),
        user_name=member.username,
        challenge=make_challenge("add"),
        timeout=CHALLENGE_LIFETIME * 1000,
        attestation=structs.AttestationConveyancePreference.NONE,
        authenticator_selection=structs.AuthenticatorSelectionCriteria(
            resident_key=structs.ResidentKeyRequirement.REQUIRED,
            user_verification=structs.UserVerificationRequirement.REQUIRED,
        ),
        exclude_credentials=describe_passkeys(member),
    )


def get_options(purpose: str, member: Member | None) -> Any:
    from webauthn import generate_authentication_options
    from webauthn.helpers import structs

    return generate_authentication_options(
        rp_id=find_host() or "",
        challenge=make_challenge(purpose),
        timeout=CHALLENGE_LIFETIME * 1000,
        allow_credentials=describe_passkeys(member) if member else [],
        user_verification=structs.UserVerificationRequirement.REQUIRED,
    )


def describe_passkeys(member: Member) -> Any:
    from webauthn.helpers.structs import PublicKeyCredentialDescriptor

    rows = find_passkeys(member.id)
    return [PublicKeyCredentialDescriptor(id=decode(row["credential_id"])) for row in rows]


def check_new_passkey(credential: dict[str, Any], challenge: bytes) -> Any:
    from webauthn import verify_registration_response

    return verify_registration_response(
        credential=credential,
        expected_challenge=challenge,
        expected_rp_id=find_host() or "",
        expected_origin=current_app.config["BASE_URL"],
        require_user_verification=True,
    )


def check_passkey(credential: dict[str, Any], challenge: bytes, known: sqlite3.Row) -> int:
    """Returns the counter that the passkey tells; whether it went on, the caller looks."""
    from webauthn import verify_authentication_response

    return verify_authentication_response(
        credential=credential,
        expected_challenge=challenge,
        expected_rp_id=find_host() or "",
        expected_origin=current_app.config["BASE_URL"],
        credential_public_key=known["public_key"],
        credential_current_sign_count=0,
        require_user_verification=True,
    ).new_sign_count


def find_user_handle(author_id: int) -> bytes:
    row = fetch_row("SELECT public_id FROM authors WHERE id = ?", (author_id,))
    return bytes.fromhex(row["public_id"]) if row else b""


# Adding one ---------------------------------------------------------------------------------------


@passkeys.post("/passkeys/add")
def add() -> ResponseReturnValue:
    member = require_json_member()
    if must_confirm(member):
        abort(403, "passkey-first")
    try:
        with refusing_odd_input():
            credential = read_json()["credential"]
            challenge = require_challenge(credential, "add")
            made = check_new_passkey(credential, challenge)
        store_passkey(member, made, challenge)
    except (Refused, sqlite3.IntegrityError):  # the latter: it is known already
        return refuse("passkey-refused")
    notify("done-passkey-added")
    return jsonify(next="/devices")


def store_passkey(member: Member, made: Any, challenge: bytes) -> None:
    with transaction() as db:
        prune()
        spend_challenge(challenge)
        if session_table().find(db, this_digest()) is None:
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
        record("passkey_added", member.username)


# Signing in, and confirming -----------------------------------------------------------------------


@passkeys.post("/passkeys/sign-in")
def sign_in() -> ResponseReturnValue:
    if current_member():
        return refuse("passkey-refused")
    session_id, asked = secrets.token_hex(32), read_json()
    found = use_passkey(asked, "sign-in", None, session_id)
    if isinstance(found, str):
        return refuse(found)
    adopt_session(found.id, session_id)
    return go_on(asked, "/")


@passkeys.post("/passkeys/confirm")
def confirm() -> ResponseReturnValue:
    """It is really the member who sits here: asked before another device or passkey is added."""
    member = require_json_member()
    asked = read_json()
    found = use_passkey(asked, "confirm", member)
    if isinstance(found, str):
        return refuse(found)
    session["passkey_confirmed_at"] = now()
    return go_on(asked, "/devices")


@passkeys.get("/passkeys/confirm")
def ask_to_confirm() -> ResponseReturnValue:
    require_member()
    next_ = parse_next(request.args.get("next", "")) or "/devices"
    return render_template("passkeys/confirm.html", next=next_)


def go_on(asked: dict[str, Any], otherwise: str) -> ResponseReturnValue:
    return jsonify(next=parse_next(str(asked.get("next") or "")) or otherwise)


def use_passkey(
    asked: dict[str, Any], purpose: str, member: Member | None, session_id: str = ""
) -> Member | str:
    """Whose passkey it is, or the sentence that says why it is refused. Failures write nothing,
    but for one: a counter that goes back, which is in the journal."""
    try:
        with refusing_odd_input():
            credential = asked["credential"]
            challenge = require_challenge(credential, purpose)
            known = require_passkey(credential)
            if member and known["author_id"] != member.id:
                raise Refused
            count = check_passkey(credential, challenge, known)
        return finish(known, count, challenge, session_id)
    except Refused:
        return "passkey-refused"


def require_passkey(credential: dict[str, Any]) -> sqlite3.Row:
    """The passkey with that id, if it says whose it is, and its owner is a member."""
    row = find_passkey(encode(decode(str(credential["rawId"]))))
    handle = credential["response"].get("userHandle")
    if row is None or (handle and decode(handle) != bytes.fromhex(row["public_id"])):
        raise Refused
    return row


def find_passkey(credential_id: str) -> sqlite3.Row | None:
    return fetch_row(
        "SELECT passkeys.*, username, public_id FROM passkeys"
        " JOIN authors ON authors.id = author_id"
        f" WHERE credential_id = ?2 AND host = ?3 AND {IS_MEMBER}",
        (now(), credential_id, find_host()),
    )


def finish(known: sqlite3.Row, count: int, challenge: bytes, session_id: str) -> Member | str:
    with transaction() as db:
        prune()
        spend_challenge(challenge)
        fresh = find_passkey(known["credential_id"])  # removed meanwhile, or used on another thread
        if fresh is None:
            raise Refused
        owner = Member(fresh["author_id"], fresh["username"])
        if count <= fresh["sign_count"] and (count or fresh["sign_count"]):
            record("passkey_counter", owner.username)
            return "passkey-counter"
        used = "UPDATE passkeys SET sign_count = ?, used_at = ? WHERE id = ?"
        db.execute(used, (count, now(), fresh["id"]))
        if session_id:
            added_by = fresh["added_by"]
            sign_in_as(owner, session_id, "passkey", "passkey_used", added_by=added_by)
    return owner


def must_confirm(member: Member, within: int = CONFIRMED_FOR) -> str | None:
    """Where to confirm first, for a member with a passkey who did not do so within so many
    seconds."""
    lately = now() - session.get("passkey_confirmed_at", 0)
    if 0 <= lately < within or find_host() is None or not find_passkeys(member.id):
        return None
    return "/passkeys/confirm"


# Looking after them -------------------------------------------------------------------------------


@passkeys.app_template_global()
def find_passkeys(author_id: int) -> list[sqlite3.Row]:
    return fetch_rows("SELECT * FROM passkeys WHERE author_id = ? ORDER BY id", (author_id,))


# Those that were added within a week: their owner hears of it on every device.
NEW_PASSKEYS = (
    "SELECT 'new-passkey', name, :now - created_at FROM passkeys"
    " WHERE author_id = :member AND created_at > :week_ago"
)


@passkeys.app_template_global()
def count_passkeys(author_id: int) -> int:
    """For lists of members: one statement, however many are asked about."""
    if "passkey_counts" not in g:
        rows = fetch_rows("SELECT author_id, count(*) AS count FROM passkeys GROUP BY author_id")
        g.passkey_counts = {row["author_id"]: row["count"] for row in rows}
    return int(g.passkey_counts.get(author_id, 0))


@passkeys.app_template_global()
def passkeys_work() -> bool:
    return find_host() is not None


@passkeys.post(f"/passkeys/{ROW_ID}/rename")
def rename(row_id: int) -> ResponseReturnValue:
    member, form = require_member(), Form("name")
    name = form.read("name", parse_name)
    if form.errors:
        return render_template("passkeys/rename.html", form=form, row_id=row_id), 422
    with transaction() as db:
        renamed = "UPDATE passkeys SET name = ? WHERE id = ? AND author_id = ?"
        if db.execute(renamed, (name, row_id, member.id)).rowcount == 0:
            abort(404)
    notify("done-passkey-renamed")
    return redirect("/devices", 303)


@passkeys.get(f"/passkeys/{ROW_ID}/rename")
def ask_for_name(row_id: int) -> ResponseReturnValue:
    member, form = require_member(), Form("name")
    own = "SELECT name FROM passkeys WHERE id = ? AND author_id = ?"
    row = fetch_row(own, (row_id, member.id)) or abort(404)
    form.values["name"] = row["name"]
    return render_template("passkeys/rename.html", form=form, row_id=row_id)


def parse_name(text: str) -> str:
    if not text.strip():
        raise Mistake("name", "passkey-name")
    return parse_line("name", text, LONGEST_NAME, "passkey-name")


@passkeys.post(f"/passkeys/{ROW_ID}/remove")
def remove(row_id: int) -> ResponseReturnValue:
    member = require_member()
    with transaction() as db:
        gone = "DELETE FROM passkeys WHERE id = ? AND author_id = ?"
        if db.execute(gone, (row_id, member.id)).rowcount == 0:
            abort(404)
        record("passkey_removed", member.username)
    notify("done-passkey-removed")
    return redirect("/devices", 303)


def forget(author_id: int | None) -> None:
    """Of one member, or of everybody."""
    get_db().execute("DELETE FROM passkeys WHERE author_id = ?1 OR ?1 IS NULL", (author_id,))


def forget_if_asked(author_id: int | None) -> None:
    """After a sign-out everywhere: if the box was ticked, and always from the command line."""
    if not has_request_context() or request.form.get("passkeys"):
        forget(author_id)


def forget_those_of(sessions: list[str]) -> None:
    """A device was ended by its owner: whoever had it may have added passkeys on it."""
    gone = "DELETE FROM passkeys WHERE added_by IN (SELECT value FROM json_each(?))"
    get_db().execute(gone, (json.dumps(sessions),))


def prune() -> None:
    get_db().execute("DELETE FROM used_challenges WHERE expires_at <= ?", (now(),))


def check_host() -> str | None:
    """For `flask doctor`: what is wrong, or None."""
    others = "SELECT count(*) AS count FROM passkeys WHERE host IS NOT ?"
    row = fetch_row(others, (find_host(),))
    if row is None or not row["count"]:
        return None
    return (
        f"{row['count']} passkeys were made for another host than BASE_URL's, and work only there."
        " Their owners need another device, or an invite."
    )


# JSON ---------------------------------------------------------------------------------------------


def read_json() -> dict[str, Any]:
    try:
        found = parse_json(request.get_data())
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


MOST_BRACKETS = 100


def parse_json(text: bytes) -> Any:
    """Raises ValueError, also for brackets in brackets in brackets, which would end in a
    RecursionError."""
    if text.count(b"[") + text.count(b"{") > MOST_BRACKETS:
        raise ValueError("too many brackets")
    return json.loads(text)


def require_json_member() -> Member:
    return current_member() or abort(401, "passkey-signed-out")


def refuse(sentence: str) -> ResponseReturnValue:
    return jsonify(error=say(sentence)), 422


@passkeys.errorhandler(HTTPException)
def say_in_json(error: HTTPException) -> ResponseReturnValue:
    """Scripts get the sentence, people the page."""
    if not request.is_json:
        return show_error(error)
    name = str(error.description if is_sentence(error.description) else f"error-{error.code}")
    next_ = "/passkeys/confirm?next=/devices" if name == "passkey-first" else None
    return jsonify(error=say(name), next=next_), error.code or 500


feature = Feature(
    passkeys,
    sentences={
        "new-passkey": "A passkey was added",
        "passkey-refused": "That didn't work with this passkey. Try again, or sign in another way.",
        "passkey-counter": "This passkey may have been copied, so it wasn't accepted. Sign in"
        " another way, and remove it.",
        "passkey-first": "Confirm with your passkey first.",
        "passkey-signed-out": "You're signed out. Sign in first.",
        "passkey-name": "Type a name of 1 to 40 letters.",
        "done-passkey-added": "The passkey is added. Next time, sign in with it.",
        "done-passkey-removed": "The passkey is removed here. Delete it in your device, too.",
        "done-passkey-renamed": "The passkey has its new name.",
    },
    events={
        "passkey_added": "{actor} added a passkey",
        "passkey_removed": "{actor} removed a passkey",
        "passkey_used": "{actor} signed in with a passkey",
        "passkey_counter": "A passkey of {actor} was refused: its counter went back, so it may have"
        " been copied",
    },
    slots={
        "devices": "passkeys/_list.html",
        "member": "passkeys/_count.html",
        "sign_in": "passkeys/_sign_in.html",
        "sign_out_everywhere": "passkeys/_sign_out.html",
        "signup": "passkeys/_back.html",
    },
    arrivals=NEW_PASSKEYS,
    prune=prune,
    forget=forget,
    signed_out=forget_if_asked,
    ended=forget_those_of,
    must_confirm=must_confirm,
    check=check_host,
    left_out=("used_challenges",),
)
