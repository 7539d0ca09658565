"""Trusted Group: friends sign in with just their phones.

This file is the journey, in the order people take it: somebody is invited, texts back the word,
gets a PIN, signs up, is signed in, comes home; admins look after the invites. Then the calls to
Vonage. It uses foundation/, and the features in features/ use it; docs/how-it-works.md
explains the rules.
"""

import functools
import hmac
import json
import sqlite3
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from flask import (
    Blueprint,
    Flask,
    abort,
    current_app,
    g,
    redirect,
    render_template,
    request,
    url_for,
)
from flask.typing import ResponseReturnValue
from vonage_http_client.errors import NotFoundError
from vonage_sms import SmsMessage
from vonage_verify import Locale, SmsChannel, VerifyRequest

from foundation.running import Running, hooks, running
from foundation.storage import journal, pin_ledger, sent_forms
from foundation.storage.authors import find_author, note_seen
from foundation.storage.database import (
    checkpoint,
    count_rows,
    fetch_row,
    fetch_rows,
    get_db,
    insert_row,
    is_loading_a_command,
    open_database,
    require_current_database,
    transaction,
)
from foundation.storage.digests import digest_phone, digest_session, keyed_digest
from foundation.storage.journal_lines import forget_again
from foundation.storage.migrations import read_parts
from foundation.storage.new_key import drop_invites_of_old_key
from foundation.storage.sent_forms import MadeBefore
from foundation.typed.keywords import asks_for_help, begins_with_opt_out, is_opt_out
from foundation.typed.mistakes import Mistake, parse_pin
from foundation.typed.phones import parse_phone
from foundation.typed.settings import SETTINGS, gather_settings, read_settings
from foundation.typed.usernames import MAIL_NAMES, parse_chosen_username, suggest_usernames
from foundation.vonage import inbound, own_words, texts
from foundation.vonage.client import (
    GSM_7,
    PinRejected,
    PinStillRunning,
    SentInPart,
    Vonage,
    VonageError,
    VonageRefused,
    VonageUnavailable,
    VonageUnreached,
    asking_vonage,
    count_parts,
    parse_request_id,
)
from foundation.vonage.inbound import Inbound
from foundation.web.feature import Feature, Why, add_features, add_template_context, find_title
from foundation.web.flask_settings import configure_flask, wrap_wsgi
from foundation.web.forms import Form
from foundation.web.guards import for_machines, guard, read_next, with_next
from foundation.web.invite_form import (
    NewInvite,
    asks_for_what_admins_do,
    make_invite_form,
    read_new_invite,
)
from foundation.web.invite_lists import (
    PINS_PER_TEN_MINUTES,
    TRIES_PER_INVITE,
    find_invite_to_repeat,
    find_invites_to_show,
    find_own_invite,
)
from foundation.web.kept_forms import render_kept_form
from foundation.web.language_choice import language_choice
from foundation.web.logs import keep_secrets_out_of_logs
from foundation.web.notices import notify
from foundation.web.responses import configure_responses
from foundation.web.root_files import root_files
from foundation.web.sessions import (
    IS_MEMBER,
    Member,
    SessionTable,
    acting,
    adopt_session,
    current_member,
    drop_session,
    is_admin,
    longest_session,
    name_device,
    this_digest,
    unused_until,
    was_signed_out,
)
from foundation.web.visitor import create_visitor, find_visitor
from foundation.web.ways_in import lacks_second_way
from foundation.words.clock import DAY, MINUTE, now
from foundation.words.languages import LOCALES

PIN_LIFETIME = 300
PINS_PER_INVITE = 5

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
    app.config.update(read_settings(gather_settings(config)))
    configure_flask(app)
    app.config.update((k, v) for k, v in (config or {}).items() if k not in SETTINGS)
    keep_secrets_out_of_logs(app)
    app.session_interface = MemberSessions(app)
    parts = read_parts(Path(app.root_path), [feature.name for feature in features])
    app.extensions["trusted_group"] = Running(Vonage(app.config), features, parts)
    if not is_loading_a_command():  # it opens the database itself
        open_database(app)
        with app.app_context():
            require_current_database()
            drop_invites_of_old_key()
    for blueprint in (pages, webhooks, admin, root_files, language_choice):
        app.register_blueprint(blueprint)
    app.before_request(guard)
    add_template_context(app, features)
    configure_responses(app)
    add_features(app, features)
    wrap_wsgi(app)
    return app


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
    g.fields = inbound.read_fields()
    if token is None:
        genuine = inbound.is_signed(g.fields)
    else:
        genuine = hmac.compare_digest(
            token.encode("utf-8", "replace"), inbound.webhook_token().encode()
        )
    if not genuine:
        inbound.count_in_journal("webhook_refused")
        abort(401)


# Inviting -----------------------------------------------------------------------------------------
#
# An invite is one row of `whitelist` and one text. The row keeps a digest of the number, so the
# text has to go out while the number is still in the form.


@pages.post("/invite")
def invite_friend() -> ResponseReturnValue:
    inviter = require_inviter()
    form = make_invite_form()
    if not is_admin(inviter) and asks_for_what_admins_do(form):
        abort(403, "invites-by-admin")
    wanted = read_new_invite(form)
    if form.mistakes:
        return show_invites(form, 422)
    try:
        invite_id = create_invite(wanted, inviter, form.values["once"])
        if wanted.phone and wanted.is_texted:
            with suppress(VonageError):  # the invite stays; its line on the page says what is wrong
                send_invite(invite_id, wanted.phone, inviter.username, wanted.language)
    except MadeBefore as before:
        return show_words(int(before.made), wanted.phone)
    except Mistake as mistake:
        form.refuse(mistake)
        return show_invites(form, 422)
    if not wanted.is_texted:
        return show_words(invite_id, wanted.phone)
    return redirect(url_for(invites_page(inviter), new=invite_id), 303)


INVITES_A_DAY = 3  # of a member who is no admin


def require_inviter() -> Member:
    member = require_member()
    if not may_invite(member):
        abort(403, "invites-closed")
    return member


def may_invite(member: Member) -> bool:
    """Admins, and within MEMBER_INVITES all members who are no guests (and still members)."""
    if is_admin(member):
        return True
    if not current_app.config["MEMBER_INVITES"]:
        return False
    sql = "SELECT 1 FROM authors WHERE id = ? AND ends_at IS NULL AND removed_at IS NULL"
    return fetch_row(sql, (member.id,)) is not None


