"""The journal, as admins read it: by day, by kind, or of one member; and on the command line."""

import itertools
import json
import sqlite3
import time

import click
from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from app import require_admin
from foundation.cli.command import command
from foundation.storage.database import fetch_row, fetch_rows
from foundation.storage.journal import describe_event
from foundation.web.feature import Feature
from foundation.web.paging import PAGE_LENGTH, read_id
from foundation.words.clock import DAY, say_iso
from foundation.words.languages import current_language

bp = Blueprint("journal", __name__, cli_group=None)
admin_bp = Blueprint("of_admins", __name__)
admin_bp.before_request(require_admin)

# What can be looked for: events by the beginning of their names.
KINDS = {
    "invites": (
        "invited", "text_", "texted_back", "pin_", "revoked", "stopped", "replied_otherwise",
        "hint_", "help_", "joined", "rejoined", "budget_reached", "key_changed", "last_day_set",
        "left", "removed", "word_", "webhook_",
    ),
    "devices": (
        "signed_", "device_", "other_devices_ended", "passkey_", "app_password_",
    ),
    "apps": ("program_", "openid_"),
    "refused": (
        "text_refused", "text_undelivered", "pin_refused", "pin_wrong", "hint_refused",
        "help_refused", "word_", "webhook_", "budget_reached", "device_refused", "passkey_counter",
        "openid_logout_failed",
    ),
}  # fmt: skip

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
# Lines of one member, and of the invite that brought them in.
OF_MEMBER = (
    "(actor = :name OR subject = :name OR journal.invite_id IN (SELECT invite_id FROM journal"
    " WHERE actor = :name AND event IN ('joined', 'rejoined', 'signed_in')))"
)


@admin_bp.get("/admin/journal")
def journal() -> ResponseReturnValue:
    kind, name = request.args.get("show", ""), request.args.get("who", "").strip()
    found = find_journal(read_id("before"), KINDS.get(kind, ()), name)
    language = current_language()
    lines = [(line, describe_event(line, language)) for line in found[:PAGE_LENGTH]]
    days = itertools.groupby(lines, lambda one: one[0]["at"] // DAY)
    return render_template(
        "journal/journal.html",
        days=[(day * DAY, [*of_day]) for day, of_day in days],
        older=lines[-1][0]["id"] if len(found) > PAGE_LENGTH else None,
        kind=kind if kind in KINDS else "",
        name=name,
    )


def find_journal(before: int | None, kind: tuple[str, ...], name: str) -> list[sqlite3.Row]:
    """One page and a line more, newest first: the last lines, or the ones before the line with that
    id."""
    asked, values = ["journal.id < :before"], {"before": 10**18 if before is None else before}
    facts: dict[str, object] = {**values, "name": name}
    if kind:
        events = [event for event in find_events() if event.startswith(kind)]
        asked.append("journal.event IN (SELECT value FROM json_each(:events))")
        facts["events"] = json.dumps(events)
    if name:
        asked.append(OF_MEMBER)
    sql = f"{LINES} WHERE {' AND '.join(asked)} ORDER BY journal.id DESC LIMIT {PAGE_LENGTH + 1}"
    return fetch_rows(sql, facts)


def find_events() -> list[str]:
    return [row["event"] for row in fetch_rows("SELECT DISTINCT event FROM journal")]


# On the command line ------------------------------------------------------------------------------


@command(bp, "journal")
@click.option("--follow", is_flag=True, help="Go on printing new lines, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option(
    "--since", type=click.IntRange(0, 2**63 - 1), help="Only lines after the one with that ID."
)
def journal_command(follow: bool, as_json: bool, since: int | None) -> None:
    """Print the journal: its last 50 lines, or all since a line."""
    newest = fetch_row("SELECT max(id) AS id FROM journal")
    last = max((newest["id"] or 0) - PAGE_LENGTH, 0) if newest and since is None else since or 0
    while True:
        for line in fetch_rows(f"{LINES} WHERE journal.id > ? ORDER BY journal.id", (last,)):
            last = line["id"]
            click.echo(write_line(line, as_json))
        if not follow:
            return
        time.sleep(1)


def write_line(line: sqlite3.Row, as_json: bool) -> str:
    words, at = describe_event(line, "en"), say_iso(line["at"])
    if not as_json:
        return f"{line['id']:>6}  {at}  {words}"
    told = {"id": line["id"], "at": at, "event": line["event"], "actor": line["actor"]}
    return json.dumps(told | {"subject": line["subject"], "words": words})


bp.register_blueprint(admin_bp)
feature = Feature(bp, admin_pages={"/admin/journal": "Journal"})
