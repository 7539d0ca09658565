"""Trusted Group: friends sign in with nothing but their phones.

This file reads from top to bottom: settings; the factory that wires everything; digests; the
database; sessions, which know who is asking; guards; what a proxy asks; texts and PINs, which
Vonage sends for us. Then the journey, in the order in which people meet it: an admin invites, the
friend texts back, signs up, is at home, sees their devices; an admin looks after the group. The
rules behind it are told in README.md, "How it works".
"""

import functools
import hmac
import json
import os
import re
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, cast
from urllib.parse import urlencode, urlsplit
from wsgiref.types import StartResponse, WSGIEnvironment

import click
from dotenv import dotenv_values, find_dotenv
from flask import (
    Blueprint,
    Flask,
    Request,
    Response,
    abort,
    after_this_request,
    current_app,
    g,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from flask.cli import FlaskGroup
from flask.typing import ResponseReturnValue
from flask_session.base import ServerSideSession, ServerSideSessionInterface
from ua_parser import parse_os, parse_user_agent
from vonage_http_client.errors import NotFoundError
from vonage_sms import SmsMessage
from vonage_verify import SmsChannel, VerifyRequest
from werkzeug.exceptions import HTTPException, SecurityError
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.routing import RequestRedirect
from werkzeug.sansio.http import parse_cookie

from foundation.answers import (
    PRIVATE,
    SecurityHeaders,
    find_static_files,
    join_globals,
    keep_static_file,
    security_headers,
    show_database_trouble,
    show_error,
    show_vonage_trouble,
)
from foundation.clock import DAY, MINUTE, now, say_ago, say_date, say_day, say_span
from foundation.database import (
    count_rows,
    fetch_row,
    fetch_rows,
    get_db,
    insert_row,
    prepare_database,
    transaction,
)
from foundation.digests import keyed_digest, phone_digest, session_digest
from foundation.forms import Form, Mistake
from foundation.guards import parse_next, refuse_cross_site
from foundation.inbound import (
    Inbound,
    act_once,
    claim_message,
    is_signed,
    parse_delivery,
    parse_inbound,
    prune_inbound,
    read_fields,
    webhook_token,
    webhook_url,
)
from foundation.journal import (
    JOURNAL_PAGE,
    find_journal,
    give_back,
    prune_journal,
    record,
    texts_in_a_day,
)
from foundation.logs import silence_secrets
from foundation.migrations import is_older
from foundation.phones import parse_phone
from foundation.settings import SETTINGS, WrongSettings, is_loopback, read_settings
from foundation.usernames import parse_optional_username, parse_username
from foundation.vonage import (
    GSM_7,
    PinRejected,
    PinStillRunning,
    Vonage,
    VonageError,
    VonageRefused,
    VonageUnavailable,
    VonageUnreached,
    asking_vonage,
    parse_request_id,
)

MAX_BODY = 16 * 1024  # bytes; no form and no webhook of ours comes near it

PIN_LIFETIME = 300
PINS_PER_TEN_MINUTES = 3
PINS_PER_INVITE = 5
TRIES_PER_INVITE = 10

LEASE_LIFETIME = 30
RECEIPT_LIFETIME = 10 * MINUTE
TWIN_PATIENCE = 6  # seconds that a second press of the button waits for the first one's outcome


# Settings: one parser each, from text to value or ValueError; read_settings ----------------------


# The factory: everything below, wired together ---------------------------------------------------


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """The application. Settings come from `config`, then the environment, then (without `config`)
    the nearest `.env`; names in `config` that are not ours go to Flask. Raises WrongSettings."""
    try:
        return build_app(config)
    except WrongSettings as wrong:
        context = click.get_current_context(silent=True)
        if context is None or context.parent or not isinstance(context.command, FlaskGroup):
            raise
        from features.commands import (
            offer_help,  # `flask` looks for a command, and some do without an app
        )

        return offer_help(wrong)


def build_app(config: Mapping[str, Any] | None) -> Flask:
    app = Flask(__name__)
    env_file = dotenv_values(find_dotenv(usecwd=True)) if config is None else {}
    app.config.update(read_settings({**env_file, **os.environ, **(config or {})}))
    configure_flask(app)
    app.config.update((k, v) for k, v in (config or {}).items() if k not in SETTINGS)
    silence_secrets(app)
    app.session_interface = MemberSessions(app)
    app.extensions["vonage"] = Vonage(app.config)
    prepare_database(app)
    with app.app_context():
        if not is_older(get_db(), app.extensions["parts"]):
            notice_new_key()
    register_everything(app)
    if app.config["TRUSTED_PROXIES"]:
        proxies = app.config["TRUSTED_PROXIES"]
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=proxies, x_proto=proxies)  # type: ignore[method-assign]
    app.wsgi_app = SecurityHeaders(app)  # type: ignore[method-assign]
    # Outermost: what a proxy asks needs no host and no address.
    app.wsgi_app = ForwardAuth(app)  # type: ignore[method-assign]
    return app


def register_everything(app: Flask) -> None:
    from features.commands import commands  # they use this module, so it has to be whole by then

    for blueprint in (pages, webhooks, admin, commands):
        app.register_blueprint(blueprint)
    app.before_request(guard)
    app.register_error_handler(HTTPException, show_error)
    app.register_error_handler(sqlite3.OperationalError, show_database_trouble)
    app.register_error_handler(VonageError, show_vonage_trouble)
    app.context_processor(describe_visitor)
    app.jinja_env.filters |= {"span": say_span, "ago": say_ago, "day": say_day, "date": say_date}
    app.jinja_env.globals["static"] = find_static_files(app)
    app.jinja_env.make_globals = join_globals(app.jinja_env.globals)  # type: ignore[assignment, method-assign]
    app.get_send_file_max_age = keep_static_file  # type: ignore[assignment, method-assign]


def configure_flask(app: Flask) -> None:
    """What our settings mean to Flask and to Flask-Session."""
    url, domain = urlsplit(app.config["BASE_URL"]), app.config["COOKIE_DOMAIN"]
    host, https = url.hostname or "", url.scheme == "https"
    app.config.update(
        TRUSTED_HOSTS=[host, "localhost", "127.0.0.1"] if is_loopback(host) else [host],
        MAX_CONTENT_LENGTH=MAX_BODY,
        PROPAGATE_EXCEPTIONS=False,  # a visitor sees the error page, in debug mode too
        # The cookie lives as long as a session can; the table ends unused ones sooner. (/auth can
        # renew no cookie: the proxy keeps its answer.)
        PERMANENT_SESSION_LIFETIME=app.config["SESSION_MAX_DAYS"] * DAY,
        SESSION_REFRESH_EACH_REQUEST=False,  # True brings ended sessions back, and writes on reads
        SESSION_COOKIE_NAME=f"__{'Secure' if domain else 'Host'}-session" if https else "session",
        SESSION_COOKIE_DOMAIN=domain,
        SESSION_COOKIE_PATH="/",
        SESSION_COOKIE_SECURE=https,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        VISITOR_COOKIE_NAME="__Host-visitor" if https else "visitor",
    )


