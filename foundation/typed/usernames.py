"""What can be a username."""

import re
import unicodedata
from collections.abc import Iterator
from contextlib import suppress

from foundation.typed.mistakes import Mistake, holds_number

RESERVED_NAMES = {
    "admin", "administrator", "anonymous", "everyone", "guest", "me", "member", "null", "root",
    "support", "system", "undefined",
}  # fmt: skip
# Of no new member: apps are told <username>@members.<host>, and mail to these is for who runs
# a host (RFC 2142).
MAIL_NAMES = {"abuse", "hostmaster", "postmaster", "webmaster"}

MAX_NAME = 30


def tidy_username(text: str) -> str:
    """What somebody means by it: "Grace Hopper" is grace-hopper. A username stays as it is, and ""
    means that nothing is left. static/app.js shows the same while it is typed."""
    letters = unicodedata.normalize("NFKD", text)
    plain = "".join(c for c in letters if not unicodedata.category(c).startswith("M")).lower()
    # Hyphens alone stay; with any other sign among them, they are one.
    joined = re.sub(r"[^a-z0-9_]+", lambda run: run[0] if run[0].strip("-") == "" else "-", plain)
    return joined.strip("-_")


def parse_chosen_username(text: str) -> str:
    """As a friend types it who signs up, tidied; "" if the field was left empty. Raises Mistake."""
    return parse_username(tidy_username(text)) if text.strip() else ""


def suggest_usernames(name: str) -> Iterator[str]:
    """Like that one: ada-2, ada-3 ..., as long as they can be usernames."""
    for number in range(2, 100):
        end = f"-{number}"
        with suppress(Mistake):
            yield parse_username(name[: MAX_NAME - len(end)].rstrip("-_") + end)


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
