"""Trusted Group: friends sign in with just their phones.

This file is the journey, in the order people take it: somebody is invited, texts back the word,
gets a PIN, signs up, is signed in, comes home; admins look after the invites. Then the calls to
Vonage. What it stands on is in foundation/, what stands on it in features/; docs/how-it-works.md
explains the rules.
"""

import functools
import hmac
import re
import secrets
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import click
from flask import Blueprint, Flask, Response, abort, current_app, g, redirect, render_template
from flask import after_this_request, request, url_for
from flask.typing import ResponseReturnValue
from vonage_http_client.errors import NotFoundError
from vonage_sms import SmsMessage
from vonage_verify import SmsChannel, VerifyRequest
from werkzeug.middleware.proxy_fix import ProxyFix

from foundation.answers import SecurityHeaders, Templates, add_answers, find_static_files
from foundation.clock import DAY, MINUTE, add_times, now
from foundation.database import count_rows, fetch_row, fetch_rows, get_db, insert_row
from foundation.database import is_database_older, open_database, transaction
from foundation.digests import keyed_digest, phone_digest, session_digest
from foundation.feature import Feature, add_features, gather_for_templates, known_settings
from foundation.flask_settings import configure_flask
from foundation.forms import Form, Mistake
from foundation.forward_auth import ForwardAuth
from foundation.guards import for_machines, guard, parse_next
from foundation.inbound import Inbound, act_once, claim_message, is_signed, parse_delivery
from foundation.inbound import parse_inbound, prune_inbound, read_fields, webhook_token, webhook_url
from foundation.journal import JOURNAL_PAGE, count_texts_of_today, find_journal, prune_journal
from foundation.journal import record, refund
from foundation.logs import keep_secrets_out_of_logs
from foundation.phones import parse_phone
from foundation.sessions import Member, SessionTable, adopt_session, current_member, drop_session
from foundation.sessions import is_admin, name_device, this_digest
from foundation.settings import gather_settings, read_settings
from foundation.usernames import parse_optional_username, parse_username
from foundation.vonage import GSM_7, PinRejected, PinStillRunning, Vonage, VonageError
from foundation.vonage import VonageRefused, VonageUnavailable, VonageUnreached, asking_vonage
from foundation.vonage import parse_request_id

PIN_LIFETIME = 300
PINS_PER_TEN_MINUTES = 3
PINS_PER_INVITE = 5
TRIES_PER_INVITE = 10  # wrong PINs

# The factory, and who may open what ---------------------------------------------------------------

pages = Blueprint("pages", __name__)
webhooks = Blueprint("webhooks", __name__)
admin = Blueprint("admin", __name__)

ROW_ID = f"<int(max={2**63 - 1}):row_id>"  # SQLite has no larger


def create_app(
    config: Mapping[str, Any] | None = None, features: tuple[Feature, ...] = ()
) -> Flask:
    """The journey, with those features. Settings come from `config`, then the environment, then
    (without `config`) the nearest .env; names in `config` that are not ours go to Flask. Raises
    WrongSettings."""
    app = Flask(__name__)
    app.jinja_environment = Templates
    ours = known_settings(features)
    app.config.update(read_settings(gather_settings(config), ours))
    configure_flask(app)
    app.config.update((k, v) for k, v in (config or {}).items() if k not in ours)
    keep_secrets_out_of_logs(app)
    app.session_interface = MemberSessions(app)
    app.extensions["vonage"] = Vonage(app.config)
    open_database(app, [feature.name for feature in features])
    with app.app_context():
        if not is_database_older():
            drop_invites_of_old_key()
    for blueprint in (pages, webhooks, admin):
        app.register_blueprint(blueprint)
    app.before_request(guard)
    known = gather_for_templates(features) | {"static": find_static_files(app)}
    app.context_processor(lambda: describe_visitor() | known)
    add_times(app)
    add_answers(app)
    add_features(app, features)
    wrap_wsgi(app)
    return app


