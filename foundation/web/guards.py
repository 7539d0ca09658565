"""Guards: what is asked of a request before its view runs."""

import re
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import unquote_plus, urlencode

from flask import abort, current_app, request
from werkzeug.routing import RequestRedirect

from foundation.typed.hosts import is_within
from foundation.typed.mistakes import has_control
from foundation.web.sessions import this_session

View = TypeVar("View", bound=Callable[..., Any])


def for_machines(view: View) -> View:
    """Decorator: programs call this view, not browsers. It proves by itself who is calling, so the
    cross-site guard leaves it alone."""
    view.is_for_machines = True  # type: ignore[attr-defined]
    return view


def guard() -> None:
    """Runs before every view."""
    failure = this_session().failure
    if failure is not None:
        raise failure
    if isinstance(request.routing_exception, RequestRedirect):
        abort(404)  # Werkzeug would tidy the path, with an address built from Host
    # NUL and its like: nobody types them, and no page may have them.
    query = unquote_plus(request.query_string.decode("latin-1"))
    if request.method == "GET" and has_control(query):
        abort(400)
    if request.endpoint is None or is_for_machines(request.endpoint):
        return
    if has_control(request.path):
        abort(404)
    if request.method == "POST" and is_cross_site():
        abort(403, "cross-site")


def is_for_machines(endpoint: str) -> bool:
    return getattr(current_app.view_functions[endpoint], "is_for_machines", False)


def is_cross_site() -> bool:
    """Browsers say where a POST comes from, so forms need no token: `Sec-Fetch-Site` (Fetch
    Metadata), or `Origin` in older ones. A caller that sends neither isn't a member's browser."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is None:
        origin = request.headers.get("Origin")
        site = "same-origin" if origin == current_app.config["BASE_URL"] else "cross-site"
    return site not in ("same-origin", "none")


MAX_NEXT = 2000
PATH_PART = r"[\w~%@:+=-][\w~%@:+=.-]*"
PLAIN_PATH = re.compile(rf"/(?:{PATH_PART}(?:/{PATH_PART})*/?)?(?:\?[\w~%@:+=.&/-]*)?", re.ASCII)


def read_next() -> str | None:
    """Where the visitor wanted to go, see `parse_next`."""
    return parse_next(request.values.get("next", ""))


def with_next(path: str, next_: str | None) -> str:
    """A path of ours that leads on to there."""
    return f"{path}?{urlencode({'next': next_}, safe='/')}" if next_ else path


def parse_next(text: str) -> str | None:
    """Where to go after signing in: a plain path of ours, or an https address at or below
    COOKIE_DOMAIN. Anything else is dropped, because browsers read `//host` and its like as another
    site. So is what is too long for a header that has to pass through a proxy."""
    if len(text) > MAX_NEXT:
        return None
    if PLAIN_PATH.fullmatch(text):
        return text
    domain = current_app.config["COOKIE_DOMAIN"]
    match = re.fullmatch(r"https://([a-z0-9.-]+)(?::[0-9]{1,5})?(?:[/?][!-\[\]-~]*)?", text)
    if domain and match and is_within(match[1], domain):
        return text
    return None
