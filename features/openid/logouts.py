"""Telling programs of a sign-out (OpenID Connect Back-Channel Logout 1.0), by the outbox."""

import json
import secrets
import sqlite3
from collections.abc import Collection, Iterable
from urllib.parse import urlencode

from joserfc import jwt

from features.openid.keys import find_signing_key
from features.openid.room import bp, issuer
from foundation.storage.database import fetch_row, fetch_rows, get_db
from foundation.storage.journal import record
from foundation.storage.outbox import put_in_outbox
from foundation.web.feature import Why
from foundation.web.sending import Message
from foundation.words.clock import DAY, MINUTE, now

LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"


def remember_sign_in(code: sqlite3.Row, sid: str) -> None:
    """So that the program can be told when this device is out. In the caller's transaction."""
    get_db().execute(
        "INSERT OR REPLACE INTO openid_sessions VALUES (?, ?, ?, ?, ?, ?)",
        (
            sid, code["program_id"], code["author_id"], code["session_digest"], now() + 365 * DAY,
            now(),
        ),
    )  # fmt: skip


# What is told, in the caller's transaction --------------------------------------------------------


def note_ended_sessions(author_ids: Collection[int], sessions: Collection[str], why: Why) -> None:
    """A device that just wasn't used may come back: its programs go on until then."""
    ended_guests = find_ended_guests() if why == "over" else set()
    for author_id in author_ids:
        if why in ("everywhere", "removed", "returned") or author_id in ended_guests:
            tell_of_member(author_id)
        elif why != "unused":
            tell_of_devices(author_id, sessions, with_unused=why == "others")


def tell_of_devices(author_id: int, sessions: Collection[str], with_unused: bool) -> None:
    """`with_unused`: also of those that have been out for a while, and nobody was told."""
    rows = fetch_rows(
        "UPDATE openid_sessions SET session_digest = '' WHERE author_id = ?1"
        " AND (session_digest IN (SELECT value FROM json_each(?2)) OR ?3 AND session_digest"
        " NOT IN (SELECT id_digest FROM sessions WHERE sessions.author_id = ?1 UNION SELECT ''))"
        " RETURNING program_id, sid",
        (author_id, json.dumps([*sessions]), with_unused),
    )
    for program_id, sid in sorted(map(tuple, rows)):
        tell_program(program_id, author_id, sid)


def tell_of_member(author_id: int, program_id: int | None = None) -> None:
    """Of their devices; and by the member alone where they once signed in and no device is known.
    `program_id`: only at that program."""
    rows = fetch_rows(
        "DELETE FROM openid_sessions WHERE author_id = ?1 AND program_id = coalesce(?2, program_id)"
        " RETURNING program_id, sid, session_digest",
        (author_id, program_id),
    )
    devices = {(row["program_id"], row["sid"]) for row in rows if row["session_digest"]}
    known = {program for program, _ in devices}
    others = {(row["program_id"], "") for row in rows if row["program_id"] not in known}
    for program, sid in sorted(devices | others):
        tell_program(program, author_id, sid)


def tell_program(program_id: int, author_id: int, sid: str) -> None:
    """If it has an address for that. Without `sid`, of all the member's devices."""
    row = fetch_row(
        "SELECT public_id FROM authors, openid_clients"
        " WHERE authors.id = ? AND program_id = ? AND logout_address != ''",
        (author_id, program_id),
    )
    if row is not None:
        put_in_outbox(receiver_of(program_id), "signed-out", sub=row["public_id"], sid=sid)


def note_lost_access(program_id: int, authors: Iterable[int]) -> None:
    """These may no longer use the program. Their codes and tokens there end, too."""
    for author_id in authors:
        tell_of_member(author_id, program_id)
        for table in ("openid_codes", "openid_tokens"):
            sql = f"DELETE FROM {table} WHERE program_id = ? AND author_id = ?"
            get_db().execute(sql, (program_id, author_id))


def note_changed_groups(program_id: int, authors: Iterable[int]) -> None:
    """It is told of these members' circles, and those have changed. It learns the new ones when
    they sign in again, or by a refresh, so it goes on being told what comes later."""
    for author_id in authors:
        rows = fetch_rows(
            "SELECT sid, session_digest FROM openid_sessions"
            " WHERE program_id = ? AND author_id = ?",
            (program_id, author_id),
        )
        devices = {row["sid"] for row in rows if row["session_digest"]}
        for sid in sorted(devices) or [""] * bool(rows):
            tell_program(program_id, author_id, sid)


def find_ended_guests() -> set[int]:
    """Those that once signed in to a program."""
    rows = fetch_rows(
        "SELECT DISTINCT authors.id FROM authors JOIN openid_sessions ON author_id = authors.id"
        " WHERE ends_at <= ?",
        (now(),),
    )
    return {row["id"] for row in rows}


def prune_openid() -> None:
    for author_id in find_ended_guests():  # also where no session was left to end
        tell_of_member(author_id)
    for table in ("openid_codes", "openid_tokens"):
        get_db().execute(f"DELETE FROM {table} WHERE expires_at <= ?", (now(),))
    forget_old_devices()


def forget_old_devices() -> None:
    """After a year, it is enough to know where the member once signed in: to tell of them, too."""
    old = get_db().execute(
        "UPDATE openid_sessions SET session_digest = '' WHERE expires_at <= ?"
        " AND session_digest NOT IN (SELECT id_digest FROM sessions UNION SELECT '')",
        (now(),),
    )
    if old.rowcount:
        get_db().execute(
            "DELETE FROM openid_sessions WHERE session_digest = '' AND sid NOT IN (SELECT min(sid)"
            " FROM openid_sessions WHERE session_digest = '' GROUP BY program_id, author_id)"
        )


# What the outbox sends ----------------------------------------------------------------------------


def write_logout(row: sqlite3.Row) -> Message | None:
    """None: the program is gone, or its address."""
    client = fetch_row(
        "SELECT client_id, logout_address FROM openid_clients WHERE program_id = ?",
        (program_of(row["receiver"]),),
    )
    if client is None or not client["logout_address"]:
        return None
    body = urlencode({"logout_token": sign_logout(client["client_id"], json.loads(row["ids"]))})
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    return Message(client["logout_address"], body, form)


def sign_logout(client_id: str, ids: dict[str, str]) -> str:
    key = find_signing_key()
    claims = {
        "iss": issuer(), "aud": client_id, "iat": now(), "exp": now() + 2 * MINUTE,
        "jti": secrets.token_hex(16), "events": {LOGOUT_EVENT: {}},
    }  # fmt: skip
    claims |= {name: value for name, value in ids.items() if value}
    header = {"alg": "RS256", "kid": key.kid or "", "typ": "logout+jwt"}
    return str(jwt.encode(header, claims, key))


def receiver_of(program_id: int) -> str:
    return f"{bp.name} {program_id}"


def program_of(receiver: str) -> int:
    return int(receiver.partition(" ")[2])


def note_undelivered(receiver: str) -> None:
    row = fetch_row("SELECT name FROM programs WHERE id = ?", (program_of(receiver),))
    if row is not None:
        record("openid_logout_failed", None, row["name"])
