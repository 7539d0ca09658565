"""What programs ask, and where a member's browser is sent."""

from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from wsgiref.types import WSGIEnvironment

from authlib.oauth2 import OAuth2Error
from flask import Response, abort, current_app, jsonify, redirect, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import Headers

from app import require_member
from features.openid.addresses import may_lead_anywhere
from features.openid.clients import SCOPES, Client, find_client
from features.openid.keys import find_public_keys, read_id_token
from features.openid.people import describe_person, find_person, find_public_id
from features.openid.provider import find_token, server
from features.openid.refusals import ProgramRefused, describe_error, name_sentence, note_refusal
from features.openid.room import bp, issuer
from foundation.storage.database import transaction
from foundation.web.cookies import cookie_settings
from foundation.web.feature import find_proof
from foundation.web.guards import MAX_NEXT, for_machines
from foundation.web.sessions import Member, current_member, find_last_proof, this_digest
from foundation.words.clock import MINUTE, now
from foundation.words.languages import LANGUAGES, match_language


@bp.get("/.well-known/openid-configuration")
@bp.get("/.well-known/oauth-authorization-server")  # RFC 8414
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
        ui_locales_supported=[*LANGUAGES],
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
        return {"error": "invalid_request", "error_description": "Odd characters."}, 400
    return response


@bp.route("/openid/userinfo", methods=["GET", "POST"])
@for_machines
def userinfo() -> ResponseReturnValue:
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    given = text.strip() if scheme.lower() == "bearer" else request.form.get("access_token", "")
    held = find_token(given, "access")
    person = held.find_person() if held else None
    if held is None or person is None:
        challenge = 'Bearer realm="OpenID Connect", error="invalid_token"'
        said = {"error": "invalid_token", "error_description": "Unknown, or no longer valid."}
        return said, 401, {"WWW-Authenticate": challenge}
    return jsonify(describe_person(person, held.get_scope()))


@bp.after_request
def let_scripts_read(response: Response) -> Response:
    """Scripts of other origins, too; they have no cookie of ours."""
    if request.endpoint in [f"{bp.name}.{view.__name__}" for view in (discovery, jwks, userinfo)]:
        response.headers["Access-Control-Allow-Origin"] = "*"
        response.headers["Access-Control-Allow-Headers"] = "Authorization"
    return response


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
    try:
        refuse_what_we_cannot()
        grant = server.get_consent_grant(end_user=member)
        place = where_to_go_first(client, member)
        if place is not None:
            return speaking_as_asked(redirect(place, 303))
        code = make_code(client, grant)
    except OAuth2Error as error:
        return send_back_error(client, error)
    except ValueError:  # Authlib would quote what can't be quoted
        return send_back_error(client, ProgramRefused("invalid_request", "openid-request"))
    return send_back(client, code=code)


def require_client() -> Client:
    """One that is known, and may be returned to where it says. Otherwise there is nobody to tell
    what is wrong, so it's said here."""
    if len(request.query_string) > MAX_NEXT or len(way_back()) > MAX_NEXT:
        abort(400, "openid-long")
    client = find_client(request.args.get("client_id", ""))
    wanted = request.args.get("redirect_uri", "")
    if client is None or not client.check_redirect_uri(wanted):
        note_refusal(client, ProgramRefused("invalid_request", "openid-redirect"), wanted)
        abort(400, "openid-unknown")
    return client


def refuse_what_we_cannot() -> None:
    """OpenID Connect Core 1.0, 6.1: who doesn't support these says so. Raises OAuth2Error."""
    for name in ("request", "request_uri"):
        if name in request.args:
            raise ProgramRefused(f"{name}_not_supported", "openid-request")
    if request.args.get("response_mode", "query") != "query":
        raise ProgramRefused("invalid_request", "openid-mode")


def make_code(client: Client, grant: Any) -> str:
    """Raises ProgramRefused."""
    with transaction():  # or the device could be signed out in between
        person = find_person(this_digest(), client.row["program_id"])
        if person is not None:
            made = server.create_authorization_response(grant_user=require_member(), grant=grant)
            current_app.logger.info("%s signed in to %s", person.username, person.program)
            code: str = parse_qs(urlsplit(made.headers["Location"]).query)["code"][-1]
            return code
    raise ProgramRefused("access_denied", "openid-not-theirs")


