"""Devices: members see where they are signed in, and sign out what they don't recognise."""

import sqlite3
from contextlib import suppress

from flask import Blueprint, abort, redirect, render_template, request
from flask.typing import ResponseReturnValue

from app import end_sessions, logout, require_member
from foundation.storage.database import fetch_rows, transaction
from foundation.storage.journal import record
from foundation.web.feature import Feature
from foundation.web.notices import notify
from foundation.web.sessions import (
    Member,
    acting,
    longest_session,
    refresh_cookie,
    session_table,
    this_digest,
    this_session,
)
from foundation.web.ways_in import find_other_ways
from foundation.words.clock import now

bp = Blueprint("devices", __name__)

ID_LENGTH = 16  # digits of its digest that name a session to its owner, and to nobody else


@bp.get("/devices")
def devices() -> ResponseReturnValue:
    member = require_member()
    if this_session().is_due:  # or the page would show the end as it was before this visit
        with suppress(sqlite3.OperationalError):
            renew_this_session()
    devices = find_devices(member)
    return render_template(
        "devices/devices.html",
        devices=[device for device in devices if device["expires_at"] > now()],
        is_last={device["id"]: is_last_other(device, devices) for device in devices},
        now=now(),
    )


def is_last_other(device: sqlite3.Row, devices: list[sqlite3.Row]) -> bool:
    """Whether this device would be the only way in without that one."""
    return not find_other_ways(ended=find_chain(device, devices))


def find_devices(member: Member) -> list[sqlite3.Row]:
    """This device first; also those that are over, and not gone yet, because others were added from
    them."""
    return fetch_rows(
        "SELECT substr(own.id_digest, 1, ?) AS id, own.id_digest, own.id_digest = ? AS is_this,"
        " own.added_by,"
        " own.device AS name, own.seen_at, own.expires_at, own.created_at + ? AS ends_at,"
        " adders.device AS adder, EXISTS"
        " (SELECT 1 FROM sessions WHERE added_by = own.id_digest) AS has_added"
        " FROM sessions AS own"
        " LEFT JOIN sessions AS adders ON adders.id_digest = own.added_by"
        " WHERE own.author_id = ? ORDER BY is_this DESC, own.seen_at DESC",
        (ID_LENGTH, this_digest(), longest_session(), member.id),
    )


# Devices that were added within a week, after this one or from it: home tells their owner.
NEW_DEVICES = (
    "SELECT 'new-device', device, :now - created_at"
    " FROM sessions WHERE author_id = :member AND expires_at > :now AND created_at > :week_ago"
    " AND (added_by = :this OR created_at >"
    " (SELECT created_at FROM sessions WHERE id_digest = :this))"
)


@bp.post("/devices/renew")
def renew_device() -> ResponseReturnValue:
    require_member()
    if renew_this_session():
        notify("done-renewed")
    return redirect("/devices", 303)


def renew_this_session() -> bool:
    with transaction():
        renewed = session_table().renew(this_digest())
    if renewed:
        refresh_cookie()
    return renewed


def find_chain(device: sqlite3.Row, devices: list[sqlite3.Row]) -> set[str]:
    """The digests of what ends with a device. A thief may have added others from a stolen one, so
    they end with it; but never this one, or the old phone could not be signed out from the new one
    that was added from it."""
    chain = {device["id_digest"]}
    others = [one for one in devices if not one["is_this"]]
    for _ in others:  # at most as long as that
        chain |= {one["id_digest"] for one in others if one["added_by"] in chain}
    return chain


def require_device(device_id: str, devices: list[sqlite3.Row]) -> sqlite3.Row:
    device = next((one for one in devices if one["id"] == device_id), None)
    return device or abort(404)


@bp.get("/devices/<device_id>/end")
def ask_to_end(device_id: str) -> ResponseReturnValue:
    devices = find_devices(require_member())
    device = require_device(device_id, devices)
    if device["is_this"]:
        return redirect("/logout", 303)
    is_last = is_last_other(device, devices)
    return render_template("devices/end.html", device=device, is_last=is_last)


@bp.post("/devices/<device_id>/end")
def end_device(device_id: str) -> ResponseReturnValue:
    member = require_member()
    if device_id == this_digest()[:ID_LENGTH]:
        return logout()
    with acting():
        devices = find_devices(member)
        chain = find_chain(require_device(device_id, devices), devices)
        end_sessions([member.id], "ended", chain)
        record("device_ended", member.username)
    notify("done-device-ended")
    return redirect("/devices", 303)


@bp.get("/devices/end-others")
def ask_to_end_others() -> ResponseReturnValue:
    require_member()
    stay = [] if request.args.get("passkeys") else find_other_ways()
    is_last = all(way["kind"] == "device" for way in stay)
    return render_template("devices/end_others.html", is_last=is_last)


@bp.post("/devices/end-others")
def end_others() -> ResponseReturnValue:
    member = require_member()
    with acting():
        sql = "SELECT id_digest FROM sessions WHERE author_id = ? AND id_digest != ?"
        rows = fetch_rows(sql, (member.id, this_digest()))
        if end_sessions([member.id], "others", [row["id_digest"] for row in rows]):
            record("other_devices_ended", member.username)
    notify("done-others-ended")
    return redirect("/devices", 303)


feature = Feature(
    bp,
    sentences={
        "new-device": "You signed in on another device",
        "done-device-ended": "That device is signed out.",
        "done-others-ended": "All your other devices are signed out.",
        "done-renewed": "Renewed. The days count from today.",
    },
    events={
        "device_ended": "{actor} signed out one of their other devices",
        "other_devices_ended": "{actor} signed out all their other devices",
    },
    navigation={"/devices": "Devices"},
    arrivals=NEW_DEVICES,
)