def create_invite(wanted: NewInvite, inviter: Member | None, once: str = "") -> int:
    """Store an invite and return its id. Raises Mistake, and MadeBefore."""
    if wanted.ends_at and wanted.username in current_app.config["ADMINS"]:
        raise Mistake("ends_on", "day-for-admin")
    actor = inviter and inviter.username
    parts = count_parts(texts.write_invite(actor, wanted.language)) if wanted.is_texted else 0
    with acting():
        prune()
        sent_forms.refuse_if_made("/invite", once)
        wait = texts.seconds_until_text(wanted.phone) if parts and wanted.phone else None
        refusal = why_not_invited(wanted, inviter, wait, parts)
        if refusal is None:
            displace_invites(wanted.phone, wanted.username, actor)
            invite_id = insert_invite(wanted, inviter)
            sent_forms.remember_made("/invite", once, str(invite_id))
            journal.record("invited", actor, wanted.username, invite_id)
            if parts and wanted.phone:
                # Counted before it is sent.
                journal.record("text_sent", invite_id=invite_id, parts=parts)
                texts.start_cooldown(wanted.phone)
        elif refusal == "budget-spent":
            journal.record("budget_reached", actor, detail=refusal)
    if refusal is not None:
        raise Mistake("phone", refusal, wait if refusal == "invited-just-now" else None)
    return invite_id


def why_not_invited(
    wanted: NewInvite, inviter: Member | None, wait: int | None, parts: int
) -> str | None:
    if inviter and not is_admin(inviter) and (refusal := why_not_by_member(wanted, inviter)):
        return refusal
    sql = "SELECT stopped_at, delivery FROM whitelist WHERE phone_digest = ? AND expires_at > ?"
    earlier = fetch_row(sql, (digest_phone(wanted.phone or ""), now()))
    if earlier and earlier["stopped_at"]:
        return "phone-stopped"
    if earlier and earlier["delivery"] == "undelivered-opted-out" and parts:
        return "phone-opted-out"
    if wait:
        return "invited-just-now"
    return why_over_budget(parts) if parts else None


def why_not_by_member(wanted: NewInvite, inviter: Member) -> str | None:
    """A member's invite displaces none, and there are never many. The limits come first, or a
    member who has used them up could go on asking which numbers are invited."""
    if not may_invite(inviter):
        return "invites-closed"
    own = count_rows(
        "SELECT count(*) FROM whitelist WHERE expires_at > ? AND invited_by = ?",
        (now(), inviter.id),
    )
    if own >= current_app.config["MEMBER_INVITES"]:
        return "invites-all-open"
    sql = (
        "SELECT count(*) FROM journal WHERE event IN ('invited', 'budget_reached')"
        " AND at > ? AND at <= ? AND actor = ?"
    )
    if count_rows(sql, (now() - DAY, now(), inviter.username)) >= INVITES_A_DAY:
        return "invites-of-today"
    invited = count_rows(
        "SELECT count(*) FROM whitelist WHERE expires_at > ? AND phone_digest = ?",
        (now(), digest_phone(wanted.phone or "")),
    )
    return "invited-already" if invited else None


def displace_invites(phone: str | None, username: str | None, actor: str | None) -> None:
    """An invite replaces the number's earlier one, and an earlier one for the same name: otherwise
    two phones could sign in as one member. Their running PINs go too. One that was stopped stays,
    so the number isn't texted again by mistake."""
    digest = phone and digest_phone(phone)
    earlier = "phone_digest = ?1 OR (username = ?2 AND stopped_at IS NULL)"
    pin_ledger.settle_unsent(earlier, digest, username)
    sql = f"DELETE FROM whitelist WHERE {earlier} RETURNING id, phone_digest, username"
    displaced = fetch_rows(sql, (digest, username))
    sql = "DELETE FROM pending_verifications WHERE phone_digest = ? AND author_id IS NULL"
    get_db().execute(sql, (digest,))
    for row in displaced:
        forget_pins_of_invite(row["id"])
        if row["phone_digest"] != digest:
            journal.record("revoked", actor, username, row["id"])
    forget_again([row["username"] for row in displaced if row["username"] != username])


def forget_pins_of_invite(invite_id: int) -> None:
    get_db().execute(
        "DELETE FROM pending_verifications WHERE whitelist_id = ? AND author_id IS NULL",
        (invite_id,),
    )


def insert_invite(wanted: NewInvite, inviter: Member | None) -> int:
    """An invite for a visit that is shorter than its days ends with that."""
    phone, at = wanted.phone, now()
    expires_at = at + current_app.config["INVITE_DAYS"] * DAY
    invite_id = insert_row(
        "INSERT INTO whitelist (phone_digest, phone_hint, word_digest, username, who, circles,"
        " ends_at, invited_by, delivery, language, created_at, expires_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
        (
            phone and digest_phone(phone), phone and phone[-2:],
            None if phone else sent_forms.make_once(),  # until it has its word
            wanted.username, wanted.who, json.dumps(wanted.circles),
            wanted.ends_at, inviter and inviter.id,
            None if wanted.is_texted else "self", wanted.language, at,
            min(expires_at, wanted.ends_at or expires_at),
        ),
    )  # fmt: skip
    if not phone:
        own_words.give_word(invite_id, at)
    return invite_id


def why_over_budget(parts: int = 1) -> str | None:
    spent = journal.count_texts_of_today() + parts > current_app.config["TEXTS_PER_DAY"]
    return "budget-spent" if spent else None


def send_invite(
    invite_id: int, phone: str, inviter: str | None = None, language: str | None = None
) -> None:
    """Text the invite. Raises VonageError; the invite stays, and its state says what is wrong."""
    try:
        message_ids = send_text(phone, texts.write_invite(inviter, language))
    except VonageError as error:
        with transaction() as db:
            db.execute("UPDATE whitelist SET delivery = ? WHERE id = ?", (error.reason, invite_id))
            if error.sent_nothing:
                journal.refund("text_sent", "text_refused", invite_id, None, error.reason)
                texts.end_cooldown(phone)
            if isinstance(error, SentInPart):
                store_message_ids(invite_id, error.message_ids)
        raise
    with transaction():
        store_message_ids(invite_id, message_ids)


