"""Open invites as their inviters see them: all of them for admins, their own for other members."""

import json
import sqlite3
from typing import Any

from flask import g

from foundation.storage.database import count_rows, fetch_row, fetch_rows
from foundation.typed.mistakes import last_day_of
from foundation.vonage.inbound import STALE_AFTER
from foundation.web.paging import fetch_page, read_id
from foundation.web.sessions import Member, current_member, is_admin
from foundation.words.clock import MINUTE, now

PINS_PER_TEN_MINUTES = 3
TRIES_PER_INVITE = 10  # wrong PINs, and wrong names while a PIN runs
# Each with the last thing the journal knows about its PINs, and when the oldest of the last three
# stops counting.
INVITES = (
    "SELECT whitelist.*, authors.username AS inviter, last.event AS pin_event,"
    " last.at AS pin_at, last.detail AS pin_detail, third.at + :ten_minutes AS next_pin_at"
    " FROM whitelist LEFT JOIN authors ON authors.id = whitelist.invited_by"
    " LEFT JOIN journal AS last ON last.id = (SELECT max(id) FROM journal"
    " WHERE invite_id = whitelist.id AND event IN ('pin_sent', 'pin_refused', 'pin_wrong'))"
    " LEFT JOIN journal AS third ON third.id = (SELECT id FROM journal"
    " WHERE invite_id = whitelist.id AND event = 'pin_sent' ORDER BY id DESC LIMIT 1 OFFSET :fast)"
    " WHERE whitelist.expires_at > :now AND (:all OR whitelist.invited_by = :author_id)"
)
# What a person has to look at: nothing more comes about by itself.
NEEDS_YOU = (
    "(stopped_at IS NOT NULL OR tries >= :most"
    " OR (replied IS NOT NULL AND (replied != 'pin-unsent' OR last.at <= :stale))"
    " OR last.event IS 'pin_refused'"
    " OR (last.event IS NULL AND delivery IS NOT NULL AND delivery NOT IN ('delivered', 'self')))"
)
MAX_NEEDING = 100


def find_invites_to_show(member: Member) -> dict[str, Any]:
    """For the page: those that need the inviter, the others a page at a time with their count, and
    the one that `?new=` says was just made."""
    values = list_values(member)
    needing = f"{INVITES} AND {NEEDS_YOU} ORDER BY whitelist.id DESC LIMIT {MAX_NEEDING}"
    waiting = f"{INVITES} AND NOT {NEEDS_YOU}"
    g.needing = fetch_rows(needing, values)
    new = read_id("new")
    return {
        "needing": g.needing,
        "invites": fetch_page(f"{waiting} ORDER BY whitelist.id DESC", values),
        "count": count_rows(f"SELECT count(*) FROM ({waiting})", values),
        "made": find_own_invite(new, member) if new else None,
        "tries_per_invite": TRIES_PER_INVITE,
        "stale_after": STALE_AFTER,
    }


def find_all_needing() -> list[sqlite3.Row]:
    """Of all inviters."""
    return fetch_rows(f"{INVITES} AND {NEEDS_YOU}", list_values(None))


def find_needing(invite_id: int) -> sqlite3.Row | None:
    """That one, of any inviter, if it needs somebody."""
    sql = f"{INVITES} AND {NEEDS_YOU} AND whitelist.id = :id"
    return fetch_row(sql, list_values(None) | {"id": invite_id})


def find_trouble(invite: sqlite3.Row) -> str:
    """The name of the sentence that says why it needs somebody."""
    if invite["stopped_at"]:
        return "replied-stop"
    if invite["replied"] == "pin-unsent" and invite["pin_at"] <= now() - STALE_AFTER:
        return "replied-late"
    if invite["replied"] and invite["replied"] != "pin-unsent":
        return str(invite["replied"])
    if invite["tries"] >= TRIES_PER_INVITE:
        return "tries-spent-admin"
    return str(invite["pin_detail"] if invite["pin_event"] == "pin_refused" else invite["delivery"])


def list_values(member: Member | None) -> dict[str, object]:
    """None: for all."""
    return {
        "now": now(), "all": member is None or is_admin(member),
        "author_id": member.id if member else None, "most": TRIES_PER_INVITE,
        "ten_minutes": 10 * MINUTE, "fast": PINS_PER_TEN_MINUTES - 1,
        "stale": now() - STALE_AFTER,
    }  # fmt: skip


def count_needing() -> int:
    """For the link to the admins' pages. An error page is shown without."""
    if "needing" in g:
        return len(g.needing)
    member = current_member()
    if not member or not is_admin(member):
        return 0
    try:
        sql = f"SELECT count(*) FROM ({INVITES} AND {NEEDS_YOU})"
        return count_rows(sql, list_values(member))
    except sqlite3.Error:
        return 0


def find_own_invite(invite_id: int, member: Member) -> sqlite3.Row | None:
    """An open one that they may see."""
    return fetch_row(
        "SELECT * FROM whitelist WHERE id = ? AND expires_at > ? AND (? OR invited_by = ?)",
        (invite_id, now(), is_admin(member), member.id),
    )


def find_invite_to_repeat(member: Member) -> dict[str, str]:
    """What "Invite again" fills into the form: all that the earlier invite says, except for the
    number, which nobody keeps."""
    row = find_own_invite(read_id("again") or 0, member)
    if row is None:
        return {}
    return {
        "username": row["username"] or "",
        "who": row["who"] or "",
        "ends_on": last_day_of(row["ends_at"]),
        "language": row["language"] or "",
        "circles": " ".join(json.loads(row["circles"])),
    }
