"""Forms whose answer shows something once. Each has a random value, `once`; one that is sent again,
by a reload or a second press, makes nothing new."""

import secrets

from foundation.storage.database import fetch_row, get_db
from foundation.storage.digests import random_digest
from foundation.typed.mistakes import Mistake
from foundation.words.clock import DAY, now


def make_once() -> str:
    return secrets.token_urlsafe(16)


def find_made(once: str) -> str | None:
    """What came of that form before. Without a value every form is a new one."""
    row = fetch_row("SELECT made FROM sent_forms WHERE digest = ?", (random_digest(once),))
    return str(row["made"]) if row and once else None


def refuse_if_made(once: str) -> None:
    """For what is never shown again; in the transaction that makes it. Raises Mistake."""
    if find_made(once) is not None:
        raise Mistake("form", "made-already")


def remember_made(once: str, made: str = "") -> None:
    """In the transaction that makes it."""
    if once:
        get_db().execute(
            "INSERT INTO sent_forms VALUES (?, ?, ?)",
            (random_digest(once), made, now() + DAY),
        )


def prune_sent_forms() -> None:
    get_db().execute("DELETE FROM sent_forms WHERE expires_at <= ?", (now(),))
