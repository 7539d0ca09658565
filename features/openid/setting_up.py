"""An admin sets a program up. What it is told is on one page, with what an admin may change; its
secret changes only by itself."""

import re
import secrets
import sqlite3
from collections.abc import Callable

from flask import Blueprint, abort, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app import require_admin, require_member
from features.openid.addresses import parse_after_sign_out, parse_logout, parse_redirects
from features.openid.keys import find_signing_key
from features.openid.logouts import receiver_of
from features.openid.people import make_email
from features.openid.refusals import find_refusal
from features.openid.room import bp
from foundation.storage import sent_forms
from foundation.storage.database import count_rows, fetch_row, get_db
from foundation.storage.digests import random_digest
from foundation.storage.journal import record
from foundation.storage.outbox import find_failing, make_due
from foundation.typed.mistakes import Mistake
from foundation.web.forms import Form
from foundation.web.groups import ADMINS
from foundation.web.notices import notify
from foundation.web.sessions import acting
from foundation.words.clock import DAY, now

admin_bp = Blueprint("admin_openid", __name__)
admin_bp.before_request(require_admin)

ADDRESSES = {
    "redirects": parse_redirects,
    "after_sign_out": parse_after_sign_out,
    "logout": parse_logout,
}
Parse = Callable[[str, bool], str]  # of an address, and whether it may have a local name
CLAIM = ("claim", "claim_outside", "claim_inside")
FIELDS = (
    *ADDRESSES,
    "local_names",
    "email",
    "pkce",
    "ignores_login",
    *CLAIM,
    "claim_circle",
    "once",
)
EMAILS = ("none", "unverified", "verified")
# Of those that are registered for tokens (OpenID Connect, RFC 7519 and others), what an app may
# take for something that we know.
TAKEN_CLAIMS = {
    "iss", "sub", "aud", "exp", "iat", "nbf", "jti", "auth_time", "nonce", "acr", "amr", "azp",
    "at_hash", "c_hash", "s_hash", "sid", "events", "toe", "txn", "name", "given_name",
    "family_name", "middle_name", "nickname", "preferred_username", "profile", "picture", "website",
    "email", "email_verified", "gender", "birthdate", "zoneinfo", "locale", "phone_number",
    "phone_number_verified", "address", "updated_at", "groups", "scope", "client_id", "cnf", "act",
    "may_act", "sub_jwk", "sub_id", "active", "token_introspection",
}  # fmt: skip


# What the pages ask -------------------------------------------------------------------------------


@bp.app_template_global()
def find_openid_client(program_id: int) -> sqlite3.Row | None:
    return fetch_row("SELECT * FROM openid_clients WHERE program_id = ?", (program_id,))


@bp.app_template_global()
def find_untold(program_id: int) -> sqlite3.Row | None:
    """Sign-outs that the program was told of in vain."""
    return find_failing(receiver_of(program_id))


@bp.app_template_global()
def seconds_since_given_up(program: str) -> int | None:
    """Since the last sign-out that the program never took; None: there was none for a week."""
    row = fetch_row(
        "SELECT ?1 - at AS seconds FROM journal WHERE event = 'openid_logout_failed'"
        " AND at > ?2 AND subject = ?3 ORDER BY id DESC",
        (now(), now() - 7 * DAY, program),
    )
    return row["seconds"] if row else None


@bp.app_template_global()
def find_last_sign_in(program_id: int) -> sqlite3.Row | None:
    """Who signed in last, and how many seconds ago."""
    return fetch_row(
        "SELECT username, ? - signed_in_at AS seconds FROM openid_sessions"
        " JOIN authors ON authors.id = author_id WHERE program_id = ? AND signed_in_at > 0"
        " ORDER BY signed_in_at DESC LIMIT 1",
        (now(), program_id),
    )


@bp.app_template_global()
def count_signed_in(program_id: int) -> int:
    """Members with a device that signed in to it and isn't out."""
    return count_rows(
        "SELECT count(DISTINCT openid_sessions.author_id) FROM openid_sessions"
        " JOIN sessions ON id_digest = session_digest WHERE program_id = ?",
        (program_id,),
    )