def store_message_ids(invite_id: int, message_ids: list[str]) -> None:
    """Of every part of the text, for the delivery receipts. Vonage has counted them by now."""
    ids = json.dumps(dict.fromkeys(message_ids))
    get_db().execute("UPDATE whitelist SET message_ids = ? WHERE id = ?", (ids, invite_id))
    journal.correct_parts("text_sent", invite_id, len(message_ids))


@pages.route(f"/invite/{ROW_ID}/revoke", methods=["GET", "POST"])
def revoke(row_id: int) -> ResponseReturnValue:
    member = require_member()
    if request.method != "POST":
        invite = find_own_invite(row_id, member) or abort(404)
        return render_template("withdraw.html", invite=invite, back=url_for(invites_page(member)))
    if not withdraw_invite(row_id, member):
        if is_admin(member):
            abort(404)
        abort(403, "invites-by-admin")
    notify("done-withdrawn")
    return redirect(url_for(invites_page(member)), 303)


def withdraw_invite(invite_id: int, by: Member) -> bool:
    """Delete an invite and its running PIN. False: there is none, or it's not for them to do: only
    an admin lifts a STOP."""
    theirs = "id = ? AND (? OR (invited_by = ? AND stopped_at IS NULL))"
    with acting():
        pin_ledger.settle_unsent(theirs, invite_id, is_admin(by), by.id)
        row = fetch_row(
            f"DELETE FROM whitelist WHERE {theirs} RETURNING username",
            (invite_id, is_admin(by), by.id),
        )
        if row is None:
            return False
        forget_pins_of_invite(invite_id)
        journal.record("revoked", by.username, row["username"], invite_id)
        forget_again([row["username"]])
    return True


# Open invites: all of them for admins, their own for other members


@admin.get("/admin")
@pages.get("/invite")
def invites() -> ResponseReturnValue:
    member = require_inviter()
    if is_admin(member) and request.path != "/admin":
        return redirect("/admin", 303)
    form = make_invite_form()
    if "again" in request.args:
        form.values |= find_invite_to_repeat(member)
    return show_invites(form)


def invites_page(member: Member) -> str:
    return "admin.invites" if is_admin(member) else "pages.invites"


def show_invites(form: Form, status: int = 200) -> ResponseReturnValue:
    page = render_template(
        "invites.html",
        form=form,
        **find_invites_to_show(require_member()),
        pin_lifetime=PIN_LIFETIME,
        write_warning=texts.write_warning,
        texts=journal.count_texts_of_today(),
        now=now(),
    )
    return page, status


@pages.get(f"/invite/{ROW_ID}/words")
def show_words(row_id: int, phone: str | None = None) -> ResponseReturnValue:
    """What the inviter sends the friend; with the number in the one answer to the form."""
    member = require_member()
    invite, back = find_own_invite(row_id, member), url_for(invites_page(member))
    if invite is None or invite["delivery"] != "self":
        return redirect(url_for(invites_page(member), new=invite and row_id), 303)
    if phone and digest_phone(phone) != invite["phone_digest"]:
        phone = None
    word = own_words.word_of(invite)
    words = texts.write_own_words(invite["language"], word)
    facts = {"invite": invite, "words": words, "word": word, "phone": phone, "back": back}
    return render_template("send_words.html", **facts)


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
        return inbound.respond_to_probe()
    message = inbound.parse_inbound(g.fields)
    if message is None:
        return "", 204
    act = choose_act(message)
    if act is None:
        return "", 204
    claim = inbound.claim_message(message)
    if claim == "ours":
        inbound.act_once(act, message)
    return "", 503 if claim == "busy" else 204


def choose_act(message: Inbound) -> Callable[[Inbound], None] | None:
    """Every reply of an invited friend gets a PIN, a hint, an answer to HELP, or a note for the
    admin. Who opts out gets no text at all."""
    if texts.quotes_us(message):
        return None
    invite, meant = find_invite(message.phone), own_words.find_meant_invite(message)
    if invite is None:
        return choose_act_for_stranger(message, meant)
    word = current_app.config["INVITE_CODE"]
    is_own = meant is not None and not invite["stopped_at"]  # it reopens none
    is_word, is_out = is_own or message.has_word(word), is_opt_out(message.text)
    is_out = is_out and not message.is_part
    if is_word and not (is_out and begins_with_opt_out(message.text) and not is_opt_out(word)):
        return note_late_reply if message.is_late else send_pin
    if message.is_part:
        return None  # another one may have the word
    if is_out:
        return stop_invite
    if message.is_late:
        return note_late_reply
    return send_help if asks_for_help(message.text) else send_hint


def choose_act_for_stranger(
    message: Inbound, meant: sqlite3.Row | None
) -> Callable[[Inbound], None] | None:
    """A number that nobody invited gets a PIN by an invite's own word, and writes nothing without
    one."""
    if is_opt_out(message.text):
        return None
    if meant is not None:
        if message.is_late or meant["phone_digest"]:
            return own_words.note_meant_invite
        return send_pin if own_words.may_be_bound(message) else None
    if not inbound.is_known(message):
        if message.has_word(current_app.config["INVITE_CODE"]):
            inbound.count_in_journal("word_from_stranger")
        elif own_words.find_candidate(message):
            inbound.count_in_journal("word_unknown")
    return None


@webhooks.errorhandler(VonageError)
def ask_again(error: VonageError) -> ResponseReturnValue:
    return "", 503, {"Retry-After": "30"}


def stop_invite(message: Inbound) -> None:
    """STOP: close the invite. The number isn't texted again until an admin withdraws the invite or
    the friend texts the word."""
    with transaction():
        invite = fetch_row(
            "UPDATE whitelist SET stopped_at = ?1 WHERE phone_digest = ?2 AND expires_at > ?1"
            " AND stopped_at IS NULL RETURNING id, username",
            (now(), digest_phone(message.phone)),
        )
        if invite:
            forget_pins_of_invite(invite["id"])
            journal.record("stopped", None, invite["username"], invite["id"])


def note_late_reply(message: Inbound) -> None:
    """The reply is over 30 minutes old, so nobody is waiting for the PIN. The admin can ask the
    friend to text again."""
    with transaction():
        invite = find_invite(message.phone)
        if invite and not pin_ledger.has_sent_since(invite, message.sent_at):
            journal.record("webhook_stale", None, invite["username"], invite["id"])
            note_reply(invite["id"], "replied-late")


def note_reply(invite_id: int, state: str) -> None:
    get_db().execute("UPDATE whitelist SET replied = ? WHERE id = ?", (state, invite_id))


