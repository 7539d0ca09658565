"""Notices: what the page after a form says once, such as "Invited. The text is on its way."

A cookie takes the sentence's name to that page, which deletes it. So a reload doesn't repeat it,
"You're signed out" needs no session, and showing one writes nothing to the database.
"""

import re

from flask import Response, after_this_request, current_app, request

from foundation.web.cookies import cookie_settings
from foundation.words.clock import MINUTE
from foundation.words.sentences import is_sentence, say

COOKIE = re.compile(r"(done-[a-z-]{1,40})(?:\.([a-z0-9_-]{1,30}))?")


def notify(sentence: str, username: str | None = None) -> None:
    """Have the next page say the sentence of that name, which begins with "done-". `username` is
    put where the sentence has {name}."""
    value = f"{sentence}.{username}" if username else sentence

    @after_this_request
    def set_notice(response: Response) -> Response:
        response.set_cookie(value=value, max_age=MINUTE, **cookie_settings("NOTICE"))
        return response


def has_notice() -> bool:
    """Nearly no page has, so this doesn't take the cookies apart."""
    name = current_app.config["NOTICE_COOKIE_NAME"]
    return f"{name}=" in request.environ.get("HTTP_COOKIE", "")


def take_notice() -> str | None:
    """What this page should say, once."""
    if not has_notice():
        return None
    value = request.cookies.get(current_app.config["NOTICE_COOKIE_NAME"], "")
    if not value:
        return None  # some proxies name it without a value

    @after_this_request
    def delete_notice(response: Response) -> Response:
        response.delete_cookie(**cookie_settings("NOTICE"))
        return response

    match = COOKIE.fullmatch(value)
    return say(match[1], match[2] or "") if match and is_sentence(match[1]) else None
