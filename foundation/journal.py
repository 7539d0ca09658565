"""The journal: what the group did and when."""

import re
import sqlite3

from foundation.clock import DAY, now
from foundation.database import count_rows, fetch_rows, get_db


def record(
    event: str,
    actor: str | None = None,
    subject: str | None = None,
    invite_id: int | None = None,
    detail: str | None = None,
    parts: int = 0,
) -> None:
    """Add a line to the journal: who did what, to whom. Never a phone number. `parts` is how many
    texts it cost."""
    get_db().execute(
        "INSERT INTO journal (at, event, actor, subject, invite_id, detail, parts)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (now(), event, actor, subject, invite_id, detail, parts),
    )


def texts_in_a_day() -> int:
    """How many texts that cost money went out in the last 24 h. (Lines from a day ahead or more
    are those of a clock that was wrong.)"""
    return count_rows(
        "SELECT coalesce(sum(parts), 0) FROM journal WHERE parts > 0 AND at > ? AND at < ?",
        (now() - DAY, now() + DAY),
    )


def give_back(sent: str, refused: str, invite_id: int, detail: str | None, reason: str) -> None:
    """Take the newest such text out of the budget: Vonage did not send it, and its line says so."""
    get_db().execute(
        "UPDATE journal SET event = ?, detail = ?, parts = 0 WHERE id ="
        " (SELECT max(id) FROM journal WHERE event = ? AND invite_id = ? AND detail IS ?)",
        (refused, reason, sent, invite_id, detail),
    )


JOURNAL_LIFETIME = 365 * DAY
JOURNAL_PAGE = 50  # lines


def find_journal(before: str) -> list[sqlite3.Row]:
    """One page, newest first: the last lines, or those before the line of that id."""
    before_id = int(before) if re.fullmatch(r"[0-9]{1,18}", before) else 10**18
    return fetch_rows(
        "SELECT * FROM journal WHERE id < ? ORDER BY id DESC LIMIT ?", (before_id, JOURNAL_PAGE)
    )


def prune_journal() -> None:
    get_db().execute("DELETE FROM journal WHERE at <= ?", (now() - JOURNAL_LIFETIME,))
