"""Refusals: each says why, to the program in English (RFC 6749, 4.1.2.1 and 5.2), to admins on the
program's page and once a day in the journal."""

import sqlite3
from contextlib import suppress
from typing import NamedTuple

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


class Refusal(NamedTuple):
    """The last one of a program, as its page shows it."""

    at: int
    why: str  # in English; the page translates it, where it is a sentence of ours
    address: str  # where the program wanted to return to, if a member brought that
    is_by_member: bool

    @property
    def seconds(self) -> int:
        """Since then."""
        return now() - self.at


def note_refusal(client: Client | None, error: OAuth2Error, address: str = "") -> None:
    """In memory. Strangers can send refusals, so they replace one only once a minute, and never
    write down an address."""
    if client is None:
        return
    program_id, name = client.row["program_id"], client.row["name"]
    known, is_by_member = running().refusals.get(program_id), is_brought_by_user(client)
    if known and not is_by_member and known.at > now() - MINUTE:
        return
    why = error.get_error_description() or error.error
    running().refusals[program_id] = Refusal(
        now(), why, address[:200] if is_by_member else "", is_by_member
    )
    with suppress(sqlite3.OperationalError):  # locked: the page says it
        record_once_a_day(name)


def is_brought_by_user(client: Client) -> bool:
    """Whether it's a member who asks, and one who may."""
    member = current_member()
    return member is not None and bool(
        fetch_row(
            "SELECT 1 FROM may_use WHERE program_id = ? AND author_id = ?",
            (client.row["program_id"], member.id),
        )
    )


def record_once_a_day(name: str) -> None:
    sql = "SELECT 1 FROM journal WHERE event = 'openid_refused' AND subject = ? AND at > ?"
    if fetch_row(sql, (name, now() - DAY)) is None:
        with transaction():
            record("openid_refused", None, name)


def find_refusal(program_id: int) -> Refusal | None:
    found: Refusal | None = running().refusals.get(program_id)
    return found


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
