"""Where an admin says that a program may be reached."""

import re
from urllib.parse import urlsplit

from foundation.typed.mistakes import Mistake
from foundation.typed.settings import is_loopback


def parse_redirects(text: str) -> str:
    """One a line, compared letter by letter. Raises Mistake."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not 1 <= len(lines) <= 10 or not all(may_return_to(line) for line in lines):
        raise Mistake("redirects", "openid-redirects")
    return "\n".join(lines)


def parse_logout(text: str) -> str:
    """Raises Mistake."""
    address = text.strip()
    if address and not (address.startswith("http") and may_return_to(address)):
        raise Mistake("logout", "openid-logout")
    return address


def may_return_to(address: str) -> bool:
    """https; http on one's own machine; or an app's own scheme, which has a dot in it."""
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    if not re.fullmatch(r"[!-~]{1,500}", address) or re.search(r"[\\<>\"'#*]", address):
        return False
    is_web = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
    is_app = re.fullmatch(r"[a-z][a-z0-9+-]*(\.[a-z0-9+-]+)+", parts.scheme) is not None
    is_host = all(0 < len(label) < 64 for label in host.split(".")) and parts.netloc[-1:] != ":"
    return is_app or (is_web and is_host and "@" not in parts.netloc)
