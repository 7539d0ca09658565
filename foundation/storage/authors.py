"""Members' names, and when they were here. A name that was forgotten stays taken: what is kept of
it is a scrypt, under a salt that is the database's own, because a new SECRET_KEY must not give the
name to anybody."""

import hashlib
import sqlite3

from foundation.storage.database import fetch_row, get_db
from foundation.words.clock import now
from foundation.words.languages import translate

FORGOTTEN = "~"  # what is kept begins with it; no username does


def find_author(name: str) -> sqlite3.Row | None:
    """Whose name it is or was, also of somebody who was removed or forgotten."""
    return fetch_row("SELECT * FROM authors WHERE username = ?", (name,)) or find_forgotten(name)


def find_forgotten(name: str) -> sqlite3.Row | None:
    """A scrypt takes as long as ten pages, so it's made only where somebody was forgotten."""
    if fetch_row("SELECT 1 FROM authors WHERE username >= ?", (FORGOTTEN,)) is None:
        return None
    return fetch_row("SELECT * FROM authors WHERE username = ?", (conceal(name),))


def conceal(name: str) -> str:
    """What is kept of a forgotten name: the same each time."""
    row = fetch_row("SELECT salt FROM name_salt")
    salt = bytes.fromhex(row["salt"]) if row else b""
    return FORGOTTEN + hashlib.scrypt(name.encode(), salt=salt, n=2**14, r=8, p=1, dklen=24).hex()


def say_name(name: str, language: str | None = None) -> str:
    """`language`: the visitor's, if none is given."""
    return translate("a former member", language) if name.startswith(FORGOTTEN) else name


def note_seen(author_id: int) -> None:
    """At a sign-in, and once a day of use: it stays known after the last device is signed out. In
    the caller's transaction."""
    sql = "UPDATE authors SET last_seen_at = ? WHERE id = ? AND removed_at IS NULL"
    get_db().execute(sql, (now(), author_id))
