"""The journal, as admins read it."""

import sqlite3

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from app import require_admin
from foundation.storage.database import fetch_rows
from foundation.storage.journal import describe_event
from foundation.web.feature import Feature
from foundation.web.paging import PAGE_LENGTH, read_id
from foundation.words.clock import now
from foundation.words.languages import current_language

bp = Blueprint("journal", __name__)
bp.before_request(require_admin)


@bp.get("/admin/journal")
def journal() -> ResponseReturnValue:
    found = find_journal(read_id("before"))
    language = current_language()
    lines = [(line, describe_event(line, language)) for line in found[:PAGE_LENGTH]]
    older = lines[-1][0]["id"] if len(found) > PAGE_LENGTH else None
    return render_template("journal/journal.html", lines=lines, older=older, now=now())


def find_journal(before: int | None) -> list[sqlite3.Row]:
    """One page and a line more, newest first: the last lines, or the ones before the line with that
    id. While an invite is open, its lines know the last two digits of the number."""
    return fetch_rows(
        "SELECT journal.*, phone_hint FROM journal"
        " LEFT JOIN whitelist ON whitelist.id = invite_id"
        " WHERE journal.id < ? ORDER BY journal.id DESC LIMIT ?",
        (10**18 if before is None else before, PAGE_LENGTH + 1),
    )


feature = Feature(bp, admin_pages={"/admin/journal": "Journal"})