# Digests: what is kept in place of secrets and phone numbers -------------------------------------


# Database: get_db, transaction, prune, the journal -----------------------------------------------


def notice_new_key() -> None:
    """Under a new SECRET_KEY no phone digest is found again and the webhook has a new address: open
    invites are dropped, and the one who runs the box is told. Sessions do not depend on the key."""
    ours = int(keyed_digest("application id")[:8], 16) >> 1 or 1
    if get_db().execute("PRAGMA application_id").fetchone()[0] == ours:
        return
    with transaction() as db:
        theirs = db.execute("PRAGMA application_id").fetchone()[0]
        db.execute(f"PRAGMA application_id = {ours:d}")  # a PRAGMA takes no parameters
        if theirs in (0, ours):
            return
        db.execute("DELETE FROM whitelist")
        db.execute("DELETE FROM pending_verifications")
        record("key_changed")
    click.echo("SECRET_KEY is new: open invites are dropped. The webhook's new address:", err=True)
    click.echo(webhook_url(), err=True)


def prune() -> None:
    """Drop what has expired. Called inside writes that happen anyway, so there is no job to run."""
    db, at = get_db(), now()
    db.execute("DELETE FROM whitelist WHERE expires_at <= ?", (at,))
    db.execute("DELETE FROM pending_verifications WHERE expires_at <= ?", (at,))
    db.execute("DELETE FROM sessions WHERE expires_at <= ?", (at,))
    prune_inbound()
    prune_journal()


# Sessions: who is asking -------------------------------------------------------------------------


class Member(NamedTuple):
    id: int
    username: str


def current_member() -> Member | None:
    member: Member | None = g.get("member")
    return member


def is_admin(member: Member | None) -> bool:
    return member is not None and member.username in current_app.config["ADMINS"]


def describe_visitor() -> dict[str, Any]:
    """What every template knows."""
    member = current_member()
    return {"member": member, "is_admin": is_admin(member)}


def read_cookie(environ: WSGIEnvironment, app: Flask) -> str | None:
    """The session's, read from where the server put it: `request.cookies` walks all headers."""
    cookies = parse_cookie(environ.get("HTTP_COOKIE"))
    return cookies.get(app.config["SESSION_COOKIE_NAME"]) or None


def find_session(db: sqlite3.Connection, digest: str) -> sqlite3.Row | None:
    """Who is asking: the one truth about it, in one statement. `db` is handed in, because
    ForwardAuth asks outside of Flask's contexts."""
    row: sqlite3.Row | None = db.execute(
        "SELECT sessions.*, username FROM sessions JOIN authors ON authors.id = author_id"
        " WHERE id_digest = ? AND expires_at > ?",
        (digest, now()),
    ).fetchone()
    return row


def is_renewal_due(row: sqlite3.Row) -> bool:
    return not 0 <= now() - row["seen_at"] < DAY


class MemberSession(ServerSideSession):
    """`flask.session` of a member. Whoever is not signed in has none that would be kept."""

    is_due = False  # set: a day or more has passed since it was renewed
    is_stored = False  # set: the row is as it should be, and the cookie is due
    has_ended: bool = False  # set: the row is gone already, and so must the cookie
    sid: str
    modified: bool


def this_session() -> MemberSession:
    return cast(MemberSession, session)


def this_digest() -> str:
    return session_digest(this_session().sid)


class MemberSessions(ServerSideSessionInterface):
    """Flask-Session over our own table. Only `begin_session` adds a row, in the transaction of a
    sign-in; nothing here inserts one, so an ended session cannot come back."""

    session_class = MemberSession

    def _get_store_id(self, sid: str) -> str:
        return session_digest(sid)

    def open_session(self, app: Flask, request: Request) -> MemberSession:
        sid = read_cookie(request.environ, app)
        try:
            row = find_session(get_db(), session_digest(sid)) if sid else None
        except sqlite3.Error as error:
            row = None  # nobody could answer it yet; the guard raises it
            request.routing_exception = request.routing_exception or error  # type: ignore[assignment]
        if sid is None or row is None:
            return MemberSession(sid=self._generate_sid(self.sid_length))
        g.member = Member(row["author_id"], row["username"])
        session = MemberSession({"author_id": row["author_id"], **json.loads(row["data"])}, sid)
        session.is_due = is_renewal_due(row)
        return session

    def _retrieve_session_data(self, store_id: str) -> dict[str, Any] | None:
        raise NotImplementedError  # Flask-Session demands it for an `open_session` that is not ours

    def should_set_storage(self, app: Flask, session: Any) -> bool:
        return bool(session.modified or session.is_due)

    def _upsert_session(self, lifetime: Any, session: Any, store_id: str) -> None:
        if session.is_stored:
            return
        data = {key: session[key] for key in session.keys() - {"author_id", "_permanent"}}
        try:
            with transaction() as db:
                store = "UPDATE sessions SET data = ? WHERE id_digest = ?"
                db.execute(store, (json.dumps(data), store_id))
                session.is_stored = renew_session(store_id)
        except sqlite3.OperationalError:
            if session.modified:
                raise  # a renewal can wait for the next page

    def _delete_session(self, store_id: str) -> None:
        end_session(store_id)

    def should_set_cookie(self, app: Flask, session: Any) -> bool:
        return bool(session.is_stored)

    def get_expiration_time(self, app: Flask, session: Any) -> datetime | None:
        return datetime.now(UTC) + app.permanent_session_lifetime

    def save_session(self, app: Flask, session: Any, response: Response) -> None:
        if not self.should_set_storage(app, session):
            return
        if session:
            super().save_session(app, session, response)
        else:
            self.forget_session(app, session, response)

    def forget_session(self, app: Flask, session: Any, response: Response) -> None:
        """Signed out. The base class forgets `Secure`; a browser then keeps its __Host- cookie."""
        if not session.has_ended:
            end_session(session_digest(session.sid))
        response.delete_cookie(
            self.get_cookie_name(app),
            domain=self.get_cookie_domain(app),
            secure=self.get_cookie_secure(app),
            httponly=True,
            samesite="Lax",
        )


def unused_until() -> int:
    """When a session ends that is used now and never again."""
    return now() + int(current_app.config["SESSION_DAYS"]) * DAY


def longest_session() -> int:
    """Seconds that a session may live at all, however much it is used."""
    return int(current_app.config["SESSION_MAX_DAYS"]) * DAY


def renew_session(digest: str) -> bool:
    """Count the days from now on again, in the caller's transaction. False: it has ended."""
    prune()  # first: what has expired cannot be renewed
    renewed = fetch_row(
        "UPDATE sessions SET seen_at = ?, expires_at = min(?, created_at + ?)"
        " WHERE id_digest = ? RETURNING 1",
        (now(), unused_until(), longest_session(), digest),
    )
    return renewed is not None


