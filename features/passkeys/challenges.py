"""Challenges: what a passkey signs. They are good once, for five minutes."""

import hmac
import secrets
import sqlite3
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import current_app

from features.passkeys.json_api import parse_json
from features.passkeys.room import PURPOSES
from foundation.storage.database import get_db
from foundation.storage.digests import keyed_digest
from foundation.web.sessions import current_member, this_digest
from foundation.web.visitor import find_visitor
from foundation.words.clock import MINUTE, now

CHALLENGE_LIFETIME = 5 * MINUTE
CHALLENGE_HEAD = struct.Struct(">BQ8s")  # purpose, time, random


def make_challenge(purpose: str) -> bytes:
    head = CHALLENGE_HEAD.pack(PURPOSES.index(purpose), now(), secrets.token_bytes(8))
    return head + bytes.fromhex(challenge_mac(head, purpose))


def challenge_mac(head: bytes, purpose: str) -> str:
    """To whom the challenge was given: to a session, or before signing in to a browser."""
    owner = this_digest() if current_member() else (find_visitor() or "")
    return keyed_digest("passkey challenge", head.hex(), purpose, owner)


def require_challenge(credential: dict[str, Any], purpose: str) -> bytes:
    """The challenge that was answered, if it is ours, for this, and in time. Raises Refused."""
    client_data = parse_json(decode(credential["response"]["clientDataJSON"]))
    challenge = decode(client_data["challenge"])
    head, mac = challenge[: CHALLENGE_HEAD.size], challenge[CHALLENGE_HEAD.size :]
    number, at, _ = CHALLENGE_HEAD.unpack(head)
    is_ours = hmac.compare_digest(mac.hex(), challenge_mac(head, purpose))
    if not is_ours or number != PURPOSES.index(purpose) or not 0 <= now() - at < CHALLENGE_LIFETIME:
        raise Refused
    return challenge


def spend_challenge(challenge: bytes) -> None:
    """In the transaction that succeeds. Raises Refused the second time."""
    try:
        get_db().execute(
            "INSERT INTO used_challenges VALUES (?, ?)",
            (keyed_digest("used challenge", challenge.hex()), now() + CHALLENGE_LIFETIME),
        )
    except sqlite3.IntegrityError:
        raise Refused from None


class Refused(Exception):
    """What the browser sent is no good, whatever it is."""


@contextmanager
def refusing_odd_input() -> Iterator[None]:
    """Around the library, and what parses for it what anybody may send: there, it raises errors of
    many kinds. None of our own rules or queries belong in here, or their faults would be hidden."""
    try:
        yield
    except Exception as error:
        current_app.logger.debug("A passkey was refused: %s", type(error).__name__)
        raise Refused from error


def decode(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def encode(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode()


def prune_challenges() -> None:
    get_db().execute("DELETE FROM used_challenges WHERE expires_at <= ?", (now(),))
