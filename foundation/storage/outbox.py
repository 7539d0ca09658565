"""The outbox: what other programs are told, such as that somebody signed out.

A row is written in the transaction that causes it, and sent afterwards by web/housekeeping.py: to
each receiver in order, and again after a minute until it answers, for a week. A row keeps ids only;
words, addresses and tokens are made at each try.
"""

import json
import sqlite3

from foundation.storage.database import count_rows, fetch_row, fetch_rows, get_db, transaction
from foundation.words.clock import DAY, MINUTE, now

CLAIM_LIFETIME = 30  # seconds in which nobody else tells that receiver
RETRY_AFTER = MINUTE
OUTBOX_LIFETIME = 7 * DAY
MAX_CLAIMS = 4  # at a time, of all processes


def put_in_outbox(receiver: str, event: str, **ids: object) -> None:
    """In the caller's transaction. `receiver` begins with the feature's name, such as "openid 3";
    the feature makes a message of the row, see `Feature.write_message`."""
    db = get_db()
    db.execute(
        "INSERT INTO outbox (receiver, event, ids, created_at) VALUES (?, ?, ?, ?)",
        (receiver, event, json.dumps(ids), now()),
    )
    db.execute("INSERT OR IGNORE INTO receivers (name) VALUES (?)", (receiver,))


def count_waiting() -> int:
    return count_rows("SELECT count(*) FROM outbox", ())


def find_failing(receiver: str) -> sqlite3.Row | None:
    """How much waits for it, for how many seconds, and why; None: it has not failed."""
    return fetch_row(
        "SELECT count(*) AS count, ? - min(created_at) AS seconds, failure"
        " FROM outbox JOIN receivers ON name = receiver WHERE receiver = ?"
        " AND failing_since IS NOT NULL GROUP BY receiver",
        (now(), receiver),
    )


def claim_receivers() -> list[str]:
    """Those that are due. Nobody else tells them for 30 s. (Times far ahead were written while the
    clock was wrong.)"""
    due = (
        "SELECT name FROM receivers WHERE next_at NOT BETWEEN ?1 + 1 AND ?1 + ?2"
        " AND claimed_until NOT BETWEEN ?1 + 1 AND ?1 + ?3 ORDER BY next_at LIMIT ?4"
    )
    limits = (now(), RETRY_AFTER, CLAIM_LIFETIME)
    if fetch_row(due, (*limits, 1)) is None:
        return []  # without a lock
    with transaction():
        claimed = count_rows(
            "SELECT count(*) FROM receivers WHERE claimed_until BETWEEN ?1 + 1 AND ?1 + ?2",
            (now(), CLAIM_LIFETIME),
        )
        rows = fetch_rows(
            f"UPDATE receivers SET claimed_until = ?1 + ?3 WHERE name IN ({due}) RETURNING name",
            (*limits, max(0, MAX_CLAIMS - claimed)),
        )
    return [row["name"] for row in rows]


def find_oldest(receiver: str) -> sqlite3.Row | None:
    return fetch_row("SELECT * FROM outbox WHERE receiver = ? ORDER BY id", (receiver,))


def settle(row: sqlite3.Row) -> None:
    """It is told, or there is nothing to tell."""
    with transaction() as db:
        db.execute("DELETE FROM outbox WHERE id = ?", (row["id"],))
        sql = "UPDATE receivers SET failing_since = NULL, failure = NULL WHERE name = ?"
        db.execute(sql, (row["receiver"],))


def count_refusal(row: sqlite3.Row) -> int:
    """How often its receiver has found fault with it by now."""
    sql = "UPDATE outbox SET refused = refused + 1 WHERE id = ? RETURNING refused"
    with transaction() as db:
        found = db.execute(sql, (row["id"],)).fetchone()
    return int(found["refused"]) if found else 0


def release(receiver: str) -> None:
    """The claim ends. A receiver that has been told all is forgotten."""
    with transaction() as db:
        sql = "UPDATE receivers SET claimed_until = 0, next_at = 0 WHERE name = ?"
        db.execute(sql, (receiver,))
        db.execute(
            "DELETE FROM receivers WHERE name = ?1"
            " AND NOT EXISTS (SELECT 1 FROM outbox WHERE receiver = ?1)",
            (receiver,),
        )


def make_due(receiver: str) -> None:
    """Tell it now, instead of in a minute."""
    with transaction() as db:
        db.execute("UPDATE receivers SET next_at = 0 WHERE name = ?", (receiver,))


def postpone(receiver: str, failure: str) -> None:
    """The claim ends; it is told again in a minute. `failure` names no address."""
    with transaction() as db:
        db.execute(
            "UPDATE receivers SET claimed_until = 0, next_at = ?1 + ?2,"
            " failing_since = coalesce(failing_since, ?1), failure = ?3 WHERE name = ?4",
            (now(), RETRY_AFTER, failure, receiver),
        )
