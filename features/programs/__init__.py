"""Programs, which pages call apps: what members open with this sign-in. Admins register them and
say who may use which; home shows each member theirs. A proxy in front of one asks
`/auth?program=<name>`."""

import re
import sqlite3
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from wsgiref.types import WSGIEnvironment

import click
from flask import Blueprint, Flask, abort, current_app, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app import ROW_ID, require_admin, require_member
from foundation.cli.command import command
from foundation.running import hooks, running
from foundation.storage.database import fetch_row, fetch_rows, get_db
from foundation.storage.journal import record, record_sparingly
from foundation.typed.hosts import parse_web_address
from foundation.typed.mistakes import Mistake
from foundation.typed.usernames import parse_username
from foundation.web.feature import Feature, Why
from foundation.web.forms import Form
from foundation.web.forward_auth import (
    Verdict,
    is_navigation,
    read_program,
    wants_redirect,
)
from foundation.web.notices import notify
from foundation.web.paging import Page, fetch_page
from foundation.web.sessions import IS_MEMBER, Member, acting
from foundation.web.site_blocks import WEB_SERVERS, write_site
from foundation.words.clock import now
from foundation.words.sentences import say

bp = Blueprint("programs", __name__, cli_group="program")
bp.cli.help = "Register apps, and say who may use them."
admin_bp = Blueprint("admin_programs", __name__)
admin_bp.before_request(require_admin)

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


def host_of(address: str) -> str:
    return (urlsplit(address).hostname or "").rstrip(".")


def bare_host(named: str) -> str:
    """As a proxy names it, without a port."""
    return re.sub(r":[0-9]*$", "", named.strip().lower()).rstrip(".")


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
        f"SELECT *, {COUNT_CHOSEN}, {COUNT_ASKERS} FROM programs ORDER BY title, id", ()
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


def require_program(name: str) -> sqlite3.Row:
    row = fetch_row("SELECT * FROM programs WHERE name = ?", (name,))
    if row is None:
        abort(404)
    return row


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
    with acting() as db:
        before = find_users(found["id"])
        db.execute(
            "UPDATE programs SET title = coalesce(?, title), address = coalesce(?, address),"
            " host = coalesce(?, host), for_all = coalesce(?, for_all) WHERE id = ?",
            (title, address, address and host_of(address), is_for_all, found["id"]),
        )
        announce_lost_access(found["id"], before)
        record("program_changed", require_member().username, found["name"])
    notify("done-program-changed")
    return redirect(url_for("programs.admin_programs.program", name=found["name"]), 303)


def show_program(found: sqlite3.Row, adding: Form, status: int = 200) -> ResponseReturnValue:
    lists = {"chosen": find_chosen(found["id"]), "askers": find_askers(found["id"])}
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


def find_askers(program_id: int) -> list[sqlite3.Row]:
    """Those who still may not, the first of them first."""
    return fetch_rows(
        "SELECT authors.id, username FROM program_askers JOIN authors ON authors.id = author_id"
        " JOIN programs ON programs.id = program_id"
        f" WHERE program_id = ?2 AND NOT for_all AND {IS_MEMBER} ORDER BY asked_at LIMIT 50",
        (now(), program_id),
    )


def find_chosen(program_id: int) -> Page:
    return fetch_page(
        "SELECT authors.id, username FROM program_members JOIN authors ON authors.id = author_id"
        f" WHERE program_id = ?2 AND {IS_MEMBER} ORDER BY username",
        (now(), program_id),
    )


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


# Who may use one ----------------------------------------------------------------------------------


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


@admin_bp.post(f"/admin/programs/<name>/askers/{ROW_ID}/drop")
def say_no(name: str, row_id: int) -> ResponseReturnValue:
    """They are told nothing, and may ask again."""
    found = require_program(name)
    with acting():
        drop_asker(found["id"], row_id)
    notify("done-asker-dropped")
    return redirect(url_for("programs.admin_programs.program", name=name), 303)


def drop_asker(program_id: int, author_id: int) -> None:
    sql = "DELETE FROM program_askers WHERE program_id = ? AND author_id = ?"
    get_db().execute(sql, (program_id, author_id))


@admin_bp.post(f"/admin/programs/<name>/members/{ROW_ID}/drop")
def drop_member(name: str, row_id: int) -> ResponseReturnValue:
    found = require_program(name)
    with acting():
        let_out(found, row_id, require_member().username)
    notify("done-member-dropped")
    return redirect(url_for("programs.admin_programs.program", name=name), 303)


def let_out(found: sqlite3.Row, author_id: int, actor: str | None) -> None:
    """In the caller's transaction."""
    before = find_users(found["id"])
    sql = "DELETE FROM program_members WHERE program_id = ? AND author_id = ?"
    if get_db().execute(sql, (found["id"], author_id)).rowcount:
        announce_lost_access(found["id"], before)
        record("program_members_changed", actor, found["name"])


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


# What members see ---------------------------------------------------------------------------------


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


def has_asked(program_id: int, author_id: int) -> bool:
    sql = "SELECT 1 FROM program_askers WHERE program_id = ? AND author_id = ?"
    return fetch_row(sql, (program_id, author_id)) is not None


