"""Responses: the headers of every one, error pages, static files."""

import hashlib
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from wsgiref.types import StartResponse, WSGIEnvironment

from flask import Flask, current_app, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, SecurityError

from foundation.vonage.client import VonageError
from foundation.web.logs import warn_sparingly
from foundation.web.root_files import is_public
from foundation.web.sessions import current_member
from foundation.words.clock import DAY
from foundation.words.languages import translate
from foundation.words.sentences import HEADINGS, is_sentence, say


def security_headers(config: Mapping[str, Any]) -> dict[str, str]:
    policy = (
        "default-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none';"
        " form-action 'self'"
    )
    if config["COOKIE_DOMAIN"]:  # after signing in, a form may lead to a guarded program
        policy += " https://{0} https://*.{0}".format(config["COOKIE_DOMAIN"])
    headers = {
        "Content-Security-Policy": policy,
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Cross-Origin-Opener-Policy": "same-origin-allow-popups",  # apps that sign in by one
    }
    if config["SESSION_COOKIE_SECURE"]:
        headers["Strict-Transport-Security"] = "max-age=31536000"
    return headers


PRIVATE = {"Cache-Control": "no-store", "Vary": "Cookie"}


# Pages whose address holds a word or a code: it isn't told to any log by way of what they load.
UNTOLD = ("/i/", "/join/")


class SecurityHeaders:
    """Adds our headers to every response, replacing any of the same name."""

    def __init__(self, app: Flask) -> None:
        self.wsgi_app = app.wsgi_app
        self.public = by_lower_name(security_headers(app.config))
        self.private = self.public | by_lower_name(PRIVATE)
        self.untold = self.private | by_lower_name({"Referrer-Policy": "no-referrer"})
        self.host = urlsplit(app.config["BASE_URL"]).netloc

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        is_static = is_public(environ["PATH_INFO"])
        if is_static or environ["PATH_INFO"] == "/healthz":
            environ["HTTP_HOST"] = self.host  # these answer under any name, and never use it
        ours = self.public if is_static else self.private
        if environ["PATH_INFO"].startswith(UNTOLD):
            ours = self.untold

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            # What went wrong is said in one visitor's language, also at an address for everybody.
            added = self.private if status >= "4" else ours
            theirs = [header for header in headers if header[0].lower() not in added]
            return start_response(status, [*theirs, *added.values()], exc_info)

        return self.wsgi_app(environ, start)


def by_lower_name(headers: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    return {name.lower(): (name, value) for name, value in headers.items()}


# Error pages --------------------------------------------------------------------------------------


def show_error(error: HTTPException) -> ResponseReturnValue:
    """One page for all errors. It builds no URL: for an untrusted host, none can be built. A view
    may pass `abort` the name of a sentence."""
    response = error.get_response()
    if response.status_code < 400:
        return response  # abort(redirect(...))
    name = "strange-host" if isinstance(error, SecurityError) else f"error-{response.status_code}"
    if is_sentence(error.description):
        name = str(error.description)
    log_refusal(error)
    response.data = render_error(name)
    response.content_type = "text/html; charset=utf-8"
    return response


def log_refusal(error: HTTPException) -> None:
    """In the log: who asked for what isn't theirs, or didn't confirm first."""
    if error.code == 403 and (member := current_member()):
        warn_sparingly(f"{member.username} was refused: {request.endpoint}")


def render_error(name: str, wait: int | None = None) -> str:
    heading = HEADINGS.get(name, HEADINGS["error"])
    facts = {"heading": translate(heading), "sentence": say(name), "wait": wait}
    return render_template("errors/error.html", **facts)


TROUBLE_SECONDS = 5  # before it makes sense to try again


def show_trouble() -> ResponseReturnValue:
    """503: nothing was lost, and trying again soon will help."""
    return render_error("error-503", TROUBLE_SECONDS), 503, {"Retry-After": str(TROUBLE_SECONDS)}


PASSING_TROUBLE = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_READONLY,
)


def show_database_trouble(error: sqlite3.OperationalError) -> ResponseReturnValue:
    """Locked, full or unwritable can happen to anybody. Any other error of SQLite is a bug."""
    if error.sqlite_errorcode & 0xFF not in PASSING_TROUBLE:
        raise error
    current_app.logger.error("The database cannot be used: %s", error)
    return show_trouble()


def show_vonage_trouble(error: VonageError) -> ResponseReturnValue:
    """For views that don't handle it: the traceback of a bug would log what the SDK says."""
    return show_trouble()


# Static files -------------------------------------------------------------------------------------


def find_static_files(app: Flask) -> dict[str, str]:
    """Addresses by file name, each with a digest of the content: browsers may keep a file for a
    year, and ask for another address when it has changed."""
    files = Path(app.root_path, "static").iterdir()
    digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    return {name: f"/static/{name}?v={digest[:8]}" for name, digest in digests.items()}


def static_file_lifetime(name: str | None) -> int | None:
    """Seconds; None: ask each time whether it has changed."""
    return 365 * DAY if "v" in request.args else None


def configure_responses(app: Flask) -> None:
    app.register_error_handler(HTTPException, show_error)
    app.register_error_handler(sqlite3.OperationalError, show_database_trouble)
    app.register_error_handler(VonageError, show_vonage_trouble)
    app.get_send_file_max_age = static_file_lifetime  # type: ignore[assignment, method-assign]
