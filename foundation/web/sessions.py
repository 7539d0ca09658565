"""Sessions: a signed-in browser.

The cookie holds a session id; the database holds its SHA-256, so a copy of the database signs
nobody in. Flask-Session brings the `flask.session` object and the cookie's settings. What it would
do wrong here is replaced: it keeps ids in clear, stores a row for every visitor, falls back to
pickle, and saves a session that was ended while a request was running.
"""

import json
import re
import sqlite3
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit
from wsgiref.types import WSGIEnvironment

from flask import (
    Flask,
    Request,
    Response,
    abort,
    after_this_request,
    current_app,
    g,
    redirect,
    request,
    session,
)
from flask_session.base import ServerSideSession, ServerSideSessionInterface
from ua_parser import parse_os, parse_user_agent
from werkzeug.exceptions import HTTPException

from foundation.storage.database import fetch_row, get_db, transaction
from foundation.storage.digests import digest_session
from foundation.web.root_files import is_public
from foundation.words.clock import DAY, now
from foundation.words.languages import translate


class Member(NamedTuple):
    id: int
    username: str


# In SQL, who of `authors` is a member: not removed, and no guest whose last day is over; ?1 is now.
IS_MEMBER = "authors.removed_at IS NULL AND (authors.ends_at IS NULL OR authors.ends_at > ?1)"


def current_member() -> Member | None:
    member: Member | None = g.get("member")
    return member


def is_admin(member: Member | None) -> bool:
    """Asked at every request: a name that leaves ADMINS is no admin after the restart."""
    return member is not None and member.username in current_app.config["ADMINS"]


def was_signed_out() -> bool:
    """Whether this browser brings a session that is over, for whatever reason."""
    name = current_app.config["SESSION_COOKIE_NAME"]
    return current_member() is None and any(read_cookies(request.environ, name))


class MemberSession(ServerSideSession):
    """`flask.session`. Anonymous visitors get an empty one that is never stored."""

    sid: str  # its id, "" for anonymous visitors; the name is Flask-Session's
    modified: bool
    is_due = False  # to be renewed: a day or more has passed since the last time
    failure: Exception | None = None  # why nobody knows whose session this is

    def dump(self) -> str:
        """What pages put into it, as the table keeps it."""
        kept = {key: self[key] for key in self.keys() - {"author_id", "_permanent"}}
        return json.dumps(kept)


def this_session() -> MemberSession:
    return cast(MemberSession, session)


def this_digest() -> str:
    return digest_session(this_session().sid)


def find_auth_time() -> int:
    """When this device signed in, or its owner last proved to be there."""
    row = fetch_row("SELECT created_at FROM sessions WHERE id_digest = ?", (this_digest(),))
    began: int = row["created_at"] if row else 0
    return max(began, int(session.get("proved_at", 0)))


def find_last_proof() -> int:
    """The same, where the sign-in itself proved something."""
    return int(session.get("proved_at", 0)) if session.get("is_unproved") else find_auth_time()


def is_still_signed_in(db: sqlite3.Connection) -> bool:
    """Asked again inside a transaction: somebody may have ended the session meanwhile."""
    return session_table().find(db, this_digest()) is not None


@contextmanager
def acting() -> Iterator[sqlite3.Connection]:
    """A transaction of the member who asks, or of a command. If the session has ended meanwhile, it
    writes nothing: otherwise what a thief began would outlive the sign-out."""
    with transaction() as db:
        if current_member() and not is_still_signed_in(db):
            abort(redirect("/signup", 303))
        yield db


def is_renewal_due(row: sqlite3.Row) -> bool:
    return not 0 <= now() - row["seen_at"] < DAY


MAX_COOKIES = 4  # of our name that are tried


def read_cookies(environ: WSGIEnvironment, name: str) -> list[str]:
    """The values a browser sends for a cookie of ours. After a change of COOKIE_DOMAIN it sends the
    old session cookie, too, under the same name. Read by hand: `request.cookies` walks all headers
    and decodes every cookie, and /auth is asked for each picture on a page."""
    pairs = (pair.partition("=") for pair in environ.get("HTTP_COOKIE", "").split(";"))
    return [value.strip() for key, _, value in pairs if key.strip() == name][:MAX_COOKIES]


