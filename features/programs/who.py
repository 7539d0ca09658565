"""Who may use an app."""

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

from flask import g, request

from features.programs.room import bp
from foundation.running import hooks
from foundation.storage.database import fetch_row, fetch_rows, get_db
from foundation.storage.journal import record
from foundation.web.feature import Why
from foundation.web.groups import CHOSEN
from foundation.web.paging import Page, fetch_page
from foundation.web.sessions import IS_MEMBER, acting
from foundation.words.clock import now


def choose_member(found: sqlite3.Row, username: str, actor: str | None) -> bool:
    """False: nobody has that name."""
    with acting():
        author_id = find_member_id(username)
        if author_id is None:
            return False
        let_in(found, author_id, actor)
    return True


def find_member_id(username: str) -> int | None:
    sql = f"SELECT id FROM authors WHERE username = ?2 AND {IS_MEMBER}"
    row = fetch_row(sql, (now(), username))
    return row["id"] if row else None


def let_in(found: sqlite3.Row, author_id: int, actor: str | None) -> None:
    """In the caller's transaction."""
    with telling_programs([found["id"]], author_id):
        sql = "INSERT OR IGNORE INTO program_members VALUES (?, ?)"
        if get_db().execute(sql, (found["id"], author_id)).rowcount:
            record("program_members_changed", actor, found["name"])
        drop_asker(found["id"], author_id)


def let_out(found: sqlite3.Row, author_id: int, actor: str | None) -> None:
    """In the caller's transaction."""
    with telling_programs([found["id"]], author_id):
        sql = "DELETE FROM program_members WHERE program_id = ? AND author_id = ?"
        if get_db().execute(sql, (found["id"], author_id)).rowcount:
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


@contextmanager
def telling_programs(program_ids: Iterable[int], author_id: int | None = None) -> Iterator[None]:
    """What the block changes, these programs are told, in the caller's transaction: that somebody
    may no longer use them, and that somebody is in other groups than they were told. `author_id`:
    it can be no other member's. Inside another such block, that one tells."""
    if "telling" in g:
        yield
        return
    before = {one: (find_users(one, author_id), find_told(one, author_id)) for one in program_ids}
    g.telling = True
    try:
        yield
    finally:
        del g.telling
    for program_id, (users, told) in before.items():
        left = find_users(program_id, author_id)
        changed = {member for member, _ in told ^ find_told(program_id, author_id)}
        for hook, members in (("access_lost", users - left), ("groups_changed", changed & left)):
            for announce in hooks(hook) if members else []:
                announce(program_id, sorted(members))
        for member in left - users:
            drop_asker(program_id, member)


def find_users(program_id: int, author_id: int | None) -> set[int]:
    """The members who may use it; of all, or of that one."""
    rows = fetch_rows(
        "SELECT author_id FROM may_use JOIN authors ON authors.id = author_id"
        f" WHERE program_id = ?2 AND author_id = coalesce(?3, author_id) AND {IS_MEMBER}",
        (now(), program_id, author_id),
    )
    return {row["author_id"] for row in rows}


def find_told(program_id: int, author_id: int | None) -> set[tuple[int, int]]:
    """Who is in which of the circles that it's told of; 0 stands for the chosen ones."""
    claimed = [circle for program, circle in find_claimed() if program == program_id]
    rows = fetch_rows(
        "SELECT author_id, circle_id FROM circle_members WHERE author_id = coalesce(?2, author_id)"
        " AND (circle_id IN (SELECT value FROM json_each(?3)) OR circle_id IN"
        " (SELECT circle_id FROM program_circles WHERE is_told AND program_id = ?1)) UNION ALL"
        " SELECT author_id, 0 FROM program_members"
        " WHERE program_id = ?1 AND author_id = coalesce(?2, author_id)",
        (program_id, author_id, json.dumps(claimed)),
    )
    return {(row["author_id"], row["circle_id"]) for row in rows}


def find_claimed() -> list[tuple[int, int]]:
    return [pair for find in hooks("find_claimed_circles") for pair in find()]


BELONGING = ("program_members", "program_askers", "circle_members")


def drop_from_programs(author_ids: Collection[int], sessions: Collection[str], why: Why) -> None:
    """Somebody who comes back under the name has to be chosen again."""
    for table in BELONGING if why in ("removed", "returned") else ():
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
        " AS may_use, (SELECT group_concat(circles.title, ', ') FROM program_circles"
        " JOIN circle_members USING (circle_id) JOIN circles ON circles.id = circle_id"
        " WHERE may_use AND program_id = programs.id AND circle_members.author_id = ?1)"
        " AS by_circles FROM programs ORDER BY title, id LIMIT 100",
        (author_id,),
    )


def change_programs_of(author_id: int, actor: str) -> None:
    """As they are ticked on the member's page."""
    on, off = read_ticks("programs")
    for found in find_programs_for(author_id):
        if found["for_all"]:
            continue
        if found["name"] in on:
            let_in(found, author_id, actor)
        elif found["name"] in off:
            let_out(found, author_id, actor)


def read_ticks(boxes: str) -> tuple[set[str], set[str]]:
    """Which of these boxes were ticked and unticked since the page was made; what another admin has
    changed meanwhile, and what wasn't on the page yet, stays as it is."""
    before = set(request.form.get(f"{boxes}_were", "").split())
    ticked = set(request.form.getlist(boxes))
    return ticked - before, before - ticked


# What apps are told -------------------------------------------------------------------------------


def find_groups_for(db: sqlite3.Connection, author_id: int, program: str) -> list[str]:
    """Nobody else's business: "chosen", and those circles that the app's page ticks."""
    rows = db.execute(
        "SELECT ?3 AS name FROM programs JOIN program_members ON program_id = programs.id"
        " WHERE name = ?2 AND author_id = ?1 UNION ALL SELECT circles.name FROM programs"
        " JOIN program_circles ON program_id = programs.id JOIN circle_members USING (circle_id)"
        " JOIN circles ON circles.id = circle_id"
        " WHERE programs.name = ?2 AND author_id = ?1 AND is_told",
        (author_id, program, CHOSEN),
    )
    return sorted(row["name"] for row in rows)