def end_session(digest: str) -> None:
    get_db().execute("DELETE FROM sessions WHERE id_digest = ?", (digest,))


def begin_session(author_id: int, sid: str, device: str) -> None:
    """Store a session, in the caller's transaction, in place of the one this browser had."""
    expires_at = min(unused_until(), now() + longest_session())
    end_session(this_digest())
    get_db().execute(
        "INSERT INTO sessions (id_digest, author_id, device, data, created_at, seen_at, expires_at)"
        " VALUES (?, ?, ?, '{}', ?, ?, ?)",
        (session_digest(sid), author_id, device, now(), now(), expires_at),
    )


def adopt_session(author_id: int, sid: str) -> None:
    """Give this browser the cookie of a session whose row is already stored."""
    session.clear()
    session["author_id"] = author_id
    this_session().sid, this_session().is_stored = sid, True


# Times, as pages and commands say them ----------------------------------------------------------


# Guards and error pages --------------------------------------------------------------------------

pages = Blueprint("pages", __name__)


def guard() -> ResponseReturnValue | None:
    """What is asked of every request before its view runs."""
    error = request.routing_exception
    if error is not None:
        return refuse_route(error)
    if request.method == "POST" and request.blueprint != webhooks.name:
        refuse_cross_site()
    return None


def refuse_route(error: Exception) -> ResponseReturnValue:
    """There is no such page, or not by this name of the site, or nobody can be known."""
    if isinstance(error, SecurityError) and request.path == "/healthz":
        return healthz()  # whoever looks after the box may call it by any name
    if isinstance(error, SecurityError) and request.path.startswith("/static/"):
        return current_app.send_static_file(request.path.removeprefix("/static/"))
    if isinstance(error, RequestRedirect):
        abort(404)  # Werkzeug would tidy the path, with an address that it builds from Host
    raise error


def require_member() -> Member:
    member = current_member()
    if member is None:
        came_for = request.full_path.rstrip("?") if request.method == "GET" else None
        abort(redirect(url_for("pages.signup", next=came_for), 303))
    return member


@pages.get("/healthz")
def healthz() -> ResponseReturnValue:
    try:
        get_db().execute("SELECT 1 FROM authors").fetchone()
    except sqlite3.Error:
        return "The database does not answer.\n", 503, {"Content-Type": "text/plain"}
    return "ok\n", {"Content-Type": "text/plain"}


# Forward-auth: what a proxy asks, in front of another program ------------------------------------

FORWARDED = ("METHOD", "PROTO", "HOST", "URI")


class ForwardAuth:
    """`GET /auth`, for a proxy that asks before it hands a request on to another program. 200 with
    `Remote-User`, or 401; `/auth?redirect=1`, for proxies that hand our answer to the visitor,
    says 303 to the sign-up page in place of 401. Nothing but the cookie decides. It is answered
    before Flask begins, because a proxy asks for every picture on a page."""

    def __init__(self, app: Flask) -> None:
        self.app, self.wsgi_app = app, app.wsgi_app
        carried = security_headers(app.config) | PRIVATE | {"Content-Length": "0"}
        self.headers = [*carried.items()]

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/auth":
            return self.wsgi_app(environ, start_response)
        status, headers = self.answer(environ)
        start_response(status, [*headers.items(), *self.headers])
        return []

    def answer(self, environ: WSGIEnvironment) -> tuple[str, dict[str, str]]:
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return "405 Method Not Allowed", {"Allow": "GET, HEAD"}
        try:
            username = self.find_username(environ)
        except sqlite3.Error as error:
            self.app.logger.error("The database cannot be used: %s", error)
            return "503 Service Unavailable", {"Retry-After": "5"}
        if username is not None:
            return "200 OK", {"Remote-User": username}
        if "redirect=1" in environ.get("QUERY_STRING", "").split("&"):
            return "303 See Other", {"Location": self.sign_up_address(environ)}
        return "401 Unauthorized", {}

    def find_username(self, environ: WSGIEnvironment) -> str | None:
        sid = read_cookie(environ, self.app)
        if sid is None:
            return None
        digest = session_digest(sid)
        row = find_session(self.app.extensions["connections"].db, digest)
        if row is None:
            return None
        if is_renewal_due(row):
            self.renew(digest)
        return str(row["username"])

    def renew(self, digest: str) -> None:
        """Some members visit nothing but guarded programs."""
        with self.app.app_context(), suppress(sqlite3.OperationalError), transaction():
            renew_session(digest)

    def sign_up_address(self, environ: WSGIEnvironment) -> str:
        """With the way back to where the visitor was going, as the proxy tells it."""
        own = self.app.config["BASE_URL"]
        asked = {name: environ.get(f"HTTP_X_FORWARDED_{name}", "") for name in FORWARDED}
        origin = f"{asked['PROTO']}://{asked['HOST']}"
        with self.app.app_context():  # on our own host, a path is enough
            came_for = parse_next(asked["URI"] if origin == own else origin + asked["URI"])
        if came_for is None or asked["METHOD"] not in ("", "GET", "HEAD"):
            return f"{own}/signup"
        return f"{own}/signup?{urlencode({'next': came_for})}"


# Vonage: send_text, start_pin, check_pin, cancel_pin ----------------------------------------------


def send_text(phone: str, text: str) -> str:
    """Send an SMS and return Vonage's id of it. Raises VonageError."""
    reports_to = webhook_url("delivery")
    message = SmsMessage(
        to=phone,
        from_=current_app.config["VONAGE_NUMBER"],
        text=text,
        type="text" if set(text) <= GSM_7 else "unicode",
        callback=reports_to if len(reports_to) <= 100 else None,  # Vonage takes no longer address
    )
    with asking_vonage("text") as vonage:
        return str(vonage.sms.send(message).messages[0].message_id)


def start_pin(phone: str) -> str:
    """Have a PIN texted to `phone`; return the request_id. Raises VonageError."""
    order = VerifyRequest(
        brand=current_app.config["GROUP_NAME"],
        workflow=[SmsChannel(to=phone)],
        channel_timeout=PIN_LIFETIME,
        code_length=6,
    )
    with asking_vonage("start") as vonage:
        return parse_request_id(vonage.verify.start_verification(order).request_id)


def check_pin(request_id: str, pin: str) -> None:
    """Return if Vonage says that this is the PIN. Raises VonageError otherwise."""
    with asking_vonage("check") as vonage:
        answer = vonage.verify.check_code(request_id, pin)
        if answer.status != "completed" or answer.request_id != request_id:
            raise ValueError("not a confirmation of this request")


def cancel_pin(request_id: str) -> None:
    with asking_vonage("cancel") as vonage, suppress(NotFoundError):  # 404: it is over already
        vonage.verify.cancel_verification(request_id)


# Inviting: parse_phone, parse_username, create_invite, send_invite, withdraw_invite ---------------


