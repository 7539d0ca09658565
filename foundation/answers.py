"""Answers: what every one carries, error pages, static files."""

import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from flask import Flask, current_app, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, SecurityError

from foundation.clock import DAY
from foundation.sentences import say
from foundation.vonage import VonageError


def security_headers(config: Mapping[str, Any]) -> dict[str, str]:
    policy = "default-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
    if config["COOKIE_DOMAIN"]:  # the answer to a form may lead to a guarded program
        policy += " https://{0} https://*.{0}".format(config["COOKIE_DOMAIN"])
    headers = {
        "Content-Security-Policy": policy,
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Cross-Origin-Opener-Policy": "same-origin",
    }
    if config["SESSION_COOKIE_SECURE"]:
        headers["Strict-Transport-Security"] = "max-age=31536000"
    return headers


PRIVATE = {"Cache-Control": "no-store", "Vary": "Cookie"}


class SecurityHeaders:
    """What every answer carries, in place of what it said of the same. Around Flask and not in it,
    because there it would cost an ordinary page a sixth of its time."""

    def __init__(self, app: Flask) -> None:
        self.wsgi_app = app.wsgi_app
        public = security_headers(app.config)
        self.public, self.private = (
            ([*headers.items()], {name.lower() for name in headers})
            for headers in (public, public | PRIVATE)
        )

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        is_public = environ["PATH_INFO"].startswith("/static/")
        ours, names = self.public if is_public else self.private

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            theirs = [header for header in headers if header[0].lower() not in names]
            return start_response(status, theirs + ours, exc_info)

        return self.wsgi_app(environ, start)


def show_error(error: HTTPException) -> ResponseReturnValue:
    """One page for all errors. It builds no URL: for an untrusted host, none can be built."""
    response = error.get_response()
    if response.status_code < 400:
        return response  # abort(redirect(...))
    strange_host = isinstance(error, SecurityError)
    sentence = say("strange-host" if strange_host else f"error-{response.status_code}")
    response.data = render_template("errors/error.html", sentence=sentence)
    response.content_type = "text/html; charset=utf-8"
    return response


TROUBLE_SECONDS = 5  # until the same is worth trying again


def show_trouble() -> ResponseReturnValue:
    """503: nothing was lost, and the same again will do soon."""
    page = render_template("errors/error.html", sentence=say("error-503"), wait=TROUBLE_SECONDS)
    return page, 503, {"Retry-After": str(TROUBLE_SECONDS)}


def show_database_trouble(error: sqlite3.OperationalError) -> ResponseReturnValue:
    """Locked, full or unwritable is weather; any other error of SQLite is a bug, and stays one."""
    weather = (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    )
    if error.sqlite_errorcode & 0xFF not in weather:
        raise error
    current_app.logger.error("The database cannot be used: %s", error)
    return show_trouble()


def show_vonage_trouble(error: VonageError) -> ResponseReturnValue:
    """For a view that catches none: the traceback of a bug would log what the SDK says."""
    return show_trouble()


def join_globals(shared: Mapping[str, Any]) -> Callable[[Mapping[str, Any] | None], dict[str, Any]]:
    """Of a template's globals, one dict: Jinja's chain of two is walked anew for every page."""
    return lambda own: {**shared, **(own or {})}


def find_static_files(app: Flask) -> dict[str, str]:
    """Their addresses by name, with a digest of what is in them: browsers may keep them for a year,
    and ask for another address when one has changed."""
    files = Path(app.root_path, "static").iterdir()
    digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    return {name: f"/static/{name}?v={digest[:8]}" for name, digest in digests.items()}


def keep_static_file(name: str | None) -> int | None:
    """Seconds; None: ask each time whether it has changed."""
    return 365 * DAY if "v" in request.args else None