def wrap_wsgi(app: Flask) -> None:
    """What happens before Flask, the last line first: /auth needs no host and no address."""
    if proxies := app.config["TRUSTED_PROXIES"]:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=proxies, x_proto=proxies)  # type: ignore[method-assign]
    app.wsgi_app = SecurityHeaders(app)  # type: ignore[method-assign]
    app.wsgi_app = ForwardAuth(app)  # type: ignore[method-assign]


def describe_visitor() -> dict[str, Any]:
    """What every template knows."""
    member = current_member()
    return {"member": member, "is_admin": is_admin(member)}


def require_member() -> Member:
    """The member who is asking; everybody else goes to the sign-up page, and comes back later."""
    member = current_member()
    if member is None:
        wanted = request.full_path.rstrip("?") if request.method == "GET" else None
        abort(redirect(url_for("pages.signup", next=wanted), 303))
    return member


@admin.before_request
def require_admin() -> None:
    if not is_admin(require_member()):
        abort(403)


@webhooks.before_request
def require_vonage() -> None:
    """Only a caller that knows our secret address, or signs what it says, reaches a webhook."""
    token = (request.view_args or {}).get("token")
    g.fields = read_fields()
    if token is None:
        genuine = is_signed(g.fields)
    else:
        genuine = hmac.compare_digest(token.encode("utf-8", "replace"), webhook_token().encode())
    if not genuine:
        record_refused_webhook()
        abort(401)


# Inviting -----------------------------------------------------------------------------------------
#
# An invite is one row of `whitelist` and one text. The row keeps a digest of the number, so the
# text has to go out while the number is still in the form.


@admin.post("/invite")
def invite_friend() -> ResponseReturnValue:
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
    with suppress(VonageError):  # the invite stays; its line on the page says what is wrong
        send_invite(invite_id, phone)
    return redirect(url_for("admin.overview", new=invite_id), 303)


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
            record("text_sent", invite_id=invite_id, parts=1)  # counted before it is sent
        elif refusal == "budget-spent":
            record("budget_reached", actor, detail=refusal)
    if refusal is not None:
        raise Mistake("phone", refusal, wait)
    return invite_id


def displace_invites(phone: str, username: str | None, actor: str | None) -> None:
    """An invite replaces the number's earlier one, and an earlier one for the same name: otherwise
    two phones could sign in as one member. Their running PINs go too."""
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
    """None: the number was not texted within the last minute."""
    lately = fetch_row(
        "SELECT max(at) AS at FROM journal JOIN whitelist ON whitelist.id = invite_id"
        " WHERE phone_digest = ? AND event = 'text_sent' AND abs(at - ?) < ?",
        (digest, now(), MINUTE),
    )
    return min(lately["at"] + MINUTE - now(), MINUTE) if lately and lately["at"] else None


def why_over_budget() -> str | None:
    spent = count_texts_of_today() >= current_app.config["TEXTS_PER_DAY"]
    return "budget-spent" if spent else None


def send_invite(invite_id: int, phone: str) -> None:
    """Text the invite. Raises VonageError; the invite stays, and its state says what is wrong."""
    word = current_app.config["INVITE_CODE"].upper()
    text = render_template("sms/invite.txt", word=word).strip()
    try:
        message_id = send_text(phone, text)
    except VonageError as error:
        with transaction() as db:
            db.execute("UPDATE whitelist SET delivery = ? WHERE id = ?", (error.reason, invite_id))
            if error.sent_nothing:
                refund("text_sent", "text_refused", invite_id, None, error.reason)
        raise
    keep = "UPDATE whitelist SET message_ids = json_object(?, NULL) WHERE id = ?"
    get_db().execute(keep, (message_id, invite_id))


@admin.post(f"/invite/{ROW_ID}/revoke")
def revoke(row_id: int) -> ResponseReturnValue:
    if not withdraw_invite(row_id, "revoked", require_member().username):
        abort(404)
    return redirect("/admin", 303)


