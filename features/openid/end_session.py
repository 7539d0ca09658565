"""A program signs somebody out, and us, too."""

from flask import current_app, render_template, request
from flask.typing import ResponseReturnValue
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from app import logout
from features.openid.clients import find_client
from features.openid.endpoints import ask_again_by_get, with_query
from features.openid.keys import find_public_keys
from features.openid.room import bp
from foundation.web.guards import for_machines, is_cross_site
from foundation.web.sessions import current_member


@bp.route("/openid/logout", methods=["GET", "POST"])
@for_machines
def end_session() -> ResponseReturnValue:
    """A program signs somebody out here, too (OpenID Connect RP-Initiated Logout 1.0). It's asked
    first, as anybody can send a link or a form."""
    if request.method == "POST" and is_cross_site():
        return ask_again_by_get()
    title, onward = find_way_on()
    if current_member() is None:
        return render_template("openid/go_on.html", title=title, onward=onward, is_out=True)
    if request.method != "POST":
        return render_template("openid/logout.html", title=title, kept=request.args)
    logout()
    return render_template("openid/go_on.html", title=title, onward=onward, is_out=True)


def find_way_on() -> tuple[str, str]:
    """Back to the program, if it says who it is, and an address of its own; otherwise to our start
    page."""
    client = find_client(request.values.get("client_id", "") or read_hint())
    wanted = request.values.get("post_logout_redirect_uri", "")
    if client is None or not (wanted == client.row["address"] or client.check_redirect_uri(wanted)):
        return current_app.config["GROUP_NAME"], "/"
    state = {"state": request.values["state"]} if "state" in request.values else {}
    return client.row["title"], with_query(wanted, state)


def read_hint() -> str:
    """The client id in an ID token of ours, even an expired one; or ""."""
    try:
        keys = KeySet.import_key_set({"keys": find_public_keys()})
        hint = jwt.decode(request.values.get("id_token_hint", ""), keys, algorithms=["RS256"])
    except (JoseError, ValueError):
        return ""
    return str(hint.claims.get("aud", ""))