def create_invite(phone: str, username: str | None, inviter: Member | None) -> int:
    """Store an invite and return its id. Raises Mistake."""
    actor = inviter and inviter.username
    with transaction():
        prune()
        wait = seconds_until_text(phone_digest(phone))
        refusal = "invited-just-now" if wait else why_over_budget()
        if refusal is None:
            displace_invites(phone, username, actor)
            invite_id = insert_invite(phone, username, inviter)
            record("invited", actor, username, invite_id)
            record(
                "text_sent", invite_id=invite_id, parts=1
            )  # counted before it is sent; see give_back
        elif refusal == "budget-spent":
            record("budget_reached", actor)
    if refusal is not None:
        raise Mistake("phone", refusal, wait)
    return invite_id


def displace_invites(phone: str, username: str | None, actor: str | None) -> None:
    """An invite replaces the number's earlier one, and an earlier one for the same name: two open
    keys to one member would be one too many. Their running PINs go with them."""
    digest = phone_digest(phone)
    displaced = fetch_rows(
        "DELETE FROM whitelist WHERE phone_digest = ? OR username = ? RETURNING id, phone_digest",
        (digest, username),
    )
    get_db().execute("DELETE FROM pending_verifications WHERE phone_digest = ?", (digest,))
    for row in displaced:
        forget_pins_of_invite(row["id"])
        if row["phone_digest"] != digest:
            record("revoked", actor, username, row["id"])


def forget_pins_of_invite(invite_id: int) -> None:
    get_db().execute(
        "DELETE FROM pending_verifications WHERE whitelist_id = ? AND author_id IS NULL",
        (invite_id,),
    )


def insert_invite(phone: str, username: str | None, inviter: Member | None) -> int:
    expires_at = now() + current_app.config["INVITE_DAYS"] * DAY
    return insert_row(
        "INSERT INTO whitelist"
        " (phone_digest, phone_hint, username, invited_by, created_at, expires_at)"
        " VALUES (?, ?, ?, ?, ?, ?) RETURNING id",
        (phone_digest(phone), phone[-2:], username, inviter and inviter.id, now(), expires_at),
    )


def seconds_until_text(digest: str) -> int | None:
    """None: an open invite's number was not texted within the last minute."""
    lately = fetch_row(
        "SELECT max(at) AS at FROM journal JOIN whitelist ON whitelist.id = invite_id"
        " WHERE phone_digest = ? AND event = 'text_sent' AND abs(at - ?) < ?",
        (digest, now(), MINUTE),
    )
    return min(lately["at"] + MINUTE - now(), MINUTE) if lately and lately["at"] else None


def why_over_budget() -> str | None:
    return "budget-spent" if texts_in_a_day() >= current_app.config["TEXTS_PER_DAY"] else None


def send_invite(invite_id: int, phone: str) -> None:
    """Text the invite. Raises VonageError; the invite stands, and its state says what is wrong."""
    config = current_app.config
    text = render_template("sms/invite.txt", code=config["INVITE_CODE"].upper()).strip()
    try:
        message_id = send_text(phone, text)
    except VonageError as error:
        with transaction() as db:
            db.execute("UPDATE whitelist SET delivery = ? WHERE id = ?", (error.reason, invite_id))
            if error.sent_nothing:
                give_back("text_sent", "text_refused", invite_id, None, error.reason)
        raise
    keep = "UPDATE whitelist SET message_ids = json_object(?, NULL) WHERE id = ?"
    get_db().execute(keep, (message_id, invite_id))


def withdraw_invite(invite_id: int, event: str, actor: str | None = None) -> bool:
    """Delete an open invite, and the PIN that runs for it. False: there is none."""
    with transaction():
        row = fetch_row("DELETE FROM whitelist WHERE id = ? RETURNING username", (invite_id,))
        if row is None:
            return False
        forget_pins_of_invite(invite_id)
        record(event, actor, row["username"], invite_id)
    return True


# Webhooks: what Vonage tells us ------------------------------------------------------------------

webhooks = Blueprint("webhooks", __name__)


@webhooks.before_request
def require_vonage() -> None:
    """No webhook runs for a caller that neither knows our address nor signs what it says."""
    token = (request.view_args or {}).get("token")
    g.fields = read_fields()
    if token is None:
        genuine = is_signed(g.fields)
    else:
        genuine = hmac.compare_digest(token.encode("utf-8", "replace"), webhook_token().encode())
    if not genuine:
        record_refused_webhook()
        abort(401)


def record_refused_webhook() -> None:
    """One line a minute, so that a flood does not fill the disk. Looking first, outside of the
    transaction, keeps the flood from holding the database locked."""
    lately = "SELECT 1 FROM journal WHERE event = 'webhook_refused' AND at > ? AND at <= ?"
    if fetch_row(lately, (now() - MINUTE, now())):
        return
    with transaction():
        if not fetch_row(lately, (now() - MINUTE, now())):
            record("webhook_refused")


@webhooks.errorhandler(VonageError)
def ask_again(error: VonageError) -> ResponseReturnValue:
    return "", 503, {"Retry-After": "30"}


@webhooks.post("/answer")
@webhooks.route("/answer/<token>", methods=["GET", "POST"])
def answer(token: str | None = None) -> ResponseReturnValue:
    """A friend texted. 204: done, or nothing to do; 503: Vonage should call again."""
    if request.method != "POST":
        return show_presence()
    message = parse_inbound(g.fields)
    if message is None:
        return "", 204
    if message.words == ["stop"]:
        act: Callable[[Inbound], None] = stop
    elif current_app.config["INVITE_CODE"].casefold() in message.words:
        act = send_pin
    else:
        return "", 204
    claim = claim_message(message.id)
    if claim == "ours":
        act_once(act, message)
    return "", 503 if claim == "busy" else 204


def show_presence() -> ResponseReturnValue:
    """Vonage calls an address, and wants a 200, before it takes it for a number's webhook. A text
    that comes as a GET would stand in the logs of web servers: the dashboard must say POST."""
    if request.args:
        abort(405)
    return "", 200


def stop(message: Inbound) -> None:
    """The friend does not want in."""
    digest = phone_digest(message.phone)
    invite = fetch_row("SELECT id FROM whitelist WHERE phone_digest = ?", (digest,))
    if invite:
        withdraw_invite(invite["id"], "stopped")


class PinOrder(NamedTuple):
    """A PIN that is counted, and not yet asked for."""

    invite_id: int
    former: str | None  # the number's last request_id that we know of
    is_resumed: bool  # this very message was counted before: we failed or died after that


class StartedPin(NamedTuple):
    request_id: str
    replaced: str | None = None  # the request that was cancelled for it


def send_pin(message: Inbound) -> None:
    """Have a PIN texted to an invited number. Raises VonageUnavailable: call again."""
    order = count_pin(message)
    if order is None:
        return
    try:
        started = start_or_restart_pin(message.phone, order)
    except VonageRefused as error:
        uncount_pin(message, order, error.reason)
        return
    if not store_pin(message, order, started):
        with suppress(VonageError):
            cancel_pin(started.request_id)