def withdraw_invite(invite_id: int, event: str, actor: str | None = None) -> bool:
    """Delete an open invite and its running PIN. False: there is none."""
    with transaction():
        row = fetch_row("DELETE FROM whitelist WHERE id = ? RETURNING username", (invite_id,))
        if row is None:
            return False
        forget_pins_of_invite(invite_id)
        record(event, actor, row["username"], invite_id)
    return True


def drop_invites_of_old_key() -> None:
    """With a new SECRET_KEY, no phone digest can be found and the webhook has a new address: drop
    the open invites and say so. Sessions don't depend on the key.

    31 bits derived from the key tell them apart: that is what a PRAGMA's signed integer holds.
    """
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
    """Delete what has expired. Called inside writes that happen anyway, so no job has to run."""
    db, at = get_db(), now()
    db.execute("DELETE FROM whitelist WHERE expires_at <= ?", (at,))
    db.execute("DELETE FROM pending_verifications WHERE expires_at <= ?", (at,))
    db.execute("DELETE FROM sessions WHERE expires_at <= ?", (at,))
    prune_inbound()
    prune_journal()
    for feature in current_app.extensions["features"]:
        if feature.prune:
            feature.prune()


# Webhooks: what Vonage tells us -------------------------------------------------------------------
#
# A friend's text asks for a PIN. The PIN is counted in the journal, and committed, before Vonage is
# asked for it; if we crash in between, Vonage calls again and we go on where we were.


@webhooks.post("/answer")
@webhooks.route("/answer/<token>", methods=["GET", "POST"])
@for_machines
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
    """Before Vonage takes an address for a webhook, it calls it and wants a 200. A text that comes
    by GET would end up in the logs of web servers: the dashboard must say POST."""
    if request.args:
        abort(405)
    return "", 200


@webhooks.errorhandler(VonageError)
def ask_again(error: VonageError) -> ResponseReturnValue:
    return "", 503, {"Retry-After": "30"}


def record_refused_webhook() -> None:
    """One line a minute, so a flood doesn't fill the disk. Looking first, outside the transaction,
    keeps a flood from holding the database locked."""
    lately = "SELECT 1 FROM journal WHERE event = 'webhook_refused' AND at > ? AND at <= ?"
    if fetch_row(lately, (now() - MINUTE, now())):
        return
    with transaction():
        if not fetch_row(lately, (now() - MINUTE, now())):
            record("webhook_refused")


def stop(message: Inbound) -> None:
    """STOP: withdraw the invite."""
    digest = phone_digest(message.phone)
    invite = fetch_row("SELECT id FROM whitelist WHERE phone_digest = ?", (digest,))
    if invite:
        withdraw_invite(invite["id"], "stopped")


class PinOrder(NamedTuple):
    """A PIN that is counted, and that Vonage has not been asked for yet."""

    invite_id: int
    previous_request_id: str | None  # the number's last one that we know of
    is_resumed: bool  # this message was counted before: we failed or crashed after that


class StartedPin(NamedTuple):
    request_id: str
    cancelled_request_id: str | None = None  # the one that ran before, and made way


def send_pin(message: Inbound) -> None:
    """Have a PIN texted to an invited number. Raises VonageUnavailable: call again."""
    order = count_pin(message)
    if order is None:
        return
    try:
        started = start_or_restart_pin(message.phone, order)
    except VonageRefused as error:
        refund_pin(message, order, error.reason)
        return
    if not store_pin(message, order, started):
        with suppress(VonageError):
            cancel_pin(started.request_id)


def count_pin(message: Inbound) -> PinOrder | None:
    """Count a PIN before asking for it, once for each message. None: no PIN is due."""
    with transaction() as db:
        invite = find_invite(message.phone)
        if invite is None or invite["message_digest"] == message.digest:
            return None
        counted = find_counted(invite["id"], message.digest)
        if counted and not counted["is_newest"]:
            return None  # the friend asked again meanwhile, and has that PIN
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


def refund_pin(message: Inbound, order: PinOrder, reason: str) -> None:
    with transaction() as db:
        uncount = "UPDATE whitelist SET pins_sent = pins_sent - 1 WHERE id = ?"
        db.execute(uncount, (order.invite_id,))
        refund("pin_sent", "pin_refused", order.invite_id, message.digest, reason)


