"""Who may use an app."""

import sqlite3
from collections.abc import Collection

from flask import request

from features.programs.room import bp
from foundation.running import hooks
from foundation.storage.database import fetch_row, fetch_rows, get_db
from foundation.storage.journal import record
from foundation.web.feature import Why
from foundation.web.paging import Page, fetch_page
from foundation.web.sessions import IS_MEMBER, acting
from foundation.words.clock import now


def choose_member(found: sqlite3.Row, username: str, actor: str | None) -> bool:
    """False: nobody has that name."""
    with acting():
        member = fetch_row(
            f"SELECT id FROM authors WHERE username = ?2 AND {IS_MEMBER}", (now(), username)
        )
        if member is None:
            return False
        let_in(found, member["id"], actor)
    return True


def let_in(found: sqlite3.Row, author_id: int, actor: str | None) -> None:
    """In the caller's transaction."""
    sql = "INSERT OR IGNORE INTO program_members VALUES (?, ?)"
    if get_db().execute(sql, (found["id"], author_id)).rowcount:
        record("program_members_changed", actor, found["name"])
    drop_asker(found["id"], author_id)


def let_out(found: sqlite3.Row, author_id: int, actor: str | None) -> None:
    """In the caller's transaction."""
    before = find_users(found["id"])
    sql = "DELETE FROM program_members WHERE program_id = ? AND author_id = ?"
    if get_db().execute(sql, (found["id"], author_id)).rowcount:
        announce_lost_access(found["id"], before)
        record("program_members_changed", actor, found["name"])


def drop_asker(program_id: int, author_id: int) -> None:
    sql = "DELETE FROM program_askers WHERE program_id = ? AND author_id = ?"
    get_db().execute(sql, (program_id, author_id))


def find_askers(program_id: int) -> list[sqlite3.Row]:
    """Those who still may not, the first of them first."""
    return fetch_rows(
        "SELECT authors.id, username FROM program_askers JOIN authors ON authors.id = author_id"
        " JOIN programs ON programs.id = program_id"
        f" WHERE program_id = ?2 AND NOT for_all AND {IS_MEMBER} ORDER BY asked_at LIMIT 50",
        (now(), program_id),
    )


def has_asked(program_id: int, author_id: int) -> bool:
    sql = "SELECT 1 FROM program_askers WHERE program_id = ? AND author_id = ?"
    return fetch_row(sql, (program_id, author_id)) is not None


def find_chosen(program_id: int) -> Page:
    return fetch_page(
        "SELECT authors.id, username FROM program_members JOIN authors ON authors.id = author_id"
        f" WHERE program_id = ?2 AND {IS_MEMBER} ORDER BY username",
        (now(), program_id),
    )


def find_users(program_id: int) -> set[int]:
    """The members who may use it."""
    rows = fetch_rows(
        "SELECT author_id FROM may_use JOIN authors ON authors.id = author_id"
        f" WHERE program_id = ?2 AND {IS_MEMBER}",
        (now(), program_id),
    )
    return {row["author_id"] for row in rows}


def announce_lost_access(program_id: int, before: set[int]) -> None:
    lost = sorted(before - find_users(program_id))
    for access_lost in hooks("access_lost") if lost else []:
        access_lost(program_id, lost)


def drop_from_programs(author_ids: Collection[int], sessions: Collection[str], why: Why) -> None:
    """Somebody who comes back under the name has to be chosen again."""
    for table in ("program_members", "program_askers") if why in ("removed", "returned") else ():
        sql = f"DELETE FROM {table} WHERE author_id = ?"
        get_db().executemany(sql, [(author_id,) for author_id in author_ids])


# On a member's page -------------------------------------------------------------------------------


@bp.app_template_global()
def find_programs_for(author_id: int) -> list[sqlite3.Row]:
    """All, each with whether it is for that member."""
    return fetch_rows(
        "SELECT programs.*, EXISTS (SELECT 1 FROM program_members AS chosen"
        " WHERE program_id = programs.id AND chosen.author_id = ?1) AS is_chosen, EXISTS"
        " (SELECT 1 FROM may_use WHERE program_id = programs.id AND may_use.author_id = ?1)"
        " AS may_use FROM programs ORDER BY title, id LIMIT 100",
        (author_id,),
    )


def change_programs_of(author_id: int, actor: str) -> None:
    """As they are ticked on the member's page. An app that wasn't there yet stays as it is."""
    shown, ticked = (set(request.form.getlist(name)) for name in ("programs_shown", "programs"))
    for found in find_programs_for(author_id):
        if found["name"] not in shown or found["for_all"]:
            continue
        if found["name"] in ticked and not found["is_chosen"]:
            let_in(found, author_id, actor)
        elif found["name"] not in ticked and found["is_chosen"]:
            let_out(found, author_id, actor)