def count_pin(message: Inbound) -> PinOrder | None:
    """Count a PIN before it is asked for, once for each message. None: no PIN is due."""
    with transaction() as db:
        invite = find_invite(message.phone)
        if invite is None or invite["message_digest"] == message.digest:
            return None
        counted = find_counted(invite["id"], message.digest)
        if counted and not counted["is_newest"]:
            return None  # the friend asked again meanwhile: that PIN is the good one
        is_resumed = counted is not None and abs(now() - counted["at"]) < PIN_LIFETIME
        name, refusal = invite["username"], why_no_pin(invite, is_resumed)
        if not is_resumed:
            record("texted_back", subject=name, invite_id=invite["id"])
        if refusal:
            record("pin_refused", subject=name, invite_id=invite["id"], detail=refusal)
            return None
        if not is_resumed:
            count = "UPDATE whitelist SET pins_sent = pins_sent + 1 WHERE id = ?"
            db.execute(count, (invite["id"],))
            record("pin_sent", None, name, invite["id"], message.digest, parts=1)
        return PinOrder(invite["id"], invite["request_id"], is_resumed)


def find_invite(phone: str) -> sqlite3.Row | None:
    """The number's open invite, with the request and the message of its last PIN."""
    return fetch_row(
        "SELECT whitelist.*, request_id, message_digest"
        " FROM whitelist LEFT JOIN pending_verifications USING (phone_digest)"
        " WHERE phone_digest = ? AND whitelist.expires_at > ?",
        (phone_digest(phone), now()),
    )


def find_counted(invite_id: int, message_digest: str) -> sqlite3.Row | None:
    """When this message was counted, and whether it is the invite's newest that was."""
    return fetch_row(
        "SELECT at, id = (SELECT max(id) FROM journal WHERE event = 'pin_sent' AND invite_id = ?1)"
        " AS is_newest FROM journal WHERE event = 'pin_sent' AND invite_id = ?1 AND detail = ?2"
        " ORDER BY id DESC",
        (invite_id, message_digest),
    )


def why_no_pin(invite: sqlite3.Row, is_resumed: bool) -> str | None:
    """Why no PIN may be sent for this invite now, or None."""
    if invite["tries"] >= TRIES_PER_INVITE:
        return "tries-spent-admin"
    if is_resumed:
        return None
    if invite["pins_sent"] >= PINS_PER_INVITE:
        return "pins-spent"
    lately = count_rows(
        "SELECT count(*) FROM journal"
        " WHERE event = 'pin_sent' AND invite_id = ? AND abs(at - ?) < ?",
        (invite["id"], now(), 10 * MINUTE),
    )
    return "pins-too-fast" if lately >= PINS_PER_TEN_MINUTES else why_over_budget()


def uncount_pin(message: Inbound, order: PinOrder, reason: str) -> None:
    with transaction() as db:
        uncount = "UPDATE whitelist SET pins_sent = pins_sent - 1 WHERE id = ?"
        db.execute(uncount, (order.invite_id,))
        give_back("pin_sent", "pin_refused", order.invite_id, message.digest, reason)


def start_or_restart_pin(phone: str, order: PinOrder) -> StartedPin:
    """Vonage runs one request a number. One that we do not know, though we counted this message
    before, is the one that we died on: adopt it. Any other is an earlier PIN's, and the friend
    asked for a new one."""
    try:
        return StartedPin(start_pin(phone))
    except PinStillRunning as running:
        if order.is_resumed and running.request_id != order.former:
            return StartedPin(running.request_id)
        cancel_pin(running.request_id)
        return StartedPin(start_pin(phone), replaced=running.request_id)


def store_pin(message: Inbound, order: PinOrder, started: StartedPin) -> bool:
    """Remember the running request, in place of the one that is over, or of the receipt. A lease
    that is held stays: somebody's PIN is being checked. False: the invite is gone, or another
    text, answered faster, has a newer PIN."""
    with transaction() as db:
        stored = db.execute(
            "INSERT INTO pending_verifications"
            " (phone_digest, whitelist_id, request_id, message_digest, expires_at)"
            " SELECT phone_digest, id, :request_id, :message_digest, :expires_at"
            " FROM whitelist WHERE id = :invite_id"
            " ON CONFLICT (phone_digest) DO UPDATE SET whitelist_id = excluded.whitelist_id,"
            " request_id = excluded.request_id, message_digest = excluded.message_digest,"
            " author_id = NULL, expires_at = excluded.expires_at"
            " WHERE request_id IN (:former, :replaced, excluded.request_id)",
            {
                "request_id": started.request_id,
                "message_digest": message.digest,
                "expires_at": now() + PIN_LIFETIME,
                "invite_id": order.invite_id,
                "former": order.former,
                "replaced": started.replaced,
            },
        )
        return stored.rowcount > 0


@webhooks.post("/delivery")
@webhooks.post("/delivery/<token>")
def delivery(token: str | None = None) -> ResponseReturnValue:
    """What became of an invite text. 204: noted, or not one of ours; 503: we cannot know yet that
    it is one of ours, because the answer with its id is still on the way."""
    found = parse_delivery(g.fields)
    if found is None or note_delivery(*found) or not is_text_on_the_way():
        return "", 204
    return "", 503, {"Retry-After": "30"}


def note_delivery(message_id: str, outcome: str) -> bool:
    """Vonage's first word that is final counts, however often and in whatever order it calls.
    False: that text is none of ours."""
    with transaction():
        invite = fetch_row(
            "SELECT id, username, delivery FROM whitelist"
            " WHERE EXISTS (SELECT 1 FROM json_each(message_ids) WHERE key = ?)",
            (message_id,),
        )
        if invite and invite["delivery"] is None:
            note = "UPDATE whitelist SET delivery = ? WHERE id = ?"
            get_db().execute(note, (outcome, invite["id"]))
            if outcome != "delivered":
                record("text_undelivered", subject=invite["username"], invite_id=invite["id"])
    return invite is not None


def is_text_on_the_way() -> bool:
    sending = fetch_row(
        "SELECT 1 FROM whitelist WHERE created_at > ? AND message_ids = '{}' AND delivery IS NULL",
        (now() - MINUTE,),
    )
    return sending is not None


# Signing up and in: a form, a lease, a check, one transaction ------------------------------------


@dataclass(frozen=True)
class Attempt:
    """A form with a PIN. `digest` is the same for the same form from the same browser."""

    phone: str
    username: str
    pin: str
    visitor: str

    @functools.cached_property
    def digest(self) -> str:
        return keyed_digest("visitor", self.visitor, self.phone, self.username, self.pin)

    def session_id(self, request_id: str) -> str:
        """The cookie of this sign-in: the same when asked again, and nobody else can guess it."""
        return keyed_digest("session", self.visitor, request_id)


