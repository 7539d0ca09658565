"""Webhooks: whose call it is, what it says, and that it counts once."""

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
    """The fields of a form or of a JSON object; none at all where a name is odd or stands twice,
    with which a signature could be made to cover something else than we read."""
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
    """Whether `sig` was made with our secret, over every field and the time among them."""
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
    """A text message that a phone sent to the group's number."""

    id: str
    phone: str
    words: list[str]
    sent_at: int

    @property
    def digest(self) -> str:
        """What is kept of its id: beside usernames, the id itself would tell Vonage's staff, and
        who reads their records, which member has which number."""
        return keyed_digest("message", self.id)


def parse_inbound(fields: Mapping[str, Any]) -> Inbound | None:
    """The SMS API's fields or the Messages API's. None for what cannot be a friend's reply: a
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
    """The SMS API's or the Messages API's name for a text."""
    found = fields.get("messageId", fields.get("message_uuid"))
    is_id = isinstance(found, str) and re.fullmatch(r"[!-~]{1,100}", found)
    return found if is_id else None


def parse_time(text: object) -> int | None:
    """Unix seconds, or a date in ISO 8601 (UTC where it does not say)."""
    try:
        if re.fullmatch(r"[0-9]{1,12}", str(text)):
            return int(str(text))
        at = datetime.fromisoformat(str(text))
        return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())
    except ValueError:
        return None


CLAIM_LIFETIME = 30
STALE_AFTER = 30 * MINUTE


INBOUND_LIFETIME = 3 * DAY  # Vonage stops re-sending a message after 24 h


def prune_inbound() -> None:
    old = now() - INBOUND_LIFETIME
    get_db().execute("DELETE FROM inbound_messages WHERE claimed_at <= ?", (old,))


def claim_message(message_id: str) -> Literal["ours", "done", "busy"]:
    """Whether it is ours to act on, or was acted on before, or somebody is at it right now or died
    at it less than 30 s ago."""
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
    """Do it and say so; where it fails, give the claim back, so that Vonage's next call may try."""
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


UNDELIVERED = ("expired", "failed", "rejected", "undeliverable")
# The codes of Vonage's delivery receipts, by what there is to do.
WHY_UNDELIVERED = {
    # Absent for good, moved to another network, illegal, unroutable, unreachable.
    "undelivered-number": ("3", "5", "9", "11", "12"),
    # Absent for now, busy, trouble in the network.
    "undelivered-absent": ("2", "7", "8"),
    # Barred, taken for spam, filtered, against a regulation.
    "undelivered-blocked": ("4", "6", "10", "14", "50", "51", "52", "53", "54"),
}


def parse_delivery(fields: Mapping[str, Any]) -> tuple[str, str] | None:
    """Vonage's id of a text, and "delivered" or why it was not. None: nothing is decided yet."""
    message_id, status = parse_message_id(fields), fields.get("status")
    if message_id is None or status not in ("delivered", *UNDELIVERED):
        return None
    if status == "delivered":
        return message_id, status
    code = fields.get("err-code")
    code = str(code) if isinstance(code, int) else code
    known = (why for why, codes in WHY_UNDELIVERED.items() if code in codes)
    return message_id, next(known, "undelivered")
