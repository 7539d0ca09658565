"""The journal, as admins read it: by day, by kind, or of one member; and on the command line."""

import json
import sqlite3
import time

import click
from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from app import require_admin
from foundation.cli.command import command
from foundation.storage.authors import FORGOTTEN, say_name
from foundation.storage.database import fetch_row, fetch_rows
from foundation.storage.journal import describe_event
from foundation.storage.journal_lines import LINES, OF_NAME
from foundation.web.feature import Feature
from foundation.web.paging import PAGE_LENGTH, find_days
from foundation.words.clock import say_iso

bp = Blueprint("journal", __name__, cli_group=None)
admin_bp = Blueprint("of_admins", __name__)
admin_bp.before_request(require_admin)

# What can be looked for: events by the beginning of their names.
KINDS = {
    "invites": (
        "invited", "text_", "texted_back", "pin_", "revoked", "stopped", "replied_otherwise",
        "hint_", "help_", "joined", "rejoined", "budget_reached", "key_changed", "last_day_set",
        "left", "removed", "forgotten", "word_", "webhook_",
    ),
    "devices": (
        "signed_", "device_", "other_devices_ended", "passkey_", "app_password_", "way_ended",
    ),
    "apps": ("program_", "openid_", "circle_"),
    "refused": (
        "text_refused", "text_undelivered", "pin_refused", "pin_wrong", "hint_refused",
        "help_refused", "word_", "webhook_", "budget_reached", "device_refused", "passkey_counter",
        "openid_refused", "openid_logout_failed", "notice_dropped",
    ),
}  # fmt: skip


@admin_bp.get("/admin/journal")
def journal() -> ResponseReturnValue:
    kind, name = request.args.get("show", ""), request.args.get("who", "").strip().lstrip(FORGOTTEN)
    return render_template(
        "journal/journal.html",
        **find_days(OF_NAME if name else "", name, KINDS.get(kind, ())),
        kind=kind if kind in KINDS else "",
        name=name,
    )


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
    told = {"id": line["id"], "at": at, "event": line["event"]}
    people = {who: line[who] and say_name(line[who], "en") for who in ("actor", "subject")}
    return json.dumps(told | people | {"words": words})


bp.register_blueprint(admin_bp)
feature = Feature(bp, admin_pages={"/admin/journal": "Journal"})
