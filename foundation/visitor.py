"""The visitor cookie: random, it lets a lost answer be given again to the browser that asked."""

import re
import secrets

from flask import Response, after_this_request, current_app, request

from foundation.clock import DAY
from foundation.sessions import read_cookies


def find_visitor() -> str | None:
    sent = read_cookies(request.environ, current_app.config["VISITOR_COOKIE_NAME"])
    return sent[0] if sent and re.fullmatch(r"[A-Za-z0-9_-]{43}", sent[0]) else None


def create_visitor() -> None:
    @after_this_request
    def set_visitor(response: Response) -> Response:
        name, visitor = current_app.config["VISITOR_COOKIE_NAME"], secrets.token_urlsafe(32)
        secure = current_app.config["SESSION_COOKIE_SECURE"]
        attributes = {"max_age": DAY, "secure": secure, "httponly": True, "samesite": "Lax"}
        response.set_cookie(name, visitor, **attributes)
        return response
