"""Invites with a word of their own."""

import re

from .cast import Browser, Group


def invite(ada: Browser, **more: str) -> str:
    """An invite for the first phone that texts it; its word."""
    page = ada.post("/invite", send="self", **more)
    assert page.status_code == 200, page.text
    return str(re.findall(r"text ([A-Z0-9]{6}) to", page.text)[0])


def whitelist(group: Group) -> list[tuple[object, ...]]:
    return group.rows("SELECT id, phone_digest, phone_hint, pins_sent, replied FROM whitelist")


def is_unbound(group: Group) -> bool:
    return [row[1:3] for row in whitelist(group)] == [(None, None)]


def pins(group: Group) -> int:
    return len(group.vonage.calls("start"))
