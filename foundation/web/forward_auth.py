"""`GET /auth`: what a proxy asks before it hands a request on to another program."""

import functools
import re
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import cast
from urllib.parse import urlencode
from wsgiref.types import StartResponse, WSGIEnvironment

from flask import Flask

from foundation.running import running
from foundation.storage.database import transaction
from foundation.storage.digests import digest_session
from foundation.web.groups import FindGroups, find_groups
from foundation.web.guards import parse_next
from foundation.web.responses import PRIVATE, security_headers
from foundation.web.sessions import SessionTable, is_renewal_due, read_cookies

FORWARDED = ("METHOD", "PROTO", "HOST", "URI")

# A browser has both after a change of COOKIE_DOMAIN.
OTHER_SESSIONS = {"__Host-session", "__Secure-session"}
CHALLENGE = 'Basic realm="app password", charset="UTF-8"'

Verdict = tuple[str, dict[str, str]]  # status and headers
# A feature's hooks: who asks, if not by a session (a row with author_id and username); and what to
# answer a member who may not, or None.
FindCaller = Callable[[Flask, WSGIEnvironment], sqlite3.Row | None]
MayPass = Callable[[Flask, WSGIEnvironment, sqlite3.Row], Verdict | None]


class ForwardAuth:
    """200 with `Remote-User` and `Remote-Groups`, or 401. `/auth?redirect=1`, for proxies that hand
    our answer on to the visitor, is a 303 to the sign-up page instead of the 401. With `copy=1`,
    for those that can't pick them apart, the visitor's `Cookie` and `Authorization` come back
    without what is ours.

    Only the cookie decides, or what a feature knows of, and whatever fails is a no. It is answered
    before Flask begins, because a proxy asks for every picture on a page.
    """

    def __init__(
        self,
        app: Flask,
        find_caller: Sequence[FindCaller],
        may_pass: Sequence[MayPass],
        find_groups: Sequence[FindGroups],
    ) -> None:
        self.app, self.wsgi_app = app, app.wsgi_app
        self.find_caller, self.may_pass, self.find_groups = find_caller, may_pass, find_groups
        self.sessions = cast(SessionTable, app.session_interface)
        config = app.config
        names = ("SESSION", "VISITOR", "NOTICE", "LANGUAGE")
        self.own_cookies = {config[f"{name}_COOKIE_NAME"] for name in names} | OTHER_SESSIONS
        every = security_headers(config) | PRIVATE | {"Content-Length": "0"}
        self.headers = [*every.items()]

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("HTTP_COOKIE") == "":
            self.warn_of_dropped_cookies()
        if environ["PATH_INFO"] != "/auth":
            return self.wsgi_app(environ, start_response)
        status, headers = self.decide(environ)
        start_response(status, [*headers.items(), *self.headers])
        return []

    def decide(self, environ: WSGIEnvironment) -> Verdict:
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return "405 Method Not Allowed", {"Allow": "GET, HEAD"}
        try:
            row = self.find_session(environ) or self.find_other_caller(environ)
            return self.refuse(environ) if row is None else self.admit(environ, row)
        except sqlite3.Error as error:
            self.app.logger.error("The database cannot be used: %s", error)
            return "503 Service Unavailable", {"Retry-After": "5"}

    def find_other_caller(self, environ: WSGIEnvironment) -> sqlite3.Row | None:
        found = (find(self.app, environ) for find in self.find_caller)
        return next((row for row in found if row is not None), None)

    def admit(self, environ: WSGIEnvironment, row: sqlite3.Row) -> Verdict:
        """A member asks. Where a program is named that nobody can judge, it stays closed."""
        if not self.may_pass and read_program(environ) is not None:
            return "403 Forbidden", {}
        for may_pass in self.may_pass:
            refusal = may_pass(self.app, environ, row)
            if refusal is not None:
                return refusal
        copied = self.leave_ours_out(environ) if asks_for(environ, "copy=1") else {}
        is_of_admins = row["username"] in self.app.config["ADMINS"]
        facts = (row["author_id"], is_of_admins, read_program(environ), self.find_groups)
        groups = ",".join(sorted(find_groups(running(self.app).connections.db, *facts)))
        return "200 OK", {"Remote-User": row["username"], "Remote-Groups": groups} | copied

    def leave_ours_out(self, environ: WSGIEnvironment) -> dict[str, str]:
        """Of what the visitor sent, what the program may see."""
        pairs = [pair.strip() for pair in environ.get("HTTP_COOKIE", "").split(";")]
        theirs = [pair for pair in pairs if not self.holds_ours(pair)]
        given = environ.get("HTTP_AUTHORIZATION", "")
        is_password = any(part.strip()[:5].lower() == "basic" for part in given.split(","))
        kept = {"Cookie": "; ".join(theirs), "Authorization": "" if is_password else given}
        return {name: value for name, value in kept.items() if value}

    def holds_ours(self, pair: str) -> bool:
        """Also behind a separator that only some programs know."""
        names = re.findall(r"[^\s=;,]+(?=\s*=)", pair)
        return not self.own_cookies.isdisjoint(names)

    def refuse(self, environ: WSGIEnvironment) -> Verdict:
        """Somebody who is not signed in asks. Programs send a password only when they are asked to;
        browsers would show a box for it."""
        if wants_redirect(environ) and is_navigation(environ):
            return "303 See Other", {"Location": self.sign_up_address(environ)}
        if self.find_caller and not is_browser(environ):
            return "401 Unauthorized", {"WWW-Authenticate": CHALLENGE}
        return "401 Unauthorized", {}

    def find_session(self, environ: WSGIEnvironment) -> sqlite3.Row | None:
        cookies = read_cookies(environ, self.app.config["SESSION_COOKIE_NAME"])
        found = self.sessions.find_first(running(self.app).connections.db, cookies)
        if found is None:
            return None
        session_id, row = found
        if is_renewal_due(row):
            self.renew(digest_session(session_id))
        return row

    def renew(self, digest: str) -> None:
        """Some members visit guarded programs only."""
        with self.app.app_context(), suppress(sqlite3.OperationalError), transaction():
            self.sessions.renew(digest)

    def sign_up_address(self, environ: WSGIEnvironment) -> str:
        """With the way back to the page that was asked for, as the proxy names it."""
        own = self.app.config["BASE_URL"]
        asked = {name: environ.get(f"HTTP_X_FORWARDED_{name}", "") for name in FORWARDED}
        origin = f"{asked['PROTO']}://{asked['HOST']}"
        with self.app.app_context():
            # On our own host, a path is enough.
            wanted = parse_next(asked["URI"] if origin == own else origin + asked["URI"])
        if wanted is None or asked["METHOD"] not in ("", "GET", "HEAD"):
            return f"{own}/signup"
        return f"{own}/signup?{urlencode({'next': wanted})}"

    @functools.cache  # noqa: B019 - once for each process, and the app lives as long
    def warn_of_dropped_cookies(self) -> None:
        """granian drops all cookies when one has a byte beyond ASCII, such as another program's
        "lastAlbum=K\u00e4sekuchen", and hands us "" instead."""
        self.app.logger.warning(
            "A browser's cookies got lost, because one of another program has letters beyond ASCII."
            " Its member looks signed out. The web server files in deploy/ prevent this: they pass"
            " only our own cookies on."
        )


