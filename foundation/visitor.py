"""The visitor cookie: random, it lets a lost answer be given again to the browser that asked."""

import re
import secrets

from flask import Response, after_this_request, current_app, request

from foundation.clock import DAY


def find_visitor() -> str | None:
    visitor = request.cookies.get(current_app.config["VISITOR_COOKIE_NAME"], "")
    return visitor if re.fullmatch(r"[A-Za-z0-9_-]{43}", visitor) else None


def create_visitor() -> None:
    @after_this_request
    def set_visitor(response: Response) -> Response:
        name, visitor = current_app.config["VISITOR_COOKIE_NAME"], secrets.token_urlsafe(32)
        secure = current_app.config["SESSION_COOKIE_SECURE"]
        attributes = {"max_age": DAY, "secure": secure, "httponly": True, "samesite": "Lax"}
        response.set_cookie(name, visitor, **attributes)
        return response
