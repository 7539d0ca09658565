"""Telling programs of a sign-out (OpenID Connect Back-Channel Logout 1.0).

What has to be told is written down in the transaction that signs somebody out, and told after it.
What fails is tried once more, at the first write after a minute.
"""

import json
import secrets
import sqlite3
import threading
from collections.abc import Collection, Iterable

import requests
from flask import Flask, current_app, g
from flask.sansio.blueprints import BlueprintSetupState
from joserfc import jwt

from features.openid.keys import find_signing_key
from features.openid.room import bp, issuer
from foundation.storage.database import fetch_row, fetch_rows, get_db, transaction
from foundation.storage.journal import record
from foundation.web.feature import Why
from foundation.words.clock import DAY, MINUTE, now

LOGOUT_TRIES = 2
LOGOUT_PATIENCE = 3  # seconds
LOGOUT_PAUSE = MINUTE  # before it is tried again
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"


def remember_sign_in(code: sqlite3.Row, sid: str) -> None:
    """So that the program can be told when this device is out. In the caller's transaction."""
    get_db().execute(
        "INSERT OR REPLACE INTO openid_sessions VALUES (?, ?, ?, ?, ?)",
        (
            sid, code["program_id"], code["author_id"], code["session_digest"], now() + 365 * DAY,
        ),
    )  # fmt: skip


def note_logouts(
    author_id: int, program_id: int | None = None, sessions: Collection[str] = ()
) -> None:
    """Of a member, on these devices and those that are out already; at one program, on all. Where
    we know of no device, there is one for the member. In the caller's transaction."""
    which = (
        " FROM openid_clients JOIN authors LEFT JOIN openid_sessions AS held"
        " ON held.program_id = openid_clients.program_id AND held.author_id = authors.id"
        " WHERE logout_address != '' AND authors.id = ?1"
        " AND (?2 IS NULL OR openid_clients.program_id = ?2) AND (?2 IS NOT NULL OR"
        " sid IS NULL OR NOT EXISTS (SELECT 1 FROM sessions WHERE id_digest = session_digest"
        " AND id_digest NOT IN (SELECT value FROM json_each(?3))))"
    )
    ended = json.dumps([*sessions])
    get_db().execute(
        "INSERT INTO openid_logouts (program_id, public_id, sid, created_at)"
        f" SELECT openid_clients.program_id, public_id, coalesce(sid, ''), ?4{which}",
        (author_id, program_id, ended, now()),
    )
    sql = f"DELETE FROM openid_sessions WHERE sid IN (SELECT sid{which})"
    get_db().execute(sql, (author_id, program_id, ended))
    g.has_logouts = True


def note_ended_sessions(author_ids: Collection[int], sessions: Collection[str], why: Why) -> None:
    if why in ("others", "everywhere", "removed", "returned"):
        for author_id in author_ids:
            note_logouts(author_id, sessions=sessions)


def note_lost_access(program_id: int, authors: Iterable[int]) -> None:
    """These may no longer use the program. In the caller's transaction."""
    for author_id in authors:
        note_logouts(author_id, program_id)


@bp.record_once
def tell_programs_afterwards(state: BlueprintSetupState) -> None:
    state.app.teardown_appcontext(tell_programs)


def tell_programs(_: BaseException | None = None) -> None:
    """In a thread of its own, so nobody's page waits for another program; a command does."""
    if g.pop("has_logouts", False):
        app = current_app._get_current_object()  # type: ignore[attr-defined]
        threading.Thread(target=tell_all, args=(app,), name="telling programs").start()


def tell_all(app: Flask) -> None:
    with app.app_context():
        try:
            while rows := take_logouts():
                tell_each(rows)
        except sqlite3.Error as error:  # what is left is tried again, see prune
            app.logger.error("Programs could not be told of a sign-out: %s", error)


def tell_each(rows: list[sqlite3.Row]) -> None:
    """A program that doesn't answer is asked once a round, for all that it should be told."""
    down: set[int] = set()
    for row in rows:
        if row["program_id"] not in down and not tell_program(row):
            down.add(row["program_id"])
            untold = [r["id"] for r in rows if r["program_id"] == row["program_id"]]
            note_failure(row["name"], [one for one in untold if one >= row["id"]])
        elif row["program_id"] not in down:
            settle_logout(row["id"])


def take_logouts() -> list[sqlite3.Row]:
    """Those that are due. Nobody else takes them for a minute."""
    with transaction():
        taken = fetch_rows(
            "UPDATE openid_logouts SET next_at = ?2 WHERE id IN (SELECT id FROM openid_logouts"
            " WHERE next_at <= ?1 ORDER BY id LIMIT 50) RETURNING id",
            (now(), now() + LOGOUT_PAUSE),
        )
    return fetch_rows(
        "SELECT openid_logouts.*, client_id, logout_address, name FROM openid_logouts"
        " JOIN openid_clients USING (program_id) JOIN programs ON programs.id = program_id"
        f" WHERE openid_logouts.id IN ({', '.join('?' * len(taken))}) ORDER BY openid_logouts.id",
        tuple(row["id"] for row in taken),
    )


def settle_logout(row_id: int) -> None:
    with transaction() as db:
        db.execute("DELETE FROM openid_logouts WHERE id = ?", (row_id,))


def note_failure(program: str, rows: list[int]) -> None:
    ids = json.dumps(rows)
    with transaction() as db:
        which = "WHERE id IN (SELECT value FROM json_each(?))"
        db.execute(f"UPDATE openid_logouts SET tries = tries + 1 {which}", (ids,))
        sql = f"DELETE FROM openid_logouts {which} AND tries >= ?"
        if db.execute(sql, (ids, LOGOUT_TRIES)).rowcount:
            record("openid_logout_failed", None, program)


def tell_program(row: sqlite3.Row) -> bool:
    key = find_signing_key()
    claims = {
        "iss": issuer(), "aud": row["client_id"], "sub": row["public_id"], "iat": now(),
        "exp": now() + 2 * MINUTE, "jti": secrets.token_hex(16), "events": {LOGOUT_EVENT: {}},
    }  # fmt: skip
    claims |= {"sid": row["sid"]} if row["sid"] else {}
    signed = jwt.encode({"alg": "RS256", "kid": key.kid or "", "typ": "logout+jwt"}, claims, key)
    try:
        with requests.post(
            row["logout_address"],
            data={"logout_token": signed},
            timeout=LOGOUT_PATIENCE,
            allow_redirects=False,
            stream=True,  # whatever more it says is not read
        ) as response:
            return response.status_code in (200, 204)
    except (requests.RequestException, ValueError, OSError):  # urllib3 has errors of its own, too
        return False


def prune_openid() -> None:
    for table in ("openid_codes", "openid_tokens", "openid_sessions"):
        get_db().execute(f"DELETE FROM {table} WHERE expires_at <= ?", (now(),))
    if fetch_row("SELECT 1 FROM openid_logouts WHERE next_at <= ?", (now(),)):
        g.has_logouts = True  # told after the caller's transaction, see tell_programs
