"""Admins sign somebody out, remove somebody, say how long a guest stays; everybody can leave."""

from contextlib import suppress

import click
from flask import abort, current_app, redirect, render_template, request
from flask.typing import ResponseReturnValue

from app import ROW_ID, end_sessions, forget_pins_of_invite, require_member
from features.members.room import admin_bp, back_to_list, bp, require_author, require_person
from foundation.cli.command import command
from foundation.storage import pin_ledger
from foundation.storage.authors import conceal, find_author
from foundation.storage.database import fetch_row, fetch_rows, get_db, transaction
from foundation.storage.journal import record
from foundation.storage.journal_lines import forget_name
from foundation.storage.outbox import count_waiting
from foundation.typed.mistakes import Mistake, end_of_day, last_day_of, parse_coming_day
from foundation.typed.usernames import parse_username
from foundation.web.forms import Form
from foundation.web.invite_lists import TRIES_PER_INVITE
from foundation.web.notices import notify
from foundation.web.paging import PAGE_LENGTH
from foundation.web.sessions import IS_MEMBER, acting, drop_session
from foundation.words.clock import now
from foundation.words.sentences import say

# Signing somebody out -----------------------------------------------------------------------------


@admin_bp.route(f"/members/{ROW_ID}/sign-out", methods=["GET", "POST"])
def sign_out(row_id: int) -> ResponseReturnValue:
    person = require_person(row_id)
    if request.method != "POST":
        return render_template("members/sign_out.html", person=person)
    sign_out_everywhere(row_id, person["username"], require_member().username)
    notify("done-member-signed-out", person["username"])
    return back_to_list()


def sign_out_everywhere(author_id: int, name: str, actor: str | None) -> None:
    with acting():
        sql = "SELECT 1 FROM authors WHERE id = ? AND username = ? AND removed_at IS NULL"
        if fetch_row(sql, (author_id, name)):  # and hasn't left meanwhile
            end_sessions([author_id], "everywhere")
            record("signed_out_everywhere", actor, name)


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
    return back_to_list()


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
        sql = "UPDATE authors SET removed_at = ?, last_seen_at = NULL WHERE id = ?"
        sql += " AND removed_at IS NULL"
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
    person = require_author(row_id)
    if person["removed_at"] is None:
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
    return back_to_list()


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
    return back_to_list()


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
