"""What a browser is asked for, and whether its answer is good. This room knows the protocol."""

import sqlite3
from typing import Any

from flask import abort, current_app, session

from features.passkeys.challenges import CHALLENGE_LIFETIME, decode, make_challenge
from features.passkeys.room import bp, find_host
from foundation.storage.database import fetch_row, fetch_rows
from foundation.web.sessions import Member
from foundation.words.clock import MINUTE, now

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
    """Returns the new sign counter. The caller checks that it grew."""
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


def where_to_confirm(member: Member, within: int = CONFIRMED_FOR) -> str | None:
    """Where to confirm first, for a member with a passkey who did not do so within so many
    seconds."""
    lately = now() - session.get("passkey_confirmed_at", 0)
    if 0 <= lately < within or find_host() is None or not find_passkeys(member.id):
        return None
    return "/passkeys/confirm"


@bp.app_template_global()
def find_passkeys(author_id: int) -> list[sqlite3.Row]:
    return fetch_rows("SELECT * FROM passkeys WHERE author_id = ? ORDER BY id", (author_id,))
