"""What a browser is asked for, and whether its answer is good. This room knows the protocol."""

import json
import sqlite3
from hashlib import sha256
from typing import Any, NamedTuple

from flask import abort, current_app, session

from features.passkeys.challenges import (
    CHALLENGE_LIFETIME,
    Refused,
    decode,
    encode,
    make_challenge,
)
from features.passkeys.json_api import parse_json
from features.passkeys.room import bp, find_host
from foundation.storage.database import fetch_row, fetch_rows
from foundation.web.feature import UNCONFIRMED
from foundation.web.sessions import Member, find_auth_time, find_last_proof
from foundation.words.clock import DAY, MINUTE, now

CONFIRMED_FOR = 5 * MINUTE


def add_options(member: Member) -> Any:
    from webauthn import generate_registration_options
    from webauthn.helpers import structs

    if where_to_confirm(member):
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


ATTACHMENTS = ("platform", "cross-platform")


def read_attachment(credential: dict[str, Any]) -> str:
    """As the browser says it; "" for anything that the standard doesn't know. A phone that another
    computer reached by a QR code is "cross-platform" there, and no key of its own."""
    told = credential.get("authenticatorAttachment")
    transports = credential["response"].get("transports")
    is_phone = isinstance(transports, list) and ("hybrid" in transports or "internal" in transports)
    return "platform" if is_phone else told if told in ATTACHMENTS else ""


def check_new_passkey(credential: dict[str, Any], challenge: bytes) -> Any:
    """Raises many kinds of errors. The library gets only what counts: it refuses what it doesn't
    know in the rest."""
    from webauthn import verify_registration_response

    raw_id, response = encode(decode(credential["rawId"])), credential["response"]
    client_data = parse_json(decode(response["clientDataJSON"]))
    if client_data.pop("tokenBinding", None) is None:
        told = response["clientDataJSON"]
    else:
        told = encode(json.dumps(client_data).encode())  # unsigned: we want no attestation
    made = {"clientDataJSON": told, "attestationObject": response["attestationObject"]}
    return verify_registration_response(
        credential={"id": raw_id, "rawId": raw_id, "type": "public-key", "response": made},
        expected_challenge=challenge,
        expected_rp_id=find_host() or "",
        expected_origin=current_app.config["BASE_URL"],
        require_user_verification=True,
    )


class Used(NamedTuple):
    """What a passkey says of itself when it signs."""

    sign_count: int  # how often it did; the caller checks that it grew
    is_backed_up: bool


def check_passkey(credential: dict[str, Any], challenge: bytes, public_key: bytes) -> Used:
    """WebAuthn, 7.2, by the library's parts: as a whole it refuses a token binding that it doesn't
    know. Raises Refused, and many kinds of errors."""
    from webauthn import helpers

    response = credential["response"]
    client_data, data = decode(response["clientDataJSON"]), decode(response["authenticatorData"])
    told, authenticator = parse_json(client_data), helpers.parse_authenticator_data(data)
    is_for_us = (
        told["type"] == "webauthn.get"
        and decode(told["challenge"]) == challenge
        and told["origin"] == current_app.config["BASE_URL"]
        and authenticator.rp_id_hash == sha256((find_host() or "").encode()).digest()
    )
    if not (is_for_us and authenticator.flags.up and authenticator.flags.uv):
        raise Refused
    key = helpers.decode_credential_public_key(public_key)
    helpers.verify_signature(
        public_key=helpers.decoded_public_key_to_cryptography(key),
        signature_alg=key.alg,
        signature=decode(response["signature"]),
        data=data + sha256(client_data).digest(),
    )
    backup = helpers.parse_backup_flags(authenticator.flags)
    return Used(authenticator.sign_count, backup.credential_backed_up)


def find_user_handle(author_id: int) -> bytes:
    row = fetch_row("SELECT public_id FROM authors WHERE id = ?", (author_id,))
    return bytes.fromhex(row["public_id"]) if row else b""


def where_to_confirm(
    member: Member, within: int = CONFIRMED_FOR, is_ending: bool = False
) -> str | None:
    """Where to confirm first, for a member with a passkey who did not do so within so many seconds.
    Before a way in is ended, a fresh sign-in is as good; before one is added, a passkey that was
    ended without confirming still counts."""
    at = session.get("passkey_confirmed_at", 0)
    if is_ending:
        at = max(at, find_auth_time())
    if 0 <= now() - at < within or find_host() is None:
        return None
    is_asked = find_passkeys(member.id) or (not is_ending and is_on_hold(member))
    return "/passkeys/confirm" if is_asked else None


def is_on_hold(member: Member) -> bool:
    """For a day after a way in was ended without confirming: somebody who finds a device that is
    signed in could remove the passkey that is asked for. Signing in again ends it."""
    sql = "SELECT max(at) AS at FROM journal WHERE actor = ? AND detail = ?"
    row = fetch_row(sql, (member.username, UNCONFIRMED))
    ended_at = row["at"] if row else None
    return ended_at is not None and ended_at > max(find_last_proof(), now() - DAY)


def where_to_prove(member: Member) -> str | None:
    """Where to prove to a program who sits here; None: no passkey of theirs proves it."""
    here = [row for row in find_passkeys(member.id) if row["host"] == find_host()]
    return "/passkeys/confirm" if any(is_proof(row["created_at"]) for row in here) else None


def is_proof(added_at: int) -> bool:
    """Whether a passkey of that age says who sits here. Somebody who finds a device that is signed
    in can add one; a day later its owner has seen that on the start page."""
    return added_at <= max(find_last_proof(), now() - DAY)


@bp.app_template_global()
def find_passkeys(author_id: int) -> list[sqlite3.Row]:
    return fetch_rows("SELECT * FROM passkeys WHERE author_id = ? ORDER BY id", (author_id,))
