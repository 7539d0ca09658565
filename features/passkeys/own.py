"""What members see of their passkeys, and how passkeys end."""

import sqlite3
from collections.abc import Collection, Iterator

from flask import abort, has_request_context, redirect, render_template, request
from flask.typing import ResponseReturnValue

from app import ROW_ID, require_member
from features.passkeys.ceremony import find_passkeys
from features.passkeys.room import bp, find_host
from foundation.storage.database import fetch_row, get_db
from foundation.storage.journal import record_sparingly
from foundation.typed.mistakes import Mistake, parse_line
from foundation.web.feature import Why, confirm_ending
from foundation.web.forms import Form
from foundation.web.notices import notify
from foundation.web.sessions import Member, acting, this_digest
from foundation.web.ways_in import find_other_ways
from foundation.words.clock import MINUTE, now

MAX_NAME = 40


def end_passkeys(member: Member, ids: list[str]) -> None:
    sql = "DELETE FROM passkeys WHERE id = ? AND author_id = ?"
    get_db().executemany(sql, [(row_id, member.id) for row_id in ids])


@bp.app_template_global()
def passkeys_work() -> bool:
    return find_host() is not None


@bp.post(f"/passkeys/{ROW_ID}/rename")
def rename(row_id: int) -> ResponseReturnValue:
    member, form = require_member(), Form("name")
    name = form.read("name", parse_passkey_name)
    if form.mistakes:
        return render_template("passkeys/rename.html", form=form, row_id=row_id), 422
    with acting() as db:
        sql = "UPDATE passkeys SET name = ? WHERE id = ? AND author_id = ?"
        if db.execute(sql, (name, row_id, member.id)).rowcount == 0:
            abort(404)
    notify("done-passkey-renamed")
    return redirect("/account", 303)


@bp.get(f"/passkeys/{ROW_ID}/rename")
def ask_for_name(row_id: int) -> ResponseReturnValue:
    form = Form("name")
    form.values["name"] = require_passkey(row_id)["name"]
    return render_template("passkeys/rename.html", form=form, row_id=row_id)


def require_passkey(row_id: int) -> sqlite3.Row:
    """One's own."""
    sql = "SELECT * FROM passkeys WHERE id = ? AND author_id = ?"
    row = fetch_row(sql, (row_id, require_member().id))
    if row is None:
        abort(404)
    return row


def parse_passkey_name(text: str) -> str:
    if not text.strip():
        raise Mistake("name", "passkey-name")
    return parse_line("name", text, MAX_NAME, "passkey-name")


# Those last that are not lost with a phone: synced by their maker, or keys of their own.
WAYS_IN = (
    "SELECT author_id, 'passkey' AS kind, CAST(id AS TEXT) AS id, name, added_by AS session,"
    " is_backed_up OR attachment = 'cross-platform' AS lasts FROM passkeys WHERE host = :host"
)


@bp.get(f"/passkeys/{ROW_ID}/remove")
def ask_to_remove(row_id: int) -> ResponseReturnValue:
    passkey = require_passkey(row_id)
    is_last = not find_other_ways(removed=str(row_id))
    return render_template("passkeys/remove.html", passkey=passkey, is_last=is_last)


@bp.app_template_global()
def is_last_way(passkey: sqlite3.Row) -> bool:
    """Whether this device would be the only way in without that passkey."""
    return bool(find_other_ways()) and not find_other_ways(removed=str(passkey["id"]))


@bp.app_template_global()
def was_just_added(passkey: sqlite3.Row) -> bool:
    """On this device, which is all that it lives on."""
    lately = passkey["added_by"] == this_digest() and now() - passkey["created_at"] < 10 * MINUTE
    return bool(lately and passkey["attachment"] == "platform" and not passkey["is_backed_up"])


@bp.app_template_global()
def has_just_added(author_id: int) -> bool:
    return any(was_just_added(passkey) for passkey in find_passkeys(author_id))


@bp.post(f"/passkeys/{ROW_ID}/remove")
def remove_passkey(row_id: int) -> ResponseReturnValue:
    member = require_member()
    require_passkey(row_id)
    detail = confirm_ending(member, f"/passkeys/{row_id}/remove")
    with acting() as db:
        sql = "DELETE FROM passkeys WHERE id = ? AND author_id = ?"
        if db.execute(sql, (row_id, member.id)).rowcount == 0:
            abort(404)
        record_sparingly("passkey_removed", member.username, detail=detail)
    notify("done-passkey-removed")
    return redirect("/account", 303)


def drop_passkeys(author_ids: Collection[int], sessions: Collection[str], why: Why) -> None:
    """All go with the member, and with all devices if the box was ticked (from the command line
    always). With a device that its owner ended from another, those that were added on it."""
    is_wanted = not has_request_context() or request.form.get("passkeys")
    if why in ("removed", "returned") or (why in ("others", "everywhere") and is_wanted):
        sql = "DELETE FROM passkeys WHERE author_id = ?"
        get_db().executemany(sql, [(author_id,) for author_id in author_ids])
    elif why == "ended":
        sql = "DELETE FROM passkeys WHERE added_by = ?"
        get_db().executemany(sql, [(digest,) for digest in sessions])


def check_host() -> Iterator[tuple[bool, str]]:
    """For `flask doctor`."""
    sql = "SELECT count(*) AS count FROM passkeys WHERE host IS NOT ?"
    row = fetch_row(sql, (find_host(),))
    if row and row["count"]:
        yield (
            False,
            (
                f"{row['count']} passkeys were made for another host than BASE_URL's, and work only"
                " there. Their owners need another device, or an invite."
            ),
        )
