"""Looking for lines of the journal, and forgetting a name in it."""

import itertools
import json
import sqlite3
from collections.abc import Iterable

from foundation.storage.authors import find_forgotten
from foundation.storage.database import fetch_rows, get_db
from foundation.storage.journal import describe_event
from foundation.words.clock import DAY

Described = tuple[sqlite3.Row, str]

# Events whose subject is an app, or a circle. Of all others it is a member, or is to be one.
ABOUT_APPS = (
    "program_added", "program_changed", "program_removed", "program_members_changed",
    "program_asked", "app_password_made", "app_password_ended", "openid_set_up",
    "openid_new_secret", "openid_refused", "openid_logout_failed", "circle_added",
    "circle_changed", "circle_removed", "circle_members_changed",
)  # fmt: skip

# Each line, with who the invite was for while it is open, and who it became.
LINES = (
    "SELECT journal.*, phone_hint, whitelist.who, (SELECT actor FROM journal AS later"
    " WHERE later.invite_id = journal.invite_id"
    " AND later.event IN ('joined', 'rejoined', 'signed_in')) AS became,"
    " journal.event = 'pin_sent' AND (parts = 0 OR (whitelist.replied IS 'pin-unsent' AND"
    " journal.id = (SELECT max(id) FROM journal AS newest WHERE newest.invite_id ="
    " journal.invite_id AND newest.event = 'pin_sent'))) AS is_unsent FROM journal"
    " LEFT JOIN whitelist ON whitelist.id = journal.invite_id"
)
# Lines of one member, and of the invites that they came by. Invites for the same name may have been
# another person's, so only admins find those by it.
OF_MEMBER = (
    "(actor = :name OR (subject = :name AND journal.invite_id IS NULL"
    f" AND event NOT IN {ABOUT_APPS}) OR journal.invite_id IN"
    " (SELECT invite_id FROM journal WHERE actor = :name"
    " AND event IN ('joined', 'rejoined', 'signed_in')))"
)
OF_NAME = f"({OF_MEMBER} OR (subject = :name AND event NOT IN {ABOUT_APPS}))"


def find_lines(
    before: int | None, most: int, of: str = "", name: str = "", kind: tuple[str, ...] = ()
) -> list[sqlite3.Row]:
    """The last lines, or those before the line with that id, newest first. `of`: OF_MEMBER or
    OF_NAME, with a name; `kind`: beginnings of events."""
    asked = ["journal.id < :before"]
    facts: dict[str, object] = {"before": 10**18 if before is None else before, "name": name}
    if kind:
        found = fetch_rows("SELECT DISTINCT event FROM journal")
        events = [row["event"] for row in found if row["event"].startswith(kind)]
        asked.append("journal.event IN (SELECT value FROM json_each(:events))")
        facts["events"] = json.dumps(events)
    if of:
        asked.append(of)
    sql = f"{LINES} WHERE {' AND '.join(asked)} ORDER BY journal.id DESC LIMIT {most}"
    return fetch_rows(sql, facts)


def describe_days(lines: list[sqlite3.Row], language: str) -> list[tuple[int, list[Described]]]:
    """Lines with their words, by the second that their day began in."""
    told = [(line, describe_event(line, language)) for line in lines]
    days = itertools.groupby(told, lambda one: one[0]["at"] // DAY)
    return [(day * DAY, [*of_day]) for day, of_day in days]


def forget_name(name: str, kept: str) -> None:
    """In the caller's transaction: from now on the lines say what is kept of it."""
    db = get_db()
    db.execute("UPDATE journal SET actor = ? WHERE actor = ?", (kept, name))
    sql = f"UPDATE journal SET subject = ? WHERE subject = ? AND event NOT IN {ABOUT_APPS}"
    db.execute(sql, (kept, name))


def forget_again(names: Iterable[str | None]) -> None:
    """Names that were forgotten, and that somebody was invited by since, in vain."""
    for name in names:
        if name and (author := find_forgotten(name)):
            forget_name(name, author["username"])
