"""Who is in: a list for admins and one for all, and a page for each member."""

import csv
import io
import sqlite3
from collections.abc import Iterator

import click
from flask import Response, abort, current_app, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app import ROW_ID, require_member
from features.members.room import (
    admin_bp,
    bp,
    find_place,
    require_author,
    require_person,
    write_place,
)
from foundation.cli.command import command
from foundation.running import hooks
from foundation.storage.authors import FORGOTTEN, say_name
from foundation.storage.database import fetch_row, fetch_rows
from foundation.storage.journal import record
from foundation.web.additions import (
    ID_LENGTH,
    end_all,
    find_additions,
    find_all_from,
    find_ended_with,
)
from foundation.web.notices import notify
from foundation.web.paging import Page, fetch_page
from foundation.web.sessions import IS_MEMBER, Member, acting, is_admin, this_digest
from foundation.web.ways_in import count_ways_in, find_ways, ways_in_values
from foundation.words.clock import DAY, now, say_iso

# The list -----------------------------------------------------------------------------------------

# What it can show, in the words of `write_people`.
SHOWN = {
    "": "1",
    "guests": "ends_at IS NOT NULL",
    "away": "is_in AND max(last_seen, joined_at) <= :now - :long",
    "one-way": "is_in AND ways_in = 1",
}
LONG = 90 * DAY


def write_people() -> str:
    """SQL: those with :wanted in their name, guests whose last day is over, too. `last_seen` is 0
    where it isn't known."""
    return (
        "SELECT authors.*, ends_at IS NULL OR ends_at > :now AS is_in,"
        " ifnull(last_seen_at, 0) AS last_seen,"
        f" {count_ways_in('authors.id')} AS ways_in FROM authors"
        " WHERE removed_at IS NULL AND instr(username, :wanted)"
    )


def values_for(wanted: str) -> dict[str, object]:
    return ways_in_values() | {"wanted": wanted.casefold(), "long": LONG}


@admin_bp.get("/admin/members")
def members() -> ResponseReturnValue:
    wanted, show = request.args.get("q", "").strip(), request.args.get("show", "")
    show = show if show in SHOWN else ""
    people = find_members(wanted, show)
    page = str(people.number) if people.number > 1 else ""
    return render_template(
        "members/members.html",
        people=people,
        place=write_place({"show": show, "q": wanted, "page": page}),
        counts=count_members(wanted),
        removed=find_removed(wanted),
        wanted=wanted,
        show=show,
        now=now(),
    )


def find_members(wanted: str, show: str) -> Page:
    """By name; those who were away for long, the longest first."""
    order = "last_seen, username" if show == "away" else "username"
    sql = f"SELECT * FROM ({write_people()}) WHERE {SHOWN[show]} ORDER BY {order}"
    return fetch_page(sql, values_for(wanted))


def count_members(wanted: str) -> dict[str, int]:
    sums = ", ".join(f"ifnull(sum({sql}), 0) AS '{show}'" for show, sql in SHOWN.items())
    row = fetch_row(f"SELECT {sums} FROM ({write_people()})", values_for(wanted))
    return dict(row or {})


