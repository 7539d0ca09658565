"""What the database holds of a member, table by table. It asks the tables themselves what refers to
members, so one that comes later is in it."""

import sqlite3
from collections.abc import Iterable
from typing import Any

from foundation.storage.authors import say_name
from foundation.storage.database import fetch_row, fetch_rows
from foundation.storage.journal_lines import OF_MEMBER
from foundation.words.clock import say_iso

# Where it isn't said by a reference.
SPECIAL = {
    "authors": "id = :id",
    "journal": OF_MEMBER,
    "outbox": "instr(ids, :public_id)",
}
REFERENCES = {
    "authors": "= :id",
    "sessions": "IN (SELECT id_digest FROM sessions WHERE author_id = :id)",
}
NAMES = {"username", "actor", "subject"}
TIMES = {"at", "auth_time", "leased_until"}


def gather_about(author_id: int, name: str) -> dict[str, Any]:
    """`facts`: rows by table, the newest first; times in ISO 8601, without digests, which say
    nothing to anybody. `not_shown`: the columns that are left out."""
    tables = find_tables()
    author = fetch_row("SELECT public_id FROM authors WHERE id = ?", (author_id,))
    facts = {"id": author_id, "name": name, "public_id": author and author["public_id"]}
    found = {
        table: fetch_rows(f"SELECT * FROM {table} WHERE {whose} ORDER BY 1 DESC", facts)
        for table, whose in tables.items()
    }
    sql = "SELECT username, invited_by FROM authors WHERE invited_by = :id"
    found["authors"] += fetch_rows(sql, facts)
    told = {
        table: [describe(row, author_id) for row in rows] for table, rows in found.items() if rows
    }
    return {"facts": told, "not_shown": find_not_shown(tables)}


def find_tables() -> dict[str, str]:
    """Tables that hold something of members, each with a condition that says which rows."""
    sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
    whose = {row["name"]: find_owner(row["name"]) for row in fetch_rows(sql)}
    return {table: condition for table, condition in whose.items() if condition}


def find_owner(table: str) -> str:
    if table in SPECIAL:
        return SPECIAL[table]
    keys = fetch_rows(f"PRAGMA foreign_key_list({table})")
    owners = [f"{key['from']} {REFERENCES[key['table']]}" for key in keys
              if key["table"] in REFERENCES]  # fmt: skip
    owners += [f"{column} = :name" for column in find_columns(table) if column in NAMES]
    return " OR ".join(owners)


def find_columns(table: str) -> list[str]:
    return [row["name"] for row in fetch_rows(f"PRAGMA table_info({table})")]


def find_not_shown(tables: Iterable[str]) -> list[str]:
    """Columns that are left out, such as sessions.id_digest."""
    return [f"{table}.{column}" for table in tables
            for column in find_columns(table) if is_digest(column)]  # fmt: skip


def is_digest(column: str) -> bool:
    """`added_by` is one of a session; Vonage's ids of texts say as little."""
    return column.endswith("digest") or column in ("added_by", "message_ids")


def describe(row: sqlite3.Row, author_id: int) -> dict[str, object]:
    """Without what another inviter noted, and the digest of a text."""
    facts = dict(row)
    if facts.get("event") == "pin_sent":
        del facts["detail"]
    if "who" in facts and facts["invited_by"] != author_id:
        del facts["who"]
    return {
        column: say_value(column, value) for column, value in facts.items() if not is_digest(column)
    }


def say_value(column: str, value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, str) and column in NAMES:
        return say_name(value, "en")
    if isinstance(value, int) and (column in TIMES or column.endswith("_at")):
        return say_iso(value) if value else None
    return value