def may_use(name: str, author_id: int) -> bool:
    return fetch_row(MAY_USE, (name, author_id)) is not None


MAY_USE = (
    "SELECT 1 FROM programs JOIN may_use ON program_id = programs.id"
    " WHERE name = ? AND author_id = ?"
)


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


# What a proxy asks --------------------------------------------------------------------------------


def may_pass(app: Flask, environ: WSGIEnvironment, row: sqlite3.Row) -> Verdict | None:
    """`/auth?program=wiki` lets in who may use the wiki. Without a program it's every member, but
    not where the proxy guards a registered program and doesn't say so."""
    db, name = running(app).connections.db, read_program(environ)
    if name is None:
        hosts = environ.get("HTTP_X_FORWARDED_HOST", "").split(",")
        sql = "SELECT 1 FROM programs WHERE host = ?"
        is_guarded = any(h and db.execute(sql, (bare_host(h),)).fetchone() for h in hosts)
        return ("403 Forbidden", {}) if is_guarded else None
    if db.execute(MAY_USE, (name, row["author_id"])).fetchone():
        return None
    known = db.execute("SELECT 1 FROM programs WHERE name = ?", (name,)).fetchone()
    if known and wants_redirect(environ) and is_navigation(environ):
        return "303 See Other", {"Location": f"{app.config['BASE_URL']}/programs/{name}"}
    return "403 Forbidden", {}


# Commands -----------------------------------------------------------------------------------------


@command(bp, "add")
@click.argument("name")
@click.argument("title")
@click.argument("address")
@click.option("--chosen", is_flag=True, help="For chosen members only; see `flask program choose`.")
def add_command(name: str, title: str, address: str, chosen: bool) -> None:
    """Register an app: a short NAME, the TITLE that members see, the ADDRESS of its start page."""
    try:
        wanted = NewProgram(
            parse_program_name(name), parse_title(title), parse_address(address), not chosen
        )
        add_program(wanted, None)
    except Mistake as mistake:
        raise click.ClickException(say(mistake.sentence)) from None
    whom = "nobody yet: `flask program choose`" if chosen else "all members"
    click.echo(
        f"{wanted.title} is registered, for {whom}. Its proxy asks /auth?program={wanted.name}."
    )


@command(bp, "choose")
@click.argument("name")
@click.argument("username")
def choose_command(name: str, username: str) -> None:
    """Let a member use an app that is for chosen members."""
    try:
        wanted = parse_username(username)
    except Mistake:
        wanted = ""
    found = find_for_command(name)
    if not choose_member(found, wanted, None):
        raise click.ClickException("There is no member with that name.")
    click.echo(f"{wanted} may use {found['title']}.")


@command(bp, "list")
def list_command() -> None:
    """List the apps, each with who may use it."""
    for row in fetch_rows(f"SELECT *, {COUNT_CHOSEN} FROM programs ORDER BY name"):
        count = f"{row['chosen']} chosen member" + ("" if row["chosen"] == 1 else "s")
        whom = "all members" if row["for_all"] else count
        click.echo(f"{row['name']}: {row['title']}, {row['address']}, for {whom}")


@command(bp, "remove")
@click.argument("name")
def remove_program_command(name: str) -> None:
    """Remove an app. Its proxy then refuses everybody."""
    found = find_for_command(name)
    delete_program(found["name"], None)
    click.echo(f"{found['title']} is removed.")


def find_for_command(name: str) -> sqlite3.Row:
    found = fetch_row("SELECT * FROM programs WHERE name = ?", (name,))
    if found is None:
        raise click.ClickException("There is no app with that name (`flask program list`).")
    return found


bp.register_blueprint(admin_bp)
feature = Feature(
    bp,
    sentences={
        "program-name": "Use 1 to 30 letters (a to z), digits and -, such as wiki.",
        "program-taken": "There is an app with that name already.",
        "program-title": "Give it a title of 1 to 40 characters, in one line.",
        "no-such-member": "There is no member with that name.",
        "done-program-added": "The app is added. Below is how to set it up.",
        "done-program-changed": "Saved. It works from the next click.",
        "done-program-removed": "The app is removed. Its proxy now refuses everybody.",
        "done-member-chosen": "{name} may use it.",
        "done-asker-dropped": "Done. They may ask again.",
        "done-member-dropped": "Done. They can't open it any more.",
    },
    events={
        "program_added": "{actor} added the app {subject}",
        "program_added, no actor": "The app {subject} was added from the command line",
        "program_changed": "{actor} changed the app {subject}",
        "program_removed": "{actor} removed the app {subject}",
        "program_removed, no actor": "The app {subject} was removed from the command line",
        "program_members_changed": "{actor} changed who may use {subject}",
        "program_asked": "{actor} asked to be let into {subject}",
        "program_members_changed, no actor": "The command line changed who may use {subject}",
    },
    admin_pages={"/admin/programs": "Apps"},
    slots={"home": "programs/_home.html", "member": "programs/_of_member.html"},
    change_member=change_programs_of,
    find_title=find_title_by_address,
    ended=drop_from_programs,
    may_pass=may_pass,
)
