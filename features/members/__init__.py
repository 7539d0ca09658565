"""Members: admins see who is in, sign somebody out, remove somebody, say how long a guest stays;
and everybody can leave."""

import sqlite3
from contextlib import suppress

import click
from flask import Blueprint, abort, current_app, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app import (
    ROW_ID,
    end_sessions,
    forget_pins_of_invite,
    require_admin,
    require_member,
)
from foundation.cli.command import command
from foundation.storage import pin_ledger
from foundation.storage.authors import FORGOTTEN, conceal, find_author
from foundation.storage.database import fetch_row, fetch_rows, get_db, transaction
from foundation.storage.journal import record
from foundation.storage.journal_lines import forget_name
from foundation.storage.outbox import count_waiting
from foundation.typed.mistakes import Mistake, end_of_day, last_day_of, parse_coming_day
from foundation.typed.usernames import parse_username
from foundation.web.feature import Feature
from foundation.web.forms import Form
from foundation.web.invite_lists import TRIES_PER_INVITE
from foundation.web.notices import notify
from foundation.web.paging import PAGE_LENGTH, Page, fetch_page
from foundation.web.sessions import IS_MEMBER, acting, drop_session, is_admin
from foundation.web.ways_in import count_ways_in, ways_in_values
from foundation.words.clock import now
from foundation.words.sentences import say

bp = Blueprint("members", __name__, cli_group=None)
admin_bp = Blueprint("of_admins", __name__)
admin_bp.before_request(require_admin)


@admin_bp.get("/admin/members")
def members() -> ResponseReturnValue:
    wanted = request.args.get("q", "").strip()
    people, removed = find_members(wanted), find_removed(wanted)
    return render_template(
        "members/members.html", people=people, removed=removed, wanted=wanted, now=now()
    )


def find_removed(wanted: str) -> list[sqlite3.Row]:
    """Whose name is still known."""
    return fetch_rows(
        "SELECT id, username FROM authors WHERE removed_at IS NOT NULL AND username < ?"
        " AND instr(username, ?) ORDER BY removed_at DESC LIMIT 500",
        (FORGOTTEN, wanted.casefold()),
    )


def find_members(wanted: str) -> Page:
    """Those with `wanted` in their name, by name, each with who invited them, on how many devices
    they are, how many ways in they have, and when last seen; guests whose last day is over, too."""
    return fetch_page(
        "SELECT authors.*, inviters.username AS inviter, (SELECT count(*) FROM sessions"
        " WHERE author_id = authors.id AND expires_at > :now) AS devices, (SELECT max(seen_at)"
        " FROM sessions WHERE author_id = authors.id AND expires_at > :now) AS seen_at,"
        f" {count_ways_in('authors.id')} AS ways_in FROM authors"
        " LEFT JOIN authors AS inviters ON inviters.id = authors.invited_by"
        " WHERE authors.removed_at IS NULL AND instr(authors.username, :wanted)"
        " ORDER BY authors.username",
        ways_in_values() | {"wanted": wanted.casefold()},
    )


@bp.get("/members")
def everybody() -> ResponseReturnValue:
    """For all members; admins have a page that knows more."""
    wanted = request.args.get("q", "").strip()
    if is_admin(require_member()):
        return redirect(url_for("members.of_admins.members", q=wanted or None), 303)
    people = fetch_page(
        "SELECT authors.username, inviters.username AS inviter FROM authors"
        " LEFT JOIN authors AS inviters ON inviters.id = authors.invited_by"
        f" WHERE {IS_MEMBER} AND instr(authors.username, ?2) ORDER BY authors.username",
        (now(), wanted.casefold()),
    )
    return render_template("members/everybody.html", people=people, wanted=wanted)


# Signing somebody out -----------------------------------------------------------------------------


@admin_bp.route(f"/members/{ROW_ID}/sign-out", methods=["GET", "POST"])
def sign_out(row_id: int) -> ResponseReturnValue:
    person = require_person(row_id)
    if request.method != "POST":
        return render_template("members/sign_out.html", person=person)
    sign_out_everywhere(row_id, person["username"], require_member().username)
    notify("done-member-signed-out", person["username"])
    return redirect("/admin/members", 303)


def sign_out_everywhere(author_id: int, name: str, actor: str | None) -> None:
    with acting():
        sql = "SELECT 1 FROM authors WHERE id = ? AND username = ? AND removed_at IS NULL"
        if fetch_row(sql, (author_id, name)):  # and hasn't left meanwhile
            end_sessions([author_id], "everywhere")
            record("signed_out_everywhere", actor, name)


def require_person(author_id: int) -> sqlite3.Row:
    """The member with that id, with how many devices they are on."""
    row = fetch_row(
        "SELECT authors.*, (SELECT count(*) FROM sessions WHERE author_id = authors.id"
        " AND expires_at > ?1) AS devices FROM authors WHERE id = ?2 AND removed_at IS NULL",
        (now(), author_id),
    )
    if row is None:
        abort(404)
    return row


