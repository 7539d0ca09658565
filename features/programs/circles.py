"""Circles: named sets of members. Apps may be for them, and be told of them."""

import sqlite3
from collections.abc import Collection

from flask import abort, redirect, render_template, request
from flask.typing import ResponseReturnValue

from app import ROW_ID, require_member
from features.programs.pages import parse_title
from features.programs.room import admin_bp, bp
from features.programs.who import (
    change_programs_of,
    find_claimed,
    find_member_id,
    read_ticks,
    telling_programs,
)
from foundation.storage.database import fetch_row, fetch_rows, get_db
from foundation.storage.journal import record
from foundation.typed.mistakes import Mistake
from foundation.typed.usernames import parse_username, tidy_username
from foundation.web.forms import Form
from foundation.web.groups import ADMINS, CHOSEN, EVERYBODY
from foundation.web.notices import notify
from foundation.web.paging import Page, fetch_page
from foundation.web.sessions import IS_MEMBER, acting
from foundation.words.clock import now

MAX_CIRCLES = 100


@bp.app_template_global()
def find_circles(author_id: int | None = None) -> list[sqlite3.Row]:
    """All, each with how many are in it, and whether that member is."""
    return fetch_rows(
        "SELECT circles.*, (SELECT count(*) FROM circle_members JOIN authors ON authors.id ="
        f" author_id WHERE circle_id = circles.id AND {IS_MEMBER}) AS members, EXISTS (SELECT 1"
        " FROM circle_members WHERE circle_id = circles.id AND author_id = ?2) AS is_in"
        " FROM circles WHERE circles.removed_at IS NULL ORDER BY title, id LIMIT ?3",
        (now(), author_id, MAX_CIRCLES),
    )


# Making and removing them -------------------------------------------------------------------------


@admin_bp.route("/admin/circles", methods=["GET", "POST"])
def circles() -> ResponseReturnValue:
    form = Form("title", "name")
    if request.method != "POST":
        return render_template("circles/overview.html", form=form)
    title = form.read("title", parse_title)
    name = form.read("name", lambda text: parse_circle_name(text or title))
    if not form.mistakes:
        try:
            add_circle(name, title)
        except Mistake as mistake:
            form.refuse(mistake)
    if form.mistakes:
        return render_template("circles/overview.html", form=form), 422
    notify("done-circle-added")
    return redirect(f"/admin/circles/{name}", 303)


def parse_circle_name(text: str) -> str:
    """As usernames are. Raises Mistake."""
    try:
        name = parse_username(tidy_username(text))
    except Mistake:
        raise Mistake("name", "circle-name") from None
    if name in (EVERYBODY, ADMINS, CHOSEN):
        raise Mistake("name", "circle-name")
    return name


def add_circle(name: str, title: str) -> None:
    """Raises Mistake."""
    try:
        with acting() as db:
            if len(find_circles()) >= MAX_CIRCLES:
                raise Mistake("form", "circles-many")
            db.execute("INSERT INTO circles (name, title) VALUES (?, ?)", (name, title))
            record("circle_added", require_member().username, name)
    except sqlite3.IntegrityError:
        raise Mistake("name", "circle-taken") from None


def require_circle(name: str) -> sqlite3.Row:
    row = fetch_row("SELECT * FROM circles WHERE name = ? AND removed_at IS NULL", (name,))
    return row or abort(404)


@admin_bp.route("/admin/circles/<name>", methods=["GET", "POST"])
def circle(name: str) -> ResponseReturnValue:
    """Its page; or a new title for it."""
    found, form = require_circle(name), Form("title", "username")
    form.values["title"] = form.values["title"] or found["title"]
    if request.method != "POST":
        return show_circle(found, form)
    title = form.read("title", parse_title)
    if form.mistakes:
        return show_circle(found, form, 422)
    with acting() as db:
        db.execute("UPDATE circles SET title = ? WHERE id = ?", (title, found["id"]))
        record("circle_changed", require_member().username, name)
    notify("done-program-changed")
    return redirect(f"/admin/circles/{name}", 303)


def show_circle(found: sqlite3.Row, form: Form, status: int = 200) -> ResponseReturnValue:
    people = find_people(found["id"])
    return render_template("circles/circle.html", circle=found, form=form, people=people), status


