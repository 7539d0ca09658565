"""Ways in: what brings a member back. A signed-in device is one; features know others, such as a
passkey that isn't lost with its phone."""

import json
import sqlite3
from collections.abc import Collection
from urllib.parse import urlsplit

from flask import current_app, g, request

from foundation.running import hooks
from foundation.storage.database import fetch_row, fetch_rows
from foundation.web.sessions import (
    Member,
    current_member,
    is_admin,
    name_device,
    say_device,
    this_digest,
)
from foundation.words.clock import DAY, now
from foundation.words.languages import say_either, translate

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


def find_other_ways(
    ended: Collection[str] = (), removed: str | None = None, lasting: bool = True
) -> list[sqlite3.Row]:
    """Of the member who asks: all but this device, and, if not told otherwise, only those that
    last. `ended` are digests of sessions that are about to end, with what was added on them;
    `removed` is the id of a passkey that is about to go. The table is asked once for a page."""
    if "ways_in" not in g:
        member = current_member()
        sql = f"SELECT * FROM ({' UNION ALL '.join(ways_in())}) WHERE author_id = :author_id"
        values = ways_in_values() | {"author_id": member.id if member else None}
        g.ways_in = fetch_rows(sql, values)
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


def say_ways(ways: list[sqlite3.Row]) -> str:
    """Three of them: "Firefox on Windows, Safari on iOS or the passkey My phone"."""
    return say_either([say_way(way) for way in ways[:3]])


def say_way(way: sqlite3.Row) -> str:
    if way["kind"] == "passkey":
        return translate("the passkey %(name)s") % {"name": way["name"]}
    return say_device(way["name"]) or translate("an unknown device")
