"""Devices: members see where they are signed in, and sign out what they don't recognise."""

import sqlite3
from contextlib import suppress

from flask import Blueprint, abort, redirect, render_template
from flask.typing import ResponseReturnValue

from app import logout, longest_session, require_member
from foundation.clock import DAY, now
from foundation.database import fetch_rows, transaction
from foundation.feature import Feature
from foundation.journal import record
from foundation.notices import notify
from foundation.sessions import Member, refresh_cookie, session_table, this_digest, this_session

devices = Blueprint("devices", __name__)

ID_LENGTH = 16  # digits of its digest that name a session to its owner, and to nobody else


@devices.get("/devices")
def overview() -> ResponseReturnValue:
    member = require_member()
    if this_session().is_due:  # or the page would show the end as it was before this visit
        with suppress(sqlite3.OperationalError):
            renew_this_session()
    return render_template("devices/devices.html", devices=find_devices(member), now=now())


def find_devices(member: Member) -> list[sqlite3.Row]:
    """This device first."""
    return fetch_rows(
        "SELECT substr(id_digest, 1, ?) AS id, id_digest = ? AS is_this, device AS name, seen_at,"
        " expires_at, created_at + ? AS ends_at FROM sessions"
        " WHERE author_id = ? AND expires_at > ? ORDER BY is_this DESC, seen_at DESC",
        (ID_LENGTH, this_digest(), longest_session(), member.id, now()),
    )


@devices.app_template_global()
def find_new_devices() -> list[sqlite3.Row]:
    """Devices that were added within a week, after this one: their owner hears of them here."""
    return fetch_rows(
        "SELECT device AS name, ?1 - created_at AS age FROM sessions"
        " WHERE author_id = ?2 AND expires_at > ?1 AND created_at > ?1 - ?3 AND created_at >"
        " (SELECT created_at FROM sessions WHERE id_digest = ?4) ORDER BY created_at DESC LIMIT 5",
        (now(), require_member().id, 7 * DAY, this_digest()),
    )


@devices.post("/devices/renew")
def renew() -> ResponseReturnValue:
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


@devices.post("/devices/<device_id>/end")
def end(device_id: str) -> ResponseReturnValue:
    member = require_member()
    if device_id == this_digest()[:ID_LENGTH]:
        return logout()
    with transaction() as db:
        ended = db.execute(
            "DELETE FROM sessions WHERE author_id = ? AND substr(id_digest, 1, ?) = ?",
            (member.id, ID_LENGTH, device_id),
        )
        if ended.rowcount == 0:
            abort(404)
        record("device_ended", member.username)
    notify("done-device-ended")
    return redirect("/devices", 303)


@devices.post("/devices/end-others")
def end_others() -> ResponseReturnValue:
    member = require_member()
    with transaction() as db:
        others = "DELETE FROM sessions WHERE author_id = ? AND id_digest != ?"
        if db.execute(others, (member.id, this_digest())).rowcount:
            record("other_devices_ended", member.username)
    notify("done-others-ended")
    return redirect("/devices", 303)


feature = Feature(
    devices,
    sentences={
        "done-device-ended": "That device is signed out.",
        "done-others-ended": "All your other devices are signed out.",
        "done-renewed": "Renewed: the days count from now.",
    },
    events={
        "device_ended": "{actor} signed out one of their other devices",
        "other_devices_ended": "{actor} signed out all their other devices",
    },
    navigation={"/devices": "Devices"},
    slots={"home": "devices/_new.html"},
)
