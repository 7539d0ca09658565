"""Webhooks: is it Vonage that calls, what does it say, and acting on each text only once.

Vonage calls again until it gets an answer, so every text may arrive more than once, and at the same
moment on two threads. A *claim* is a row that says: this message is being acted on. It is committed
before anything is done, is marked done afterwards, and can be taken over 30 s after a crash.
"""

import hmac
import json
import re
import sqlite3
import threading
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from flask import abort, current_app, request
from flask.typing import ResponseReturnValue

from foundation.running import running
from foundation.storage.database import fetch_row, get_db, transaction
from foundation.storage.digests import keyed_digest
from foundation.storage.journal import record_daily
from foundation.typed.keywords import split_words
from foundation.typed.mistakes import drop_invisible
from foundation.typed.phones import parse_sender
from foundation.vonage.client import signature
from foundation.words.clock import DAY, MINUTE, now


def webhook_token() -> str:
    return keyed_digest("webhook token")[:32]


def webhook_url(webhook: Literal["answer", "delivery"] = "answer") -> str:
    return f"{current_app.config['BASE_URL']}/{webhook}/{webhook_token()}"


FIELD_NAME = re.compile(r"[A-Za-z0-9_-]+")


def read_fields() -> dict[str, Any]:
    """The fields of a form or a JSON object. None at all if a name is odd or comes twice: the
    signature could then cover something other than what we read."""
    pairs = read_json_pairs() if request.is_json else list(request.form.items(multi=True))
    fields = dict(pairs)
    is_sound = len(fields) == len(pairs)
    return fields if is_sound and all(FIELD_NAME.fullmatch(name) for name in fields) else {}


def read_json_pairs() -> list[tuple[str, Any]]:
    try:
        found = json.loads(request.get_data(), object_pairs_hook=list)
    except (ValueError, RecursionError):
        return []
    return [(name, to_dict(value)) for name, value in found] if is_pairs(found) else []


def is_pairs(value: object) -> bool:
    """Whether this was an object; an array has no tuples in it."""
    return isinstance(value, list) and all(isinstance(pair, tuple) for pair in value)


def to_dict(value: Any) -> Any:
    return dict(value) if value and is_pairs(value) else value


def is_signed(fields: Mapping[str, Any]) -> bool:
    """Whether `sig` was made with our secret, over all fields including the time."""
    secret = current_app.config["VONAGE_SIGNATURE_SECRET"]
    if not secret or not {"sig", "timestamp"} <= fields.keys():
        return False
    if not all(isinstance(value, str | int) for value in fields.values()):
        return False
    texts = {name: json.dumps(v) if isinstance(v, bool) else str(v) for name, v in fields.items()}
    expected = signature(texts, secret, current_app.config["VONAGE_SIGNATURE_METHOD"])
    return hmac.compare_digest(texts["sig"].lower().encode("utf-8", "replace"), expected.encode())


@dataclass(frozen=True)
class Inbound:
    """A text message from a phone to the group's number, or one part of a long one."""

    is_part: bool  # of a longer one
    phone: str  # key
    text: str  # as `plain` makes it
    sent_at: int
    claim: str  # digest of what is acted on once: this message, or all the parts of the text

    @property
    def words(self) -> list[str]:
        return split_words(self.text)

    @property
    def is_late(self) -> bool:
        return now() - self.sent_at > STALE_AFTER

    def has_word(self, word: str) -> bool:
        """As a word among others, or as all there is ("SUN FLOWER")."""
        return fold_text(word) in (*self.words, "".join(self.words))


def fold_text(text: str) -> str:
    """For comparing: compatible letters are one, invisible ones are gone, case doesn't matter, and
    the Turkish i's (a Turkish phone writes SUNFLOWER with them) are an i."""
    text = unicodedata.normalize("NFKC", text).replace("\u0130", "i").replace("\u0131", "i")
    return drop_invisible(text).casefold()


