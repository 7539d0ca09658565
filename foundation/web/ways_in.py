"""Ways in: what brings a member back. A signed-in device is one; features know others, such as a
passkey that isn't lost with its phone."""

import json
import sqlite3
from collections.abc import Collection
from typing import NamedTuple
from urllib.parse import urlsplit

from flask import current_app, g, request

from foundation.running import hooks
from foundation.storage.database import fetch_row, fetch_rows
from foundation.web.sessions import (
    Member,
    current_member,
    is_admin,
    longest_session,
    name_device,
    say_device,
    this_digest,
)
from foundation.words.clock import DAY, now
from foundation.words.languages import say_all, say_either, translate

MONTH = 30 * DAY
DEVICES = (
    "SELECT author_id, 'device' AS kind, id_digest AS id, device AS name, id_digest AS session,"
    " 1 AS lasts FROM sessions WHERE expires_at > :now"
)


def ways_in() -> tuple[str, ...]:
    """What lets members in, as SELECTs for use in others: author_id, kind, id, name, the session
    that it is or that it was added on, and whether it lasts: what is lost with a phone is no way in
    to count on. They take `ways_in_values`."""
    return (DEVICES, *hooks("ways_in"))


def count_ways_in(author_id: str) -> str:
    """How many a member has, in SQL; `author_id` is a column."""
    return " + ".join(
        f"(SELECT count(*) FROM ({ways}) WHERE author_id = {author_id} AND lasts)"
        for ways in ways_in()
    )


def ways_in_values() -> dict[str, object]:
    return {"now": now(), "host": urlsplit(current_app.config["BASE_URL"]).hostname}


def find_ways(author_id: int) -> list[sqlite3.Row]:
    sql = f"SELECT * FROM ({' UNION ALL '.join(ways_in())}) WHERE author_id = :author_id"
    return fetch_rows(sql, ways_in_values() | {"author_id": author_id})


def find_other_ways(
    ended: Collection[str] = (), removed: str | None = None, lasting: bool = True
) -> list[sqlite3.Row]:
    """Of the member who asks: all but this device, and, if not told otherwise, only those that
    last. `ended` are digests of sessions that are about to end, with what was added on them;
    `removed` is the id of a passkey that is about to go. The table is asked once for a page."""
    if "ways_in" not in g:
        member = current_member()
        g.ways_in = find_ways(member.id) if member else []
    gone = (("device", this_digest()), ("passkey", removed))
    return [
        way
        for way in g.ways_in
        if (way["kind"], way["id"]) not in gone
        and way["session"] not in ended
        and (way["lasts"] or not lasting)
    ]


def lacks_second_way() -> bool:
    """Whether the member who asks signed in by PIN on this device, has no other way in, stays for a
    month at least, and can add one here."""
    sql = (
        "SELECT 1 FROM sessions JOIN authors ON authors.id = author_id WHERE id_digest = ?"
        " AND began = 'pin' AND (ends_at IS NULL OR ends_at >= ?)"
    )
    can_add = any("welcome" in slots for slots in hooks("slots"))
    is_asked = can_add and fetch_row(sql, (this_digest(), now() + MONTH))
    return bool(is_asked) and not find_other_ways()


def is_only_admin(member: Member) -> bool:
    """Whether no other admin has a way in, who could invite this one again."""
    if not is_admin(member):
        return False
    sql = (
        "SELECT 1 FROM authors WHERE id != :author_id AND removed_at IS NULL"
        " AND username IN (SELECT value FROM json_each(:admins))"
        f" AND {count_ways_in('authors.id')} > 0"
    )
    admins = json.dumps([*current_app.config["ADMINS"]])
    return not fetch_row(sql, ways_in_values() | {"admins": admins, "author_id": member.id})


def is_on_computer() -> bool:
    """Whether this browser says so. All others are phones: that's what people sign in with."""
    return name_device(request.user_agent.string).endswith(COMPUTERS)


COMPUTERS = ("Windows", "macOS", "Linux", "Chrome OS", "Ubuntu", "Fedora")


# What a member should know of them ----------------------------------------------------------------


class Advice(NamedTuple):
    kind: str  # "last-days" of a guest, their devices are "ending", or this is the "only" way in
    at: int = 0


def find_guest() -> sqlite3.Row | None:
    """Of the member who asks: when the stay ends, and which admin invited them, if it was one.
    None: they're not a guest."""
    if "guest" not in g:
        member = current_member()
        g.guest = fetch_row(
            "SELECT authors.ends_at - 1 AS last_second, inviters.username AS inviter FROM authors"
            " LEFT JOIN authors AS inviters ON inviters.id = authors.invited_by"
            " AND inviters.username IN (SELECT value FROM json_each(?))"
            " WHERE authors.id = ? AND authors.ends_at IS NOT NULL",
            (json.dumps([*current_app.config["ADMINS"]]), member.id if member else None),
        )
    found: sqlite3.Row | None = g.guest
    return found


def find_advice() -> Advice | None:
    """Nothing, where all is well; and a guest who goes within a month needs no more ways in."""
    guest = find_guest()
    if guest and guest["last_second"] - now() < MONTH:
        is_soon = guest["last_second"] - now() < 3 * DAY
        return Advice("last-days", guest["last_second"]) if is_soon else None
    others = find_other_ways()
    ends_at = find_last_end()
    if ends_at - now() < min(MONTH, longest_session() // 2) and all(
        way["kind"] == "device" for way in others
    ):
        return Advice("ending", ends_at)
    return None if others else Advice("only")


def find_last_end() -> int:
    """When the last of their devices is signed out, however much it's used."""
    member = current_member()
    sql = "SELECT max(created_at) AS at FROM sessions WHERE author_id = ?"
    row = fetch_row(sql, (member.id if member else None,))
    return int(row["at"] or 0) + longest_session() if row else 0


# How pages say them -------------------------------------------------------------------------------


def say_ways(ways: list[sqlite3.Row]) -> str:
    """Three of them: "Firefox on Windows, Safari on iPhone or the passkey My phone"."""
    return say_either([say_way(way) for way in ways[:3]])


def say_own_ways(others: list[sqlite3.Row]) -> str:
    """All of them: "this phone and Firefox on Windows"."""
    this = translate("this computer") if is_on_computer() else translate("this phone")
    return say_all([this, *map(say_way, others)])


def say_additions(additions: list[sqlite3.Row]) -> str:
    return say_all([say_way(one) for one in additions])


def say_way(way: sqlite3.Row) -> str:
    """One of them, or something else that was added."""
    if way["kind"] == "passkey":
        return translate("the passkey %(name)s") % {"name": way["name"]}
    if way["kind"] == "app-password":
        return translate("the app password %(name)s") % {"name": way["name"]}
    return say_device(way["name"]) or translate("an unknown device")
