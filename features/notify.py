"""It tells you: a message to NOTIFY_URL (ntfy, Gotify or Apprise), and a signed one to HOOK_URL, of
what an admin would want to know without looking. Once a minute the server looks what is new, and
puts it into the outbox; pages never wait for it."""

import base64
import hashlib
import hmac
import json
import secrets
import sqlite3
import time
from collections.abc import Iterator
from email.header import Header
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import click
import requests
from flask import Blueprint, current_app

from foundation.cli.command import command
from foundation.storage.authors import say_name
from foundation.storage.database import fetch_row, fetch_rows, get_db
from foundation.storage.journal import describe_event, record_daily
from foundation.storage.outbox import find_failing, put_in_outbox
from foundation.web.feature import Feature
from foundation.web.invite_lists import find_all_needing, find_needing, find_trouble
from foundation.web.sending import Message, Sender
from foundation.words.clock import DAY, now, say_iso
from foundation.words.sentences import say

bp = Blueprint("notify", __name__, cli_group=None)

RECEIVERS = {"notify url": "NOTIFY_URL", "notify hook": "HOOK_URL"}
TRIES = 3  # of what a receiver finds fault with, or may have taken without saying so
SECONDS = 10.0  # some pass a message on before they answer

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
AS_JSON = {"Content-Type": "application/json"}
Ids = dict[str, Any]  # what a message is made of


# What is new --------------------------------------------------------------------------------------


def find_receivers() -> list[str]:
    return [name for name, setting in RECEIVERS.items() if current_app.config[setting]]


def look_for_news() -> None:
    """Once a minute, in the caller's transaction. The first look only remembers what there is."""
    db = get_db()
    if not find_receivers():
        db.execute("DELETE FROM told WHERE key IS NOT NULL")  # which writes nothing where none is
        db.execute("DELETE FROM told_until WHERE line IS NOT NULL")
        return
    is_first = fetch_row("SELECT 1 FROM told_until") is None
    for event, ids in [*find_new_lines(), *find_new_troubles(), *find_leaving_guests()]:
        if not is_first:
            put_news(event, ids)


def find_new_lines() -> Iterator[tuple[str, Ids]]:
    """Those since the last look."""
    newest = fetch_row("SELECT ifnull(max(id), 0) AS id FROM journal")
    before = fetch_row("SELECT line FROM told_until")
    last = newest["id"] if newest else 0
    get_db().execute(
        "INSERT INTO told_until (id, line) VALUES (1, ?1)"
        " ON CONFLICT DO UPDATE SET line = ?1 WHERE line != ?1",
        (last,),
    )
    lines = fetch_rows(
        "SELECT id, at, event FROM journal WHERE id > ?1 AND id <= ?2 AND (event IN"
        " (SELECT value FROM json_each(?3)) OR event IN (SELECT value FROM json_each(?4))"
        " AND actor IN (SELECT value FROM json_each(?5))) ORDER BY id",
        (
            before["line"] if before else last, last, json.dumps(OF_ALL), json.dumps(OF_ADMINS),
            json.dumps([*current_app.config["ADMINS"]]),
        ),
    )  # fmt: skip
    for line in lines:
        if line["event"] != "budget_reached" or is_new(f"budget {now() // DAY}"):
            yield line["event"], {"line": line["id"], "at": line["at"]}


def find_new_troubles() -> Iterator[tuple[str, Ids]]:
    """Of invites. While a state lasts, there is one message."""
    needing = {name_of(invite): invite for invite in find_all_needing()}
    for key, invite in needing.items():
        if is_new(key):
            yield "invite_needs_you", {"invite": invite["id"], "trouble": find_trouble(invite)}
    sql = "DELETE FROM told WHERE at <= ? AND key NOT IN (SELECT value FROM json_each(?))"
    get_db().execute(sql, (now() - DAY, json.dumps([*needing])))