def find_people(circle_id: int) -> Page:
    return fetch_page(
        "SELECT authors.id, username FROM circle_members JOIN authors ON authors.id = author_id"
        f" WHERE circle_id = ?2 AND {IS_MEMBER} ORDER BY username",
        (now(), circle_id),
    )


@admin_bp.route("/admin/circles/<name>/remove", methods=["GET", "POST"])
def remove_circle(name: str) -> ResponseReturnValue:
    found = require_circle(name)
    if request.method != "POST":
        return render_template("circles/remove.html", circle=found)
    with acting() as db, telling_programs(find_programs_of([found["id"]])):
        require_circle(name)  # not removed meanwhile
        db.execute("UPDATE circles SET removed_at = ? WHERE id = ?", (now(), found["id"]))
        for table in ("circle_members", "program_circles"):
            db.execute(f"DELETE FROM {table} WHERE circle_id = ?", (found["id"],))
        record("circle_removed", require_member().username, name)
    notify("done-circle-removed")
    return redirect("/admin/circles", 303)


# Who is in one ------------------------------------------------------------------------------------


@admin_bp.post("/admin/circles/<name>/members")
def take_in(name: str) -> ResponseReturnValue:
    found, form = require_circle(name), Form("title", "username")
    form.values["title"] = found["title"]
    username = form.read("username", parse_username)
    if not form.mistakes:
        with acting():
            require_circle(name)
            author_id = find_member_id(username)
            if author_id is None:
                form.refuse(Mistake("username", "no-such-member"))
            else:
                change_circles(author_id, {found["id"]}, set(), require_member().username)
    if form.mistakes:
        return show_circle(found, form, 422)
    notify("done-circle-changed")
    return redirect(f"/admin/circles/{name}", 303)


@admin_bp.post(f"/admin/circles/<name>/members/{ROW_ID}/drop")
def take_out(name: str, row_id: int) -> ResponseReturnValue:
    found = require_circle(name)
    with acting():
        change_circles(row_id, set(), {found["id"]}, require_member().username)
    notify("done-circle-changed")
    return redirect(f"/admin/circles/{name}", 303)


def change_circles(
    author_id: int, into: Collection[int], out: Collection[int], actor: str | None
) -> None:
    """Put a member into circles and take them out of others, in the caller's transaction. Apps are
    told what they lose by that, and what is new to the app."""
    db = get_db()
    with telling_programs(find_programs_of([*into, *out]), author_id):
        for circle_id in into:
            sql = "INSERT OR IGNORE INTO circle_members VALUES (?, ?)"
            note_change(db.execute(sql, (circle_id, author_id)), circle_id, actor)
        for circle_id in out:
            sql = "DELETE FROM circle_members WHERE circle_id = ? AND author_id = ?"
            note_change(db.execute(sql, (circle_id, author_id)), circle_id, actor)


def note_change(done: sqlite3.Cursor, circle_id: int, actor: str | None) -> None:
    found = fetch_row("SELECT name FROM circles WHERE id = ?", (circle_id,))
    if done.rowcount and found and actor:
        record("circle_members_changed", actor, found["name"])


def find_programs_of(circle_ids: Collection[int]) -> set[int]:
    """The apps that are for them, or are told of them."""
    sql = "SELECT program_id FROM program_circles WHERE circle_id = ?"
    ticked = {row["program_id"] for one in circle_ids for row in fetch_rows(sql, (one,))}
    return ticked | {program for program, circle in find_claimed() if circle in circle_ids}


def change_circles_of(author_id: int, actor: str) -> None:
    """As they are ticked on the member's page."""
    on, off = read_ticks("circles")
    every = find_circles(author_id)
    into = {one["id"] for one in every if one["name"] in on}
    out = {one["id"] for one in every if one["name"] in off}
    change_circles(author_id, into, out, actor)


def change_member(author_id: int, actor: str) -> None:
    """Both at once: who gets by a circle what an app's own tick no longer gives, loses nothing."""
    every = {row["id"] for row in fetch_rows("SELECT id FROM programs")}
    with telling_programs(every, author_id):
        change_programs_of(author_id, actor)
        change_circles_of(author_id, actor)


def join_circles(author_id: int, names: list[str]) -> None:
    """Those of the invite; one that was removed since is none."""
    if names:  # most carry none
        into = {one["id"] for one in find_circles() if one["name"] in names}
        change_circles(author_id, into, set(), None)
