"""Where an admin says that a program may be reached."""

import re
from urllib.parse import urlsplit

from foundation.typed.hosts import is_loopback, parse_web_address, split_address
from foundation.typed.mistakes import Mistake

MAX_ADDRESSES = 10


def parse_redirects(text: str, with_local_names: bool) -> str:
    """Where members return to once they are signed in: one a line, compared letter by letter.
    Raises Mistake."""
    return parse_lines("redirects", text, with_local_names, least=1)


def parse_after_sign_out(text: str, with_local_names: bool) -> str:
    """Where they return to once they are signed out; may be empty. Raises Mistake."""
    return parse_lines("after_sign_out", text, with_local_names, least=0)


def parse_lines(field: str, text: str, with_local_names: bool, least: int) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not least <= len(lines) <= MAX_ADDRESSES:
        raise Mistake(field, "openid-addresses")
    return "\n".join(parse_return(field, line, with_local_names) for line in lines)


def parse_return(field: str, address: str, with_local_names: bool) -> str:
    """On the web, or an app's own scheme, which has a dot in it (RFC 8252, 7.1)."""
    _, scheme = split_address(field, address)
    if scheme in ("http", "https") or not address.lower().startswith(f"{scheme}:/"):
        return parse_web_address(field, address, with_local_names)
    if not re.fullmatch(r"[a-z][a-z0-9+-]*(\.[a-z0-9+-]+)+", scheme):
        raise Mistake(field, "openid-scheme", about=address)
    return address


def parse_logout(text: str, with_local_names: bool) -> str:
    """Where the program is told of sign-outs; may be empty. Raises Mistake."""
    return parse_web_address("logout", text, with_local_names) if text.strip() else ""


def may_lead_anywhere(address: str) -> bool:
    """Whether it may lead to somebody else's program: on a foreign network, or an app that took the
    same scheme for itself."""
    parts = urlsplit(address)
    return parts.scheme != "https" and not (
        parts.scheme == "http" and is_loopback(parts.hostname or "")
    )