def find_leaving_guests() -> Iterator[tuple[str, Ids]]:
    """Those whose last day, in UTC, is tomorrow."""
    begins = (now() // DAY + 1) * DAY
    guests = fetch_rows(
        "SELECT id, ends_at FROM authors WHERE removed_at IS NULL AND ends_at > ? AND ends_at <= ?",
        (begins, begins + DAY),
    )
    for guest in guests:
        if is_new(f"guest {guest['id']} {guest['ends_at']}"):
            yield "guest_last_day", {"guest": guest["id"], "ends_at": guest["ends_at"]}


def name_of(invite: sqlite3.Row) -> str:
    """An invite in a state."""
    return f"invite {invite['id']} {find_trouble(invite)}"


def is_new(key: str) -> bool:
    """And remember it."""
    made = get_db().execute("INSERT OR IGNORE INTO told VALUES (?, ?)", (key, now()))
    return made.rowcount > 0


def put_news(event: str, ids: Ids) -> None:
    for receiver in find_receivers():
        one = {"id": f"msg_{secrets.token_hex(12)}", "at": now()} | ids
        put_in_outbox(receiver, event, **one)


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
    if "guest" in ids:
        return read_guest(about, ids["guest"], ids["ends_at"])
    return read_invite(about, ids["invite"], ids["trouble"])


def read_guest(about: About, author_id: int, ends_at: int) -> News | None:
    """If it is still so, and still tomorrow."""
    sql = "SELECT username FROM authors WHERE id = ? AND removed_at IS NULL AND ends_at = ?"
    row = fetch_row(sql, (author_id, ends_at))
    if row is None or (ends_at - 1) // DAY != now() // DAY + 1:
        return None
    name = row["username"]
    return News(*about, None, name, say_here("notify-guest", name))


def read_invite(about: About, invite_id: int, trouble: str) -> News | None:
    """If it is still so."""
    invite = find_needing(invite_id)
    if invite is None or find_trouble(invite) != trouble:
        return None
    words = f"{say_here('notify-invite')} {say_here(trouble)}"
    return News(*about, None, invite["username"], words)


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
    return write_to(row["receiver"], news) if news and row["receiver"] in find_receivers() else None


def write_to(receiver: str, news: News) -> Message:
    return write_hook(news) if receiver == "notify hook" else write_notice(news)


def write_notice(news: News) -> Message:
    """In ntfy's form, or in the one that `?format=` of the address names, which isn't sent."""
    address, form = split_format(current_app.config["NOTIFY_URL"])
    title = current_app.config["GROUP_NAME"]
    tag, path = LOOKS.get(news.event, NEEDS_YOU)
    there = f"{current_app.config['BASE_URL']}{path}"
    if form == "gotify":
        extras = {"client::notification": {"click": {"url": there}}}
        told = {"title": title, "message": news.words, "priority": 5, "extras": extras}
        return Message(address, json.dumps(told), AS_JSON, SECONDS)
    if form == "apprise":
        told = {"title": title, "body": news.words, "type": "info"}
        return Message(address, json.dumps(told), AS_JSON, SECONDS)
    headers = {"Title": encode_title(title), "Tags": tag, "Click": there}
    headers |= {"Content-Type": "text/plain; charset=utf-8"}
    return Message(address, news.words, headers, SECONDS)


def split_format(address: str) -> tuple[str, str]:
    """The address as it's called, and the form."""
    parts = urlsplit(address)
    kept = [part for part in parts.query.split("&") if part.partition("=")[0] != "format"]
    form = dict(parse_qsl(parts.query)).get("format", "ntfy")
    return urlunsplit(parts._replace(query="&".join(kept))), form


def encode_title(title: str) -> str:
    """As headers take it (RFC 2047)."""
    return title if title.isascii() else Header(title, "utf-8").encode(linesep="")


def write_hook(news: News) -> Message:
    """Signed as Standard Webhooks says, at each try."""
    told = news._asdict() | {"at": say_iso(news.at)}
    body = json.dumps(told, ensure_ascii=False)
    stamp = str(int(time.time()))
    headers = AS_JSON | {
        "webhook-id": news.id,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{sign(f'{news.id}.{stamp}.{body}')}",
    }
    return Message(current_app.config["HOOK_URL"], body, headers, SECONDS)


def sign(text: str) -> str:
    key = read_hook_key(current_app.config["HOOK_SECRET"])
    return base64.b64encode(hmac.new(key, text.encode(), hashlib.sha256).digest()).decode()


def read_hook_key(secret: str) -> bytes:
    """As the libraries of Standard Webhooks have it, or else just the letters."""
    is_encoded = secret.startswith("whsec_")
    return base64.b64decode(secret.removeprefix("whsec_")) if is_encoded else secret.encode()


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
    with Sender() as sender:
        answers = {RECEIVERS[one]: sender.send(write_to(one, news)) for one in receivers}
    for setting, answer in answers.items():
        click.echo(f"{setting}: {answer}")
    if not all(answer.startswith("HTTP 2") for answer in answers.values()):
        raise click.exceptions.Exit(1)


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
    address = current_app.config[setting]
    try:
        requests.head(address, timeout=SECONDS, allow_redirects=False)
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
    events={
        "notice_dropped": "Messages that NOTIFY_URL or HOOK_URL didn't take, in a day: {count}"
    },
    each_minute=look_for_news,
    write_message=write_news,
    undelivered=note_dropped,
    tries_when_refused=TRIES,
    check=check_receivers,
)