def start_or_restart_pin(phone: str, order: PinOrder) -> StartedPin:
    """Vonage runs one request for a number at a time. If one runs that we don't know, though we
    counted this message before, we started it just before crashing: reuse it. Any other belongs to
    an earlier PIN, and the friend has asked for a new one."""
    try:
        return StartedPin(start_pin(phone))
    except PinStillRunning as running:
        if order.is_resumed and running.request_id != order.previous_request_id:
            return StartedPin(running.request_id)
        cancel_pin(running.request_id)
        return StartedPin(start_pin(phone), running.request_id)


def store_pin(message: Inbound, order: PinOrder, started: StartedPin) -> bool:
    """Remember the running request, replacing the one that is over, or the receipt. A held lease
    stays: a PIN is being checked. False: the invite is gone, or another text that was answered
    faster has a newer PIN."""
    stored = get_db().execute(
        "INSERT INTO pending_verifications"
        " (phone_digest, whitelist_id, request_id, message_digest, expires_at)"
        " SELECT phone_digest, id, :request_id, :message_digest, :expires_at"
        " FROM whitelist WHERE id = :invite_id"
        " ON CONFLICT (phone_digest) DO UPDATE SET whitelist_id = excluded.whitelist_id,"
        " request_id = excluded.request_id, message_digest = excluded.message_digest,"
        " author_id = NULL, expires_at = excluded.expires_at"
        " WHERE request_id IN (:previous, :cancelled, excluded.request_id)",
        {
            "request_id": started.request_id,
            "message_digest": message.digest,
            "expires_at": now() + PIN_LIFETIME,
            "invite_id": order.invite_id,
            "previous": order.previous_request_id,
            "cancelled": started.cancelled_request_id,
        },
    )
    return stored.rowcount > 0


@webhooks.post("/delivery")
@webhooks.post("/delivery/<token>")
@for_machines
def delivery(token: str | None = None) -> ResponseReturnValue:
    """What became of an invite text. 204: noted, or not one of ours; 503: it may be one of ours,
    because the answer with its id is still on the way."""
    found = parse_delivery(g.fields)
    if found is None or note_delivery(*found) or not is_text_on_the_way():
        return "", 204
    return "", 503, {"Retry-After": "30"}


def note_delivery(message_id: str, outcome: str) -> bool:
    """The first final outcome counts, however often and in whatever order Vonage calls. False: that
    text is not ours."""
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


# Signing up and in --------------------------------------------------------------------------------
#
# Vonage checks the PIN, and a right PIN is used up by that. So everything that can go wrong is
# checked before, and three things make sure that nobody loses their way in:
#
# - A lease holds the chosen name while Vonage is asked. It lasts 30 s: Vonage gets 8, the database
#   5, and the rest is slack for a slow machine. After a crash it simply runs out.
# - Afterwards the pending row is a receipt for ten minutes: the same form from the same browser
#   gets the same session again, in case the answer got lost.
# - The session id is derived from the visitor cookie and the request, so it can be given again.

LEASE_LIFETIME = 30
RECEIPT_LIFETIME = 10 * MINUTE
SECOND_PRESS_PATIENCE = 6  # seconds; about what a slow check takes, and less than a browser waits


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
        """The cookie of this sign-in. Always the same, and nobody else can guess it."""
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
    """The PIN was right and is used up, but the database couldn't store the sign-in."""


class PressedTwice(Exception):
    """Vonage is checking this very form right now."""


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
    wanted = parse_next(request.values.get("next", ""))
    return render_template("signup.html", form=form, next=wanted), status


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
    """This browser's random cookie, which lets a lost answer be given again. Sets it if missing."""
    name = current_app.config["VISITOR_COOKIE_NAME"]
    visitor = request.cookies.get(name, "")
    if re.fullmatch(r"[A-Za-z0-9_-]{43}", visitor):
        return visitor
    visitor = secrets.token_urlsafe(32)

    @after_this_request
    def set_visitor(response: Response) -> Response:
        secure = current_app.config["SESSION_COOKIE_SECURE"]
        attributes = {"max_age": DAY, "secure": secure, "httponly": True, "samesite": "Lax"}
        response.set_cookie(name, visitor, **attributes)
        return response

    return visitor