class SessionTable(ServerSideSessionInterface):
    """Flask's session interface over a table that app.py owns. Nothing here inserts a row: only
    signing in does, so a session that was ended cannot come back."""

    @abstractmethod
    def find(self, db: sqlite3.Connection, digest: str) -> sqlite3.Row | None:
        """Who is asking, in one statement: the session's row with author_id, username, data and
        seen_at. Takes `db`, because ForwardAuth asks outside of Flask's contexts."""

    @abstractmethod
    def renew(self, digest: str) -> bool:
        """Start counting SESSION_DAYS again, in the caller's transaction. False: it has ended."""

    @abstractmethod
    def store(self, digest: str, data: str) -> None:
        """Keep what a page put into the session, in the caller's transaction."""

    @abstractmethod
    def end(self, author_id: int, digest: str) -> None:
        """Through the one door out, in the caller's transaction."""

    def find_first(
        self, db: sqlite3.Connection, cookies: list[str]
    ) -> tuple[str, sqlite3.Row] | None:
        """The first of these session ids that is good, with its row."""
        for session_id in cookies:
            if row := self.find(db, digest_session(session_id)):
                return session_id, row
        return None

    def open_session(self, app: Flask, request: Request) -> MemberSession:
        nobody = MemberSession(sid="")
        cookies = read_cookies(request.environ, app.config["SESSION_COOKIE_NAME"])
        if not cookies or is_public(request.path):
            return nobody
        try:
            request.get_data()  # first: what is half sent acts for nobody who signs out meanwhile
            found = self.find_first(get_db(), cookies)
        except (HTTPException, sqlite3.Error) as error:
            nobody.failure = error  # raised by the guard, where an error page can be shown
            return nobody
        if found is None:
            return nobody
        session_id, row = found
        g.member = Member(row["author_id"], row["username"])
        data = {"author_id": row["author_id"], **json.loads(row["data"])}
        opened = MemberSession(data, session_id)
        opened.is_due = is_renewal_due(row)
        return opened

    def save_session(self, app: Flask, session: Any, response: Response) -> None:
        if not session.sid or not (session.modified or session.is_due):
            return
        if not session:  # a page called session.clear()
            with transaction():
                self.end(g.member.id, digest_session(session.sid))
            expire_cookie(response)
        elif self.write(session):
            set_cookie(response, session.sid)

    def write(self, session: MemberSession) -> bool:
        """Store and renew. False: the session has ended meanwhile, or a mere renewal met a locked
        database, and can wait for the next page."""
        try:
            with transaction():
                self.store(digest_session(session.sid), session.dump())
                return self.renew(digest_session(session.sid))
        except sqlite3.OperationalError:
            if session.modified:
                raise
            return False

    # Flask-Session's own way to a store, which is not used here.

    def _retrieve_session_data(self, store_id: str) -> dict[str, Any] | None:
        raise NotImplementedError

    def _upsert_session(self, session_lifetime: Any, session: Any, store_id: str) -> None:
        raise NotImplementedError

    def _delete_session(self, store_id: str) -> None:
        raise NotImplementedError


def adopt_session(author_id: int, session_id: str) -> None:
    """Sign this browser in to a session whose row is committed."""
    session.clear()
    session["author_id"] = author_id
    move_session(session_id)


def move_session(session_id: str) -> None:
    """This browser's session has another id now, and its row is committed."""
    this_session().sid = session_id
    change_only_cookie(lambda response: set_cookie(response, session_id))


def drop_session() -> None:
    """Sign this browser out of a session whose row is deleted."""
    session.clear()
    change_only_cookie(expire_cookie)


def change_only_cookie(change_cookie: Any) -> None:
    """The row is written already, so only the cookie is left to do."""
    this_session().modified = this_session().is_due = False

    @after_this_request
    def change(response: Response) -> Response:
        change_cookie(response)
        return response


def set_cookie(response: Response, session_id: str) -> None:
    """It lives as long as a session can at most. The table ends unused sessions sooner; /auth could
    not renew a cookie, because the proxy keeps its answer."""
    expire_cookies_of_other_domains(response)
    ends = datetime.now(UTC) + current_app.permanent_session_lifetime
    response.set_cookie(value=session_id, expires=ends, **session_cookie())


def expire_cookie(response: Response) -> None:
    """With all its attributes: without `Secure`, a browser would keep its __Host- cookie."""
    expire_cookies_of_other_domains(response)
    response.delete_cookie(**session_cookie())


def expire_cookies_of_other_domains(response: Response) -> None:
    """Those of the same name that an earlier COOKIE_DOMAIN may have left: the host's, and any
    above it."""
    own = current_app.config["SESSION_COOKIE_DOMAIN"]
    labels = (urlsplit(current_app.config["BASE_URL"]).hostname or "").split(".")
    above = [".".join(labels[start:]) for start in range(len(labels) - 1)]
    for domain in above if own else []:
        if domain != own:
            response.delete_cookie(**session_cookie() | {"domain": domain})


def session_cookie() -> dict[str, Any]:
    config = current_app.config
    return {
        "key": config["SESSION_COOKIE_NAME"],
        "domain": config["SESSION_COOKIE_DOMAIN"],
        "secure": config["SESSION_COOKIE_SECURE"],
        "httponly": True,
        "samesite": "Lax",
    }


def unused_until() -> int:
    """When a session ends if it isn't used again."""
    return now() + int(current_app.config["SESSION_DAYS"]) * DAY


def longest_session() -> int:
    """Seconds a session may live at most, however much it is used."""
    return int(current_app.config["SESSION_MAX_DAYS"]) * DAY


def name_device(user_agent: str) -> str:
    """What its owner would call it, such as "Firefox on Android". Nothing else of the header is
    kept, and no digits. Empty if it says nothing."""
    browser, system = parse_user_agent(user_agent[:512]), parse_os(user_agent[:512])
    names = [re.sub(r"\b(Mobile|iOS)\b", "", browser.family).strip()] if browser else []
    names += [say_system(system.family)] if system else []
    return " on ".join(name for name in names if re.fullmatch(r"[A-Za-z][A-Za-z .+-]{0,30}", name))


def say_system(name: str) -> str:
    """iPads say that they are Macs."""
    return {"Mac OS X": "macOS", "iOS": "iPhone"}.get(name, name)


def say_device(name: str) -> str:
    """The same in the visitor's language."""
    browser, on, system = name.partition(" on ")
    if not on:
        return name
    facts = {"browser": browser, "system": say_system(system)}
    return translate("%(browser)s on %(system)s") % facts


def session_table() -> SessionTable:
    return cast(SessionTable, current_app.session_interface)