# Removing somebody, and leaving -------------------------------------------------------------------


@admin_bp.route(f"/members/{ROW_ID}/remove", methods=["GET", "POST"])
def remove_page(row_id: int) -> ResponseReturnValue:
    person = require_person(row_id)
    name = person["username"]
    refusal = why_not_removed(name)
    if refusal or request.method != "POST":
        names = find_brought_in(row_id)
        page = render_template(
            "members/remove.html",
            person=person,
            brought_in=names[:PAGE_LENGTH],
            has_more=len(names) > PAGE_LENGTH,
            refusal=refusal,
        )
        return page, status_of(refusal)
    remove_member(row_id, name, require_member().username)
    notify("done-member-removed", name)
    return redirect("/admin/members", 303)


def status_of(refusal: str | None) -> int:
    """Of a page that asks, or says why what was pressed can't be done."""
    return 422 if refusal and request.method == "POST" else 200


def find_brought_in(author_id: int) -> list[str]:
    """The first members whom that member invited: they stay, unless they are removed, too."""
    rows = fetch_rows(
        f"SELECT username FROM authors WHERE invited_by = ?2 AND {IS_MEMBER} ORDER BY id LIMIT ?3",
        (now(), author_id, PAGE_LENGTH + 1),
    )
    return [row["username"] for row in rows]


@bp.route("/leave", methods=["GET", "POST"])
def leave() -> ResponseReturnValue:
    member = require_member()
    refusal = why_not_removed(member.username)
    if refusal or request.method != "POST":
        return render_template("members/leave.html", refusal=refusal), status_of(refusal)
    is_forgotten = request.form.get("forget") == "yes"
    remove_member(member.id, member.username, member.username, is_forgotten)
    notify("done-left")
    drop_session()
    return redirect("/", 303)


def why_not_removed(name: str) -> str | None:
    """The name of the sentence that says why, or None."""
    return "admin-stays" if name in current_app.config["ADMINS"] else None


def remove_member(author_id: int, name: str, actor: str | None, is_forgotten: bool = False) -> None:
    """Take a member out, immediately and everywhere: their sessions and receipts, the invites for
    their name and those they made. The row stays, so nobody inherits the name. Raises Mistake for
    an admin."""
    if refusal := why_not_removed(name):
        raise Mistake("form", refusal)
    kept = conceal(name) if is_forgotten else None  # slow, so not while others wait to write
    with acting() as db:
        sql = "UPDATE authors SET removed_at = ? WHERE id = ? AND removed_at IS NULL"
        if db.execute(sql, (now(), author_id)).rowcount == 0:
            return  # somebody else has just done it
        end_sessions([author_id], "removed")
        close_invites(name, author_id)
        sql = "DELETE FROM pending_verifications WHERE username = ? OR author_id = ?"
        db.execute(sql, (name, author_id))
        record("left" if actor == name else "removed", actor, name)
        if kept:
            forget(author_id, name, kept)


def forget(author_id: int, name: str, kept: str) -> None:
    """In the caller's transaction: a member who is out has no name any more, here and in the
    journal. The row stays theirs: an invite for that very name brings it back."""
    get_db().execute("UPDATE authors SET username = ? WHERE id = ?", (kept, author_id))
    forget_name(name, kept)


@admin_bp.route(f"/members/{ROW_ID}/forget", methods=["GET", "POST"])
def forget_page(row_id: int) -> ResponseReturnValue:
    person = fetch_row(
        "SELECT * FROM authors WHERE id = ? AND removed_at IS NOT NULL AND username < ?",
        (row_id, FORGOTTEN),
    )
    if person is None:
        abort(404)
    if request.method != "POST":
        return render_template("members/forget.html", person=person)
    name = person["username"]
    kept = conceal(name)
    with acting() as db:
        sql = "SELECT 1 FROM authors WHERE id = ? AND username = ? AND removed_at IS NOT NULL"
        if db.execute(sql, (row_id, name)).fetchone():  # not brought back meanwhile
            close_invites(name, row_id)
            record("forgotten", require_member().username, name)
            forget(row_id, name, kept)
    notify("done-forgotten")
    return redirect("/admin/members", 303)


def close_invites(name: str | None, author_id: int) -> None:
    """Those for that name and those made by that member. One that replied STOP stays, closed for
    good, so nobody texts that number by mistake."""
    pin_ledger.settle_unsent("username = ? OR invited_by = ?", name, author_id)
    sql = (
        "UPDATE whitelist SET username = NULL, invited_by = NULL, tries = ?3"
        " WHERE (username = ?1 OR invited_by = ?2) AND stopped_at IS NOT NULL"
    )
    get_db().execute(sql, (name, author_id, TRIES_PER_INVITE))
    sql = "DELETE FROM whitelist WHERE username = ? OR invited_by = ? RETURNING id"
    for invite in fetch_rows(sql, (name, author_id)):
        forget_pins_of_invite(invite["id"])


