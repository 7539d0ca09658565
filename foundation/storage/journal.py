"""The journal: what the group did and when. It is also the ledger that the budget of texts is
counted from, so a text's line is written before the text is sent."""

import json
import logging
import sqlite3

import click
from flask import current_app

from foundation.running import running
from foundation.storage.authors import say_name
from foundation.storage.database import count_rows, fetch_row, get_db
from foundation.words.clock import DAY, HOUR, now
from foundation.words.languages import translate
from foundation.words.sentences import say

JOURNAL_LIFETIME = 365 * DAY

# What each event reads like. Where a line has no actor (the command line did it) or no subject (an
# invite without a name), it is "event, no actor" and so on. {reason} is a sentence.
EVENTS = {
    "invited": "{actor} invited {subject}",
    "invited, no subject": "{actor} invited a friend",
    "invited, no actor": "{subject} was invited from the command line",
    "invited, no actor, no subject": "A friend was invited from the command line",
    "text_sent": "The invite for {subject} was texted",
    "text_sent, no subject": "The invite was texted",
    "text_refused": "The invite for {subject} couldn't be texted: {reason}",
    "text_refused, no subject": "The invite couldn't be texted: {reason}",
    "text_undelivered": "The text to {subject} wasn't delivered",
    "text_undelivered, no subject": "The text to an invited friend wasn't delivered",
    "texted_back": "{subject} texted back",
    "texted_back, no subject": "An invited friend texted back",
    "pin_sent": "A PIN was sent to {subject}",
    "pin_sent, no subject": "A PIN was sent to an invited friend",
    "pin_unsent": "The PIN for {subject} couldn't be sent: Vonage didn't answer. It tries again by"
    " itself",
    "pin_unsent, no subject": "The PIN for an invited friend couldn't be sent: Vonage didn't"
    " answer. It tries again by itself",
    "pin_refused": "No PIN was sent to {subject}: {reason}",
    "pin_refused, no subject": "No PIN was sent to an invited friend: {reason}",
    "pin_wrong": "A wrong PIN was entered for {subject}",
    "pin_wrong, no subject": "A wrong PIN was entered for an invited friend",
    "revoked": "{actor} withdrew the invite for {subject}",
    "revoked, no subject": "{actor} withdrew a friend's invite",
    "revoked, no actor": "The invite for {subject} was replaced from the command line",
    "stopped": "{subject} replied STOP",
    "stopped, no subject": "An invited friend replied STOP",
    "replied_otherwise": "{subject} replied, but without the word",
    "replied_otherwise, no subject": "An invited friend replied, but without the word",
    "hint_sent": "A hint was texted to {subject}",
    "hint_sent, no subject": "A hint was texted to an invited friend",
    "hint_refused": "No hint could be texted: {reason}",
    "help_sent": "{subject} asked for HELP and got an answer",
    "help_sent, no subject": "An invited friend asked for HELP and got an answer",
    "help_refused": "HELP couldn't be answered: {reason}",
    "word_from_stranger": "Texts with the word from numbers that aren't invited, in a day: {count}",
    "word_unknown": "Texts with a word that no invite has, in a day: {count}",
    "joined": "{actor} joined",
    "rejoined": "{actor} is back",
    "signed_in": "{actor} signed in on a new device",
    "signed_out": "{actor} signed out",
    "budget_reached": "{actor} couldn't invite: {reason}",
    "budget_reached, no actor": "An invite from the command line was refused: {reason}",
    "webhook_refused": "Webhook calls refused because they weren't from Vonage, in a day: {count}",
    "webhook_by_get": "Texts ignored because they came by GET, in a day: {count}. In Vonage's"
    " dashboard, set the webhook's method to POST",
    "webhook_stale": "{subject}'s reply arrived more than 30 minutes late",
    "webhook_stale, no subject": "A reply arrived more than 30 minutes late",
    "key_changed": "SECRET_KEY was changed, so all open invites were dropped",
}
WHOM = "(number ending in {digits})"  # after such a line, while the invite is open


def record(
    event: str,
    actor: str | None = None,
    subject: str | None = None,
    invite_id: int | None = None,
    detail: str | None = None,
    parts: int = 0,
) -> None:
    """Add a line: who did what, to whom. Never a phone number. `detail` is the name of the sentence
    that gives the reason, or for a PIN the digest of the message; `parts` is how many texts it
    cost."""
    get_db().execute(
        "INSERT INTO journal (at, event, actor, subject, invite_id, detail, parts)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (now(), event, actor, subject, invite_id, detail, parts),
    )
    log_event("budget_reached" if detail == "budget-spent" else event, actor, subject)


def log_event(event: str, actor: str | None = None, subject: str | None = None) -> None:
    """The same in the server's log, which the program can't change afterwards. Commands have
    none."""
    if click.get_current_context(silent=True) is not None:
        return
    words = LOGGED.get(event) or find_words(event, actor, subject)
    level = logging.WARNING if event.endswith(TROUBLE) else logging.INFO
    told = words.replace(": {reason}", "").replace(", in a day: {count}", "")
    people = {"actor": actor, "subject": subject}
    facts = {what: who and say_name(who, "en") for what, who in people.items()}
    current_app.logger.log(level, told.format(**facts))


