"""The groups of a member, as apps are told them."""

import sqlite3
from collections.abc import Callable, Iterable

EVERYBODY, ADMINS, CHOSEN = "members", "admins", "chosen"
# A feature's part: for a member's id and a program's name.
FindGroups = Callable[[sqlite3.Connection, int, str], list[str]]


def find_groups(
    db: sqlite3.Connection,
    author_id: int,
    is_of_admins: bool,
    program: str | None,
    find_more: Iterable[FindGroups],
) -> list[str]:
    """Without a program, nobody else's business: only that they are a member, and an admin."""
    groups = [EVERYBODY] + ([ADMINS] if is_of_admins else [])
    for find in find_more if program else ():
        groups += find(db, author_id, program or "")
    return groups