class SignedIn(NamedTuple):
    author_id: int
    session_id: str


class Check(NamedTuple):
    """A counted try, with the chosen name leased to it."""

    invite_id: int
    request_id: str
    bound_to: str | None  # the only name that the invite is good for


class NotStored(Exception):
    """The PIN was right, and is used up, but the database could not keep the sign-in."""


class BeingChecked(Exception):
    """This very form is with Vonage at this moment: the button was pressed twice."""


def parse_pin(text: str) -> str:
    pin = "".join(text.split())
    if not re.fullmatch(r"[0-9]{6}", pin):
        raise Mistake("pin", "pin-unreadable" if pin else "pin-missing")
    return pin


@pages.get("/signup")
def signup() -> ResponseReturnValue:
    ensure_visitor()
    return show_signup(Form("phone", "username", "pin"))


def show_signup(form: Form, status: int = 200) -> ResponseReturnValue:
    came_for = parse_next(request.values.get("next", ""))
    return render_template("signup.html", form=form, next=came_for), status


@pages.post("/login")
def login() -> ResponseReturnValue:
    form = Form("phone", "username", "pin")
    attempt = Attempt(
        form.read("phone", parse_phone),
        form.read("username", parse_username),
        form.read("pin", parse_pin),
        ensure_visitor(),
    )
    if form.errors:
        return show_signup(form, 422)
    try:
        adopt_session(*sign_in(attempt))
    except Mistake as mistake:
        form.refuse(mistake)
        return show_signup(form, 422)
    except (VonageError, NotStored) as trouble:
        is_used_up = isinstance(trouble, NotStored)
        form.refuse(Mistake("form", "pin-used-up" if is_used_up else "pin-unchecked"))
        return show_signup(form, 503)
    return redirect(parse_next(request.form.get("next", "")) or "/", 303)


def ensure_visitor() -> str:
    """This browser's random mark, by which a lost answer can be given again. Sets the cookie where
    there is none."""
    name = current_app.config["VISITOR_COOKIE_NAME"]
    mark = request.cookies.get(name, "")
    if re.fullmatch(r"[A-Za-z0-9_-]{43}", mark):
        return mark
    mark = secrets.token_urlsafe(32)

    @after_this_request
    def set_cookie(response: Response) -> Response:
        secure = current_app.config["SESSION_COOKIE_SECURE"]
        response.set_cookie(name, mark, max_age=DAY, secure=secure, httponly=True, samesite="Lax")
        return response

    return mark


def sign_in(attempt: Attempt) -> SignedIn:
    """Check the PIN and let its bearer in, or raise Mistake or VonageError. Vonage is asked
    between two transactions; killed anywhere, there is a usable invite, or a member and this
    browser's receipt."""
    try:
        found = lease_check(attempt)
    except BeingChecked:
        return wait_for_twin(attempt)
    if isinstance(found, SignedIn):
        return found
    try:
        check_pin(found.request_id, attempt.pin)
    except PinRejected as rejection:
        refuse_pin(attempt, found, rejection.is_final)
        raise Mistake("pin", "pin-wrong") from None
    except VonageError as error:
        release_lease(attempt, answered=False)
        if isinstance(error, VonageUnreached):
            uncount_try(found.invite_id)
        raise
    return complete_or_release(attempt, found)


def complete_or_release(attempt: Attempt, check: Check) -> SignedIn:
    try:
        return complete_sign_in(attempt, check)
    except Mistake:
        release_lease(attempt, answered=True)
        raise
    except sqlite3.OperationalError as error:
        current_app.logger.error("A sign-in could not be stored: %s", error)
        with suppress(sqlite3.OperationalError):
            release_lease(attempt, answered=True)
        raise NotStored from error


def lease_check(attempt: Attempt) -> Check | SignedIn:
    """Find out what this form may do; if that is to ask Vonage, count the try and lease the name
    first. The receipt of the same form is as good as its first answer."""
    with transaction():
        prune()
        free_stale_leases()
        pending = find_pending(attempt)
        if pending is None:
            raise Mistake("pin", "pin-wrong")
        if pending["is_receipt"]:
            return read_receipt(attempt, pending)
        if pending["invite_id"] is None:
            raise Mistake("pin", "pin-wrong")
        if pending["leased_until"] is not None:
            if pending["visitor_digest"] == attempt.digest:
                raise BeingChecked
            raise Mistake("pin", "being-checked", pending["leased_until"] - now())
        require_free_name(attempt, pending["bound_to"])
        count_try(pending["invite_id"])
        lease_name(attempt)
        return Check(pending["invite_id"], pending["request_id"], pending["bound_to"])


def find_pending(attempt: Attempt) -> sqlite3.Row | None:
    """The number's running PIN or receipt; `invite_id` is null where the invite is gone."""
    return fetch_row(
        "SELECT pending.*, author_id IS NOT NULL AS is_receipt,"
        " whitelist.id AS invite_id, whitelist.username AS bound_to"
        " FROM pending_verifications AS pending"
        " LEFT JOIN whitelist ON whitelist.id = whitelist_id AND whitelist.expires_at > ?2"
        " WHERE pending.phone_digest = ?1 AND pending.expires_at > ?2",
        (phone_digest(attempt.phone), now()),
    )


def free_stale_leases() -> None:
    """A lease is held while now < leased_until <= now + 30: one from a wrong clock holds nobody."""
    get_db().execute(
        "UPDATE pending_verifications"
        " SET username = NULL, leased_until = NULL, visitor_digest = NULL"
        " WHERE leased_until IS NOT NULL AND leased_until NOT BETWEEN ? AND ?",
        (now() + 1, now() + LEASE_LIFETIME),
    )


def read_receipt(attempt: Attempt, pending: sqlite3.Row) -> SignedIn:
    """The session that this form got before, while that lives. Raises Mistake for other forms."""
    session_id = attempt.session_id(pending["request_id"])
    row = fetch_row(
        "SELECT 1 FROM sessions WHERE id_digest = ? AND author_id = ? AND expires_at > ?",
        (session_digest(session_id), pending["author_id"], now()),
    )
    if row is None or pending["visitor_digest"] != attempt.digest:
        raise Mistake("pin", "pin-wrong")
    return SignedIn(pending["author_id"], session_id)


def require_free_name(attempt: Attempt, bound_to: str | None) -> None:
    """An invite for a name is good for that name only; any other invite for a new name only."""
    name = attempt.username
    if bound_to is not None and bound_to != name:
        raise Mistake("username", "username-not-invited")
    if bound_to is None and (name in current_app.config["ADMINS"] or is_name_taken(name)):
        raise Mistake("username", "username-taken")


def is_name_taken(name: str) -> bool:
    """By a member, or by somebody whom an open invite names."""
    taken = fetch_row(
        "SELECT 1 FROM authors WHERE username = ?1"
        " UNION ALL SELECT 1 FROM whitelist WHERE username = ?1 AND expires_at > ?2",
        (name, now()),
    )
    return taken is not None


