"""App passwords: for clients that have no browser, such as calendars, file sync and git. A member
makes one for one program, sees it once, and ends it like a device. `/auth?program=` reads it from
`Authorization: Basic`, where there is no good cookie. Needs the feature `programs`."""

import base64
import binascii
import secrets
import sqlite3
from collections.abc import Collection
from contextlib import suppress
from wsgiref.types import WSGIEnvironment

from flask import Blueprint, Flask, abort, redirect, render_template
from flask.typing import ResponseReturnValue

from app import ROW_ID, require_member
from foundation.running import running
from foundation.storage import sent_forms
from foundation.storage.authors import note_seen
from foundation.storage.database import fetch_row, fetch_rows, get_db, transaction
from foundation.storage.digests import random_digest
from foundation.storage.journal import record_sparingly
from foundation.typed.mistakes import Mistake, drop_signs, parse_line
from foundation.web.additions import Addition
from foundation.web.feature import Feature, Why, find_confirmation
from foundation.web.forms import Form
from foundation.web.forward_auth import read_program
from foundation.web.logs import warn_sparingly
from foundation.web.notices import notify
from foundation.web.sessions import IS_MEMBER, Member, acting, this_digest
from foundation.words.clock import DAY, now

bp = Blueprint("app_passwords", __name__)

FIELDS = ("program", "name", "once")
MAX_NAME = 40
MAX_PASSWORDS = 50  # of a member


def make_password() -> str:
    """128 bits, in letters and digits that one can type: abcd-efgh-..."""
    letters = base64.b32encode(secrets.token_bytes(16)).decode().rstrip("=").lower()
    return "-".join(letters[start : start + 4] for start in range(0, len(letters), 4))


def digest_password(password: str) -> str:
    """However it was typed, or pasted: as for a PIN, no dash and no invisible sign counts."""
    return random_digest(drop_signs(password).lower())


# On a member's devices page -----------------------------------------------------------------------


@bp.app_template_global()
def find_app_passwords(member: Member) -> list[sqlite3.Row]:
    return fetch_rows(
        "SELECT app_passwords.*, title FROM app_passwords"
        " JOIN programs ON programs.id = program_id WHERE author_id = ? ORDER BY title, id",
        (member.id,),
    )


@bp.app_template_global()
def find_programs_for_passwords(member: Member) -> list[sqlite3.Row]:
    return fetch_rows(
        "SELECT name, title FROM programs JOIN may_use ON program_id = programs.id"
        " WHERE author_id = ? ORDER BY title LIMIT 100",
        (member.id,),
    )


@bp.get("/app-passwords")
def app_passwords() -> ResponseReturnValue:
    require_member()
    return render_template("app_passwords/ask.html", form=Form(*FIELDS))


@bp.post("/app-passwords")
def make_app_password() -> ResponseReturnValue:
    member, form = require_member(), Form(*FIELDS)
    if place := find_confirmation(member):
        return redirect(f"{place}?next=/app-passwords", 303)
    name = form.read("name", parse_password_name)
    password = make_password()
    if not form.mistakes:
        try:
            store_app_password(member, form, name, password)
        except Mistake as mistake:
            form.refuse(mistake)
    if form.mistakes:
        return render_template("app_passwords/ask.html", form=form), 422
    title = fetch_row("SELECT title FROM programs WHERE name = ?", (form.values["program"],))
    return render_template("app_passwords/made.html", password=password, program=title)


def parse_password_name(text: str) -> str:
    name = parse_line("name", text, MAX_NAME, "app-password-name")
    if not name:
        raise Mistake("name", "app-password-name")
    return name


def store_app_password(member: Member, form: Form, name: str, password: str) -> None:
    """Raises Mistake: not for them to use, there are too many, or this form has made one."""
    program, once = form.values["program"], form.values["once"]
    with acting() as db:
        sent_forms.refuse_if_made("/app-passwords", once)
        found = fetch_row(
            "SELECT id FROM programs JOIN may_use ON program_id = id"
            " WHERE name = ? AND author_id = ?",
            (program, member.id),
        )
        if found is None:
            raise Mistake("program", "program-not-yours")
        if len(find_app_passwords(member)) >= MAX_PASSWORDS:
            raise Mistake("form", "app-passwords-many")
        db.execute(
            "INSERT INTO app_passwords (digest, author_id, program_id, added_by, name, created_at,"
            " used_at) VALUES (?, ?, ?, ?, ?, ?, 0)",
            (digest_password(password), member.id, found["id"], this_digest(), name, now()),
        )
        sent_forms.remember_made("/app-passwords", once)
        record_sparingly("app_password_made", member.username, program)


