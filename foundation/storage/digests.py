"""Digests: what the database keeps instead of secrets and phone numbers."""

import functools
import hashlib
import hmac
import json

from flask import current_app


def keyed_digest(purpose: str, *parts: str) -> str:
    """HMAC-SHA-256 of `parts` as 64 hex digits, under a separate key for each purpose."""
    key = derive_key(current_app.config["SECRET_KEY"], purpose)
    return hmac.digest(key, json.dumps(parts).encode(), "sha256").hex()


@functools.cache
def derive_key(secret: str, purpose: str) -> bytes:
    return hmac.digest(secret.encode(), purpose.encode(), "sha256")


def digest_phone(phone: str) -> str:
    return keyed_digest("phone", phone)


def digest_session(session_id: str) -> str:
    """Not keyed: a session id is 256 random bits, so its hash cannot be reversed, and sessions
    survive a change of SECRET_KEY."""
    return random_digest(session_id)


def random_digest(secret: str) -> str:
    """SHA-256 of what is random already (128 bits or more), so it needs no key."""
    return hashlib.sha256(secret.encode()).hexdigest()
