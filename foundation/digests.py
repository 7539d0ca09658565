"""Digests: what is kept in place of secrets and phone numbers."""

import hashlib
import hmac
import json

from flask import current_app


def keyed_digest(purpose: str, *parts: str) -> str:
    """HMAC-SHA-256 of `parts` in 64 hex digits, under a key of its own for each purpose."""
    key = hmac.digest(current_app.config["SECRET_KEY"].encode(), purpose.encode(), "sha256")
    return hmac.digest(key, json.dumps(parts).encode(), "sha256").hex()


def phone_digest(phone: str) -> str:
    return keyed_digest("phone", phone)


def session_digest(sid: str) -> str:
    return hashlib.sha256(sid.encode()).hexdigest()
