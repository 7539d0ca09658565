"""A program signs somebody out, and us, too (OpenID Connect RP-Initiated Logout 1.0)."""

from typing import NamedTuple

from authlib.oauth2 import OAuth2Error
from authlib.oidc.rpinitiated import EndSessionEndpoint
from flask import current_app, render_template, request
from flask.typing import ResponseReturnValue
from joserfc.jwk import KeySet

from app import logout
from features.openid.clients import Client
from features.openid.endpoints import ask_again_by_get, with_query
from features.openid.keys import BAD_TOKEN, find_key_set
from features.openid.provider import server
from features.openid.room import bp
from foundation.web.guards import for_machines, is_cross_site
from foundation.web.sessions import current_member


class Ending(EndSessionEndpoint):  # type: ignore[misc]
    """Authlib says who asks, and whether they may be returned to. A page of ours asks the
    member."""

    def get_server_jwks(self) -> KeySet:
        return find_key_set()

    def get_algorithms(self) -> list[str]:
        return ["RS256"]

    def is_post_logout_redirect_uri_legitimate(self, *_: object) -> bool:
        return True


@bp.route("/openid/logout", methods=["GET", "POST"])
@for_machines
def end_session() -> ResponseReturnValue:
    """It's asked first, as anybody can send a link or a form."""
    if request.method == "POST" and is_cross_site():
        return ask_again_by_get()
    way = find_way_on()
    facts = {"title": way.title or current_app.config["GROUP_NAME"], "onward": way.onward}
    if current_member() is None:
        return render_template("openid/go_on.html", **facts, is_out=True)
    if request.method != "POST":
        return render_template("openid/logout.html", way=way, kept=request.args)
    logout()
    return render_template("openid/go_on.html", **facts, is_out=True)


class WayOn(NamedTuple):
    """Where a member goes after the question."""

    title: str  # of the program; "": it isn't known
    onward: str  # signed out
    stay: str  # signed in


def find_way_on() -> WayOn:
    """Back to the program, if it says who it is, and an address of its own; otherwise to our start
    page."""
    try:
        asked = Ending(server).validate_request(server.create_oauth2_request(None))
    except (OAuth2Error, *BAD_TOKEN):
        return WayOn("", "/", "/")
    client: Client | None = asked.client
    if client is None:
        return WayOn("", "/", "/")
    title, wanted = str(client.row["title"]), request.values.get("post_logout_redirect_uri", "")
    if asked.redirect_uri is None:
        return WayOn(title, "/", str(client.row["address"]))
    state = {"state": request.values["state"]} if "state" in request.values else {}
    onward = with_query(wanted, state)
    return WayOn(title, onward, onward)