# Where the log's words are others: it doesn't name once more who is to be forgotten.
LOGGED = {
    "left": "{actor} left",
    "forgotten": "{actor} had a name forgotten",
    "removed": "{subject} was removed by {actor}",
    "text_undelivered": "A text to an invited friend wasn't delivered",
    "budget_reached": "All texts of 24 hours are spent (TEXTS_PER_DAY)",
}
TROUBLE = (
    "_refused", "_undelivered", "_reached", "_wrong", "_counter", "_stranger", "_failed",
    "_dropped", "_by_get", "_stale",
)  # fmt: skip


def find_words(event: str, actor: str | None, subject: str | None) -> str:
    events = running().events
    name = event + ("" if actor else ", no actor") + ("" if subject else ", no subject")
    # Most events never have the one or the other, and have words for the plain name only.
    plain = (name.replace(", no actor", ""), name.replace(", no subject", ""), event)
    return next((events[n] for n in (name, *plain) if n in events), event)


def describe_event(line: sqlite3.Row, language: str) -> str:
    """A line of the journal as people read it in that language. A line of an invite says who it was
    for, or who it became; without a name, `phone_hint` says whom it is about, while the invite is
    open."""
    subject = line["subject"] or line["became"] or line["who"]
    event = "pin_unsent" if line["is_unsent"] else line["event"]
    words = translate(find_words(event, line["actor"], subject), language)
    people = {"actor": line["actor"], "subject": subject}
    facts = {what: who and say_name(who, language) for what, who in people.items()}
    if "{reason}" in words:
        facts["reason"] = say(line["detail"], language=language)
    if "{count}" in words:
        facts["count"] = read_count(line)
    whom = ""
    if line["phone_hint"] and not subject:
        whom = " " + translate(WHOM, language).format(digits=line["phone_hint"])
    return words.format(**facts) + whom


def record_daily(event: str, count: int = 1) -> None:
    """One line a day for what strangers do, with how often, in the caller's transaction. Nobody can
    make the journal grow with it."""
    line = fetch_row(
        "SELECT id, detail FROM journal WHERE event = ? AND at > ? AND at <= ? ORDER BY id DESC",
        (event, now() - DAY, now()),
    )
    if line is None:
        record(event, detail=json.dumps({"": count}))
        return
    total = json.dumps({"": read_count(line) + count})
    get_db().execute("UPDATE journal SET detail = ? WHERE id = ?", (total, line["id"]))


def read_count(line: sqlite3.Row) -> int:
    """How often. Lines of version 1 stand for once, or count by the last digits of numbers."""
    return int(sum(json.loads(line["detail"] or '{"": 1}').values()))


def record_sparingly(
    event: str, actor: str, subject: str | None = None, detail: str | None = None
) -> None:
    """What a member can do again and again is written ten times a day."""
    lately = count_rows(
        "SELECT count(*) FROM journal WHERE event = ? AND at > ? AND actor = ?",
        (event, now() - DAY, actor),
    )
    if lately < MAX_A_DAY:
        record(event, actor, subject, detail=detail)


MAX_A_DAY = 10


def prune_journal() -> None:
    db = get_db()
    db.execute("DELETE FROM journal WHERE at <= ?", (now() - JOURNAL_LIFETIME,))
    # Which message brought a PIN is asked for half an hour. A digest of parts is the number's.
    sql = "UPDATE journal SET detail = NULL WHERE event = 'pin_sent' AND at > ? AND at <= ?"
    db.execute(f"{sql} AND detail IS NOT NULL", (now() - 7 * DAY, now() - HOUR))


# The ledger: what texts cost ----------------------------------------------------------------------


def count_texts_of_today() -> int:
    """Texts that cost money in the last 24 h. Lines from a day ahead or more were written while the
    clock was wrong, and don't count."""
    return count_rows(
        "SELECT coalesce(sum(parts), 0) FROM journal WHERE parts > 0 AND at > ? AND at < ?",
        (now() - DAY, now() + DAY),
    )


def correct_parts(event: str, invite_id: int, parts: int) -> None:
    """Vonage says how many texts the invite's newest such line really cost."""
    get_db().execute(
        "UPDATE journal SET parts = ? WHERE id ="
        " (SELECT max(id) FROM journal WHERE event = ? AND invite_id = ?)",
        (parts, event, invite_id),
    )


def refund(sent: str, refused: str, invite_id: int, detail: str | None, reason: str) -> None:
    """Take the invite's newest such text out of the ledger, because Vonage did not send it. Its
    line now says so."""
    get_db().execute(
        "UPDATE journal SET event = ?, detail = ?, parts = 0 WHERE id ="
        " (SELECT max(id) FROM journal WHERE event = ? AND invite_id = ? AND detail IS ?)",
        (refused, reason, sent, invite_id, detail),
    )
    log_event(refused)


def has_texted_back(invite_id: int) -> bool:
    sql = "SELECT 1 FROM journal WHERE invite_id = ? AND event = 'texted_back'"
    return fetch_row(sql, (invite_id,)) is not None