def sign_in(attempt: Attempt) -> SignedIn:
    """Check the PIN and sign in, or raise Mistake, VonageError or NotStored. Vonage is asked
    between two transactions: killed at any point, there is a usable invite, or a member and this
    browser's receipt."""
    try:
        found = prepare_check(attempt)
    except PressedTwice:
        return wait_for_first_press(attempt)
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


def prepare_check(attempt: Attempt) -> Check | SignedIn:
    """Decide what this form may do. If that is to ask Vonage, count the try and lease the name
    first; if it was signed in before, the receipt is as good as the first answer."""
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
                raise PressedTwice
            raise Mistake("pin", "being-checked", pending["leased_until"] - now())
        require_free_name(attempt, pending["bound_to"])
        count_try(pending["invite_id"])
        lease_name(attempt)
        return Check(pending["invite_id"], pending["request_id"], pending["bound_to"])


def find_pending(attempt: Attempt) -> sqlite3.Row | None:
    """The number's running PIN or receipt; `invite_id` is null if the invite is gone."""
    return fetch_row(
        "SELECT pending.*, author_id IS NOT NULL AS is_receipt,"
        " whitelist.id AS invite_id, whitelist.username AS bound_to"
        " FROM pending_verifications AS pending"
        " LEFT JOIN whitelist ON whitelist.id = whitelist_id AND whitelist.expires_at > ?2"
        " WHERE pending.phone_digest = ?1 AND pending.expires_at > ?2",
        (phone_digest(attempt.phone), now()),
    )


def free_stale_leases() -> None:
    """A lease is held while now < leased_until <= now + 30, so one that a wrong clock wrote holds
    nobody up."""
    get_db().execute(
        "UPDATE pending_verifications"
        " SET username = NULL, leased_until = NULL, visitor_digest = NULL"
        " WHERE leased_until IS NOT NULL AND leased_until NOT BETWEEN ? AND ?",
        (now() + 1, now() + LEASE_LIFETIME),
    )


def read_receipt(attempt: Attempt, pending: sqlite3.Row) -> SignedIn:
    """The session this form got before, while it lives. Raises Mistake for other forms."""
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
    """By a member, or by an open invite for that name."""
    taken = fetch_row(
        "SELECT 1 FROM authors WHERE username = ?1"
        " UNION ALL SELECT 1 FROM whitelist WHERE username = ?1 AND expires_at > ?2",
        (name, now()),
    )
    return taken is not None


def count_try(invite_id: int) -> None:
    """Before the PIN is checked: counted afterwards, many at once would each be the first."""
    counted = fetch_row(
        "UPDATE whitelist SET tries = tries + 1 WHERE id = ? AND tries < ? RETURNING tries",
        (invite_id, TRIES_PER_INVITE),
    )
    if counted is None:
        raise Mistake("pin", "tries-spent")


def uncount_try(invite_id: int) -> None:
    """Call only if Vonage was certainly never reached."""
    get_db().execute("UPDATE whitelist SET tries = tries - 1 WHERE id = ?", (invite_id,))


def lease_name(attempt: Attempt) -> None:
    """Hold the name while Vonage is asked: if two friends choose it, the slower one is told before
    a PIN is used up."""
    try:
        get_db().execute(
            "UPDATE pending_verifications SET username = ?, leased_until = ?, visitor_digest = ?"
            " WHERE phone_digest = ?",
            (attempt.username, now() + LEASE_LIFETIME, attempt.digest, phone_digest(attempt.phone)),
        )
    except sqlite3.IntegrityError:
        raise Mistake("username", "username-taken") from None