bp.add_app_template_global(find_refusal)
bp.add_app_template_global(make_email)


# Setting it up ------------------------------------------------------------------------------------


@admin_bp.route("/admin/programs/<name>/openid", methods=["GET", "POST"])
def set_up(name: str) -> ResponseReturnValue:
    program = require_named(name)
    form, known = Form(*FIELDS), find_openid_client(program["id"])
    if request.method != "POST":
        form.values = describe_client(known)
        return render_template("openid/set_up.html", form=form, program=program)
    with_local_names = form.values["local_names"] == "yes"
    for field, parse in ADDRESSES.items():
        form.values[field] = read_addresses(form, field, parse, with_local_names)
    read_claim(form)
    if form.mistakes:
        return render_template("openid/set_up.html", form=form, program=program), 422
    try:
        return change_client(program, form) if known else make_client(program, form)
    except Mistake as mistake:
        form.refuse(mistake)
        return render_template("openid/set_up.html", form=form, program=program), 422


def change_client(program: sqlite3.Row, form: Form) -> ResponseReturnValue:
    """Raises Mistake: this is the form that has made it."""
    with acting():
        sent_forms.refuse_if_made(request.path, form.values["once"])
        store_settings(program, form)
        record("openid_set_up", require_member().username, program["name"])
    notify("done-program-changed")
    return redirect(url_for(".set_up", name=program["name"]), 303)


def require_named(name: str) -> sqlite3.Row:
    program = fetch_row("SELECT * FROM programs WHERE name = ?", (name,))
    if program is None:
        abort(404)
    return program


def describe_client(known: sqlite3.Row | None) -> dict[str, str]:
    """As the form has it."""
    if known is None:
        return dict.fromkeys(FIELDS, "") | {"email": "unverified", "claim_circle": ADMINS}
    values = {
        field: known[field] for field in ("redirects", "after_sign_out", *CLAIM, "claim_circle")
    }
    values |= {"logout": known["logout_address"], "pkce": "" if known["needs_pkce"] else "no"}
    values["local_names"] = "yes" if known["takes_local_names"] else ""
    values["ignores_login"] = "yes" if known["ignores_login"] else ""
    values["email"] = "old" if known["is_email_old"] else known["email"]
    return values


def read_addresses(form: Form, field: str, parse: Parse, with_local_names: bool) -> str:
    """As the form shows them again, if they are wrong."""
    parsed = form.read(field, lambda text: parse(text, with_local_names))
    return form.values[field] if field in form.mistakes else parsed


def read_claim(form: Form) -> None:
    """A name and what it says, or neither."""
    name, outside, inside = (" ".join(form.values[field].split()) for field in CLAIM)
    is_name = re.fullmatch(r"[A-Za-z0-9_.:/-]{1,80}", name) and name not in TAKEN_CLAIMS
    are_lines = all(len(one) <= 80 and one.isprintable() for one in (outside, inside))
    if (name or outside or inside) and not (is_name and outside and are_lines):
        form.refuse(Mistake("claim", "openid-claim"))
    form.values |= dict(zip(CLAIM, (name, outside, inside), strict=True))
    form.values["claim_circle"] = form.values["claim_circle"] or ADMINS
    circle = form.values["claim_circle"]  # one that was removed stays: nobody is in it
    if circle != ADMINS and not fetch_row("SELECT 1 FROM circles WHERE name = ?", (circle,)):
        form.refuse(Mistake("claim", "error"))