def send_hint(message: Inbound) -> None:
    """A friend replied without the word: tell the admin, and once the friend."""
    invite = note_other_reply(message)
    if invite and not invite["hinted_at"]:
        answer_reply(message, invite, "hint", texts.write_hint(invite["language"]))


@transaction()
def note_other_reply(message: Inbound) -> sqlite3.Row | None:
    """The invite, if the friend isn't just saying thanks for the PIN."""
    invite = find_invite(message.phone)
    if invite is None or invite["stopped_at"]:
        return None
    journal.record("replied_otherwise", None, invite["username"], invite["id"])
    if invite["pin_ends_at"] and invite["pin_ends_at"] > now():
        return None
    note_reply(invite["id"], "replied-otherwise")
    return invite


def send_help(message: Inbound) -> None:
    """HELP gets its one answer, as registries of senders want it."""
    invite = find_invite(message.phone)
    if invite and not (invite["stopped_at"] or invite["helped_at"]):
        text = texts.write_help(find_inviter(invite), invite["language"])
        answer_reply(message, invite, "help", text)


def find_inviter(invite: sqlite3.Row) -> str | None:
    row = fetch_row("SELECT username FROM authors WHERE id = ?", (invite["invited_by"],))
    return row["username"] if row else None


def answer_reply(message: Inbound, invite: sqlite3.Row, kind: str, text: str) -> None:
    """Send a "hint" or "help", once an invite and within the budget; counted before it is sent."""
    if not count_answer(invite, kind, count_parts(text)):
        return
    try:
        send_text(message.phone, text)
    except VonageError as error:
        if error.sent_nothing:
            with transaction():
                journal.refund(f"{kind}_sent", f"{kind}_refused", invite["id"], None, error.reason)


@transaction()
def count_answer(invite: sqlite3.Row, kind: str, parts: int) -> bool:
    """False: none is due. Where the inviter sends the words themselves, nothing but the PIN is
    texted; and nothing to a number that opted out."""
    column = {"hint": "hinted_at", "help": "helped_at"}[kind]
    sql = (
        f"UPDATE whitelist SET {column} = ? WHERE id = ? AND {column} IS NULL"
        " AND stopped_at IS NULL AND delivery IS NOT 'self'"
        " AND delivery IS NOT 'undelivered-opted-out'"
    )
    if why_over_budget(parts) or not get_db().execute(sql, (now(), invite["id"])).rowcount:
        return False
    journal.record(f"{kind}_sent", None, invite["username"], invite["id"], parts=parts)
    return True


class PinOrder(NamedTuple):
    """A PIN that is counted, and that Vonage has not been asked for yet."""

    invite_id: int
    line_id: int  # where it's counted
    language: str | None  # as the invite says
    previous_request_id: str | None  # the number's last one that we know of
    is_resumed: bool  # an earlier try counted it, and may have had it sent


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
        refund_pin(order, error.reason)
        return
    except VonageError as error:
        note_unsent_pin(order, error.sent_nothing)
        raise
    if not store_pin(message, order, started):
        with suppress(VonageError):
            cancel_pin(started.request_id)


def count_pin(message: Inbound) -> PinOrder | None:
    """Count a PIN before asking for it, once for each message. None: no PIN is due."""
    with transaction() as db:
        own_words.bind_phone(message)
        invite = find_invite(message.phone)
        if invite is None:
            own_words.note_second_phone(message)
            return None
        line = pin_ledger.find_line(invite["id"], message.claim, inbound.STALE_AFTER)
        if needs_no_pin(message, invite, line):
            return None
        is_recent = line and (not line["parts"] or abs(now() - line["at"]) < PIN_LIFETIME)
        line = line if is_recent else None
        is_resumed = bool(line and line["parts"])
        name, refusal = invite["username"], why_no_pin(invite, is_resumed)
        if line is None:
            journal.record("texted_back", subject=name, invite_id=invite["id"])
        if refusal:
            journal.record("pin_refused", subject=name, invite_id=invite["id"], detail=refusal)
            pin_ledger.forget_unsent(invite["id"])
            return None
        if line is None:
            db.execute(
                "UPDATE whitelist SET stopped_at = NULL, replied = NULL,"
                " delivery = nullif(delivery, 'undelivered-opted-out') WHERE id = ?",
                (invite["id"],),
            )
        line_id = pin_ledger.count(invite, message.claim, line)
        return PinOrder(invite["id"], line_id, invite["language"], invite["request_id"], is_resumed)


def needs_no_pin(message: Inbound, invite: sqlite3.Row, line: sqlite3.Row | None) -> bool:
    """Whether this text has its PIN, or was followed by another, or doesn't open a stopped invite:
    it must have been written after the STOP, and on purpose (a part may be a quote)."""
    if invite["message_digest"] == message.claim and invite["pin_ends_at"] > now():
        return True
    if line and not line["is_newest"]:
        return True
    opens = not line and not message.is_part and message.sent_at >= (invite["stopped_at"] or 0)
    return bool(invite["stopped_at"]) and not opens


def find_invite(phone: str) -> sqlite3.Row | None:
    """The number's invite, also a stopped one, with the request and message of its last PIN."""
    return fetch_row(
        "SELECT whitelist.*, request_id, message_digest,"
        " pending_verifications.expires_at AS pin_ends_at"
        " FROM whitelist LEFT JOIN pending_verifications USING (phone_digest)"
        " WHERE phone_digest = ? AND whitelist.expires_at > ?",
        (digest_phone(phone), now()),
    )


def why_no_pin(invite: sqlite3.Row, is_resumed: bool) -> str | None:
    """Why no PIN may be sent for this invite now, or None."""
    if invite["tries"] >= TRIES_PER_INVITE:
        return "tries-spent-admin"
    if is_resumed:
        return None
    if invite["stopped_at"] and invite["username"] and is_name_used_since_stop(invite):
        return "name-given-away"
    if invite["pins_sent"] >= PINS_PER_INVITE:
        return "pins-spent"
    is_fast = pin_ledger.count_lately(invite["id"], 10 * MINUTE) >= PINS_PER_TEN_MINUTES
    return "pins-too-fast" if is_fast else why_over_budget()


