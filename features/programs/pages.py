"""Admins register apps, change and remove them, and say who may use them."""

import json
import re
import sqlite3
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from flask import current_app, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app import ROW_ID, require_member
from features.programs.room import admin_bp, host_of, require_program
from features.programs.who import (
    choose_member,
    drop_asker,
    find_askers,
    find_chosen,
    let_out,
    read_ticks,
    telling_programs,
)
from foundation.storage.database import count_rows, fetch_rows, get_db
from foundation.storage.journal import record
from foundation.typed.hosts import parse_web_address
from foundation.typed.mistakes import Mistake
from foundation.typed.usernames import parse_username
from foundation.web.forms import Form
from foundation.web.notices import notify
from foundation.web.paging import fetch_page
from foundation.web.sessions import acting
from foundation.web.site_blocks import WEB_SERVERS, write_site
from foundation.words.clock import now

FIELDS = ("name", "title", "address", "who")
MAX_TITLE = 40

# What an admin types ------------------------------------------------------------------------------


def parse_program_name(text: str) -> str:
    name = text.strip().lower()
    if not re.fullmatch(r"[a-z0-9](?:[a-z0-9-]{0,28}[a-z0-9])?", name):
        raise Mistake("name", "program-name")
    return name


def parse_title(text: str) -> str:
    title = " ".join(text.split())
    if not 1 <= len(title) <= MAX_TITLE or not title.isprintable():
        raise Mistake("title", "program-title")
    return title


def parse_address(text: str) -> str:
    """Raises Mistake."""
    return parse_web_address("address", text, with_local_names=True)


class NewProgram(NamedTuple):
    """What an admin says of a program."""

    name: str
    title: str
    address: str
    is_for_all: bool


def read_new_program(form: Form) -> NewProgram:
    return NewProgram(
        form.read("name", parse_program_name),
        form.read("title", parse_title),
        form.read("address", parse_address),
        is_for_all=form.values["who"] == "all",
    )


# Registering them ---------------------------------------------------------------------------------


@admin_bp.route("/admin/programs", methods=["GET", "POST"])
def programs() -> ResponseReturnValue:
    form = Form(*FIELDS)
    if request.method != "POST":
        return show_programs(form)
    wanted = read_new_program(form)
    if form.mistakes:
        return show_programs(form, 422)
    try:
        add_program(wanted, require_member().username)
    except Mistake as mistake:
        form.refuse(mistake)
        return show_programs(form, 422)
    notify("done-program-added")
    return redirect(url_for("programs.admin_programs.program", name=wanted.name), 303)


def show_programs(form: Form, status: int = 200) -> ResponseReturnValue:
    found = fetch_page(
        f"SELECT *, {COUNT_CHOSEN}, {COUNT_ASKERS}, {CIRCLES_OF} FROM programs ORDER BY title, id",
        (),
    )
    return render_template("programs/overview.html", form=form, programs=found), status


def count_people(table: str, name: str) -> str:
    """SQL for how many of a program's people in that table are still here, as a column."""
    return (
        f"(SELECT count(*) FROM {table} JOIN authors ON authors.id = author_id"
        f" WHERE program_id = programs.id AND (ends_at IS NULL OR ends_at > unixepoch())) AS {name}"
    )


COUNT_CHOSEN = count_people("program_members", "chosen")
COUNT_ASKERS = count_people("program_askers", "askers")
CIRCLES_OF = (
    "(SELECT group_concat(circles.title, ', ') FROM program_circles JOIN circles"
    " ON circles.id = circle_id WHERE may_use AND program_id = programs.id) AS circles"
)


def add_program(wanted: NewProgram, actor: str | None) -> None:
    """Raises Mistake: the name is taken."""
    name, title, address, is_for_all = wanted
    try:
        with acting() as db:
            db.execute(
                "INSERT INTO programs (name, title, address, host, for_all, created_at)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (name, title, address, host_of(address), is_for_all, now()),
            )
            record("program_added", actor, name)
    except sqlite3.IntegrityError:
        raise Mistake("name", "program-taken") from None


@admin_bp.route("/admin/programs/<name>", methods=["GET", "POST"])
def program(name: str) -> ResponseReturnValue:
    """A program's page: who uses it, who may, and the way to all else. Or all about it at once:
    what isn't said opens nothing."""
    found, form = require_program(name), Form("title", "address", "who")
    if request.method != "POST":
        return show_program(found, Form("username"))
    return change_title(found, form, form.values["who"] == "all")


@admin_bp.post("/admin/programs/<name>/who")
def change_who(name: str) -> ResponseReturnValue:
    found, form = require_program(name), Form("who")
    return change_program(found, None, None, form.values["who"] == "all")


def change_program(
    found: sqlite3.Row, title: str | None, address: str | None, is_for_all: bool | None
) -> ResponseReturnValue:
    """None: it stays, whatever another admin has made of it meanwhile."""
    with acting() as db, telling_programs([found["id"]]):
        db.execute(
            "UPDATE programs SET title = coalesce(?, title), address = coalesce(?, address),"
            " host = coalesce(?, host), for_all = coalesce(?, for_all) WHERE id = ?",
            (title, address, address and host_of(address), is_for_all, found["id"]),
        )
        record("program_changed", require_member().username, found["name"])
    notify("done-program-changed")
    return redirect(url_for("programs.admin_programs.program", name=found["name"]), 303)


def show_program(found: sqlite3.Row, adding: Form, status: int = 200) -> ResponseReturnValue:
    lists = {"chosen": find_chosen(found["id"]), "askers": find_askers(found["id"])}
    lists |= {"circles": find_circles_of(found["id"])}
    return render_template("programs/program.html", program=found, adding=adding, **lists), status