def asks_for(environ: WSGIEnvironment, what: str) -> bool:
    return what in environ.get("QUERY_STRING", "").split("&")


def wants_redirect(environ: WSGIEnvironment) -> bool:
    return asks_for(environ, "redirect=1")


def read_program(environ: WSGIEnvironment) -> str | None:
    """Which program the proxy asks for. "" if it can't be told, which is none that there is."""
    query = environ.get("QUERY_STRING", "")
    if "program" not in query:
        return None
    named = [part for part in query.split("&") if "program" in part]
    is_clear = len(named) == 1 and named[0].startswith("program=")
    return named[0].removeprefix("program=") if is_clear else ""


def is_browser(environ: WSGIEnvironment) -> bool:
    """A browser opens pages, or fetches something for one. Thunderbird says the same of what it
    syncs; but without CORS no page can send any other method than these."""
    mode = environ.get("HTTP_SEC_FETCH_MODE")
    if mode == "navigate":
        return True
    if "Thunderbird/" in environ.get("HTTP_USER_AGENT", ""):
        return False
    is_simple = environ.get("HTTP_X_FORWARDED_METHOD", "GET") in ("GET", "HEAD", "POST")
    if mode is None:
        return is_simple and "text/html" in environ.get("HTTP_ACCEPT", "")
    return is_simple or mode != "no-cors"


def is_navigation(environ: WSGIEnvironment) -> bool:
    """Whether somebody opens a page, and not a script or picture: those can't follow to a form."""
    mode = environ.get("HTTP_SEC_FETCH_MODE", "navigate")
    return mode == "navigate" and is_browser(environ)