def release_lease(attempt: Attempt, answered: bool) -> None:
    """Free the name. If Vonage answered, the visitor's digest stays, to tell a second press so."""
    get_db().execute(
        "UPDATE pending_verifications SET username = NULL, leased_until = NULL,"
        " visitor_digest = iif(?, visitor_digest, NULL)"
        " WHERE phone_digest = ? AND visitor_digest = ? AND author_id IS NULL",
        (answered, phone_digest(attempt.phone), attempt.digest),
    )


def refuse_pin(attempt: Attempt, check: Check, is_final: bool) -> None:
    """The PIN was wrong. If Vonage ended the request for that, nobody needs to spend more tries."""
    with transaction() as db:
        release_lease(attempt, answered=True)
        record("pin_wrong", subject=check.bound_to, invite_id=check.invite_id)
        if is_final:
            db.execute(
                "DELETE FROM pending_verifications WHERE request_id = ? AND author_id IS NULL",
                (check.request_id,),
            )


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


def complete_sign_in(attempt: Attempt, check: Check) -> SignedIn:
    """The PIN was right. In one transaction the invite goes, and member, session, receipt and
    journal line come."""
    with transaction():
        invite = fetch_row(
            "DELETE FROM whitelist WHERE id = ? AND username IS ? AND expires_at > ?"
            " RETURNING invited_by",
            (check.invite_id, check.bound_to, now()),
        )
        if invite is None:
            raise Mistake("form", "invite-withdrawn")
        author, event = find_or_create_author(attempt.username, check, invite["invited_by"])
        session_id = attempt.session_id(check.request_id)
        sign_in_as(author, session_id, "pin", event, check.invite_id)
        write_receipt(attempt, check, author.id)
    return SignedIn(author.id, session_id)


def find_or_create_author(
    username: str, check: Check, invited_by: int | None
) -> tuple[Member, str]:
    """The member whom the invite names, or a new one, and the event that this is. Somebody may have
    been invited under the chosen name while the PIN was being checked: then it is theirs."""
    if check.bound_to is None and is_name_taken(username):
        raise Mistake("username", "username-given-away")
    known = fetch_row("SELECT id FROM authors WHERE username = ?", (username,))
    if known:
        return Member(known["id"], username), "signed_in"
    new = insert_row(
        "INSERT INTO authors (username, invited_by, joined_at) VALUES (?, ?, ?) RETURNING id",
        (username, invited_by, now()),
    )
    return Member(new, username), "joined"


def write_receipt(attempt: Attempt, check: Check, author_id: int) -> None:
    """Replaces the pending verification, which ends its lease on the name."""
    get_db().execute(
        "INSERT OR REPLACE INTO pending_verifications (phone_digest, whitelist_id, request_id,"
        " message_digest, visitor_digest, author_id, expires_at)"
        " VALUES (?, ?, ?, '', ?, ?, ?)",
        (
            phone_digest(attempt.phone), check.invite_id, check.request_id,
            attempt.digest, author_id, now() + RECEIPT_LIFETIME,
        ),
    )  # fmt: skip


def wait_for_first_press(attempt: Attempt) -> SignedIn:
    """The button was pressed twice: give the second press the first one's outcome, without asking
    Vonage again."""
    patience = time.monotonic() + SECOND_PRESS_PATIENCE
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
    raise Mistake("pin", "being-checked", LEASE_LIFETIME - SECOND_PRESS_PATIENCE)


# Sessions: the table, and the one door in ---------------------------------------------------------


def sign_in_as(
    author: Member, session_id: str, began: str, event: str, invite_id: int | None = None
) -> None:
    """The one door in: store a session, named for its device, and write the journal, in the
    caller's transaction. `began` is "pin", "device" or "passkey". After the commit,
    `adopt_session` gives the browser its cookie."""
    end_session(this_digest())  # the one this browser had before
    expires_at = min(unused_until(), now() + longest_session())
    get_db().execute(
        "INSERT INTO sessions"
        " (id_digest, author_id, device, data, created_at, seen_at, expires_at, began)"
        " VALUES (?, ?, ?, '{}', ?, ?, ?, ?)",
        (
            session_digest(session_id), author.id, name_device(request.user_agent.string),
            now(), now(), expires_at, began,
        ),
    )  # fmt: skip
    record(event, author.username, invite_id=invite_id)


