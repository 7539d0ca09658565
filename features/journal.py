"""The journal, as admins read it."""

import re
import sqlite3

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from app import require_admin
from foundation.clock import now
from foundation.database import fetch_rows
from foundation.feature import Feature
from foundation.journal import word_event
from foundation.paging import PAGE_LENGTH

journal = Blueprint("journal", __name__)
journal.before_request(require_admin)


@journal.get("/admin/journal")
def overview() -> ResponseReturnValue:
    lines = find_journal(request.args.get("before", ""))
    is_full = len(lines) == PAGE_LENGTH
    older = lines[-1]["id"] if is_full else None
    words = [(line, word_event(line)) for line in lines]
    return render_template("journal/journal.html", lines=words, older=older, now=now())


def find_journal(before: str) -> list[sqlite3.Row]:
    """One page, newest first: the last lines, or the ones before the line with that id. While an
    invite is open, its lines know the last two digits of the number."""
    before_id = int(before) if re.fullmatch(r"[0-9]{1,18}", before) else 10**18
    return fetch_rows(
        "SELECT journal.*, phone_hint FROM journal"
        " LEFT JOIN whitelist ON whitelist.id = invite_id"
        " WHERE journal.id < ? ORDER BY journal.id DESC LIMIT ?",
        (before_id, PAGE_LENGTH),
    )


feature = Feature(journal, admin_pages={"/admin/journal": "Journal"})