def find_removed(wanted: str) -> list[sqlite3.Row]:
    """Whose name is still known."""
    return fetch_rows(
        "SELECT id, username FROM authors WHERE removed_at IS NOT NULL AND username < ?"
        " AND instr(username, ?) ORDER BY removed_at DESC LIMIT 500",
        (FORGOTTEN, wanted.casefold()),
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


# One member ---------------------------------------------------------------------------------------


@admin_bp.get(f"/members/{ROW_ID}")
def member_page(row_id: int) -> ResponseReturnValue:
    person = require_author(row_id)
    facts = fetch_row(
        f"SELECT last_seen, ways_in FROM ({write_people()}) WHERE id = :id",
        values_for("") | {"id": row_id},
    )
    ways = find_additions(Member(row_id, person["username"]))
    return render_template(
        "members/member.html",
        person=person,
        facts=facts,
        ways=ways,
        this=this_digest(),
        now=now(),
    )


@admin_bp.post(f"/members/{ROW_ID}")
def change_member_page(row_id: int) -> ResponseReturnValue:
    """What features ask there of a member, such as the apps."""
    with acting():
        if not require_person(row_id)["is_in"]:  # who comes back later starts from nothing
            abort(404)
        for change_member in hooks("change_member"):
            change_member(row_id, require_member().username)
    notify("done-member-changed")
    return redirect(f"/members/{row_id}{find_place()}", 303)


@admin_bp.route(f"/members/{ROW_ID}/ways/<kind>/<short_id>", methods=["GET", "POST"])
def end_way(row_id: int, kind: str, short_id: str) -> ResponseReturnValue:
    """A device, a passkey or an app password."""
    person = require_person(row_id)
    if request.method != "POST":
        ends = find_ends(person, kind, short_id)
        is_last = is_only_way(row_id, ends)
        page = {"person": person, "one": ends[0], "ends": ends[1:], "is_last": is_last}
        return render_template("members/end_way.html", **page)
    with acting():
        ends = find_ends(person, kind, short_id)
        end_all(Member(row_id, person["username"]), ends)
        record("way_ended", require_member().username, person["username"])
    notify("done-way-ended")
    return redirect(f"/members/{row_id}{find_place()}", 303)


def find_ends(person: sqlite3.Row, kind: str, short_id: str) -> list[sqlite3.Row]:
    """It, and what ends with it: of a device, what was added from it; of a passkey, the devices
    that it may have signed in. Not this very device, which is signed out in its own place."""
    additions = find_additions(Member(person["id"], person["username"]))
    asked = (kind, short_id)
    found = [one for one in additions if (one["kind"], one["id"][:ID_LENGTH]) == asked]
    if not found:
        abort(404)
    one = found[0]
    if one["id"] == this_digest():
        abort(redirect("/logout", 303))
    by_device = kind == "device"
    ends = find_ended_with(one["id"], additions) if by_device else find_all_from(one, additions)
    return [one, *ends]


def is_only_way(author_id: int, ends: list[sqlite3.Row]) -> bool:
    """Whether nothing is left that brings the member back."""
    gone = {(one["kind"], one["id"]) for one in ends}
    ways = {(way["kind"], way["id"]) for way in find_ways(author_id) if way["lasts"]}
    return bool(ways) and ways <= gone


# For a spreadsheet, and on the command line -------------------------------------------------------

COLUMNS = ("username", "is_admin", "joined", "invited_by", "last_seen", "ways_in", "last_day")


@command(bp, "members")
@click.option("--csv", "as_csv", is_flag=True, help="For a spreadsheet, with a line of headings.")
def members_command(as_csv: bool) -> None:
    """List the members, each with when they were last seen and how many ways in they have."""
    if as_csv:
        click.echo(write_csv(), nl=False)
        return
    for name, is_of_admins, _, _, seen, ways, last_day in describe_members():
        facts = ["admin"] if is_of_admins else []
        facts += [f"guest until {last_day}"] if last_day else []
        facts += [f"seen {seen}" if seen else "never seen"]
        facts += ["1 way in" if ways == 1 else f"{ways} ways in"]
        click.echo(f"{name}: {', '.join(facts)}")


@admin_bp.get("/admin/members.csv")
def members_csv() -> ResponseReturnValue:
    answer = Response(write_csv(), mimetype="text/csv")
    answer.headers["Content-Disposition"] = 'attachment; filename="members.csv"'
    return answer


def write_csv() -> str:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([make_harmless(cell) for cell in line] for line in describe_members())
    return table.getvalue()


def describe_members() -> Iterator[tuple[object, ...]]:
    """Of each, what COLUMNS says. Days are in UTC."""
    sql = (
        f"SELECT people.*, inviters.username AS inviter FROM ({write_people()}) AS people"
        " LEFT JOIN authors AS inviters ON inviters.id = people.invited_by ORDER BY people.username"
    )
    for one in fetch_rows(sql, values_for("")):
        yield (
            one["username"],
            "yes" if one["username"] in current_app.config["ADMINS"] else "",
            say_iso(one["joined_at"])[:10],
            say_name(one["inviter"], "en") if one["inviter"] else "",
            say_iso(one["last_seen"])[:10] if one["last_seen"] else "",
            one["ways_in"],
            say_iso(one["ends_at"] - 1)[:10] if one["ends_at"] else "",
        )


def make_harmless(cell: object) -> object:
    """A spreadsheet would take these for the beginning of a formula."""
    return f"'{cell}" if str(cell).startswith(("=", "+", "-", "@", "\t", "\r")) else cell
