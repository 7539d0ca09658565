"""The language that a visitor chooses at the foot of a page. A cookie keeps it."""

from flask import Blueprint, abort, current_app, redirect, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from foundation.web.cookies import cookie_settings
from foundation.web.guards import read_next, with_next
from foundation.words.clock import DAY
from foundation.words.languages import LANGUAGES

language_choice = Blueprint("language_choice", __name__)


@language_choice.post("/language")
def save_choice() -> ResponseReturnValue:
    """The choice at the foot of a page, and back to that page."""
    chosen = request.form.get("language", "")
    if chosen not in LANGUAGES:
        abort(400)
    response = redirect(find_way_back(), 303)
    response.set_cookie(value=chosen, max_age=365 * DAY, **cookie_settings("LANGUAGE"))
    return response


def find_way_back() -> str:
    """The page that the browser says it comes from, or that page itself, if it's one of ours that
    can be opened. On one that refused a form, the address has lost where its visitor wanted to
    go."""
    own = current_app.config["BASE_URL"]
    here = request.form.get("here", "")
    came_from = f"{own}{here}" if here else request.referrer or ""
    if not came_from.startswith(f"{own}/"):
        return "/"
    path, mark, query = came_from.removeprefix(own).partition("?")
    try:
        current_app.create_url_adapter(request).match(path, "GET")  # type: ignore[union-attr]
    except HTTPException:
        return "/"
    return path + mark + query if query else with_next(path, read_next())
