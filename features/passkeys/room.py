"""The blueprint, and for which host passkeys are made."""

from ipaddress import ip_address
from urllib.parse import urlsplit

from flask import Blueprint, abort, current_app

bp = Blueprint("passkeys", __name__)

PURPOSES = ("sign-in", "add", "confirm")


def find_host() -> str | None:
    """What passkeys are tied to. None: BASE_URL is an IP address, where there can be none."""
    host = urlsplit(current_app.config["BASE_URL"]).hostname or ""
    try:
        ip_address(host)
    except ValueError:
        return host
    return None


@bp.before_request
def require_host() -> None:
    if find_host() is None:
        abort(404)
