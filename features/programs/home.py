"""What members see of apps."""

import sqlite3

from flask import redirect, render_template
from flask.typing import ResponseReturnValue

from app import require_member
from features.programs.room import bp, host_of, may_use, require_program
from features.programs.who import has_asked
from foundation.storage.database import fetch_row, fetch_rows
from foundation.storage.journal import record_sparingly
from foundation.web.sessions import Member, acting
from foundation.words.clock import now


@bp.app_template_global()
def find_programs(member: Member) -> list[sqlite3.Row]:
    """Theirs, for home."""
    return fetch_rows(
        "SELECT name, title, address FROM programs JOIN may_use ON program_id = programs.id"
        " WHERE author_id = ? ORDER BY title LIMIT 100",
        (member.id,),
    )


@bp.app_template_global()
def colour_of(name: str) -> int:
    """One of the colours of tiles in static/style.css, the same each time."""
    return sum(name.encode()) % 8


@bp.app_template_global()
def letter_of(title: str) -> str:
    """Of the last word, because many begin with "Our"."""
    letters = [sign for sign in title.split()[-1] if sign.isalnum()] or title.strip()
    return letters[0].upper()


@bp.get("/programs/<name>")
def refused(name: str) -> ResponseReturnValue:
    """Where a proxy sends members who may not use a program."""
    member, found = require_member(), require_program(name)
    if may_use(found["name"], member.id):
        return redirect(found["address"], 303)
    asked = has_asked(found["id"], member.id)
    return render_template("programs/refused.html", program=found, has_asked=asked), 403


@bp.post("/programs/<name>/ask")
def ask_for(name: str) -> ResponseReturnValue:
    """An admin finds it on the app's page, and in the journal."""
    member, found = require_member(), require_program(name)
    if not may_use(name, member.id):
        with acting() as db:
            sql = "INSERT OR IGNORE INTO program_askers VALUES (?, ?, ?)"
            if db.execute(sql, (found["id"], member.id, now())).rowcount:
                record_sparingly("program_asked", member.username, name)
    return redirect(f"/programs/{name}", 303)


def find_title_by_address(address: str) -> str | None:
    """The title of the app at an address of a next page."""
    path = address.partition("?")[0]
    if path.startswith("/programs/"):
        row = fetch_row("SELECT title FROM programs WHERE name = ?", (path.split("/")[2],))
    else:  # of several at one host, the one whose address it lies below
        row = fetch_row(
            "SELECT title FROM programs WHERE host = ?2 AND (instr(?1 || '/', rtrim(address, '/')"
            " || '/') = 1 OR (SELECT count(*) FROM programs WHERE host = ?2) = 1)"
            " ORDER BY length(address) DESC",
            (path, host_of(address)),
        )
    return str(row["title"]) if row else None