def is_name_used_since_stop(invite: sqlite3.Row) -> bool:
    """STOP made the name free: another phone may be invited for it, or have signed in by it."""
    used = fetch_row(
        "SELECT 1 FROM journal WHERE event IN ('joined', 'rejoined', 'signed_in')"
        " AND at >= ? AND actor = ?",
        (invite["stopped_at"], invite["username"]),
    )
    return used is not None or is_name_invited(invite["username"])


def refund_pin(order: PinOrder, reason: str) -> None:
    """Also lets a number go that its own word was texted from, and that never got a PIN."""
    with transaction() as db:
        pin_ledger.refuse(order.invite_id, order.line_id, reason)
        db.execute(
            "UPDATE whitelist SET phone_digest = NULL, phone_hint = NULL WHERE id = ?"
            " AND word_digest IS NOT NULL AND pins_sent = 0 AND stopped_at IS NULL",
            (order.invite_id,),
        )


@transaction()
def note_unsent_pin(order: PinOrder, sent_nothing: bool) -> None:
    """Vonage calls again, and then it's asked again. What it certainly didn't take, at this try and
    at earlier ones, counts against nobody until then."""
    pin_ledger.note_unsent(order.invite_id, order.line_id)
    if sent_nothing and not order.is_resumed:
        pin_ledger.uncount(order.invite_id, order.line_id)


def start_or_restart_pin(phone: str, order: PinOrder) -> StartedPin:
    """Vonage runs one request for a number at a time. If one runs that we don't know, though we
    counted this message before, we started it just before crashing: reuse it. Any other belongs to
    an earlier PIN, and the friend has asked for a new one."""
    try:
        return StartedPin(start_pin(phone, order.language))
    except PinStillRunning as running:
        if order.is_resumed and running.request_id != order.previous_request_id:
            return StartedPin(running.request_id)
        cancel_pin(running.request_id)
        return StartedPin(start_pin(phone, order.language), running.request_id)


@transaction()
def store_pin(message: Inbound, order: PinOrder, started: StartedPin) -> bool:
    """Remember the running request, replacing the one that is over, or the receipt. A held lease
    stays: a PIN is being checked. False: the invite is gone, or another text that was answered
    faster has a newer PIN."""
    pin_ledger.forget_unsent(order.invite_id)
    stored = get_db().execute(
        "INSERT INTO pending_verifications"
        " (phone_digest, whitelist_id, request_id, message_digest, expires_at)"
        " SELECT phone_digest, id, :request_id, :message_digest, :expires_at"
        " FROM whitelist WHERE id = :invite_id AND phone_digest = :phone_digest"
        " ON CONFLICT (phone_digest) DO UPDATE SET whitelist_id = excluded.whitelist_id,"
        " request_id = excluded.request_id, message_digest = excluded.message_digest,"
        " author_id = NULL, expires_at = excluded.expires_at"
        " WHERE request_id IN (:previous, :cancelled, excluded.request_id)",
        {
            "request_id": started.request_id,
            "message_digest": message.claim,
            "expires_at": now() + PIN_LIFETIME,
            "invite_id": order.invite_id,
            "phone_digest": digest_phone(message.phone),
            "previous": order.previous_request_id,
            "cancelled": started.cancelled_request_id,
        },
    )
    return stored.rowcount > 0


@webhooks.post("/delivery")
@webhooks.post("/delivery/<token>")
@for_machines
def delivery(token: str | None = None) -> ResponseReturnValue:
    """Whether an invite text arrived. 204: noted, or not one of ours; 503: it may be one of ours,
    because the answer with its id is still on the way."""
    found = inbound.parse_delivery(g.fields)
    if found is None or note_delivery(*found):
        return "", 204
    return "", 503, {"Retry-After": "30"}


def note_delivery(message_id: str, outcome: str) -> bool:
    """The first final outcome of each part counts, however often and in whatever order Vonage
    calls. False: it may be ours, its id still on the way; asked here, or it could just come."""
    with transaction() as db:
        invite = fetch_row(
            "SELECT id, username, delivery, message_ids FROM whitelist"
            " WHERE EXISTS (SELECT 1 FROM json_each(message_ids) WHERE key = ?)",
            (message_id,),
        )
        if invite is None:
            return not is_text_on_the_way()
        if outcome == "undelivered-opted-out" and journal.has_texted_back(invite["id"]):
            return True
        outcomes = json.loads(invite["message_ids"])
        outcomes[message_id] = outcomes[message_id] or outcome
        whole = invite["delivery"] or inbound.delivery_of_all_parts(outcomes.values())
        db.execute(
            "UPDATE whitelist SET message_ids = ?, delivery = ? WHERE id = ?",
            (json.dumps(outcomes), whole, invite["id"]),
        )
        if whole not in (None, "delivered", invite["delivery"]):
            journal.record("text_undelivered", None, invite["username"], invite["id"])
    return True


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
    pin: str
    username: str  # "": the one that the invite is for
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


class CountedTry(NamedTuple):
    """A counted try, with the chosen name leased to it."""

    invite_id: int
    request_id: str
    bound_to: str | None  # the only name that the invite is good for
    username: str


class NotStored(Exception):
    """The PIN was right and is used up, but the database couldn't store the sign-in."""


class PressedTwice(Exception):
    """Vonage is checking this very form right now."""


@pages.get("/signup")
@pages.get("/signup.", endpoint="signup_with_full_stop")  # as links in texts end up
def signup() -> ResponseReturnValue:
    if find_visitor() is None:
        create_visitor()
    return show_signup(Form("phone", "pin", "username"), signed_out=was_signed_out())


@pages.get("/login")
def login_by_hand() -> ResponseReturnValue:
    return redirect(with_next("/signup", read_next()), 303)


def show_signup(form: Form, status: int = 200, signed_out: bool = False) -> ResponseReturnValue:
    next_ = read_next()
    next_ = None if next_ in ("/logout", "/leave") else next_  # not what one signs in for
    facts = {"next": next_, "app_title": find_title(next_), "signed_out": signed_out}
    return render_kept_form("signup.html", form, **facts), status


@pages.post("/login")
def login() -> ResponseReturnValue:
    form = Form("phone", "pin", "username")
    attempt = Attempt(
        form.read("phone", parse_phone),
        form.read("pin", parse_pin),
        form.read("username", parse_chosen_username),
        find_visitor() or "",
    )
    if not attempt.visitor:  # such a browser would lose the session's cookie, too
        create_visitor()
        form.refuse(Mistake("form", "no-cookie"))
    if form.mistakes:
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
    return redirect(with_next("/welcome", read_next()), 303)


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
        release_lease(attempt, None)
        if isinstance(error, VonageUnreached):
            uncount_try(found.invite_id)
        raise
    return complete_or_release(attempt, found)


