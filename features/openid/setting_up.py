"""An admin sets a program up."""

import secrets
import sqlite3

from flask import Blueprint, abort, render_template, request
from flask.typing import ResponseReturnValue

from app import require_admin, require_member
from features.openid.addresses import parse_logout, parse_redirects
from features.openid.keys import find_signing_key
from features.openid.logouts import receiver_of
from features.openid.room import bp, issuer
from foundation.storage import sent_forms
from foundation.storage.database import fetch_row
from foundation.storage.digests import random_digest
from foundation.storage.journal import record
from foundation.storage.outbox import find_failing
from foundation.typed.mistakes import Mistake
from foundation.web.forms import Form
from foundation.web.sessions import acting
from foundation.words.clock import DAY, now

admin_bp = Blueprint("admin_openid", __name__)
admin_bp.before_request(require_admin)

FIELDS = ("redirects", "logout", "pkce", "email", "once")
EMAILS = ("none", "unverified", "verified")


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


@admin_bp.route("/admin/programs/<name>/openid", methods=["GET", "POST"])
def set_up(name: str) -> ResponseReturnValue:
    """Where it may return to, and a new secret, which is shown once."""
    program = fetch_row("SELECT * FROM programs WHERE name = ?", (name,))
    if program is None:
        abort(404)
    form, known = Form(*FIELDS), find_openid_client(program["id"])
    if request.method != "POST":
        if known:
            form.values = {"redirects": known["redirects"], "email": known["email"]}
            form.values |= {"logout": known["logout_address"]}
            form.values["pkce"] = "" if known["needs_pkce"] else "no"
        return render_template("openid/set_up.html", form=form, program=program)
    redirects = form.read("redirects", parse_redirects)
    logout_address = form.read("logout", parse_logout)
    secret, client_id = secrets.token_urlsafe(32), ""
    if not form.mistakes:
        find_signing_key()  # the first program waits for it, and no stranger
        try:
            client_id = store_client(program, redirects, logout_address, form, secret)
        except Mistake as mistake:
            form.refuse(mistake)
    if form.mistakes:
        return render_template("openid/set_up.html", form=form, program=program), 422
    facts = {"program": program, "issuer": issuer(), "client_id": client_id, "secret": secret}
    return render_template("openid/made.html", **facts)


def store_client(
    program: sqlite3.Row, redirects: str, logout_address: str, form: Form, secret: str
) -> str:
    """Replaces an earlier secret; the client id stays. Returns that. Raises Mistake: this form has
    made one."""
    email = form.values["email"] if form.values["email"] in EMAILS else "none"
    with acting():
        sent_forms.refuse_if_made(request.path, form.values["once"])
        row = fetch_row(
            "INSERT INTO openid_clients VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (program_id)"
            " DO UPDATE SET secret_digest = excluded.secret_digest, redirects = excluded.redirects,"
            " needs_pkce = excluded.needs_pkce, email = excluded.email,"
            " logout_address = excluded.logout_address RETURNING client_id",
            (
                program["id"], f"{program['name']}-{secrets.token_hex(4)}", random_digest(secret),
                redirects, form.values["pkce"] != "no", email, logout_address,
            ),
        )  # fmt: skip
        sent_forms.remember_made(request.path, form.values["once"])
        record("openid_set_up", require_member().username, program["name"])
    return str(row["client_id"]) if row else ""