class MemberSessions(SessionTable):
    """`flask.session`, over our table."""

    def find(self, db: sqlite3.Connection, digest: str) -> sqlite3.Row | None:
        row: sqlite3.Row | None = db.execute(
            "SELECT sessions.*, username FROM sessions JOIN authors ON authors.id = author_id"
            " WHERE id_digest = ? AND expires_at > ?",
            (digest, now()),
        ).fetchone()
        return row

    def renew(self, digest: str) -> bool:
        prune()  # first: what has expired cannot be renewed
        renewed = fetch_row(
            "UPDATE sessions SET seen_at = ?, expires_at = min(?, created_at + ?)"
            " WHERE id_digest = ? RETURNING 1",
            (now(), unused_until(), longest_session(), digest),
        )
        return renewed is not None

    def store(self, digest: str, data: str) -> None:
        get_db().execute("UPDATE sessions SET data = ? WHERE id_digest = ?", (data, digest))

    def end(self, digest: str) -> None:
        end_session(digest)


def end_session(digest: str) -> None:
    get_db().execute("DELETE FROM sessions WHERE id_digest = ?", (digest,))


def unused_until() -> int:
    """When a session ends that is used now and never again."""
    return now() + int(current_app.config["SESSION_DAYS"]) * DAY


def longest_session() -> int:
    """Seconds a session may live at most, however much it is used."""
    return int(current_app.config["SESSION_MAX_DAYS"]) * DAY


# Home ---------------------------------------------------------------------------------------------


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
    drop_session()
    return redirect("/", 303)


@pages.get("/healthz")
def healthz() -> ResponseReturnValue:
    try:
        get_db().execute("SELECT 1 FROM authors").fetchone()
    except sqlite3.Error:
        return "The database does not answer.\n", 503, {"Content-Type": "text/plain"}
    return "ok\n", {"Content-Type": "text/plain"}


# Admin: open invites and the journal --------------------------------------------------------------


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
        journal=find_journal(request.args.get("before", "")),
        texts=count_texts_of_today(),
        new=request.args.get("new", type=int),
        now=now(),
    )
    return page, status


def find_open_invites() -> list[sqlite3.Row]:
    """Newest first, each with the last thing the journal knows about its PINs, and when the oldest
    of the last three stops counting."""
    return fetch_rows(
        "WITH open AS (SELECT *, (SELECT max(id) FROM journal WHERE invite_id = whitelist.id"
        " AND event IN ('pin_sent', 'pin_refused', 'pin_wrong')) AS last_id,"
        " (SELECT id FROM journal WHERE invite_id = whitelist.id AND event = 'pin_sent'"
        " ORDER BY id DESC LIMIT 1 OFFSET ?) AS third_id FROM whitelist WHERE expires_at > ?)"
        " SELECT open.*, authors.username AS inviter, last.event AS pin_event, last.at AS pin_at,"
        " last.detail AS pin_detail, third.at + ? AS next_pin_at FROM open"
        " LEFT JOIN authors ON authors.id = open.invited_by"
        " LEFT JOIN journal AS last ON last.id = last_id"
        " LEFT JOIN journal AS third ON third.id = third_id ORDER BY open.id DESC",
        (PINS_PER_TEN_MINUTES - 1, now(), 10 * MINUTE),
    )


# The calls to Vonage: a text, and a PIN that is started, checked or cancelled ---------------------


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
    """Return if Vonage says that this is the PIN. Raises VonageError if not."""
    with asking_vonage("check") as vonage:
        answer = vonage.verify.check_code(request_id, pin)
        if answer.status != "completed" or answer.request_id != request_id:
            raise ValueError("not a confirmation of this request")


def cancel_pin(request_id: str) -> None:
    with asking_vonage("cancel") as vonage, suppress(NotFoundError):  # 404: it is over already
        vonage.verify.cancel_verification(request_id)
