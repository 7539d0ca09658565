"""What passkeys.js says and hears, as JSON."""

import json
from typing import Any

from flask import abort, jsonify, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from features.passkeys.room import bp
from foundation.web.guards import parse_next, with_next
from foundation.web.responses import log_refusal, show_error
from foundation.web.sessions import Member, current_member
from foundation.words.sentences import is_sentence, say


def read_json() -> dict[str, Any]:
    try:
        found = parse_json(request.get_data())
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


MAX_BRACKETS = 100


def parse_json(text: bytes) -> Any:
    """Raises ValueError, also for brackets in brackets in brackets, which would end in a
    RecursionError."""
    if text.count(b"[") + text.count(b"{") > MAX_BRACKETS:
        raise ValueError("too many brackets")
    return json.loads(text)


def read_json_next() -> str | None:
    """Where the visitor wanted to go."""
    return parse_next(str(read_json().get("next") or ""))


def require_json_member() -> Member:
    member = current_member()
    if member is None:
        abort(401, "passkey-signed-out")
    return member


def refuse_in_json(sentence: str, **more: str) -> ResponseReturnValue:
    return jsonify(error=say(sentence), **more), 422


@bp.errorhandler(HTTPException)
def say_in_json(error: HTTPException) -> ResponseReturnValue:
    """Scripts get the sentence, people the page."""
    if not request.is_json:
        return show_error(error)
    log_refusal(error)
    name = str(error.description if is_sentence(error.description) else f"error-{error.code}")
    return jsonify(error=say(name), next=where_instead(name)), error.code or 500


def where_instead(sentence: str) -> str | None:
    """Where to go, and back to the page that asked."""
    if sentence == "passkey-first":
        return with_next("/passkeys/confirm", read_json_next() or "/account")
    return "/signup" if sentence == "passkey-signed-out" else None
