"""Guards: what is asked of a request before its view runs."""

import re

from flask import abort, current_app, request

from foundation.settings import is_within


def refuse_cross_site() -> None:
    """Browsers say where a POST comes from, so no form needs a token (Fetch Metadata; `Origin` for
    browsers older than that). A caller that says neither is no browser of a member."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is None:
        origin = request.headers.get("Origin")
        site = "same-origin" if origin == current_app.config["BASE_URL"] else "cross-site"
    if site not in ("same-origin", "none"):
        abort(403)


LONGEST_NEXT = 2000
PATH_PART = r"[\w~%@:+=-][\w~%@:+=.-]*"
PLAIN_PATH = re.compile(rf"/(?:{PATH_PART}(?:/{PATH_PART})*/?)?(?:\?[\w~%@:+=.&/-]*)?", re.ASCII)


def parse_next(text: str) -> str | None:
    """Where to go after signing in: a plain path of ours, or an https address at or below
    COOKIE_DOMAIN. Anything else is dropped: browsers read `//host` and worse as another site. So
    is what is too long for the header of an answer that has to pass a proxy."""
    if len(text) > LONGEST_NEXT:
        return None
    if PLAIN_PATH.fullmatch(text):
        return text
    domain = current_app.config["COOKIE_DOMAIN"]
    match = re.fullmatch(r"https://([a-z0-9.-]+)(?::[0-9]{1,5})?(?:[/?][!-\[\]-~]*)?", text)
    if domain and match and is_within(match[1], domain):
        return text
    return None
