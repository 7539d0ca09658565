"""The others, as home tells of them."""

import sqlite3

from foundation.storage.database import count_rows, fetch_rows
from foundation.web.sessions import IS_MEMBER, Member
from foundation.words.clock import now


def find_newest_friends(member: Member) -> list[sqlite3.Row]:
    sql = f"SELECT username FROM authors WHERE {IS_MEMBER} AND id != ?2 ORDER BY id DESC LIMIT 8"
    return fetch_rows(sql, (now(), member.id))


def count_friends() -> int:
    """Of a member who asks."""
    return count_rows(f"SELECT count(*) - 1 FROM authors WHERE {IS_MEMBER}", (now(),))
