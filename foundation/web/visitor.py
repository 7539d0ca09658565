"""The visitor cookie: random, it lets a lost answer be given again to the browser that asked."""

import re
import secrets
from base64 import urlsafe_b64encode

from flask import Response, after_this_request, current_app, g, request

from foundation.storage.digests import keyed_digest
from foundation.web.cookies import cookie_settings
from foundation.web.sessions import read_cookies
from foundation.words.clock import DAY


def find_visitor() -> str | None:
    """This browser's, also if this answer brings it."""
    if "visitor" in g:
        return str(g.visitor)
    sent = read_cookies(request.environ, current_app.config["VISITOR_COOKIE_NAME"])
    return sent[0] if sent and re.fullmatch(r"[A-Za-z0-9_-]{43}", sent[0]) else None


def create_visitor(*seed: str) -> str:
    """A new one, random; or from a seed that nobody else has, so a second press of a button gets
    the same."""
    visitor = g.visitor = derive_visitor(*seed) if seed else secrets.token_urlsafe(32)

    @after_this_request
    def set_visitor(response: Response) -> Response:
        response.set_cookie(value=visitor, max_age=DAY, **cookie_settings("VISITOR"))
        return response

    return visitor


def derive_visitor(*seed: str) -> str:
    digest = bytes.fromhex(keyed_digest("new visitor", *seed))
    return urlsafe_b64encode(digest).decode().rstrip("=")