def send_back_error(client: Client, error: OAuth2Error) -> ResponseReturnValue:
    if not asks_to("none") or error.error not in ("login_required", "interaction_required"):
        note_refusal(client, error)  # otherwise it was no more than a question
    described = describe_error(error)
    return send_back(client, name_sentence(error), error=error.error, error_description=described)


def send_back(client: Client, why: str = "", **facts: str) -> ResponseReturnValue:
    """Each answer says who gives it (RFC 9207), so no program takes it for another's. Where the
    address may lead to somebody else's program, a person has to press; `why` is the name of a
    sentence for them."""
    back = request.args["redirect_uri"]
    state = {"state": request.args["state"]} if "state" in request.args else {}
    said = {name: fact for name, fact in facts.items() if fact} | state | {"iss": issuer()}
    onward = with_query(back, said)
    if may_lead_anywhere(back):
        return render_template(
            "openid/hand_over.html", title=client.row["title"], address=back, onward=onward,
            why=why,
        )  # fmt: skip
    return VerbatimRedirect("", 303, {"Location": onward})


def with_query(address: str, facts: dict[str, str]) -> str:
    """The address letter by letter, and the facts at its end."""
    mark = "&" if "?" in address else "?"
    return f"{address}{mark}{urlencode(facts)}" if facts else address


class VerbatimRedirect(Response):
    """The address goes out as it was registered: Python would write it otherwise."""

    def get_wsgi_headers(self, environ: WSGIEnvironment) -> Headers:
        headers = super().get_wsgi_headers(environ)
        headers["Location"] = self.headers["Location"]
        return headers


# Who has to sign in first, or again --------------------------------------------------------------


def where_to_go_first(client: Client, member: Member | None) -> str | None:
    """To sign in, or to prove who sits here; None: nowhere. Raises OAuth2Error."""
    if asks_to("none"):
        refuse_if_silence_is_impossible(client, member)
        return None
    if member is None:
        return f"/signup?{urlencode({'next': way_back()})}"
    if is_proved_lately(client):
        return None
    place = find_proof(member)
    if place is None:
        raise ProgramRefused("login_required", "openid-no-proof")
    return f"{place}?{urlencode({'next': way_back()})}"


def refuse_if_silence_is_impossible(client: Client, member: Member | None) -> None:
    """Raises OAuth2Error."""
    hint = read_id_token(request.args.get("id_token_hint", ""))
    is_theirs = member is not None and hint.get("sub") in (None, find_public_id(member))
    if not is_theirs or not is_proved_lately(client):
        raise ProgramRefused("login_required", "openid-sign-in")
    if may_lead_anywhere(request.args["redirect_uri"]):
        raise ProgramRefused("interaction_required", "openid-press")


def is_proved_lately(client: Client) -> bool:
    """As lately as the program asks for it."""
    longest = request.args.get("max_age", "")
    is_fresh = not longest.isdecimal() or now() - find_last_proof() <= int(longest[:9])
    return bool(client.row["ignores_login"]) or (is_fresh and not asks_to("login"))


def asks_to(prompt: str) -> bool:
    return prompt in request.args.get("prompt", "").split()


def way_back() -> str:
    """Over a page of ours, see `go_on`. Having signed in within five minutes is then good enough
    for `prompt=login` and any `max_age`, or one would be asked again and again. (After the first
    sign-in there is a page to be read.)"""
    asked = request.args.to_dict()
    asked.pop("prompt", "")
    is_by_prompt = asks_to("login")
    if is_by_prompt or "max_age" in asked:
        longest = "" if is_by_prompt else asked.get("max_age", "")[:9]
        asked["max_age"] = str(max(5 * MINUTE, int(longest) if longest.isdecimal() else 0))
    return f"/openid/go-on?{urlencode(asked)}"


def speaking_as_asked(response: Any) -> ResponseReturnValue:
    """Until the browser is closed, our pages are in the language that the program asks for
    (`ui_locales`), unless the visitor has chosen one."""
    languages = (match_language(tag) for tag in request.args.get("ui_locales", "").split()[:20])
    found = next((language for language in languages if language), None)
    cookie = cookie_settings("LANGUAGE")
    if found and cookie["key"] not in request.cookies:
        response.set_cookie(value=found, **cookie)  # until the browser is closed
    return response  # type: ignore[no-any-return]


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
