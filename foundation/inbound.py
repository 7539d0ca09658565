"""Webhooks: is it Vonage that calls, what does it say, and acting on each text only once.

Vonage calls again until it gets an answer, so every text may arrive more than once, and at the same
moment on two threads. A *claim* is a row that says: this message is being acted on. It is committed
before anything is done, is marked done afterwards, and can be taken over 30 s after a crash.
"""

import hmac
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from flask import current_app, request

from foundation.clock import DAY, MINUTE, now
from foundation.database import fetch_row, get_db, transaction
from foundation.digests import keyed_digest
from foundation.forms import Mistake
from foundation.journal import record
from foundation.phones import parse_phone
from foundation.vonage import signature


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
    is_object = isinstance(found, list) and all(isinstance(pair, tuple) for pair in found)
    return found if is_object else []


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
    """A text message from a phone to the group's number."""

    id: str
    phone: str
    words: list[str]
    sent_at: int

    @property
    def digest(self) -> str:
        """What the journal keeps of its id: beside usernames, the id itself would tell anybody who
        can read Vonage's records which member has which number."""
        return keyed_digest("message", self.id)


def parse_inbound(fields: Mapping[str, Any]) -> Inbound | None:
    """From the SMS API's fields or the Messages API's. None for what can't be a friend's reply:
    part of a long text, a picture, a receipt, a sender that is no phone."""
    message_id, text = parse_message_id(fields), fields.get("text")
    sender = fields.get("msisdn", fields.get("from"))
    if message_id is None or not isinstance(text, str) or not isinstance(sender, str | int):
        return None
    if fields.get("concat") in (True, "true", "True"):
        return None
    try:
        phone = parse_phone(f"+{str(sender).removeprefix('+')}")
    except Mistake:
        return None
    words = re.findall(r"[^\W_]+", text.casefold())
    sent_at = parse_time(fields.get("timestamp")) or parse_time(fields.get("message-timestamp"))
    return Inbound(message_id, phone, words, sent_at or now())


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


def claim_message(message_id: str) -> Literal["ours", "done", "busy"]:
    """Whether it is ours to act on, or done before, or somebody is working on it right now (or
    crashed while doing so less than 30 s ago)."""
    with transaction():
        prune_inbound()
        ours = fetch_row(
            "INSERT INTO inbound_messages (message_id, claimed_at) VALUES (?, ?)"
            " ON CONFLICT DO UPDATE SET claimed_at = excluded.claimed_at"
            " WHERE done_at IS NULL AND claimed_at NOT BETWEEN ? AND ? RETURNING 1",
            (message_id, now(), now() - CLAIM_LIFETIME + 1, now()),
        )
        if ours:
            return "ours"
        done = "SELECT 1 FROM inbound_messages WHERE message_id = ? AND done_at IS NOT NULL"
        return "done" if fetch_row(done, (message_id,)) else "busy"


def act_once(act: Callable[[Inbound], None], message: Inbound) -> None:
    """Act and mark the claim as done. If that fails, drop the claim, so Vonage's next call can
    try."""
    done = False
    try:
        if now() - message.sent_at <= STALE_AFTER:
            act(message)
        else:
            record("webhook_stale")
        done = True
    finally:
        if done:
            settle = "UPDATE inbound_messages SET done_at = ? WHERE message_id = ?"
            get_db().execute(settle, (now(), message.id))
        else:
            get_db().execute("DELETE FROM inbound_messages WHERE message_id = ?", (message.id,))


# Delivery receipts --------------------------------------------------------------------------------

UNDELIVERED = ("expired", "failed", "rejected", "undeliverable")
# Vonage's codes ("Delivery receipts", error codes), by what can be done about them.
WHY_UNDELIVERED = {
    # Permanently absent, moved to another network, illegal, unroutable, unreachable.
    "undelivered-number": ("3", "5", "9", "11", "12"),
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
    code = fields.get("err-code")
    code = str(code) if isinstance(code, int) else code
    known = (why for why, codes in WHY_UNDELIVERED.items() if code in codes)
    return message_id, next(known, "undelivered")