def prepare_check(attempt: Attempt) -> CountedTry | SignedIn:
    """Decide what this form may do. If that is to ask Vonage, count the try and lease the name
    first; if it was signed in before, the receipt is as good as the first answer."""
    refuse_strangers(attempt)
    with transaction():
        prune()
        free_stale_leases()
        pending = find_pending(attempt)
        if pending is None or (pending["invite_id"] is None and not pending["is_receipt"]):
            raise Mistake("pin", "pin-wrong")
        if pending["is_receipt"]:
            return read_receipt(attempt, pending)
        if pending["leased_until"] is not None:
            if pending["visitor_digest"] == attempt.digest:
                raise PressedTwice
            raise Mistake("pin", "being-checked", pending["leased_until"] - now())
        count_try(pending["invite_id"])
        name = attempt.username or pending["bound_to"] or ""
        refusal = why_not_this_name(name, pending["bound_to"]) or lease_name(name, attempt)
    # What is wrong with a name costs a try, or names could be guessed while a PIN runs.
    if refusal is not None:
        free = find_free_names(name) if refusal == "username-taken" else ()
        raise Mistake("username", refusal, instead=free)
    return CountedTry(pending["invite_id"], pending["request_id"], pending["bound_to"], name)


def refuse_strangers(attempt: Attempt) -> None:
    """Before a lock is taken: no PIN runs for that number, or somebody else has the receipt."""
    pending = find_pending(attempt)
    if pending is None:
        raise Mistake("pin", "pin-wrong")
    if pending["is_receipt"] and pending["visitor_digest"] != attempt.digest:
        raise Mistake("pin", "pin-wrong")


def find_pending(attempt: Attempt) -> sqlite3.Row | None:
    """The number's running PIN or receipt; `invite_id` is null if the invite is gone."""
    return fetch_row(
        "SELECT pending.*, author_id IS NOT NULL AS is_receipt,"
        " whitelist.id AS invite_id, whitelist.username AS bound_to"
        " FROM pending_verifications AS pending"
        " LEFT JOIN whitelist ON whitelist.id = whitelist_id AND whitelist.expires_at > ?2"
        " AND stopped_at IS NULL WHERE pending.phone_digest = ?1 AND pending.expires_at > ?2",
        (digest_phone(attempt.phone), now()),
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
        (digest_session(session_id), pending["author_id"], now()),
    )
    if row is None or pending["visitor_digest"] != attempt.digest:
        raise Mistake("pin", "pin-wrong")
    return SignedIn(pending["author_id"], session_id)


def why_not_this_name(name: str, bound_to: str | None) -> str | None:
    """An invite for a name is good for that name only; any other invite for a new name only. The
    word is no name: somebody mixed up the fields."""
    if not name:
        return "username-missing"
    if bound_to == name:
        return None
    if name in MAIL_NAMES or inbound.is_the_word(name):
        return "username-reserved"
    if bound_to is not None:
        return "username-not-invited"
    return "username-taken" if is_name_taken(name) else None


def is_name_taken(name: str) -> bool:
    """By an admin, by a member, by somebody who was one (nobody else inherits what the name owns),
    or by an open invite for that name."""
    known = find_author(name)
    return name in current_app.config["ADMINS"] or known is not None or is_name_invited(name)


def find_free_names(name: str) -> tuple[str, ...]:
    """Two, like the one that is taken."""
    return tuple(islice((n for n in suggest_usernames(name) if is_name_free(n)), 2))


def is_name_free(name: str) -> bool:
    """Also of leases."""
    sql = "SELECT 1 FROM pending_verifications WHERE username = ?"
    return not (inbound.is_the_word(name) or is_name_taken(name) or fetch_row(sql, (name,)))


def is_name_invited(name: str) -> bool:
    invited = fetch_row(
        "SELECT 1 FROM whitelist WHERE username = ? AND expires_at > ? AND stopped_at IS NULL",
        (name, now()),
    )
    return invited is not None


def count_try(invite_id: int) -> None:
    """Before the PIN is checked: counted afterwards, many at once would each be the first."""
    counted = fetch_row(
        "UPDATE whitelist SET tries = tries + 1 WHERE id = ? AND tries < ? RETURNING tries",
        (invite_id, TRIES_PER_INVITE),
    )
    if counted is None:
        raise Mistake("pin", "tries-spent")


@transaction()
def uncount_try(invite_id: int) -> None:
    """Call only if Vonage was certainly never reached."""
    get_db().execute("UPDATE whitelist SET tries = tries - 1 WHERE id = ?", (invite_id,))


def lease_name(name: str, attempt: Attempt) -> str | None:
    """Hold the name while Vonage is asked: if two friends choose it, the slower one is told before
    a PIN is used up. Returns why it can't be held, or None."""
    try:
        get_db().execute(
            "UPDATE pending_verifications SET username = ?, leased_until = ?, visitor_digest = ?"
            " WHERE phone_digest = ?",
            (name, now() + LEASE_LIFETIME, attempt.digest, digest_phone(attempt.phone)),
        )
    except sqlite3.IntegrityError:
        return "username-taken"
    return None


UNFINISHED = "unfinished "  # what stays of a lease whose PIN was right, and is used up


@transaction()
def release_lease(attempt: Attempt, outcome: str | None) -> None:
    """Free the name. The `outcome` replaces the visitor's digest, and tells a second press how the
    first one ended: that digest itself after a wrong PIN, with UNFINISHED before it after a
    right one, nothing if Vonage didn't answer."""
    get_db().execute(
        "UPDATE pending_verifications SET username = NULL, leased_until = NULL,"
        " visitor_digest = ? WHERE phone_digest = ? AND visitor_digest = ? AND author_id IS NULL",
        (outcome, digest_phone(attempt.phone), attempt.digest),
    )


def refuse_pin(attempt: Attempt, counted: CountedTry, is_final: bool) -> None:
    """The PIN was wrong. If Vonage ended the request for that, nobody needs to spend more tries."""
    with transaction() as db:
        release_lease(attempt, attempt.digest)
        journal.record("pin_wrong", subject=counted.bound_to, invite_id=counted.invite_id)
        if is_final:
            db.execute(
                "DELETE FROM pending_verifications WHERE request_id = ? AND author_id IS NULL",
                (counted.request_id,),
            )


