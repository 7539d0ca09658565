"""The cookies besides the session's: the visitor's, the notice's, the language's."""

from typing import Any

from flask import current_app


def cookie_settings(which: str) -> dict[str, Any]:
    """Of "VISITOR", "NOTICE" or "LANGUAGE": its name, and that no other site and no script gets
    it."""
    config = current_app.config
    secure = config["SESSION_COOKIE_SECURE"]
    name = config[f"{which}_COOKIE_NAME"]
    return {"key": name, "secure": secure, "httponly": True, "samesite": "Lax"}