@bp.post(f"/app-passwords/{ROW_ID}/end")
def end_app_password(row_id: int) -> ResponseReturnValue:
    member = require_member()
    with acting():
        drop_app_password(row_id, member)
    notify("done-app-password-ended")
    return redirect("/account", 303)


def drop_app_password(row_id: int, member: Member) -> None:
    ended = fetch_row(
        "DELETE FROM app_passwords WHERE id = ? AND author_id = ?"
        " RETURNING (SELECT name FROM programs WHERE id = program_id) AS program",
        (row_id, member.id),
    )
    if ended is None:
        abort(404)
    record_sparingly("app_password_ended", member.username, ended["program"])


def drop_app_passwords(author_ids: Collection[int], sessions: Collection[str], why: Why) -> None:
    """All go with all devices. With one that its owner ended from another, those that were made on
    it: somebody else may have had it."""
    if why in ("others", "everywhere", "removed", "returned"):
        sql = "DELETE FROM app_passwords WHERE author_id = ?"
        get_db().executemany(sql, [(author_id,) for author_id in author_ids])
    elif why == "ended":
        sql = "DELETE FROM app_passwords WHERE added_by = ?"
        get_db().executemany(sql, [(digest,) for digest in sessions])


def drop_for_program(program_id: int, authors: list[int]) -> None:
    """Who may use it again makes new ones."""
    sql = "DELETE FROM app_passwords WHERE program_id = ? AND author_id = ?"
    get_db().executemany(sql, [(program_id, author_id) for author_id in authors])


# What a proxy asks --------------------------------------------------------------------------------


def find_caller(app: Flask, environ: WSGIEnvironment) -> sqlite3.Row | None:
    """The member whose app password this is, for the very program that is asked for. A wrong one
    costs no write."""
    given, program = read_basic(environ), read_program(environ)
    if given is None or program is None:
        return None
    username, password = given
    row: sqlite3.Row | None = (
        running(app)
        .connections.db.execute(
            "SELECT app_passwords.id, author_id, username, used_at FROM app_passwords"
            " JOIN authors ON authors.id = author_id JOIN programs ON programs.id = program_id"
            f" WHERE digest = ?2 AND username = ?3 AND programs.name = ?4 AND {IS_MEMBER}",
            (now(), digest_password(password), username.strip().lower(), program),
        )
        .fetchone()
    )
    if row is None:
        log_wrong_password(app, program)
    elif not 0 <= now() - row["used_at"] < DAY:
        note_use(app, row, program)
    return row


def log_wrong_password(app: Flask, program: str) -> None:
    """One with an old password asks again and again."""
    db = running(app).connections.db
    if db.execute("SELECT 1 FROM programs WHERE name = ?", (program,)).fetchone():
        warn_sparingly(f"A wrong app password was given for {program}", app)


def note_use(app: Flask, row: sqlite3.Row, program: str) -> None:
    """Once a day. If the database is locked, it can wait for the next use."""
    with app.app_context(), suppress(sqlite3.OperationalError), transaction() as db:
        db.execute("UPDATE app_passwords SET used_at = ? WHERE id = ?", (now(), row["id"]))
        note_seen(row["author_id"])
        app.logger.info("%s used an app password for %s", row["username"], program)


def read_basic(environ: WSGIEnvironment) -> tuple[str, str] | None:
    """Name and password (RFC 7617), if there are any."""
    scheme, _, encoded = environ.get("HTTP_AUTHORIZATION", "")[:500].partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        pair = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    username, colon, password = pair.partition(":")
    return (username, password) if colon else None


def end_app_passwords(member: Member, ids: list[str]) -> None:
    sql = "DELETE FROM app_passwords WHERE id = ? AND author_id = ?"
    get_db().executemany(sql, [(row_id, member.id) for row_id in ids])


feature = Feature(
    bp,
    sentences={
        "app-password-name": "Say in 1 to 40 characters where you'll use it.",
        "app-passwords-many": "You have 50 app passwords. End one that you no longer use.",
        "program-not-yours": "Choose one of your apps.",
        "news-app-password": "The app password {name} was made.",
        "not-mine-app-password": "Remove the app password {name}?",
        "done-app-password-ended": "Done. That password no longer works.",
    },
    events={
        "app_password_made": "{actor} made an app password for {subject}",
        "app_password_ended": "{actor} ended an app password for {subject}",
    },
    slots={"account": "app_passwords/_list.html", "logout": "app_passwords/_stays.html"},
    additions={"app-password": Addition("app_passwords", end_app_passwords)},
    ended=drop_app_passwords,
    access_lost=drop_for_program,
    not_in_backups=("app_passwords",),
    find_caller=find_caller,
)
