"""It tells you: a message to NOTIFY_URL (ntfy, Gotify or Apprise), and a signed one to HOOK_URL, of
what an admin would want to know without looking. Once a minute the server looks what is new, and
puts it into the outbox; pages never wait for it."""

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import sqlite3
import time
from collections.abc import Iterator
from email.header import Header
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import click
import requests
from flask import Blueprint, current_app

from foundation.cli.command import command
from foundation.storage.authors import say_name
from foundation.storage.database import fetch_row, fetch_rows, get_db
from foundation.storage.journal import describe_event, record_daily
from foundation.storage.outbox import find_failing, put_in_outbox
from foundation.web.feature import Feature
from foundation.web.invite_lists import find_all_needing, find_trouble
from foundation.web.sending import Message, Sender
from foundation.words.clock import DAY, now, say_iso
from foundation.words.sentences import is_sentence, say

bp = Blueprint("notify", __name__, cli_group=None)

RECEIVERS = {"notify url": "NOTIFY_URL", "notify hook": "HOOK_URL"}
TRIES = 3  # of what a receiver finds fault with

# Lines of the journal that are told: of everybody, and of admins only.
OF_ALL = ("joined", "rejoined", "left", "removed", "budget_reached")
OF_ADMINS = ("signed_in", "device_added", "passkey_added")
# What ntfy shows beside the title (its short codes of emoji), and where a tap leads.
LOOKS = {
    "joined": ("wave", "/admin/members"),
    "rejoined": ("wave", "/admin/members"),
    "left": ("door", "/admin/journal"),
    "removed": ("door", "/admin/journal"),
    "guest_last_day": ("calendar", "/admin/members?show=guests"),
    "signed_in": ("key", "/admin/journal"),
    "device_added": ("key", "/admin/journal"),
    "passkey_added": ("key", "/admin/journal"),
    "test": ("white_check_mark", "/admin"),
}
NEEDS_YOU = ("warning", "/admin")  # all others


# What is new --------------------------------------------------------------------------------------


def find_receivers() -> list[str]:
    return [name for name, setting in RECEIVERS.items() if current_app.config[setting]]


def look_for_news() -> None:
    """Once a minute, in the caller's transaction."""
    if find_receivers():
        tell_of_lines()
        tell_of_invites()
        tell_of_guests()
    else:  # who sets one later is told nothing that was before
        for table in ("told", "told_until"):
            get_db().execute(f"DELETE FROM {table}")


def tell_of_lines() -> None:
    for line in find_new_lines():
        if line["event"] != "budget_reached" or is_new(f"budget {now() // DAY}"):
            put_news(line["event"], line=line["id"])


def tell_of_invites() -> None:
    """A state that lasts is told once."""
    needing = {name_of(invite): invite for invite in find_all_needing()}
    for key, invite in needing.items():
        if is_new(key):
            put_news("invite_needs_you", invite=invite["id"], trouble=find_trouble(invite))
    sql = "DELETE FROM told WHERE at <= ? AND key NOT IN (SELECT value FROM json_each(?))"
    get_db().execute(sql, (now() - DAY, json.dumps([*needing])))