def is_the_word(name: str) -> bool:
    """Whether a username is the word, also as it is tidied (sun-flower): then somebody mixed up the
    fields."""
    return re.sub("[-_]", "", name) == fold_text(current_app.config["INVITE_CODE"])


def parse_inbound(fields: Mapping[str, Any]) -> Inbound | None:
    """From the SMS API's fields or the Messages API's. None for what can't be a friend's reply: a
    receipt, a picture without a caption, a sender that is no phone."""
    message_id, text = parse_message_id(fields), parse_text(fields)
    phone = parse_sender(fields.get("msisdn", fields.get("from")))
    if message_id is None or text is None or phone is None:
        return None
    times = [parse_time(fields.get(name)) for name in ("timestamp", "message-timestamp")]
    sent_at = min((at for at in times if at is not None), default=now())
    # Only digests are kept: beside usernames, Vonage's ids would tell anybody who can read its
    # records which member has which number.
    claim = keyed_digest("message", message_id)
    if is_part(fields):
        claim = keyed_digest("parts", phone, str(fields.get("concat-ref")))
    return Inbound(is_part(fields), phone, fold_text(text), sent_at, claim)


def parse_text(fields: Mapping[str, Any]) -> str | None:
    """The text, or a picture's caption (the Messages API's `image`, `video` ... have one)."""
    kind = fields.get("message_type")
    if kind != "text" and isinstance(kind, str) and isinstance(fields.get(kind), dict):
        text = fields[kind].get("caption")
    else:
        text = fields.get("text")
    return text if isinstance(text, str) else None


def is_part(fields: Mapping[str, Any]) -> bool:
    """Of a long text. Phones also send "1 of 1"."""
    is_whole = str(fields.get("concat-total")) == "1"
    return str(fields.get("concat")).lower() == "true" and not is_whole


def parse_message_id(fields: Mapping[str, Any]) -> str | None:
    """The SMS API calls it messageId, the Messages API message_uuid."""
    found = fields.get("messageId", fields.get("message_uuid"))
    is_id = isinstance(found, str) and re.fullmatch(r"[!-~]{1,100}", found)
    return found if is_id else None


def parse_time(text: object) -> int | None:
    """From Unix seconds, or a date in ISO 8601 (UTC if it doesn't say)."""
    try:
        if re.fullmatch(r"[0-9]{1,12}", str(text)):
            return int(str(text))
        at = datetime.fromisoformat(str(text))
        return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())
    except ValueError:
        return None


# Claims -------------------------------------------------------------------------------------------

CLAIM_LIFETIME = 30  # seconds; an answer takes 8 s of Vonage's and 5 s of a locked database at most
STALE_AFTER = 30 * MINUTE  # by then nobody is waiting for the PIN
INBOUND_LIFETIME = 3 * DAY  # Vonage stops calling after 24 h


def prune_inbound() -> None:
    old = now() - INBOUND_LIFETIME
    get_db().execute("DELETE FROM inbound_messages WHERE claimed_at <= ?", (old,))


def claim_message(message: Inbound) -> Literal["ours", "done", "busy"]:
    """Whether it is ours to act on, or done before, or somebody is working on it right now (or
    crashed while doing so less than 30 s ago).

    The parts of a long text are known by a small number of the carrier's, which comes again. So
    their claim is forgotten once the parts themselves would be too late to act on.
    """
    forgotten = now() - STALE_AFTER if message.is_part else 0
    with transaction():
        prune_inbound()
        ours = fetch_row(
            "INSERT INTO inbound_messages (message_id, claimed_at) VALUES (?, ?)"
            " ON CONFLICT DO UPDATE SET claimed_at = excluded.claimed_at, done_at = NULL"
            " WHERE (done_at IS NULL AND claimed_at NOT BETWEEN ? AND ?) OR done_at < ?"
            " RETURNING 1",
            (message.claim, now(), now() - CLAIM_LIFETIME + 1, now(), forgotten),
        )
        if ours:
            return "ours"
        sql = "SELECT 1 FROM inbound_messages WHERE message_id = ? AND done_at IS NOT NULL"
        return "done" if fetch_row(sql, (message.claim,)) else "busy"