# How long a guest stays ---------------------------------------------------------------------------


@admin_bp.route(f"/members/{ROW_ID}/last-day", methods=["GET", "POST"])
def last_day(row_id: int) -> ResponseReturnValue:
    form, person = Form("ends_on"), require_person(row_id)
    if request.method != "POST":
        form.values["ends_on"] = last_day_of(person["ends_at"])
        return render_template("members/last_day.html", person=person, form=form)
    day = form.read("ends_on", parse_coming_day)
    if day and person["username"] in current_app.config["ADMINS"]:
        form.refuse(Mistake("ends_on", "day-for-admin"))
    if form.mistakes:
        return render_template("members/last_day.html", person=person, form=form), 422
    if not set_stay(row_id, person["username"], end_of_day(day) if day else None):
        abort(404)
    notify("done-last-day" if day else "done-no-last-day", person["username"])
    return redirect("/admin/members", 303)


def set_stay(author_id: int, name: str, ends_at: int | None) -> bool:
    """A guest's invites end, because guests invite nobody; one whose stay was over comes back
    without the old sessions and passkeys. False: the member was removed meanwhile."""
    with acting() as db:
        sql = "SELECT 1 FROM authors WHERE id = ? AND ends_at <= ?"
        if fetch_row(sql, (author_id, now())):
            end_sessions([author_id], "returned")
        sql = "UPDATE authors SET ends_at = ? WHERE id = ? AND removed_at IS NULL"
        if db.execute(sql, (ends_at, author_id)).rowcount == 0:
            return False
        if ends_at:
            close_invites(None, author_id)
        record("last_day_set", require_member().username, name)
    return True


# Commands -----------------------------------------------------------------------------------------


@command(bp, "remove")
@click.argument("username")
def remove_member_command(username: str) -> None:
    """Remove a member: their sessions, the invites for their name and those they made end."""
    author_id, name = find_member(username)
    try:
        remove_member(author_id, name, None)
    except Mistake as mistake:
        raise click.ClickException(say(mistake.sentence)) from None
    click.echo(f"{name} is removed, and signed out everywhere.")
    say_what_waits()


@command(bp, "sign-out")
@click.argument("username", required=False)
@click.option("--all", "everybody", is_flag=True, help="All members, on all their devices.")
def sign_out_command(username: str | None, everybody: bool) -> None:
    """End all sessions, passkeys and app passwords of a member, or of everybody. They then have to
    be invited again."""
    if everybody == (username is not None):
        raise click.UsageError("Name a member, or say --all.")
    if username is not None:
        author_id, name = find_member(username)
        sign_out_everywhere(author_id, name, None)
        click.echo(f"{name} is signed out everywhere.")
        say_what_waits()
        return
    with transaction():
        record("signed_out_everywhere")
        everybody_ids = [row["id"] for row in fetch_rows("SELECT id FROM authors")]
        ended = end_sessions(everybody_ids, "everywhere")
    click.echo(f"Everybody is signed out; {ended} sessions have ended.")
    say_what_waits()


def say_what_waits() -> None:
    if count_waiting():
        click.echo("Apps are told as soon as the server runs.")


def find_member(username: str) -> tuple[int, str]:
    with suppress(Mistake):
        name = parse_username(username)
        row = find_author(name)
        if row is not None and row["removed_at"] is None:
            return row["id"], name
    raise click.ClickException("There is no member with that name.")


bp.register_blueprint(admin_bp)
feature = Feature(
    bp,
    sentences={
        "admin-stays": "An admin can't be removed, and can't leave. Take the name out of ADMINS in"
        " the settings first, and restart.",
        "done-forgotten": "The name is forgotten.",
        "done-left": "You've left the group. This device is signed out.",
        "done-member-removed": "{name} is removed, and signed out everywhere.",
        "done-member-signed-out": "{name} is signed out everywhere.",
        "done-last-day": "{name} is a guest until the day you set.",
        "done-no-last-day": "{name} can stay for good.",
    },
    events={
        "left": "{actor} left the group",
        "removed": "{actor} removed {subject}",
        "removed, no actor": "{subject} was removed from the command line",
        "forgotten": "{actor} had the name of {subject} forgotten",
        "signed_out_everywhere": "{actor} signed {subject} out everywhere",
        "signed_out_everywhere, no actor": "{subject} was signed out everywhere from the command"
        " line",
        "signed_out_everywhere, no actor, no subject": "Everybody was signed out from the command"
        " line",
        "last_day_set": "{actor} changed how long {subject} can stay",
    },
    admin_pages={"/admin/members": "Members"},
    slots={"friends": "members/_see_all.html"},
)