def make_client(program: sqlite3.Row, form: Form) -> ResponseReturnValue:
    """Raises Mistake: this form has made it."""
    find_signing_key()  # the first program waits for it, and no stranger
    client_id, secret = f"{program['name']}-{secrets.token_hex(4)}", secrets.token_urlsafe(32)
    with acting() as db:
        sent_forms.refuse_if_made(request.path, form.values["once"])
        if find_openid_client(program["id"]):  # in another tab, meanwhile
            raise Mistake("form", "made-already")
        db.execute(
            "INSERT INTO openid_clients (program_id, client_id, secret_digest, redirects,"
            " needs_pkce, email, logout_address) VALUES (?, ?, ?, '', 1, 'none', '')",
            (program["id"], client_id, random_digest(secret)),
        )
        store_settings(program, form)
        sent_forms.remember_made(request.path, form.values["once"])
        record("openid_set_up", require_member().username, program["name"])
    return show_secret(program, secret)


def store_settings(program: sqlite3.Row, form: Form) -> None:
    """In the caller's transaction. Its secret and client id stay. What a program has sent so far
    counts no longer, where an admin changes whether it may leave PKCE out."""
    values, email = form.values, form.values["email"]
    get_db().execute(
        "UPDATE openid_clients SET redirects = ?2, after_sign_out = ?3, logout_address = ?4,"
        " takes_local_names = ?5, needs_pkce = ?6, ignores_login = ?7, claim = ?8,"
        " claim_outside = ?9, claim_inside = ?10, claim_circle = ?12,"
        " sends_challenge = sends_challenge AND needs_pkce = ?6,"
        " sends_nonce = sends_nonce AND needs_pkce = ?6,"
        " email = CASE ?11 WHEN 'old' THEN email ELSE ?11 END,"
        " is_email_old = is_email_old AND ?11 = 'old' WHERE program_id = ?1",
        (
            program["id"], values["redirects"], values["after_sign_out"], values["logout"],
            values["local_names"] == "yes", values["pkce"] != "no",
            values["ignores_login"] == "yes", *(values[field] for field in CLAIM),
            email if email in (*EMAILS, "old") else "unverified", values["claim_circle"],
        ),
    )  # fmt: skip


# What else an admin does there --------------------------------------------------------------------


@admin_bp.route("/admin/programs/<name>/openid/secret", methods=["GET", "POST"])
def make_new_secret(name: str) -> ResponseReturnValue:
    """The old one ends with that, so it's asked first."""
    program, form = require_named(name), Form("once")
    if find_openid_client(program["id"]) is None:
        abort(404)
    if request.method != "POST":
        return render_template("openid/new_secret.html", form=form, program=program)
    secret = secrets.token_urlsafe(32)
    try:
        with acting() as db:
            sent_forms.refuse_if_made(request.path, form.values["once"])
            sql = "UPDATE openid_clients SET secret_digest = ? WHERE program_id = ?"
            db.execute(sql, (random_digest(secret), program["id"]))
            sent_forms.remember_made(request.path, form.values["once"])
            record("openid_new_secret", require_member().username, program["name"])
    except Mistake as mistake:
        form.refuse(mistake)
        return render_template("openid/new_secret.html", form=form, program=program), 422
    return show_secret(program, secret)


def show_secret(program: sqlite3.Row, secret: str) -> ResponseReturnValue:
    """Once."""
    client = find_openid_client(program["id"])
    return render_template("openid/made.html", program=program, client=client, secret=secret)


@admin_bp.post("/admin/programs/<name>/openid/allow")
def forget_what_it_sends(name: str) -> ResponseReturnValue:
    """It sent PKCE or a nonce once, and need not go on."""
    program = require_named(name)
    if find_openid_client(program["id"]) is None:
        abort(404)
    with acting() as db:
        sql = "UPDATE openid_clients SET sends_challenge = 0, sends_nonce = 0 WHERE program_id = ?"
        db.execute(sql, (program["id"],))
        record("openid_set_up", require_member().username, program["name"])
    notify("done-program-changed")
    return redirect(url_for(".set_up", name=name), 303)


@admin_bp.post("/admin/programs/<name>/openid/try")
def try_now(name: str) -> ResponseReturnValue:
    """To tell the program of sign-outs that it didn't take yet."""
    program = require_named(name)
    with acting():
        make_due(receiver_of(program["id"]))
    notify("done-openid-try")
    return redirect(url_for(".set_up", name=name), 303)