def act_once(act: Callable[[Inbound], None], message: Inbound) -> None:
    """Act and mark the claim as done. If that fails, drop the claim, so Vonage's next call can
    try."""
    done = False
    try:
        act(message)
        done = True
    finally:
        with transaction() as db:
            if done:
                sql = "UPDATE inbound_messages SET done_at = ? WHERE message_id = ?"
                db.execute(sql, (now(), message.claim))
            else:
                sql = "DELETE FROM inbound_messages WHERE message_id = ?"
                db.execute(sql, (message.claim,))


def count_in_journal(event: str) -> None:
    """What strangers do, counted in memory and written once a minute, if that needs no waiting: so
    a flood of it takes nobody's turn, and holds no thread."""
    here = running()
    with TALLY_LOCK:
        here.tallies[event] += 1
        is_due = here.is_due(event, now())
    if is_due:
        with suppress(sqlite3.OperationalError):
            write_tallies(waits=False)


def write_tallies(waits: bool = True) -> None:
    """What could not be written at once. Raises OperationalError, and then counts on."""
    here = running()
    with TALLY_LOCK:
        counted, here.tallies = here.tallies, Counter()
    try:
        with transaction(waits):
            for event, count in counted.items():
                record_daily(event, count)
    except sqlite3.Error:
        with TALLY_LOCK:
            here.tallies.update(counted)
        raise


def is_known(message: Inbound) -> bool:
    """Whether this message was acted on before: Vonage calls again for a day."""
    sql = "SELECT 1 FROM inbound_messages WHERE message_id = ?"
    return fetch_row(sql, (message.claim,)) is not None


TALLY_LOCK = threading.Lock()

# Delivery receipts --------------------------------------------------------------------------------

UNDELIVERED = ("expired", "failed", "rejected", "undeliverable")
# Vonage's codes ("Delivery receipts", error codes), by what can be done about them.
WHY_UNDELIVERED = {
    # Permanently absent, moved to another network, unroutable, unreachable.
    "undelivered-number": ("3", "5", "11", "12"),
    "undelivered-opted-out": ("9",),
    # Absent for now, busy, network error.
    "undelivered-absent": ("2", "7", "8"),
    # Barred, taken for spam, filtered, against a regulation.
    "undelivered-blocked": ("4", "6", "10", "14", "50", "51", "52", "53", "54"),
}


def parse_delivery(fields: Mapping[str, Any]) -> tuple[str, str] | None:
    """Vonage's id of a text, and "delivered" or why it wasn't. None: nothing is decided yet."""
    message_id, status = parse_message_id(fields), fields.get("status")
    if message_id is None or status not in ("delivered", *UNDELIVERED):
        return None
    if status == "delivered":
        return message_id, status
    error = fields.get("error")  # where the Messages API has the code
    code = error.get("title") if isinstance(error, dict) else fields.get("err-code")
    code = str(code) if isinstance(code, int) else code
    known = (why for why, codes in WHY_UNDELIVERED.items() if code in codes)
    return message_id, next(known, "undelivered")


def delivery_of_all_parts(outcomes: Iterable[str | None]) -> str | None:
    """A text is delivered when all its parts are, and undelivered when one is."""
    seen = set(outcomes)
    return next((why for why in seen - {None, "delivered"}), None if None in seen else "delivered")


def respond_to_probe() -> ResponseReturnValue:
    """Before Vonage takes an address for a webhook, it calls it and wants a 200. A text that comes
    by GET would end up in the logs of web servers: the dashboard must say POST."""
    if request.args:
        if "text" in request.args:
            count_in_journal("webhook_by_get")
        abort(405)
    return "", 200
