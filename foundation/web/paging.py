"""Lists in pages, so that no page grows with the group."""

import re
import sqlite3
from typing import Any, NamedTuple

from flask import request

from foundation.storage.database import Values, fetch_rows
from foundation.storage.journal_lines import describe_days, find_lines
from foundation.words.languages import current_language

PAGE_LENGTH = 50
LAST_PAGE = 100_000


class Page(NamedTuple):
    rows: list[sqlite3.Row]
    number: int  # from 1
    has_more: bool


def read_id(name: str) -> int | None:
    """An id in the address, if it is one."""
    text = request.args.get(name, "")
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def fetch_page(sql: str, values: Values) -> Page:
    """The page that `?page=` asks for, of a SELECT that ends with its ORDER BY."""
    asked = request.args.get("page", 1, type=int) if request.query_string else 1
    number = min(max(asked, 1), LAST_PAGE)
    rows = fetch_rows(f"{sql} LIMIT {PAGE_LENGTH + 1} OFFSET {PAGE_LENGTH * (number - 1)}", values)
    if not rows and number > 1:  # past the end: the first one
        number, rows = 1, fetch_rows(f"{sql} LIMIT {PAGE_LENGTH + 1}", values)
    return Page(rows[:PAGE_LENGTH], number, len(rows) > PAGE_LENGTH)


def find_days(of: str = "", name: str = "", kind: tuple[str, ...] = ()) -> dict[str, Any]:
    """For _days.html: the page of the journal that `?before=` asks for, and where the next begins.
    What can be asked for is in `find_lines`."""
    found = find_lines(read_id("before"), PAGE_LENGTH + 1, of, name, kind)
    older = found[PAGE_LENGTH - 1]["id"] if len(found) > PAGE_LENGTH else None
    return {"days": describe_days(found[:PAGE_LENGTH], current_language()), "older": older}
