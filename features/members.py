"""Members, as admins look after them: who is in, signing somebody out, removing somebody."""

import sqlite3
from contextlib import suppress

import click
from flask import Blueprint, abort, current_app, redirect
from flask.typing import ResponseReturnValue

from app import (
    INVITE_FIELDS,
    ROW_ID,
    TRIES_PER_INVITE,
    forget_pins_of_invite,
    require_admin,
    require_member,
    show_admin,
)
from foundation.clock import now
from foundation.command import command
from foundation.database import fetch_row, fetch_rows, get_db, transaction
from foundation.feature import Feature
from foundation.forms import Form, Mistake
from foundation.journal import record
from foundation.sentences import say
from foundation.sessions import IS_MEMBER
from foundation.usernames import parse_username

members = Blueprint("members", __name__, cli_group=None)
members.before_request(require_admin)


@members.app_template_global()
def find_members() -> list[sqlite3.Row]:
    """By name, each with who invited them, on how many devices they are, and when last seen."""
    return fetch_rows(
        "SELECT authors.*, inviters.username AS inviter, count(id_digest) AS devices,"
        " max(seen_at) AS seen_at FROM authors"
        " LEFT JOIN authors AS inviters ON inviters.id = authors.invited_by"
        " LEFT JOIN sessions ON sessions.author_id = authors.id AND expires_at > ?1"
        f" WHERE {IS_MEMBER}"
        " GROUP BY authors.id ORDER BY authors.username",
        (now(),),
    )


@members.post(f"/members/{ROW_ID}/remove")
def remove(row_id: int) -> ResponseReturnValue:
    try:
        remove_member(row_id, find_member_name(row_id), require_member().username)
    except Mistake as mistake:
        form = Form(*INVITE_FIELDS)
        form.refuse(mistake)
        return show_admin(form, 422)
    return redirect("/admin", 303)


def remove_member(author_id: int, name: str, actor: str | None) -> None:
    """Take a member out, immediately and everywhere: their sessions and receipts, the invites for
    their name and those they made. The row stays, so nobody inherits the name. Raises Mistake for
    an admin."""
    if name in current_app.config["ADMINS"]:
        raise Mistake("members", "admin-stays")
    with transaction() as db:
        gone = "UPDATE authors SET removed_at = ? WHERE id = ? AND removed_at IS NULL"
        if db.execute(gone, (now(), author_id)).rowcount == 0:
            return  # somebody else has just done it
        db.execute("DELETE FROM sessions WHERE author_id = ?", (author_id,))
        close_invites(name, author_id)
        theirs = "DELETE FROM pending_verifications WHERE username = ? OR author_id = ?"
        db.execute(theirs, (name, author_id))
        for other in current_app.extensions["features"]:
            if other.forget:
                other.forget(author_id)
        record("removed", actor, name)


def close_invites(name: str, author_id: int) -> None:
    """Those for that name and those made by that member. One that replied STOP stays, closed for
    good, so nobody texts that number by mistake."""
    closed = (
        "UPDATE whitelist SET username = NULL, invited_by = NULL, tries = ?3"
        " WHERE (username = ?1 OR invited_by = ?2) AND stopped_at IS NOT NULL"
    )
    get_db().execute(closed, (name, author_id, TRIES_PER_INVITE))
    gone = "DELETE FROM whitelist WHERE username = ? OR invited_by = ? RETURNING id"
    for invite in fetch_rows(gone, (name, author_id)):
        forget_pins_of_invite(invite["id"])


@members.post(f"/members/{ROW_ID}/sign-out")
def sign_out(row_id: int) -> ResponseReturnValue:
    sign_out_everywhere(row_id, find_member_name(row_id), require_member().username)
    return redirect("/admin", 303)


def sign_out_everywhere(author_id: int, name: str, actor: str | None) -> None:
    with transaction() as db:
        db.execute("DELETE FROM sessions WHERE author_id = ?", (author_id,))
        record("signed_out_everywhere", actor, name)


def find_member_name(author_id: int) -> str:
    row = fetch_row(
        "SELECT username FROM authors WHERE id = ? AND removed_at IS NULL", (author_id,)
    )
    if row is None:
        abort(404)
    return str(row["username"])


# Commands -----------------------------------------------------------------------------------------


@command(members, "remove")
@click.argument("username")
def remove_command(username: str) -> None:
    """Remove a member: all their sessions and all invites for their name end at once."""
    author_id, name = find_member(username)
    try:
        remove_member(author_id, name, None)
    except Mistake as mistake:
        raise click.ClickException(say(mistake.sentence)) from None
    click.echo(f"{name} is removed, and signed out everywhere.")


@command(members, "sign-out")
@click.argument("username", required=False)
@click.option("--all", "everybody", is_flag=True, help="All members, on all their devices.")
def sign_out_command(username: str | None, everybody: bool) -> None:
    """End all sessions of a member, or of everybody. They then have to be invited again."""
    if everybody == (username is not None):
        raise click.UsageError("Name a member, or say --all.")
    if username is not None:
        author_id, name = find_member(username)
        sign_out_everywhere(author_id, name, None)
        click.echo(f"{name} is signed out everywhere.")
        return
    with transaction() as db:
        record("signed_out_everywhere")
        ended = db.execute("DELETE FROM sessions").rowcount
    click.echo(f"Everybody is signed out; {ended} sessions have ended.")


def find_member(username: str) -> tuple[int, str]:
    with suppress(Mistake):
        name = parse_username(username)
        row = fetch_row("SELECT id FROM authors WHERE username = ? AND removed_at IS NULL", (name,))
        if row is not None:
            return row["id"], name
    raise click.ClickException("There is no member with that name.")


feature = Feature(
    members,
    sentences={
        "admin-stays": "An admin can't be removed. Take the name out of ADMINS in the settings"
        " first, and restart.",
    },
    events={
        "removed": "{actor} removed {subject}",
        "removed, no actor": "{subject} was removed from the command line",
        "signed_out_everywhere": "{actor} signed {subject} out everywhere",
        "signed_out_everywhere, no actor": "{subject} was signed out everywhere from the command"
        " line",
        "signed_out_everywhere, no actor, no subject": "Everybody was signed out from the command"
        " line",
    },
    slots={"admin": "members/_list.html"},
)