def complete_or_release(attempt: Attempt, counted: CountedTry) -> SignedIn:
    try:
        return complete_sign_in(attempt, counted)
    except Mistake:
        release_lease(attempt, UNFINISHED + attempt.digest)
        raise
    except sqlite3.OperationalError as error:
        current_app.logger.error("A sign-in could not be stored: %s", error)
        with suppress(sqlite3.OperationalError):
            release_lease(attempt, UNFINISHED + attempt.digest)
        raise NotStored from error


def complete_sign_in(attempt: Attempt, counted: CountedTry) -> SignedIn:
    """The PIN was right. In one transaction the invite goes, and member, session, receipt and
    journal line come."""
    with transaction():
        invite = fetch_row(
            "DELETE FROM whitelist WHERE id = ? AND username IS ? AND expires_at > ?"
            " AND stopped_at IS NULL RETURNING invited_by, ends_at, circles",
            (counted.invite_id, counted.bound_to, now()),
        )
        if invite is None:
            raise Mistake("form", "invite-withdrawn")
        author, event = find_or_create_author(counted, invite)
        session_id = attempt.session_id(counted.request_id)
        for joined in hooks("joined"):
            joined(author.id, json.loads(invite["circles"]))
        sign_in_as(author, session_id, "pin", event, counted.invite_id)
        write_receipt(attempt, counted, author.id)
    return SignedIn(author.id, session_id)


def find_or_create_author(counted: CountedTry, invite: sqlite3.Row) -> tuple[Member, str]:
    """The member whom the invite names, or a new one, and the event that this is. Somebody may have
    been invited under the chosen name while the PIN was being checked: then it is theirs. The
    invite says how long a guest stays, and brings back a member who was removed."""
    username = counted.username
    if counted.bound_to is None and is_name_taken(username):
        raise Mistake("username", "username-given-away")
    known = find_author(username)
    if known:
        was_gone = known["removed_at"] or (known["ends_at"] or now() + 1) <= now()
        if was_gone:  # a guest's old sessions and passkeys would come back, too
            end_sessions([known["id"]], "returned")
        sql = "UPDATE authors SET username = ?, removed_at = NULL, ends_at = ? WHERE id = ?"
        get_db().execute(sql, (username, invite["ends_at"], known["id"]))
        return Member(known["id"], username), "rejoined" if was_gone else "signed_in"
    new = insert_row(
        "INSERT INTO authors (username, invited_by, joined_at, ends_at)"
        " VALUES (?, ?, ?, ?) RETURNING id",
        (username, invite["invited_by"], now(), invite["ends_at"]),
    )
    return Member(new, username), "joined"


def write_receipt(attempt: Attempt, counted: CountedTry, author_id: int) -> None:
    """Replaces the pending verification, which ends its lease on the name."""
    get_db().execute(
        "INSERT OR REPLACE INTO pending_verifications (phone_digest, whitelist_id, request_id,"
        " message_digest, visitor_digest, author_id, expires_at)"
        " VALUES (?, ?, ?, '', ?, ?, ?)",
        (
            digest_phone(attempt.phone), counted.invite_id, counted.request_id,
            attempt.digest, author_id, now() + RECEIPT_LIFETIME,
        ),
    )  # fmt: skip


def wait_for_first_press(attempt: Attempt) -> SignedIn:
    """The button was pressed twice: give the second press the first one's outcome, without asking
    Vonage again. In each process one waits for a row, or a few presses more would hold every
    thread."""
    waiting = running().waiting
    if attempt.digest in waiting:
        raise Mistake("pin", "being-checked", LEASE_LIFETIME - SECOND_PRESS_PATIENCE)
    waiting.add(attempt.digest)
    try:
        return watch_first_press(attempt)
    finally:
        waiting.discard(attempt.digest)


def watch_first_press(attempt: Attempt) -> SignedIn:
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
            if pending["visitor_digest"] == UNFINISHED + attempt.digest:
                raise NotStored
            raise VonageUnavailable
    raise Mistake("pin", "being-checked", LEASE_LIFETIME - SECOND_PRESS_PATIENCE)


# Sessions: the table, the one door in and the one door out ----------------------------------------


def sign_in_as(
    author: Member,
    session_id: str,
    began: str,
    event: str,
    invite_id: int | None = None,
    added_by: str | None = None,
) -> None:
    """The one door in: store a session, named for its device, and write the journal, in the
    caller's transaction. `began` is "pin", "device" or "passkey"; `added_by` is the digest of the
    session that added this one. After the commit, `adopt_session` gives the browser its cookie."""
    digest, before = digest_session(session_id), current_member()  # on this browser
    if before and before.id == author.id:
        replace_session_id(digest)
    elif before:
        end_sessions([before.id], "replaced", [this_digest()])
    get_db().execute(
        "INSERT INTO sessions"
        " (id_digest, author_id, device, data, created_at, seen_at, expires_at, began, added_by,"
        " is_known) VALUES (?, ?, ?, '{}', ?4, ?4, ?, ?, ?, ?)"
        " ON CONFLICT (id_digest) DO UPDATE SET device = excluded.device, data = excluded.data,"
        " created_at = excluded.created_at, seen_at = excluded.seen_at,"
        " expires_at = excluded.expires_at, began = iif(began = 'passkey' AND"
        " excluded.began = 'device', began, excluded.began)"
        " WHERE author_id = excluded.author_id",
        (
            digest, author.id, name_device(request.user_agent.string), now(),
            min(unused_until(), now() + longest_session()), began, added_by,
            event in ("joined", "rejoined"),  # the first device is no news
        ),
    )  # fmt: skip
    note_seen(author.id)
    journal.record(event, author.username, invite_id=invite_id)


def replace_session_id(digest: str) -> None:
    """The same member signs in again on this browser, or confirms: what hangs on the old id (app
    passwords, devices that were added, tokens) goes along, by triggers."""
    sql = "UPDATE sessions SET id_digest = ? WHERE id_digest = ?"
    get_db().execute(sql, (digest, this_digest()))