def tell_of_guests() -> None:
    """Those whose last day, in UTC, is tomorrow."""
    begins = (now() // DAY + 1) * DAY
    guests = fetch_rows(
        "SELECT id, ends_at FROM authors WHERE removed_at IS NULL AND ends_at > ? AND ends_at <= ?",
        (begins, begins + DAY),
    )
    for guest in guests:
        if is_new(f"guest {guest['id']} {guest['ends_at']}"):
            put_news("guest_last_day", member=guest["id"])


def find_new_lines() -> list[sqlite3.Row]:
    """Those since the last look. At the first look, none."""
    newest = fetch_row("SELECT ifnull(max(id), 0) AS id FROM journal")
    before = fetch_row("SELECT line FROM told_until")
    last = newest["id"] if newest else 0
    sql = "INSERT INTO told_until (id, line) VALUES (1, ?1) ON CONFLICT DO UPDATE SET line = ?1"
    get_db().execute(sql, (last,))
    return fetch_rows(
        "SELECT id, event FROM journal WHERE id > ?1 AND id <= ?2 AND (event IN"
        " (SELECT value FROM json_each(?3)) OR event IN (SELECT value FROM json_each(?4))"
        " AND actor IN (SELECT value FROM json_each(?5))) ORDER BY id",
        (
            before["line"] if before else last, last, json.dumps(OF_ALL), json.dumps(OF_ADMINS),
            json.dumps([*current_app.config["ADMINS"]]),
        ),
    )  # fmt: skip


def name_of(invite: sqlite3.Row) -> str:
    """An invite in a state."""
    return f"invite {invite['id']} {find_trouble(invite)}"


def is_new(key: str) -> bool:
    """And remember it."""
    made = get_db().execute("INSERT OR IGNORE INTO told VALUES (?, ?)", (key, now()))
    return made.rowcount > 0


def put_news(event: str, **ids: object) -> None:
    for receiver in find_receivers():
        put_in_outbox(receiver, event, id=f"msg_{secrets.token_hex(12)}", at=now(), **ids)


# What is told -------------------------------------------------------------------------------------


class News(NamedTuple):
    """Never a phone number, its last digits, a word, or who an inviter says it is."""

    id: str
    at: int
    event: str
    actor: str | None
    subject: str | None
    words: str


About = tuple[str, int, str]  # a message's id, when it came about, and the event


def read_news(row: sqlite3.Row) -> News | None:
    """Of a row of the outbox. None: what it was about is gone."""
    ids = json.loads(row["ids"])
    about = (ids["id"], ids["at"], row["event"])
    if "line" in ids:
        return read_line(about, ids["line"])
    if "member" in ids:
        return read_guest(about, ids["member"])
    return read_invite(about, ids["invite"], ids["trouble"])


def read_guest(about: About, author_id: int) -> News | None:
    sql = "SELECT username FROM authors WHERE id = ? AND removed_at IS NULL"
    row = fetch_row(sql, (author_id,))
    if row is None:
        return None
    name = row["username"]
    return News(*about, None, name, say_here("notify-guest", name))


def read_invite(about: About, invite_id: int, trouble: str) -> News | None:
    row = fetch_row("SELECT username FROM whitelist WHERE id = ?", (invite_id,))
    if row is None:
        return None
    why = say_here(trouble if is_sentence(trouble) else "vonage-unavailable")
    return News(*about, None, row["username"], f"{say_here('notify-invite')} {why}")


def read_line(about: About, line_id: int) -> News | None:
    line = fetch_row(
        "SELECT *, NULL AS phone_hint, NULL AS who, NULL AS became, 0 AS is_unsent FROM journal"
        " WHERE id = ?",
        (line_id,),
    )
    if line is None:
        return None
    language = current_app.config["LANGUAGE"]
    actor, subject = (line[who] and say_name(line[who], language) for who in ("actor", "subject"))
    return News(*about, actor, subject, describe_event(line, language))


def say_here(sentence: str, name: str = "") -> str:
    """In the group's language: nobody asks for another one."""
    return say(sentence, name, current_app.config["LANGUAGE"])


def write_news(row: sqlite3.Row) -> Message | None:
    news = read_news(row)
    address = current_app.config[RECEIVERS[row["receiver"]]]
    if news is None or not address:
        return None
    return write_hook(news) if row["receiver"] == "notify hook" else write_notice(news, address)


def write_notice(news: News, address: str) -> Message:
    """In ntfy's form, or in the one that `?format=` of the address names, which isn't sent."""
    address, form = split_format(address)
    title = current_app.config["GROUP_NAME"]
    tag, path = LOOKS.get(news.event, NEEDS_YOU)
    there = f"{current_app.config['BASE_URL']}{path}"
    if form == "gotify":
        extras = {"client::notification": {"click": {"url": there}}}
        told = {"title": title, "message": news.words, "priority": 5, "extras": extras}
        return Message(address, json.dumps(told), {"Content-Type": "application/json"})
    if form == "apprise":
        told = {"title": title, "body": news.words, "type": "info"}
        return Message(address, json.dumps(told), {"Content-Type": "application/json"})
    headers = {"Title": encode_title(title), "Tags": tag, "Click": there}
    return Message(address, news.words, headers | {"Content-Type": "text/plain; charset=utf-8"})


def split_format(address: str) -> tuple[str, str]:
    parts = urlsplit(address)
    query = parse_qsl(parts.query, keep_blank_values=True)
    form = dict(query).get("format", "ntfy")
    kept = urlencode([(name, value) for name, value in query if name != "format"])
    return urlunsplit(parts._replace(query=kept)), form


def encode_title(title: str) -> str:
    """As headers take it (RFC 2047)."""
    return title if title.isascii() else Header(title, "utf-8").encode(linesep="")


def write_hook(news: News) -> Message:
    """Signed as Standard Webhooks says, at each try anew."""
    told = news._asdict() | {"at": say_iso(news.at)}
    body = json.dumps(told, ensure_ascii=False)
    stamp = str(int(time.time()))
    headers = {
        "Content-Type": "application/json",
        "webhook-id": news.id,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{sign(f'{news.id}.{stamp}.{body}')}",
    }
    return Message(current_app.config["HOOK_URL"], body, headers)


def sign(text: str) -> str:
    key = read_hook_key(current_app.config["HOOK_SECRET"])
    return base64.b64encode(hmac.new(key, text.encode(), hashlib.sha256).digest()).decode()


def read_hook_key(secret: str) -> bytes:
    """`whsec_` and base64, as receivers' libraries have it, or just the letters."""
    if secret.startswith("whsec_"):
        try:
            return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            pass
    return secret.encode()


def note_dropped(receiver: str) -> None:
    record_daily("notice_dropped")


# For who runs it ----------------------------------------------------------------------------------


@command(bp, "notify")
@click.option("--test", is_flag=True, required=True, help="Send a message now.")
def notify_command(test: bool) -> None:
    """Send a message to NOTIFY_URL and HOOK_URL, and say what came back."""
    receivers = find_receivers()
    if not receivers:
        raise click.ClickException("Neither NOTIFY_URL nor HOOK_URL is set.")
    news = News(f"msg_{secrets.token_hex(12)}", now(), "test", None, None, say_here("notify-test"))
    answers = {RECEIVERS[one]: send_now(one, news) for one in receivers}
    for setting, answer in answers.items():
        click.echo(f"{setting}: {answer}")
    if not all(answer.startswith("HTTP 2") for answer in answers.values()):
        raise click.exceptions.Exit(1)


def send_now(receiver: str, news: News) -> str:
    address = current_app.config[RECEIVERS[receiver]]
    is_hook = receiver == "notify hook"
    with Sender() as sender:
        return sender.send(write_hook(news) if is_hook else write_notice(news, address))


def check_receivers() -> Iterator[tuple[bool, str]]:
    """For `flask doctor`. Nothing is told by that."""
    for receiver in find_receivers():
        setting, failing = RECEIVERS[receiver], find_failing(receiver)
        if failing:
            yield (
                False,
                f"{setting} hasn't taken {failing['count']} messages ({failing['failure']}).",
            )
        else:
            yield try_to_reach(setting)


def try_to_reach(setting: str) -> tuple[bool, str]:
    address, _ = split_format(current_app.config[setting])
    try:
        requests.head(address, timeout=5, allow_redirects=False)
    except requests.RequestException as error:
        return False, f"{setting} doesn't answer ({type(error).__name__})."
    return True, f"{setting} answers. `flask notify --test` sends it a message."


feature = Feature(
    bp,
    sentences={
        "notify-guest": "{name} is a guest, and tomorrow is the last day.",
        "notify-invite": "An invite needs you.",
        "notify-test": "This is a test. Here you will read what the group needs you for.",
    },
    events={"notice_dropped": "Messages that NOTIFY_URL or HOOK_URL refused, in a day: {count}"},
    each_minute=look_for_news,
    write_message=write_news,
    undelivered=note_dropped,
    tries_when_refused=TRIES,
    check=check_receivers,
)
