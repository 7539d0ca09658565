"""Refusals: each says why, to the program in English (RFC 6749, 4.1.2.1 and 5.2), to admins on the
program's page, and that there was one once a day in the journal."""

import sqlite3
from contextlib import suppress

from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import InvalidClientError
from flask import request

from features.openid.clients import Client, find_client
from foundation.running import running
from foundation.storage.database import fetch_row, transaction
from foundation.storage.journal import record
from foundation.web.sessions import current_member
from foundation.words.clock import DAY, MINUTE, now


class ProgramRefused(OAuth2Error):  # type: ignore[misc]
    """`sentence` is the name of one in ASCII, without quotation marks or backslashes, because that
    is what a description may have."""

    def __init__(self, error: str, sentence: str, status: int = 400) -> None:
        super().__init__(running().sentences[sentence], error=error, status_code=status)
        self.sentence = sentence


# Of what Authlib refuses by itself. It quotes what was sent, and that may be anything.
SENTENCES = {
    "unsupported_response_type": "openid-response-type",
    "invalid_grant": "openid-grant",
    "login_required": "openid-sign-in",
}


def name_sentence(error: OAuth2Error) -> str:
    if isinstance(error, ProgramRefused):
        return error.sentence
    return SENTENCES.get(error.error, "openid-request")


def describe_error(error: OAuth2Error) -> str:
    """In English, as programs are told."""
    return running().sentences[name_sentence(error)]


def note_refusal(client: Client | None, error: OAuth2Error, address: str = "") -> None:
    """Strangers can send refusals: so one is replaced once a minute, or by a member's for another
    reason; an address is written down only if a member brought it; and nobody waits for a lock."""
    if client is None:
        return
    program_id, why = client.row["program_id"], name_sentence(error)
    known = find_refusal(program_id)
    is_member = may_ask(client)
    is_news = known is None or known["seconds"] >= MINUTE or (is_member and known["why"] != why)
    if not is_news:
        return
    with suppress(sqlite3.OperationalError), transaction(waits=False) as db:
        db.execute(
            "INSERT OR REPLACE INTO openid_refusals VALUES (?, ?, ?, ?)",
            (program_id, now(), why, address.partition("?")[0][:200] if is_member else ""),
        )
        record_once_a_day(client.row["name"])


def may_ask(client: Client) -> bool:
    """Whether it's a member, and one who may use the program."""
    member = current_member()
    sql = "SELECT 1 FROM may_use WHERE program_id = ? AND author_id = ?"
    return member is not None and bool(fetch_row(sql, (client.row["program_id"], member.id)))


def record_once_a_day(name: str) -> None:
    sql = "SELECT 1 FROM journal WHERE event = 'openid_refused' AND subject = ? AND at > ?"
    if fetch_row(sql, (name, now() - DAY)) is None:
        record("openid_refused", None, name)


def find_refusal(program_id: int) -> sqlite3.Row | None:
    """The last one of a program, as its page shows it: why (the name of a sentence), how many
    seconds ago, and for which address."""
    return fetch_row(
        "SELECT why, ? - at AS seconds, address FROM openid_refusals WHERE program_id = ?",
        (now(), program_id),
    )


def explain_wrong_client() -> tuple[Client | None, OAuth2Error]:
    """Why the program that asks isn't the one that it says it is."""
    basic = request.authorization
    is_basic = basic is not None and basic.type == "basic"
    client_id = (basic and basic.username if is_basic else request.form.get("client_id")) or ""
    secret = (basic and basic.password if is_basic else request.form.get("client_secret")) or ""
    client = find_client(client_id)
    if client is None:
        return None, InvalidClientError("Unknown client ID.", status_code=401)
    sentence = "openid-secret" if secret else "openid-no-secret"
    return client, ProgramRefused("invalid_client", sentence, 401)
