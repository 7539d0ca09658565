"""What can be a username."""

import re

from foundation.typed.mistakes import Mistake, holds_number

RESERVED_NAMES = {
    "admin", "administrator", "anonymous", "everyone", "guest", "me", "member", "null", "root",
    "support", "system", "undefined",
}  # fmt: skip


def parse_username(text: str) -> str:
    """Lower-case ASCII, 1 to 30 characters. Raises Mistake."""
    if not text.strip():
        raise Mistake("username", "username-missing")
    if not text.strip().isascii():  # before lower(), which turns the Kelvin sign into a k
        raise Mistake("username", "username-unreadable")
    name = text.strip().lower()
    if not re.fullmatch(r"[a-z0-9](?:[a-z0-9_-]{0,28}[a-z0-9])?", name):
        raise Mistake("username", "username-unreadable")
    if name in RESERVED_NAMES:
        raise Mistake("username", "username-reserved")
    if holds_number(name):
        raise Mistake("username", "username-number")
    return name