class MemberSessions(SessionTable):
    """`flask.session`, over our table."""

    FIND = (
        "SELECT author_id, username, data, seen_at"
        " FROM sessions JOIN authors ON authors.id = author_id"
        f" WHERE id_digest = ?2 AND expires_at > ?1 AND {IS_MEMBER}"
    )

    def find(self, db: sqlite3.Connection, digest: str) -> sqlite3.Row | None:
        row: sqlite3.Row | None = db.execute(self.FIND, (now(), digest)).fetchone()
        return row

    def renew(self, digest: str) -> bool:
        prune()  # first: what has expired cannot be renewed
        renewed = fetch_row(
            "UPDATE sessions SET seen_at = ?, expires_at = min(?, created_at + ?)"
            " WHERE id_digest = ? AND expires_at > ? RETURNING author_id",
            (now(), unused_until(), longest_session(), digest, now()),
        )
        if renewed:
            note_seen(renewed["author_id"])
        return bool(renewed)

    def store(self, digest: str, data: str) -> None:
        get_db().execute("UPDATE sessions SET data = ? WHERE id_digest = ?", (data, digest))

    def end(self, author_id: int, digest: str) -> None:
        end_sessions([author_id], "signed-out", [digest])


def end_sessions(
    author_ids: Collection[int], why: Why, sessions: Collection[str] | None = None
) -> int:
    """The one door out: end these sessions (their digests; all of these members' if there are none
    given), in the caller's transaction, and what hangs on them: each feature decides that by `why`,
    also where a member has no session. Returns how many sessions have ended."""
    if sessions is None:
        sql = "SELECT id_digest FROM sessions WHERE author_id IN (SELECT value FROM json_each(?))"
        sessions = [row["id_digest"] for row in fetch_rows(sql, (json.dumps([*author_ids]),))]
    for ended in hooks("ended"):
        ended(author_ids, sessions, why)
    sql = "DELETE FROM sessions WHERE id_digest IN (SELECT value FROM json_each(?))"
    return get_db().execute(sql, (json.dumps([*sessions]),)).rowcount


def end_expired_sessions() -> None:
    """Those that weren't used for SESSION_DAYS, those that are SESSION_MAX_DAYS old, and those of
    guests whose last day is over; 100 at a time, so no write takes long."""
    rows = fetch_rows(
        "SELECT author_id, id_digest, expires_at >= created_at + ?2 AS is_over FROM sessions"
        " WHERE expires_at <= ?1 UNION ALL"
        " SELECT author_id, id_digest, 1 FROM authors JOIN sessions ON author_id = authors.id"
        " WHERE ends_at <= ?1 AND expires_at > ?1 LIMIT 100",
        (now(), longest_session()),
    )
    for row in rows:
        why: Why = "over" if row["is_over"] else "unused"
        end_sessions([row["author_id"]], why, [row["id_digest"]])


# Home ---------------------------------------------------------------------------------------------


@pages.get("/welcome")
def welcome() -> ResponseReturnValue:
    """The one way on from signing in. Who came by PIN and has no other way in is asked to add one;
    all others go on at once."""
    next_ = read_next()
    if current_member() is None:
        return redirect(with_next("/signup", next_), 303)
    if lacks_second_way():
        return render_template("welcome.html", next=next_)
    return redirect(next_ or "/", 303)


@pages.get("/")
def home() -> ResponseReturnValue:
    if current_member() is None:
        return render_template("landing.html", signed_out=was_signed_out())
    return render_template("home.html", may_invite=may_invite(require_member()), now=now())


@pages.route("/logout", methods=["GET", "POST"])
def logout() -> ResponseReturnValue:
    member = require_member()
    if request.method != "POST":
        return render_template("logout.html")
    with transaction():
        if end_sessions([member.id], "signed-out", [this_digest()]):
            journal.record("signed_out", member.username)
    notify("done-signed-out")
    drop_session()
    return redirect("/", 303)


# Housekeeping: what has expired -------------------------------------------------------------------


def do_each_minute() -> None:
    """What the server does without anybody asking, see web/housekeeping.py."""
    with transaction():
        prune()
    inbound.write_tallies()
    checkpoint()
    for do_more in hooks("each_minute"):
        with transaction():
            do_more()


def prune() -> None:
    """Delete what has expired. Called inside writes, too: some servers have no housekeeping."""
    db, at = get_db(), now()
    pin_ledger.settle_unsent("expires_at <= ?", at)
    over = fetch_rows("DELETE FROM whitelist WHERE expires_at <= ? RETURNING username", (at,))
    forget_again([row["username"] for row in over])
    db.execute("DELETE FROM pending_verifications WHERE expires_at <= ?", (at,))
    end_expired_sessions()
    texts.prune_cooldowns()
    inbound.prune_inbound()
    sent_forms.prune_sent_forms()
    journal.prune_journal()
    for prune_feature in hooks("prune"):
        prune_feature()


# The calls to Vonage: a text, and a PIN that is started, checked or cancelled ---------------------


def send_text(phone: str, text: str) -> list[str]:
    """Send an SMS and return Vonage's ids of its parts. Raises VonageError."""
    reports_to = inbound.webhook_url("delivery")
    message = SmsMessage(
        to=phone,
        from_=current_app.config["VONAGE_NUMBER"],
        text=text,
        type="text" if set(text) <= GSM_7 else "unicode",
        callback=reports_to if len(reports_to) <= 100 else None,  # Vonage takes no longer address
    )
    with asking_vonage("text") as vonage:
        return [str(part.message_id) for part in vonage.sms.send(message).messages]


def start_pin(phone: str, language: str | None = None) -> str:
    """Have a PIN texted to `phone`; return the request_id. Raises VonageError."""
    locale = LOCALES.get(language or current_app.config["LANGUAGE"])
    order = VerifyRequest(
        brand=current_app.config["GROUP_NAME"],
        workflow=[SmsChannel(to=phone)],
        locale=Locale(locale) if locale else None,
        channel_timeout=PIN_LIFETIME,
        code_length=6,
    )
    with asking_vonage("start") as vonage:
        return parse_request_id(vonage.verify.start_verification(order).request_id)


def check_pin(request_id: str, pin: str) -> None:
    """Returns if the PIN is right. Raises VonageError if not."""
    with asking_vonage("check") as vonage:
        checked = vonage.verify.check_code(request_id, pin)
        if checked.status != "completed" or checked.request_id != request_id:
            raise ValueError("not a confirmation of this request")


def cancel_pin(request_id: str) -> None:
    with asking_vonage("cancel") as vonage, suppress(NotFoundError):  # 404: it is over already
        vonage.verify.cancel_verification(request_id)
