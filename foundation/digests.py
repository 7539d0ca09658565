"""Digests: what the database keeps instead of secrets and phone numbers."""

import hashlib
import hmac
import json

from flask import current_app


def keyed_digest(purpose: str, *parts: str) -> str:
    """HMAC-SHA-256 of `parts` as 64 hex digits, under a separate key for each purpose."""
    key = hmac.digest(current_app.config["SECRET_KEY"].encode(), purpose.encode(), "sha256")
    return hmac.digest(key, json.dumps(parts).encode(), "sha256").hex()


def phone_digest(phone: str) -> str:
    return keyed_digest("phone", phone)


def session_digest(sid: str) -> str:
    """Not keyed: a session id is 256 random bits, so its hash cannot be reversed, and sessions
    survive a change of SECRET_KEY."""
    return hashlib.sha256(sid.encode()).hexdigest()
