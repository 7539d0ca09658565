"""Forms whose answer shows something once. Each has a random value, `once`; one that is sent again,
by a reload or a second press, makes nothing new."""

import secrets

from foundation.storage.database import fetch_row, get_db
from foundation.storage.digests import random_digest
from foundation.typed.mistakes import Mistake
from foundation.words.clock import DAY, now


def make_once() -> str:
    return secrets.token_urlsafe(16)


class MadeBefore(Mistake):
    """This form was sent before. `made` is what came of it, such as an invite's id."""

    def __init__(self, made: str) -> None:
        super().__init__("form", "made-already")
        self.made = made


def refuse_if_made(path: str, once: str) -> None:
    """In the transaction that makes it. Raises MadeBefore; without a value every form is a new
    one."""
    row = fetch_row("SELECT made FROM sent_forms WHERE digest = ?", (digest_form(path, once),))
    if row and once:
        raise MadeBefore(row["made"])


def remember_made(path: str, once: str, made: str = "") -> None:
    """In the transaction that makes it."""
    if once:
        values = (digest_form(path, once), made, now() + DAY)
        get_db().execute("INSERT INTO sent_forms VALUES (?, ?, ?)", values)


def digest_form(path: str, once: str) -> str:
    return random_digest(f"{path} {once}")


def prune_sent_forms() -> None:
    get_db().execute("DELETE FROM sent_forms WHERE expires_at <= ?", (now(),))
