"""Devices: members see where they are signed in, and sign out what they don't recognise."""

import sqlite3
from collections.abc import Collection

from flask import Blueprint, abort, redirect, render_template, request
from flask.typing import ResponseReturnValue

from app import end_sessions, logout, require_member
from foundation.storage.database import fetch_rows
from foundation.storage.journal import record
from foundation.web.additions import (
    ID_LENGTH,
    Addition,
    find_additions,
    find_chain,
    find_ended_with,
)
from foundation.web.feature import Feature, confirm_ending
from foundation.web.notices import notify
from foundation.web.sessions import Member, acting, this_digest
from foundation.web.ways_in import find_other_ways
from foundation.words.clock import now

bp = Blueprint("devices", __name__)


@bp.get("/devices")
def devices() -> ResponseReturnValue:
    """Where they were before there was an account page."""
    return redirect("/account", 303)


@bp.app_template_global()
def find_devices(member: Member) -> list[sqlite3.Row]:
    """This device first."""
    return fetch_rows(
        "SELECT substr(own.id_digest, 1, ?1) AS id, own.id_digest, own.id_digest = ?2 AS is_this,"
        " own.device AS name, own.seen_at, own.created_at, own.began, own.added_by,"
        " adders.device AS adder FROM sessions AS own"
        " LEFT JOIN sessions AS adders ON adders.id_digest = own.added_by"
        " WHERE own.author_id = ?3 AND own.expires_at > ?4 ORDER BY is_this DESC, own.seen_at DESC",
        (ID_LENGTH, this_digest(), member.id, now()),
    )


@bp.app_template_global()
def is_last_other(device: sqlite3.Row, additions: list[sqlite3.Row]) -> bool:
    """Whether this device would be the only way in without that one."""
    return not find_other_ways(ended=find_chain(device["id_digest"], additions))


def require_device(device_id: str, member: Member) -> sqlite3.Row:
    found = (one for one in find_devices(member) if one["id"] == device_id)
    return next(found, None) or abort(404)


def end_devices(member: Member, digests: Collection[str]) -> None:
    end_sessions([member.id], "ended", digests)


@bp.get("/devices/<device_id>/end")
def ask_to_end(device_id: str) -> ResponseReturnValue:
    member = require_member()
    device, additions = require_device(device_id, member), find_additions(member)
    if device["is_this"]:
        return redirect("/logout", 303)
    is_last = is_last_other(device, additions)
    ends = find_ended_with(device["id_digest"], additions)
    return render_template("devices/end.html", device=device, is_last=is_last, ends=ends)


@bp.post("/devices/<device_id>/end")
def end_device(device_id: str) -> ResponseReturnValue:
    member = require_member()
    if device_id == this_digest()[:ID_LENGTH]:
        return logout()
    detail = confirm_ending(member, f"/devices/{device_id}/end")
    with acting():
        digest = require_device(device_id, member)["id_digest"]
        end_devices(member, find_chain(digest, find_additions(member)))
        record("device_ended", member.username, detail=detail)
    notify("done-device-ended")
    return redirect("/account", 303)


@bp.get("/devices/end-others")
def ask_to_end_others() -> ResponseReturnValue:
    require_member()
    stay = [] if request.args.get("passkeys") else find_other_ways()
    is_last = all(way["kind"] == "device" for way in stay)
    return render_template("devices/end_others.html", is_last=is_last)


@bp.post("/devices/end-others")
def end_others() -> ResponseReturnValue:
    member, page = require_member(), "/devices/end-others"
    detail = confirm_ending(member, f"{page}?passkeys=yes" if "passkeys" in request.form else page)
    with acting():
        sql = "SELECT id_digest FROM sessions WHERE author_id = ? AND id_digest != ?"
        rows = fetch_rows(sql, (member.id, this_digest()))
        if end_sessions([member.id], "others", [row["id_digest"] for row in rows]):
            record("other_devices_ended", member.username, detail=detail)
    notify("done-others-ended")
    return redirect("/account", 303)


DEVICES = Addition(
    "sessions",
    end_devices,
    id="id_digest",
    name="device",
    is_known="is_known OR expires_at <= :now",  # over, and not gone: others were added from it
    began="began",
    used_at="seen_at",
    ended="device_ended",
)

feature = Feature(
    bp,
    sentences={
        "news-device": "{name} was added to your devices.",
        "not-mine-device": "Sign out {name}?",
        "done-device-ended": "That device is signed out.",
        "done-others-ended": "All your other devices are signed out.",
    },
    events={
        "device_ended": "{actor} signed out one of their other devices",
        "other_devices_ended": "{actor} signed out all their other devices",
    },
    slots={"account": "devices/_list.html"},
    additions={"device": DEVICES},
)