def count_try(invite_id: int) -> None:
    """Count before the PIN is checked: counted afterwards, many at once would each be the first."""
    counted = fetch_row(
        "UPDATE whitelist SET tries = tries + 1 WHERE id = ? AND tries < ? RETURNING tries",
        (invite_id, TRIES_PER_INVITE),
    )
    if counted is None:
        raise Mistake("pin", "tries-spent")


def lease_name(attempt: Attempt) -> None:
    """Hold the name while Vonage is asked, so that of two friends who choose it the slower one
    learns so before a PIN is burnt."""
    try:
        get_db().execute(
            "UPDATE pending_verifications SET username = ?, leased_until = ?, visitor_digest = ?"
            " WHERE phone_digest = ?",
            (attempt.username, now() + LEASE_LIFETIME, attempt.digest, phone_digest(attempt.phone)),
        )
    except sqlite3.IntegrityError:
        raise Mistake("username", "username-taken") from None


def complete_sign_in(attempt: Attempt, check: Check) -> SignedIn:
    """The PIN was right: the invite goes, and member, session, receipt and journal line come, all
    in one transaction."""
    session_id = attempt.session_id(check.request_id)
    device = name_device(request.user_agent.string)
    with transaction():
        invite = fetch_row(
            "DELETE FROM whitelist WHERE id = ? AND username IS ? AND expires_at > ?"
            " RETURNING invited_by",
            (check.invite_id, check.bound_to, now()),
        )
        if invite is None:
            raise Mistake("form", "invite-withdrawn")
        author_id = find_or_create_author(attempt.username, check, invite["invited_by"])
        begin_session(author_id, session_id, device)
        write_receipt(attempt, check, author_id)
    return SignedIn(author_id, session_id)


def write_receipt(attempt: Attempt, check: Check, author_id: int) -> None:
    """In place of the pending verification, whose lease on the name it ends."""
    get_db().execute(
        "INSERT OR REPLACE INTO pending_verifications (phone_digest, whitelist_id, request_id,"
        " message_digest, visitor_digest, author_id, expires_at)"
        " VALUES (?, ?, ?, '', ?, ?, ?)",
        (
            phone_digest(attempt.phone), check.invite_id, check.request_id,
            attempt.digest, author_id, now() + RECEIPT_LIFETIME,
        ),
    )  # fmt: skip


def find_or_create_author(username: str, check: Check, invited_by: int | None) -> int:
    """The member whom the invite names, or a new one. Somebody may have been invited for the
    chosen name while the PIN was being checked: they have it."""
    if check.bound_to is None and is_name_taken(username):
        raise Mistake("username", "username-given-away")
    known = fetch_row("SELECT id FROM authors WHERE username = ?", (username,))
    record("signed_in" if known else "joined", username, invite_id=check.invite_id)
    if known:
        return int(known["id"])
    return insert_row(
        "INSERT INTO authors (username, invited_by, joined_at) VALUES (?, ?, ?) RETURNING id",
        (username, invited_by, now()),
    )


def uncount_try(invite_id: int) -> None:
    """Only where it is certain that Vonage was not asked."""
    get_db().execute("UPDATE whitelist SET tries = tries - 1 WHERE id = ?", (invite_id,))


def release_lease(attempt: Attempt, answered: bool) -> None:
    """Free the name. Where Vonage answered, what stays of the lease tells so to a waiting twin."""
    get_db().execute(
        "UPDATE pending_verifications SET username = NULL, leased_until = NULL,"
        " visitor_digest = iif(?, visitor_digest, NULL)"
        " WHERE phone_digest = ? AND visitor_digest = ? AND author_id IS NULL",
        (answered, phone_digest(attempt.phone), attempt.digest),
    )


def refuse_pin(attempt: Attempt, check: Check, is_final: bool) -> None:
    """The PIN was wrong. Where Vonage has ended it for that, nobody need spend more tries on it."""
    with transaction() as db:
        release_lease(attempt, answered=True)
        record("pin_wrong", subject=check.bound_to, invite_id=check.invite_id)
        if is_final:
            db.execute(
                "DELETE FROM pending_verifications WHERE request_id = ? AND author_id IS NULL",
                (check.request_id,),
            )


def wait_for_twin(attempt: Attempt) -> SignedIn:
    """Answer a second press of the button as the first is answered, without asking Vonage again."""
    patience = time.monotonic() + TWIN_PATIENCE
    while time.monotonic() < patience:
        time.sleep(0.1)
        pending = find_pending(attempt)
        if pending is None:
            raise Mistake("pin", "pin-wrong")
        if pending["is_receipt"]:
            return read_receipt(attempt, pending)
        if pending["leased_until"] is None:
            if pending["visitor_digest"] == attempt.digest:
                raise Mistake("pin", "pin-wrong")
            raise VonageUnavailable
    raise Mistake("pin", "being-checked", LEASE_LIFETIME - TWIN_PATIENCE)


# At home: landing page, members' home, signing out -----------------------------------------------


@pages.get("/")
def home() -> ResponseReturnValue:
    if current_member() is None:
        return render_template("landing.html")
    return render_template("home.html", circle=find_circle())


def find_circle() -> list[sqlite3.Row]:
    """All members, the oldest first, each with who invited them."""
    return fetch_rows(
        "SELECT authors.username, inviters.username AS inviter FROM authors"
        " LEFT JOIN authors AS inviters ON inviters.id = authors.invited_by ORDER BY authors.id"
    )


@pages.post("/logout")
def logout() -> ResponseReturnValue:
    member = require_member()
    with transaction():
        end_session(this_digest())
        record("signed_out", member.username)
    session.clear()
    this_session().has_ended = True
    return redirect("/", 303)


# Devices: a member's own sessions ----------------------------------------------------------------

DEVICE_ID_LENGTH = 16  # so much of its digest names a session to its owner, and to nobody else


@pages.get("/devices")
def devices() -> ResponseReturnValue:
    member = require_member()
    if this_session().is_due:  # or the page would say until when it was good before this visit
        with suppress(sqlite3.OperationalError):
            renew_this_session()
    return render_template("devices.html", devices=find_devices(member), now=now())


def find_devices(member: Member) -> list[sqlite3.Row]:
    """This device first."""
    return fetch_rows(
        "SELECT substr(id_digest, 1, ?) AS id, id_digest = ? AS is_this, device AS name, seen_at,"
        " expires_at, created_at + ? AS ends_at FROM sessions"
        " WHERE author_id = ? AND expires_at > ? ORDER BY is_this DESC, seen_at DESC",
        (DEVICE_ID_LENGTH, this_digest(), longest_session(), member.id, now()),
    )


@pages.post("/devices/renew")
def renew_device() -> ResponseReturnValue:
    require_member()
    renew_this_session()
    return redirect("/devices", 303)


