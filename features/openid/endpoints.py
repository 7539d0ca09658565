"""What programs ask, and where a member's browser is sent."""

from urllib.parse import parse_qs, urlencode, urlsplit
from wsgiref.types import WSGIEnvironment

from authlib.oauth2 import OAuth2Error
from flask import Response, abort, jsonify, redirect, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import Headers

from app import require_member
from features.openid.clients import SCOPES, Client, find_client
from features.openid.keys import find_public_keys
from features.openid.people import describe_person, find_person
from features.openid.provider import find_auth_time, find_token, server
from features.openid.room import bp, issuer
from foundation.storage.database import transaction
from foundation.web.feature import find_confirmation
from foundation.web.guards import MAX_NEXT, for_machines
from foundation.web.sessions import Member, current_member, this_digest
from foundation.words.clock import MINUTE, now


@bp.get("/.well-known/openid-configuration")
def discovery() -> ResponseReturnValue:
    base = issuer()
    return jsonify(
        issuer=base,
        authorization_endpoint=f"{base}/openid/authorize",
        token_endpoint=f"{base}/openid/token",
        userinfo_endpoint=f"{base}/openid/userinfo",
        jwks_uri=f"{base}/openid/jwks",
        end_session_endpoint=f"{base}/openid/logout",
        response_types_supported=["code"],
        response_modes_supported=["query"],
        grant_types_supported=["authorization_code", "refresh_token"],
        subject_types_supported=["public"],
        id_token_signing_alg_values_supported=["RS256"],
        token_endpoint_auth_methods_supported=["client_secret_basic", "client_secret_post"],
        code_challenge_methods_supported=["S256"],
        scopes_supported=SCOPES,
        claims_supported=[
            "sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "at_hash", "name",
            "preferred_username", "groups", "email", "email_verified", "sid",
        ],
        authorization_response_iss_parameter_supported=True,
        request_parameter_supported=False,
        request_uri_parameter_supported=False,
        claims_parameter_supported=False,
        backchannel_logout_supported=True,
        backchannel_logout_session_supported=True,
    )  # fmt: skip


@bp.get("/openid/jwks")
def jwks() -> ResponseReturnValue:
    return jsonify(keys=find_public_keys())


@bp.post("/openid/token")
@for_machines
def token() -> ResponseReturnValue:
    try:
        response: Response = server.create_token_response()
    except ValueError:  # Authlib would quote what can't be quoted
        return {"error": "invalid_request"}, 400
    return response


@bp.route("/openid/userinfo", methods=["GET", "POST"])
@for_machines
def userinfo() -> ResponseReturnValue:
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    given = text.strip() if scheme.lower() == "bearer" else request.form.get("access_token", "")
    held = find_token(given, "access")
    person = held.find_person() if held else None
    if held is None or person is None:
        return {"error": "invalid_token"}, 401, {"WWW-Authenticate": 'Bearer error="invalid_token"'}
    return jsonify(describe_person(person, held.get_scope()))


@bp.post("/openid/authorize")
@for_machines
def authorize_by_form() -> ResponseReturnValue:
    return ask_again_by_get()


def ask_again_by_get() -> ResponseReturnValue:
    """After a form of another site, which comes without our cookie."""
    return redirect(f"{request.path}?{urlencode([*request.form.items(multi=True)])}", 303)


@bp.get("/openid/authorize")
def authorize() -> ResponseReturnValue:
    client, member = require_client(), current_member()
    back = request.args["redirect_uri"]
    try:
        refuse_request_objects()
        grant = server.get_consent_grant(end_user=member)
    except OAuth2Error as error:
        return send_back(back, error=error.error)
    except ValueError:  # Authlib would quote what can't be quoted
        return send_back(back, error="invalid_request")
    place = where_to_sign_in(member)
    if place is not None:
        if asks_to("none"):
            return send_back(back, error="login_required")
        return redirect(place, 303)
    with transaction():  # or the device could be signed out in between
        if find_person(this_digest(), client.row["program_id"]) is None:
            return send_back(back, error="access_denied")
        response = server.create_authorization_response(grant_user=require_member(), grant=grant)
    return send_back(back, code=parse_qs(urlsplit(response.headers["Location"]).query)["code"][-1])


