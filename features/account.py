"""Your account: what a member sees and does that is their own. Devices, passkeys and the like put
their parts into its page."""

import json
import sqlite3

from flask import Blueprint, Response, abort, redirect, render_template, request
from flask.typing import ResponseReturnValue

from app import require_member
from foundation.storage.about_member import gather_about
from foundation.storage.journal_lines import OF_MEMBER
from foundation.web.additions import (
    ID_LENGTH,
    end_all,
    find_additions,
    find_all_from,
    find_ended_with,
    find_kinds,
    find_news,
    may_vouch,
    record_ends,
)
from foundation.web.feature import Feature
from foundation.web.notices import notify
from foundation.web.paging import find_days
from foundation.web.sessions import Member, acting
from foundation.words.clock import now

bp = Blueprint("account", __name__)


@bp.get("/account")
def account() -> ResponseReturnValue:
    member = require_member()
    return render_template("account/account.html", additions=find_additions(member), now=now())


bp.add_app_template_global(find_ended_with)


# News ---------------------------------------------------------------------------------------------


@bp.app_template_global("find_news")
def find_news_of(member: Member) -> list[tuple[sqlite3.Row, bool]]:
    """For home, each with whether this device may say that it was them."""
    additions = find_additions(member)
    return [(one, may_vouch(one, additions)) for one in find_news(additions)]


def is_asked_for(one: sqlite3.Row, kind: str, short_id: str) -> bool:
    return bool((one["kind"], one["id"][:ID_LENGTH]) == (kind, short_id))


def require_news(kind: str, short_id: str, additions: list[sqlite3.Row]) -> sqlite3.Row:
    """Only what this device tells of: it answers for nothing else."""
    found = (one for one in find_news(additions) if is_asked_for(one, kind, short_id))
    return next(found, None) or abort(404)


@bp.post("/news/<kind>/<short_id>/mine")
def know(kind: str, short_id: str) -> ResponseReturnValue:
    """That was me; also when it's said twice."""
    additions = find_additions(require_member())
    if any(one["is_known"] and is_asked_for(one, kind, short_id) for one in additions):
        return redirect("/", 303)
    one = require_news(kind, short_id, additions)
    if not may_vouch(one, additions):
        abort(404)
    with acting():
        find_kinds()[kind].know(one["id"])
    return redirect("/", 303)


@bp.route("/news/<kind>/<short_id>", methods=["GET", "POST"])
def not_mine(kind: str, short_id: str) -> ResponseReturnValue:
    member = require_member()
    if request.method != "POST":
        additions = find_additions(member)
        one = require_news(kind, short_id, additions)
        ends = find_all_from(one, additions)
        return render_template("account/not_mine.html", one=one, ends=ends)
    with acting():
        additions = find_additions(member)
        one = require_news(kind, short_id, additions)
        ends = [one, *find_all_from(one, additions)]
        end_all(member, ends)
        record_ends(member, ends)
    notify("done-ended")
    return redirect("/", 303)


# What happened, and what we know ------------------------------------------------------------------


@bp.get("/account/history")
def history() -> ResponseReturnValue:
    member = require_member()
    return render_template("account/history.html", **find_days(OF_MEMBER, member.username))


@bp.get("/account/about-me")
def about_me() -> ResponseReturnValue:
    member = require_member()
    return render_template("account/about_me.html", **gather_about(member.id, member.username))


@bp.get("/account/about-me.json")
def about_me_json() -> ResponseReturnValue:
    member = require_member()
    told = gather_about(member.id, member.username)
    body = told["facts"] | {"not_shown": told["not_shown"]}
    answer = Response(json.dumps(body, indent=2, ensure_ascii=False), mimetype="application/json")
    answer.headers["Content-Disposition"] = f'attachment; filename="{member.username}.json"'
    return answer


feature = Feature(
    bp,
    sentences={"done-ended": "Done. It's out, with everything added from it."},
    slots={"header": "account/_header.html", "news": "account/_news.html"},
)