def renew_this_session() -> None:
    with transaction():
        renewed = renew_session(this_digest())
    this_session().is_stored = this_session().modified = renewed


@pages.post("/devices/<device_id>/end")
def end_device(device_id: str) -> ResponseReturnValue:
    member = require_member()
    if device_id == this_digest()[:DEVICE_ID_LENGTH]:
        return logout()
    with transaction() as db:
        ended = db.execute(
            "DELETE FROM sessions WHERE author_id = ? AND substr(id_digest, 1, ?) = ?",
            (member.id, DEVICE_ID_LENGTH, device_id),
        )
        if ended.rowcount == 0:
            abort(404)
        record("device_ended", member.username)
    return redirect("/devices", 303)


@pages.post("/devices/end-others")
def end_other_devices() -> ResponseReturnValue:
    member = require_member()
    with transaction() as db:
        others = "DELETE FROM sessions WHERE author_id = ? AND id_digest != ?"
        if db.execute(others, (member.id, this_digest())).rowcount:
            record("other_devices_ended", member.username)
    return redirect("/devices", 303)


def name_device(user_agent: str) -> str:
    """As its owner would call it, such as "Firefox on Android"; no more of the header is kept, and
    no digits. Empty where nothing can be told."""
    browser, system = parse_user_agent(user_agent[:512]), parse_os(user_agent[:512])
    names = [re.sub(r"\b(Mobile|iOS)\b", "", browser.family).strip()] if browser else []
    names += [system.family.replace("Mac OS X", "macOS")] if system else []
    return " on ".join(name for name in names if re.fullmatch(r"[A-Za-z][A-Za-z .+-]{0,30}", name))


# Looking after the group: what admins see and do -------------------------------------------------

admin = Blueprint("admin", __name__)
ROW_ID = f"<int(max={2**63 - 1}):row_id>"  # SQLite has no larger


@admin.before_request
def require_admin() -> None:
    if not is_admin(require_member()):
        abort(403)


@admin.get("/admin")
def overview() -> ResponseReturnValue:
    return show_admin(Form("phone", "username"))


def show_admin(form: Form, status: int = 200) -> ResponseReturnValue:
    page = render_template(
        "admin.html",
        form=form,
        invites=find_open_invites(),
        tries_per_invite=TRIES_PER_INVITE,
        pin_lifetime=PIN_LIFETIME,
        journal_page=JOURNAL_PAGE,
        members=find_members(),
        journal=find_journal(request.args.get("before", "")),
        texts=texts_in_a_day(),
        new=request.args.get("new", type=int),
        now=now(),
    )
    return page, status


@admin.post("/invite")
def invite() -> ResponseReturnValue:
    form = Form("phone", "username")
    phone = form.read("phone", parse_phone)
    username = form.read("username", parse_optional_username)
    if form.errors:
        return show_admin(form, 422)
    try:
        invite_id = create_invite(phone, username or None, require_member())
    except Mistake as mistake:
        form.refuse(mistake)
        return show_admin(form, 422)
    with suppress(VonageError):  # the invite stands; its line on the page says what is wrong
        send_invite(invite_id, phone)
    return redirect(url_for("admin.overview", new=invite_id), 303)


@admin.post(f"/invite/{ROW_ID}/revoke")
def revoke(row_id: int) -> ResponseReturnValue:
    if not withdraw_invite(row_id, "revoked", require_member().username):
        abort(404)
    return redirect("/admin", 303)


@admin.post(f"/members/{ROW_ID}/remove")
def remove(row_id: int) -> ResponseReturnValue:
    name = find_member_name(row_id)
    if name in current_app.config["ADMINS"]:
        form = Form("phone", "username")
        form.refuse(Mistake("members", "admin-stays"))
        return show_admin(form, 422)
    if not remove_member(row_id, require_member().username):
        abort(404)
    return redirect("/admin", 303)


@admin.post(f"/members/{ROW_ID}/sign-out")
def sign_out_member(row_id: int) -> ResponseReturnValue:
    sign_out_everywhere(row_id, find_member_name(row_id), require_member().username)
    return redirect("/admin", 303)


def find_member_name(author_id: int) -> str:
    row = fetch_row("SELECT username FROM authors WHERE id = ?", (author_id,))
    if row is None:
        abort(404)
    return str(row["username"])


def sign_out_everybody() -> int:
    """End every session there is; return how many."""
    with transaction() as db:
        record("signed_out_everywhere")
        return db.execute("DELETE FROM sessions").rowcount


def sign_out_everywhere(author_id: int, name: str, actor: str | None) -> None:
    with transaction() as db:
        db.execute("DELETE FROM sessions WHERE author_id = ?", (author_id,))
        record("signed_out_everywhere", actor, name)


def remove_member(author_id: int, actor: str | None) -> bool:
    """Take a member out, at once and everywhere: sessions and receipts go with the row, and so does
    every invite that is bound to the name. False: there is none."""
    with transaction() as db:
        row = fetch_row("DELETE FROM authors WHERE id = ? RETURNING username", (author_id,))
        if row is None:
            return False
        name = row["username"]
        for invite in fetch_rows("DELETE FROM whitelist WHERE username = ? RETURNING id", (name,)):
            forget_pins_of_invite(invite["id"])
        db.execute("DELETE FROM pending_verifications WHERE username = ?", (name,))
        record("removed", actor, name)
    return True


def find_open_invites() -> list[sqlite3.Row]:
    """Newest first, each with the last that the journal knows of its PINs, and with the time at
    which the oldest of the last three stops counting."""
    return fetch_rows(
        "SELECT whitelist.*, authors.username AS inviter, last.event AS pin_event,"
        " last.at AS pin_at, last.detail AS pin_detail, third.at + ? AS next_pin_at FROM whitelist"
        " LEFT JOIN authors ON authors.id = whitelist.invited_by"
        " LEFT JOIN journal AS last ON last.id = (SELECT max(id) FROM journal"
        " WHERE invite_id = whitelist.id AND event IN ('pin_sent', 'pin_refused', 'pin_wrong'))"
        " LEFT JOIN journal AS third ON third.id = (SELECT id FROM journal"
        " WHERE invite_id = whitelist.id AND event = 'pin_sent' ORDER BY id DESC LIMIT 1 OFFSET ?)"
        " WHERE expires_at > ? ORDER BY whitelist.id DESC",
        (10 * MINUTE, PINS_PER_TEN_MINUTES - 1, now()),
    )


def find_members() -> list[sqlite3.Row]:
    """By name, each with who invited them, on how many devices they are, and when last seen."""
    return fetch_rows(
        "SELECT authors.*, inviters.username AS inviter, count(id_digest) AS devices,"
        " max(seen_at) AS seen_at FROM authors"
        " LEFT JOIN authors AS inviters ON inviters.id = authors.invited_by"
        " LEFT JOIN sessions ON sessions.author_id = authors.id AND expires_at > ?"
        " GROUP BY authors.id ORDER BY authors.username",
        (now(),),
    )