def require_client() -> Client:
    """One that is known, and may be returned to where it says. Otherwise there is nobody to tell
    what is wrong, so it's said here."""
    if len(request.query_string) > MAX_NEXT or len(way_back()) > MAX_NEXT:
        abort(400, "openid-long")
    client = find_client(request.args.get("client_id", ""))
    if client is None or not client.check_redirect_uri(request.args.get("redirect_uri", "")):
        abort(400, "openid-unknown")
    return client


def refuse_request_objects() -> None:
    """OpenID Connect Core 1.0, 6.1: who doesn't support them says so."""
    for name in ("request", "request_uri"):
        if name in request.args:
            raise OAuth2Error(error=f"{name}_not_supported")


def send_back(redirect_uri: str, **facts: str) -> ResponseReturnValue:
    """Each answer says who gives it (RFC 9207), so no program takes it for another's. The address
    goes out as it was registered: Python would write app.immich:///x as app.immich:/x."""
    state = {"state": request.args["state"]} if "state" in request.args else {}
    said = {name: fact for name, fact in facts.items() if fact} | state | {"iss": issuer()}
    return VerbatimRedirect("", 303, {"Location": with_query(redirect_uri, said)})


def with_query(address: str, facts: dict[str, str]) -> str:
    """The address letter by letter, and the facts at its end."""
    mark = "&" if "?" in address else "?"
    return f"{address}{mark}{urlencode(facts)}" if facts else address


class VerbatimRedirect(Response):
    def get_wsgi_headers(self, environ: WSGIEnvironment) -> Headers:
        headers = super().get_wsgi_headers(environ)
        headers["Location"] = self.headers["Location"]
        return headers


def where_to_sign_in(member: Member | None) -> str | None:
    """Where to send the member to sign in or confirm; None: nowhere."""
    if member is None:
        return f"/signup?{urlencode({'next': way_back()})}"
    longest = request.args.get("max_age", "")
    is_fresh = not longest.isdecimal() or now() - find_auth_time() <= int(longest[:9])
    if is_fresh and not asks_to("login"):
        return None
    place = find_confirmation(member, within=0) or "/signup"
    return f"{place}?{urlencode({'next': way_back()})}"


def asks_to(prompt: str) -> bool:
    return prompt in request.args.get("prompt", "").split()


def way_back() -> str:
    """Over a page of ours, see `go_on`. Having signed in within the last minute is then good enough
    for `prompt=login` and any `max_age`, or one would be asked again and again."""
    asked = request.args.to_dict()
    asked.pop("prompt", "")
    is_by_prompt = asks_to("login")
    if is_by_prompt or "max_age" in asked:
        longest = "" if is_by_prompt else asked.get("max_age", "")[:9]
        asked["max_age"] = str(max(MINUTE, int(longest) if longest.isdecimal() else 0))
    return f"/openid/go-on?{urlencode(asked)}"


@bp.get("/openid/go-on")
def go_on() -> ResponseReturnValue:
    """After our form: a browser lets no form lead to another site, so a page lies between."""
    require_member()
    client = find_client(request.args.get("client_id", ""))
    if client is None:
        abort(400, "openid-unknown")
    onward = f"/openid/authorize?{urlencode([*request.args.items(multi=True)])}"
    return render_template("openid/go_on.html", title=client.row["title"], onward=onward)


def find_title_by_client(address: str) -> str | None:
    """The title of the app that a way back leads to."""
    path, _, query = address.partition("?")
    if path != "/openid/go-on":
        return None
    client = find_client(parse_qs(query).get("client_id", [""])[0])
    return client and str(client.row["title"])
