"""The blueprints, the member that a page is about, and the way back to the list."""

import sqlite3
from urllib.parse import urlencode

from flask import Blueprint, abort, redirect, request
from flask.typing import ResponseReturnValue

from app import require_admin
from foundation.storage.authors import FORGOTTEN
from foundation.storage.database import fetch_row
from foundation.web.sessions import IS_MEMBER
from foundation.words.clock import now

bp = Blueprint("members", __name__, cli_group=None)
admin_bp = Blueprint("of_admins", __name__)
admin_bp.before_request(require_admin)

PLACE = ("show", "q", "page")  # what an address says of the list that somebody came from


@bp.app_template_global()
def find_place() -> str:
    """Where in the list of members the admin is or was, as the query of an address."""
    return write_place({name: request.args.get(name, "") for name in PLACE})


def write_place(place: dict[str, str]) -> str:
    known = {name: value for name, value in place.items() if value}
    return f"?{urlencode(known)}" if known else ""


def back_to_list() -> ResponseReturnValue:
    return redirect(f"/admin/members{find_place()}", 303)


def require_author(author_id: int) -> sqlite3.Row:
    """Who is or was a member, and has a name. Not `is_in`: also a guest whose last day is over."""
    row = fetch_row(
        f"SELECT authors.*, {IS_MEMBER} AS is_in, inviters.username AS inviter,"
        " (SELECT count(*) FROM sessions"
        " WHERE author_id = authors.id AND expires_at > ?1) AS devices FROM authors"
        " LEFT JOIN authors AS inviters ON inviters.id = authors.invited_by"
        " WHERE authors.id = ?2 AND authors.username < ?3",
        (now(), author_id, FORGOTTEN),
    )
    return row or abort(404)


def require_person(author_id: int) -> sqlite3.Row:
    """A member, with how many devices they are on."""
    row = require_author(author_id)
    return abort(404) if row["removed_at"] else row