@admin_bp.route("/admin/programs/<name>/title", methods=["GET", "POST"])
def title_and_address(name: str) -> ResponseReturnValue:
    found, form = require_program(name), Form("title", "address")
    if request.method != "POST":
        form.values = {"title": found["title"], "address": found["address"]}
        return render_template("programs/title.html", program=found, form=form)
    return change_title(found, form, None)


def change_title(found: sqlite3.Row, form: Form, is_for_all: bool | None) -> ResponseReturnValue:
    title = form.read("title", parse_title)
    address = form.read("address", parse_address)
    if form.mistakes:
        return render_template("programs/title.html", program=found, form=form), 422
    return change_program(found, title, address, is_for_all)


@admin_bp.get("/admin/programs/<name>/proxy")
def behind_proxy(name: str) -> ResponseReturnValue:
    """What to copy into the file of one web server. The port is the one that we listen on."""
    found, asked = require_program(name), request.args.get("server", "")
    server = asked if asked in WEB_SERVERS else "caddy"
    names = {
        "wiki.example.org": found["host"],
        "group.example.org": urlsplit(current_app.config["BASE_URL"]).netloc,
        "127.0.0.1:8000": f"127.0.0.1:{request.environ['SERVER_PORT']}",
    }
    folder = Path(current_app.root_path, "deploy")
    facts = {"servers": WEB_SERVERS, "server": server, "program": found}
    block = write_site(folder, WEB_SERVERS[server], name, names)
    return render_template("programs/proxy.html", block=block, **facts)


@admin_bp.route("/admin/programs/<name>/remove", methods=["GET", "POST"])
def remove_program(name: str) -> ResponseReturnValue:
    found = require_program(name)
    if request.method != "POST":
        return render_template("programs/remove.html", program=found)
    delete_program(name, require_member().username)
    notify("done-program-removed")
    return redirect("/admin/programs", 303)


def delete_program(name: str, actor: str | None) -> bool:
    with acting() as db:
        gone = db.execute("DELETE FROM programs WHERE name = ?", (name,)).rowcount > 0
        if gone:
            record("program_removed", actor, name)
    return gone


# Who may use one, and whom it is told of ----------------------------------------------------------


@admin_bp.post("/admin/programs/<name>/members")
def choose(name: str) -> ResponseReturnValue:
    found, form = require_program(name), Form("username")
    username = form.read("username", parse_username)
    if not form.mistakes and not choose_member(found, username, require_member().username):
        form.refuse(Mistake("username", "no-such-member"))
    if form.mistakes:
        return show_program(found, form, 422)
    notify("done-member-chosen", username)
    return redirect(url_for("programs.admin_programs.program", name=name), 303)


@admin_bp.post(f"/admin/programs/<name>/askers/{ROW_ID}/drop")
def say_no(name: str, row_id: int) -> ResponseReturnValue:
    """They are told nothing, and may ask again."""
    found = require_program(name)
    with acting():
        drop_asker(found["id"], row_id)
    notify("done-asker-dropped")
    return redirect(url_for("programs.admin_programs.program", name=name), 303)


@admin_bp.post(f"/admin/programs/<name>/members/{ROW_ID}/drop")
def drop_member(name: str, row_id: int) -> ResponseReturnValue:
    found = require_program(name)
    with acting():
        let_out(found, row_id, require_member().username)
    notify("done-member-dropped")
    return redirect(url_for("programs.admin_programs.program", name=name), 303)


@admin_bp.post("/admin/programs/<name>/circles")
def change_circles_of_program(name: str) -> ResponseReturnValue:
    """Two columns of ticks."""
    found, form = require_program(name), Form("username")
    ticks = {column: read_ticks(column) for column in ("may_use", "is_told")}
    try:
        with acting(), telling_programs([require_program(name)["id"]]):
            if sum([set_ticks(found["id"], *one) for one in ticks.items()]):
                record("program_members_changed", require_member().username, name)
            if count_told(found["id"]) > MAX_TOLD:
                raise Mistake("circles", "circles-told")
    except Mistake as mistake:
        form.refuse(mistake)
        return show_program(found, form, 422)
    notify("done-program-changed")
    return redirect(url_for("programs.admin_programs.program", name=name), 303)


MAX_TOLD = 40  # their names have to fit into the headers that proxies take


def set_ticks(program_id: int, column: str, ticks: tuple[set[str], set[str]]) -> int:
    """How many have changed, in one of the two columns."""
    on, off = ticks
    sql = (
        "INSERT INTO program_circles (program_id, circle_id, may_use, is_told)"
        " SELECT ?1, id, ?3 AND ?4 = 'may_use', ?3 AND ?4 = 'is_told' FROM circles"
        " WHERE removed_at IS NULL AND name IN (SELECT value FROM json_each(?2))"
        f" ON CONFLICT DO UPDATE SET {column} = ?3 WHERE {column} != ?3"
    )
    changes = (
        get_db().execute(sql, (program_id, json.dumps([*names]), value, column))
        for names, value in ((on, 1), (off, 0))
    )
    return sum(change.rowcount for change in changes)


def count_told(program_id: int) -> int:
    sql = "SELECT count(*) FROM program_circles WHERE is_told AND program_id = ?"
    return count_rows(sql, (program_id,))


def find_circles_of(program_id: int) -> list[sqlite3.Row]:
    """All circles, each with what it means to that app."""
    return fetch_rows(
        "SELECT circles.*, ifnull(may_use, 0) AS may_use, ifnull(is_told, 0) AS is_told"
        " FROM circles LEFT JOIN program_circles ON circle_id = circles.id AND program_id = ?"
        " WHERE removed_at IS NULL ORDER BY title, id",
        (program_id,),
    )
