"""OpenID Connect: programs sign their members in here. Authorization code only, for programs that
keep a secret. Authlib speaks the protocol; what it asks (who is this, may they, is that code good)
is answered here. Needs the feature `programs`."""

import base64
import functools
import hmac
import json
import re
import secrets
import sqlite3
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple, cast
from urllib.parse import parse_qs, urlencode, urlsplit
from wsgiref.types import WSGIEnvironment

import click
import requests
from authlib.integrations.flask_oauth2.requests import FlaskOAuth2Payload
from authlib.oauth2 import AuthorizationServer, OAuth2Error, OAuth2Request
from authlib.oauth2.rfc6749 import ClientMixin, InvalidGrantError, InvalidRequestError
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant, RefreshTokenGrant
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oidc.core.grants import OpenIDCode
from cryptography.fernet import Fernet, InvalidToken
from flask import (
    Blueprint,
    Flask,
    Response,
    abort,
    current_app,
    g,
    jsonify,
    redirect,
    render_template,
    request,
    session,
)
from flask.sansio.blueprints import BlueprintSetupState
from flask.typing import ResponseReturnValue
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, RSAKey
from werkzeug.datastructures import Headers, MultiDict

from app import logout, require_admin, require_member
from foundation.cli.command import command
from foundation.storage.database import fetch_row, fetch_rows, get_db, transaction
from foundation.storage.digests import derive_key, random_digest
from foundation.storage.journal import record
from foundation.typed.mistakes import Mistake
from foundation.typed.settings import is_loopback
from foundation.web.feature import Feature, find_confirmation
from foundation.web.forms import Form
from foundation.web.guards import LONGEST_NEXT, for_machines, is_cross_site
from foundation.web.sessions import IS_MEMBER, Member, current_member, is_admin, this_digest
from foundation.words.clock import DAY, MINUTE, now

openid = Blueprint("openid", __name__, cli_group="openid")
openid.cli.help = "The key that OpenID Connect signs with."
of_admins = Blueprint("admin_openid", __name__)
of_admins.before_request(require_admin)

CODE_LIFETIME = MINUTE
ACCESS_LIFETIME = 10 * MINUTE
KEY_STAYS = DAY  # after the next one came, so that programs can still check what it signed
SCOPES = ("openid", "profile", "email", "groups", "offline_access")


def issuer() -> str:
    return str(current_app.config["BASE_URL"])


# What Authlib asks about: programs, codes and tokens ----------------------------------------------


class Client(ClientMixin):  # type: ignore[misc]
    """A program, as Authlib asks about it."""

    id_token_signed_response_alg = "RS256"

    def __init__(self, row: sqlite3.Row) -> None:
        self.row = row

    def get_client_id(self) -> str:
        return str(self.row["client_id"])

    def get_default_redirect_uri(self) -> None:
        return None

    def get_allowed_scope(self, scope: str | None) -> str:
        return " ".join(one for one in (scope or "").split() if one in SCOPES)

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri in self.row["redirects"].split("\n")

    def check_client_secret(self, client_secret: str) -> bool:
        return hmac.compare_digest(random_digest(client_secret), self.row["secret_digest"])

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method in ("client_secret_basic", "client_secret_post")

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in ("authorization_code", "refresh_token")


def find_client(client_id: str) -> Client | None:
    row = fetch_row(
        "SELECT * FROM openid_clients JOIN programs ON programs.id = program_id"
        " WHERE client_id = ?",
        (client_id,),
    )
    return Client(row) if row else None


class Token:
    """A token that was found."""

    def __init__(self, row: sqlite3.Row) -> None:
        self.row = row

    def get_scope(self) -> str:
        return str(self.row["scope"])

    def check_client(self, client: Client) -> bool:
        return bool(self.row["program_id"] == client.row["program_id"])

    def find_person(self) -> "Person | None":
        return find_person(self.row["session_digest"], self.row["program_id"])

    def name_session(self) -> str:
        """What the program knows this device by (the claim `sid`), and no other program."""
        return random_digest(f"{self.row['session_digest']} {self.row['program_id']}")[:32]


class Code(Token):
    """A code that was found."""

    code_challenge_method = "S256"

    def __init__(self, row: sqlite3.Row) -> None:
        super().__init__(row)
        self.code_challenge = row["challenge"]

    def get_redirect_uri(self) -> str:
        return str(self.row["redirect_uri"])

    def get_nonce(self) -> str | None:
        return self.row["nonce"] or None

    def get_auth_time(self) -> int:
        return int(self.row["auth_time"])

    def get_acr(self) -> None:
        return None

    def get_amr(self) -> None:
        return None


class Person(NamedTuple):
    """A member whose device is signed in, and who may use the program."""

    author_id: int
    username: str
    public_id: str
    email: str  # what the program is told: none, unverified or verified
    is_chosen: bool


def find_person(session_digest: str, program_id: int) -> Person | None:
    """Asked at each use of a code or a token, so whoever is out is out at once."""
    row = fetch_row(
        "SELECT authors.id, username, public_id, email, EXISTS (SELECT 1 FROM program_members"
        " AS chosen WHERE chosen.program_id = ?3 AND chosen.author_id = authors.id)"
        " FROM sessions JOIN authors ON authors.id = sessions.author_id"
        " JOIN may_use ON may_use.author_id = authors.id AND may_use.program_id = ?3"
        " JOIN openid_clients ON openid_clients.program_id = ?3"
        f" WHERE id_digest = ?2 AND sessions.expires_at > ?1 AND {IS_MEMBER}",
        (now(), session_digest, program_id),
    )
    return Person(*row) if row else None


def describe_person(person: Person, scope: str) -> dict[str, Any]:
    """The claims. Nobody here has an e-mail address; some programs let nobody in without one, so
    they are told one that is nobody's."""
    groups = ["members"] + (["admins"] if is_admin(Member(*person[:2])) else [])
    groups += ["chosen"] if person.is_chosen else []
    claims: dict[str, Any] = {
        "sub": person.public_id,
        "preferred_username": person.username,
        "name": person.username,
        "groups": groups,
    }
    if person.email != "none" and "email" in scope.split():
        claims["email"] = f"{person.public_id}@members.invalid"
        claims["email_verified"] = person.email == "verified"
    return claims


# The grants ---------------------------------------------------------------------------------------


class CodeGrant(AuthorizationCodeGrant):  # type: ignore[misc]
    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post")

    def save_authorization_code(self, code: str, request: Any) -> None:
        asked = request.payload.data
        with transaction() as db:
            prune()
            db.execute(
                "INSERT INTO openid_codes (digest, program_id, session_digest, author_id,"
                " redirect_uri, scope, nonce, challenge, auth_time, expires_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    random_digest(code), request.client.row["program_id"], this_digest(),
                    request.user.id, request.payload.redirect_uri, request.scope,
                    asked.get("nonce"), asked.get("code_challenge"), find_auth_time(),
                    now() + CODE_LIFETIME,
                ),
            )  # fmt: skip

    def query_authorization_code(self, code: str, client: Client) -> Code | None:
        row = fetch_row(
            "SELECT * FROM openid_codes WHERE digest = ? AND program_id = ? AND expires_at > ?",
            (random_digest(code), client.row["program_id"], now()),
        )
        return Code(row) if row else None

    def authenticate_user(self, authorization_code: Code) -> Person | None:
        return authorization_code.find_person()

    def create_token_response(self) -> Any:
        """Claim the code and make its tokens in one transaction: of many that come at once with
        one code, one gets them. Who comes second may have stolen it, so all its tokens end."""
        code = self.request.authorization_code.row["digest"]
        with transaction() as db:
            claim = "UPDATE openid_codes SET used_at = ? WHERE digest = ? AND used_at IS NULL"
            is_ours = db.execute(claim, (now(), code)).rowcount > 0
            if is_ours:
                remember_sign_in(self.request.authorization_code)
                return super().create_token_response()
            db.execute("DELETE FROM openid_tokens WHERE code_digest = ?", (code,))
        raise InvalidGrantError("This code was used before.")

    def delete_authorization_code(self, authorization_code: Code) -> None:
        """It stays until it expires, so that a second use is known for one."""


class RefreshGrant(RefreshTokenGrant):  # type: ignore[misc]
    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post")

    def authenticate_refresh_token(self, refresh_token: str) -> Token | None:
        return find_token(refresh_token, "refresh")

    def create_token_response(self) -> Any:
        with transaction():  # or the device could be signed out in between
            prune()
            return super().create_token_response()

    def authenticate_user(self, refresh_token: Token) -> Person | None:
        return refresh_token.find_person()

    def revoke_old_credential(self, refresh_token: Token) -> None:
        """It is good as long as the device is: the program has a secret to keep it with."""


def find_token(token: str, kind: str) -> Token | None:
    row = fetch_row(
        "SELECT * FROM openid_tokens WHERE digest = ? AND kind = ? AND expires_at > ?",
        (random_digest(token), kind, now()),
    )
    return Token(row) if row else None


class Pkce(CodeChallenge):  # type: ignore[misc]
    SUPPORTED_CODE_CHALLENGE_METHOD = ("S256",)  # and so not the default, "plain"

    def validate_code_challenge(self, grant: Any, redirect_uri: str) -> None:
        asked = grant.request.payload.data
        if asked.get("code_challenge") and asked.get("code_challenge_method") != "S256":
            raise InvalidRequestError("Only 'code_challenge_method=S256' is supported.")
        super().validate_code_challenge(grant, redirect_uri)
        if asked.get("code_challenge"):
            return
        if grant.request.client.row["needs_pkce"]:
            raise InvalidRequestError("Missing 'code_challenge'.")
        if not asked.get("nonce"):
            raise InvalidRequestError("Missing 'nonce'.")


class IdToken(OpenIDCode):  # type: ignore[misc]
    def exists_nonce(self, nonce: str, request: Any) -> bool:
        return False  # a code is good once, so its nonce is

    def resolve_client_private_key(self, client: Client) -> RSAKey:
        return find_signing_key()

    def get_encode_header(self, client: Client) -> dict[str, str]:
        return {"alg": "RS256", "kid": find_signing_key().kid or ""}

    def get_client_claims(self, client: Client) -> dict[str, Any]:
        aud = client.get_client_id()
        return {"iss": issuer(), "aud": aud, "exp": now() + ACCESS_LIFETIME, "iat": now()}

    def get_authorization_code_claims(self, authorization_code: Code) -> dict[str, Any]:
        claims: dict[str, Any] = super().get_authorization_code_claims(authorization_code)
        return claims | {"sid": authorization_code.name_session()}

    def generate_user_info(self, user: Person, scope: str) -> dict[str, Any]:
        return describe_person(user, scope)


# The server ---------------------------------------------------------------------------------------


class OurRequest(OAuth2Request):  # type: ignore[misc]
    """Authlib takes no request for a http address, and behind a proxy that is what Flask sees. What
    counts is BASE_URL, which has https, except on one's own machine."""

    def __init__(self) -> None:
        address = f"https://{urlsplit(issuer()).netloc}{request.full_path}"
        super().__init__(request.method, address, headers=request.headers)
        self.payload = FlaskOAuth2Payload(request)

    @property
    def args(self) -> MultiDict[str, str]:
        return request.args

    @property
    def form(self) -> MultiDict[str, str]:
        return request.form


class Server(AuthorizationServer):  # type: ignore[misc]
    def query_client(self, client_id: str) -> Client | None:
        return find_client(client_id)

    def save_token(self, token: dict[str, Any], asked: Any) -> None:
        """In the caller's transaction, if there is one."""
        began = (asked.refresh_token or asked.authorization_code).row
        code = began["code_digest"] if asked.refresh_token else began["digest"]
        kinds = {"access": token["access_token"], "refresh": token.get("refresh_token")}
        with transaction() as db:
            for kind, text in kinds.items():
                ends_at = now() + (ACCESS_LIFETIME if kind == "access" else 365 * DAY)
                if text:
                    db.execute(
                        "INSERT INTO openid_tokens VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                        (
                            random_digest(text), kind, code, began["program_id"],
                            began["session_digest"], began["author_id"], token["scope"],
                            began["auth_time"], ends_at,
                        ),
                    )  # fmt: skip

    def create_oauth2_request(self, _: Any) -> OurRequest:
        return OurRequest()

    def handle_response(self, status: int, body: Any, headers: Any) -> Response:
        text = json.dumps(body) if isinstance(body, dict) else body
        return Response(text, status, headers)

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None: ...


def make_token(grant_type: str, client: Client, scope: str = "", **_: Any) -> dict[str, Any]:
    """A refresh token only where it was asked for (`offline_access`), and once."""
    token = {"token_type": "Bearer", "access_token": secrets.token_urlsafe(32)}
    if "offline_access" in scope.split() and grant_type == "authorization_code":
        token["refresh_token"] = secrets.token_urlsafe(32)
    return token | {"expires_in": ACCESS_LIFETIME, "scope": scope}


server = Server(scopes_supported=None)
server.register_token_generator("default", make_token)
server.register_grant(CodeGrant, [IdToken(), Pkce()])
server.register_grant(RefreshGrant)


# The signing key ----------------------------------------------------------------------------------


def vault(secret: str) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(derive_key(secret, "openid keys")))


def find_signing_key() -> RSAKey:
    """The newest. The first is made when it's first needed; one that can't be read (another process
    still has another SECRET_KEY) is a fault of this moment, and nobody's token ends by it."""
    newest = find_newest_key()
    if newest is not None:
        return read_key(newest["private"], current_app.config["SECRET_KEY"])
    made, private = make_key()
    with transaction():
        if find_newest_key() is None:  # nobody else was faster
            store_key(made, private)
    return find_signing_key()


@functools.lru_cache(maxsize=4)
def read_key(private: str, secret: str) -> RSAKey:
    """Kept, because reading one costs as much as a hundred pages."""
    return RSAKey.import_key(json.loads(vault(secret).decrypt(private.encode())))


@openid.record_once
def drop_keys_of_old_secret(state: BlueprintSetupState) -> None:
    """At each start: with a new SECRET_KEY nobody can read them, so all codes and tokens end."""
    app = cast(Flask, state.app)
    secret = app.config["SECRET_KEY"]
    with app.app_context(), suppress(sqlite3.OperationalError):  # an older database has none
        newest = find_newest_key()
        try:
            if newest is not None:
                read_key(newest["private"], secret)
        except InvalidToken:
            with transaction() as db:
                for table in ("openid_keys", "openid_codes", "openid_tokens"):
                    db.execute(f"DELETE FROM {table}")


def find_newest_key() -> sqlite3.Row | None:
    return fetch_row("SELECT * FROM openid_keys ORDER BY id DESC LIMIT 1")


def make_key() -> tuple[RSAKey, str]:
    """With its private half as the database keeps it."""
    made = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, auto_kid=True)
    private = json.dumps(made.as_dict(private=True)).encode()
    return made, vault(current_app.config["SECRET_KEY"]).encrypt(private).decode()


def store_key(made: RSAKey, private: str) -> None:
    get_db().execute(
        "INSERT INTO openid_keys (public, private, created_at) VALUES (?, ?, ?)",
        (json.dumps(made.as_dict(private=False)), private, now()),
    )


def find_public_keys() -> list[dict[str, Any]]:
    """The newest, and those that were the newest a short while ago."""
    rows = fetch_rows(
        "SELECT public FROM openid_keys AS key WHERE NOT EXISTS (SELECT 1 FROM openid_keys"
        " WHERE id > key.id AND created_at <= ?) ORDER BY id DESC",
        (now() - KEY_STAYS,),
    )
    return [json.loads(row["public"]) for row in rows]


@command(openid, "rotate-key")
def rotate_key_command() -> None:
    """Sign with a new key from now on. Nobody is signed out."""
    find_signing_key()
    made, private = make_key()
    with transaction():
        store_key(made, private)
    click.echo(f"Tokens are signed with the key {made.kid} now. The old one is known for a day.")


# What programs ask --------------------------------------------------------------------------------


@openid.get("/.well-known/openid-configuration")
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


@openid.get("/openid/jwks")
def jwks() -> ResponseReturnValue:
    return jsonify(keys=find_public_keys())


@openid.post("/openid/token")
@for_machines
def token() -> ResponseReturnValue:
    try:
        answer: Response = server.create_token_response()
    except ValueError:  # Authlib would quote what can't be quoted
        return {"error": "invalid_request"}, 400
    return answer


@openid.route("/openid/userinfo", methods=["GET", "POST"])
@for_machines
def userinfo() -> ResponseReturnValue:
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    given = text.strip() if scheme.lower() == "bearer" else request.form.get("access_token", "")
    held = find_token(given, "access")
    person = held.find_person() if held else None
    if held is None or person is None:
        return {"error": "invalid_token"}, 401, {"WWW-Authenticate": 'Bearer error="invalid_token"'}
    return jsonify(describe_person(person, held.get_scope()))


# What the member's browser is sent to -------------------------------------------------------------


@openid.post("/openid/authorize")
@for_machines
def authorize_by_form() -> ResponseReturnValue:
    return ask_again_by_get()


def ask_again_by_get() -> ResponseReturnValue:
    """After a form of another site, which comes without our cookie."""
    return redirect(f"{request.path}?{urlencode([*request.form.items(multi=True)])}", 303)


@openid.get("/openid/authorize")
def authorize() -> ResponseReturnValue:
    client, member = require_program(), current_member()
    back = request.args["redirect_uri"]
    try:
        refuse_request_objects()
        grant = server.get_consent_grant(end_user=member)
    except OAuth2Error as error:
        return answer_with(back, error=error.error)
    except ValueError:  # Authlib would quote what can't be quoted
        return answer_with(back, error="invalid_request")
    place = where_to_sign_in(member)
    if place is not None:
        if asks_to("none"):
            return answer_with(back, error="login_required")
        return redirect(place, 303)
    with transaction():  # or the device could be signed out in between
        if find_person(this_digest(), client.row["program_id"]) is None:
            return answer_with(back, error="access_denied")
        answer = server.create_authorization_response(grant_user=require_member(), grant=grant)
    return answer_with(back, code=parse_qs(urlsplit(answer.headers["Location"]).query)["code"][-1])


def require_program() -> Client:
    """One that is known, and may be returned to where it says. Otherwise there is nobody to tell
    what is wrong, so it's said here."""
    if len(request.query_string) > LONGEST_NEXT or len(way_back()) > LONGEST_NEXT:
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


def answer_with(redirect_uri: str, **facts: str) -> ResponseReturnValue:
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
    """Or to prove that one sits here, before going on. None: it's fine."""
    if member is None:
        return f"/signup?{urlencode({'next': way_back()})}"
    longest = request.args.get("max_age", "")
    is_fresh = not longest.isdecimal() or now() - find_auth_time() <= int(longest[:9])
    if is_fresh and not asks_to("login"):
        return None
    place = find_confirmation(member, 0) or "/signup"
    return f"{place}?{urlencode({'next': way_back()})}"


def asks_to(prompt: str) -> bool:
    return prompt in request.args.get("prompt", "").split()


def way_back() -> str:
    """Over a page of ours, see `go_on`. Having signed in within the last minute is then good enough
    for `prompt=login` and any `max_age`, or one would be asked for ever."""
    asked = request.args.to_dict()
    asked.pop("prompt", "")
    is_by_prompt = asks_to("login")
    if is_by_prompt or "max_age" in asked:
        longest = "" if is_by_prompt else asked.get("max_age", "")[:9]
        asked["max_age"] = str(max(MINUTE, int(longest) if longest.isdecimal() else 0))
    return f"/openid/go-on?{urlencode(asked)}"


def find_auth_time() -> int:
    """When this device signed in, or its owner last proved with a passkey to be there."""
    row = fetch_row("SELECT created_at FROM sessions WHERE id_digest = ?", (this_digest(),))
    began: int = row["created_at"] if row else 0
    return max(began, int(session.get("passkey_confirmed_at", 0)))


@openid.get("/openid/go-on")
def go_on() -> ResponseReturnValue:
    """After our form: a browser lets no form lead to another site, so a page lies between."""
    require_member()
    client = find_client(request.args.get("client_id", "")) or abort(400, "openid-unknown")
    onward = f"/openid/authorize?{urlencode([*request.args.items(multi=True)])}"
    return render_template("openid/go_on.html", title=client.row["title"], onward=onward)


@openid.route("/openid/logout", methods=["GET", "POST"])
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
    """Whom an ID token of ours, also an old one, was made for."""
    try:
        keys = KeySet.import_key_set({"keys": find_public_keys()})
        hint = jwt.decode(request.values.get("id_token_hint", ""), keys, algorithms=["RS256"])
    except (JoseError, ValueError):
        return ""
    return str(hint.claims.get("aud", ""))


# Setting a program up -----------------------------------------------------------------------------

FIELDS = ("redirects", "logout", "pkce", "email")
EMAILS = ("none", "unverified", "verified")


@openid.app_template_global()
def find_openid_client(program_id: int) -> sqlite3.Row | None:
    return fetch_row("SELECT * FROM openid_clients WHERE program_id = ?", (program_id,))


@of_admins.route("/admin/programs/<name>/openid", methods=["GET", "POST"])
def set_up(name: str) -> ResponseReturnValue:
    """Where it may return to, and a new secret, which is shown once."""
    program = fetch_row("SELECT * FROM programs WHERE name = ?", (name,)) or abort(404)
    form, known = Form(*FIELDS), find_openid_client(program["id"])
    if request.method != "POST":
        if known:
            form.values = {"redirects": known["redirects"], "email": known["email"]}
            form.values |= {"logout": known["logout_address"]}
            form.values["pkce"] = "" if known["needs_pkce"] else "no"
        return render_template("openid/set_up.html", form=form, program=program)
    redirects, logout = form.read("redirects", parse_redirects), form.read("logout", parse_logout)
    if form.errors:
        return render_template("openid/set_up.html", form=form, program=program), 422
    secret = secrets.token_urlsafe(32)
    find_signing_key()  # the first program waits for it, and no stranger
    client_id = store_client(program, redirects, logout, form, secret)
    facts = {"program": program, "issuer": issuer(), "client_id": client_id, "secret": secret}
    return render_template("openid/made.html", **facts)


def store_client(program: sqlite3.Row, redirects: str, logout: str, form: Form, secret: str) -> str:
    """Replaces an earlier secret; the client id stays. Returns that."""
    email = form.values["email"] if form.values["email"] in EMAILS else "none"
    with transaction():
        row = fetch_row(
            "INSERT INTO openid_clients VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (program_id)"
            " DO UPDATE SET secret_digest = excluded.secret_digest, redirects = excluded.redirects,"
            " needs_pkce = excluded.needs_pkce, email = excluded.email,"
            " logout_address = excluded.logout_address RETURNING client_id",
            (
                program["id"], f"{program['name']}-{secrets.token_hex(4)}", random_digest(secret),
                redirects, form.values["pkce"] != "no", email, logout,
            ),
        )  # fmt: skip
        record("openid_set_up", require_member().username, program["name"])
    return str(row["client_id"]) if row else ""


def parse_redirects(text: str) -> str:
    """One a line, compared letter by letter. Raises Mistake."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not 1 <= len(lines) <= 10 or not all(may_return_to(line) for line in lines):
        raise Mistake("redirects", "openid-redirects")
    return "\n".join(lines)


def parse_logout(text: str) -> str:
    """Raises Mistake."""
    address = text.strip()
    if address and not (address.startswith("http") and may_return_to(address)):
        raise Mistake("logout", "openid-logout")
    return address


def may_return_to(address: str) -> bool:
    """https; http on one's own machine; or an app's own scheme, which has a dot in it."""
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    if not re.fullmatch(r"[!-~]{1,500}", address) or re.search(r"[\\<>\"'#*]", address):
        return False
    is_web = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
    is_app = re.fullmatch(r"[a-z][a-z0-9+-]*(\.[a-z0-9+-]+)+", parts.scheme) is not None
    is_host = all(0 < len(label) < 64 for label in host.split(".")) and parts.netloc[-1:] != ":"
    return is_app or (is_web and is_host and "@" not in parts.netloc)


# Telling programs of a sign-out (OpenID Connect Back-Channel Logout 1.0) -------------------------
#
# What has to be told is written down in the transaction that signs somebody out, and told after it.
# What fails is tried once more, at the first write after a minute.

LOGOUT_TRIES = 2
LOGOUT_PATIENCE = 3  # seconds
LOGOUT_PAUSE = MINUTE  # before it is tried again
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"


def remember_sign_in(code: Code) -> None:
    """So that the program can be told when this device is out. In the caller's transaction."""
    get_db().execute(
        "INSERT OR REPLACE INTO openid_sessions VALUES (?, ?, ?, ?, ?)",
        (
            code.name_session(), code.row["program_id"], code.row["author_id"],
            code.row["session_digest"], now() + 365 * DAY,
        ),
    )  # fmt: skip


def note_logouts(author_id: int | None, program_id: int | None = None) -> None:
    """Of a member, or everybody: on the devices that are signed out now; at one program, on all.
    Where we know of no device, the program hears of the member. In the caller's transaction."""
    which = (
        " FROM openid_clients JOIN authors LEFT JOIN openid_sessions AS held"
        " ON held.program_id = openid_clients.program_id AND held.author_id = authors.id"
        " WHERE logout_address != '' AND (?1 IS NULL OR authors.id = ?1)"
        " AND (?2 IS NULL OR openid_clients.program_id = ?2) AND (?2 IS NOT NULL OR"
        " sid IS NULL OR NOT EXISTS (SELECT 1 FROM sessions WHERE id_digest = session_digest))"
    )
    get_db().execute(
        "INSERT INTO openid_logouts (program_id, public_id, sid, created_at)"
        f" SELECT openid_clients.program_id, public_id, coalesce(sid, ''), ?3{which}",
        (author_id, program_id, now()),
    )
    told = f"DELETE FROM openid_sessions WHERE sid IN (SELECT sid{which})"
    get_db().execute(told, (author_id, program_id))
    g.has_logouts = True


def access_lost(program_id: int, authors: Iterable[int]) -> None:
    """These may no longer use the program. In the caller's transaction."""
    for author_id in authors:
        note_logouts(author_id, program_id)


@openid.record_once
def tell_programs_afterwards(state: BlueprintSetupState) -> None:
    state.app.teardown_appcontext(tell_programs)


def tell_programs(_: BaseException | None = None) -> None:
    """In a thread of its own, so nobody's page waits for another program; a command does."""
    if g.pop("has_logouts", False):
        app = current_app._get_current_object()  # type: ignore[attr-defined]
        threading.Thread(target=tell_all, args=(app,), name="telling programs").start()


def tell_all(app: Flask) -> None:
    with app.app_context():
        try:
            while rows := take_logouts():
                tell_each(rows)
        except Exception:
            app.logger.error("Programs could not be told of a sign-out.")


def tell_each(rows: list[sqlite3.Row]) -> None:
    """A program that doesn't answer is asked once a round, for all that it should be told."""
    down: set[int] = set()
    for row in rows:
        if row["program_id"] not in down and not tell_program(row):
            down.add(row["program_id"])
            untold = [r["id"] for r in rows if r["program_id"] == row["program_id"]]
            note_failure(row["name"], [one for one in untold if one >= row["id"]])
        elif row["program_id"] not in down:
            settle_logout(row["id"])


def take_logouts() -> list[sqlite3.Row]:
    """Those that are due. Nobody else takes them for a minute."""
    with transaction():
        taken = fetch_rows(
            "UPDATE openid_logouts SET next_at = ?2 WHERE id IN (SELECT id FROM openid_logouts"
            " WHERE next_at <= ?1 ORDER BY id LIMIT 50) RETURNING id",
            (now(), now() + LOGOUT_PAUSE),
        )
    return fetch_rows(
        "SELECT openid_logouts.*, client_id, logout_address, name FROM openid_logouts"
        " JOIN openid_clients USING (program_id) JOIN programs ON programs.id = program_id"
        f" WHERE openid_logouts.id IN ({', '.join('?' * len(taken))}) ORDER BY openid_logouts.id",
        tuple(row["id"] for row in taken),
    )


def settle_logout(row_id: int) -> None:
    with transaction() as db:
        db.execute("DELETE FROM openid_logouts WHERE id = ?", (row_id,))


def note_failure(program: str, rows: list[int]) -> None:
    ids = json.dumps(rows)
    with transaction() as db:
        which = "WHERE id IN (SELECT value FROM json_each(?))"
        db.execute(f"UPDATE openid_logouts SET tries = tries + 1 {which}", (ids,))
        given_up = f"DELETE FROM openid_logouts {which} AND tries >= ?"
        if db.execute(given_up, (ids, LOGOUT_TRIES)).rowcount:
            record("openid_logout_failed", None, program)


def tell_program(row: sqlite3.Row) -> bool:
    key = find_signing_key()
    claims = {
        "iss": issuer(), "aud": row["client_id"], "sub": row["public_id"], "iat": now(),
        "exp": now() + 2 * MINUTE, "jti": secrets.token_hex(16), "events": {LOGOUT_EVENT: {}},
    }  # fmt: skip
    claims |= {"sid": row["sid"]} if row["sid"] else {}
    signed = jwt.encode({"alg": "RS256", "kid": key.kid or "", "typ": "logout+jwt"}, claims, key)
    try:
        with requests.post(
            row["logout_address"],
            data={"logout_token": signed},
            timeout=LOGOUT_PATIENCE,
            allow_redirects=False,
            stream=True,  # whatever more it says is not read
        ) as answer:
            return answer.status_code in (200, 204)
    except (requests.RequestException, ValueError, OSError):  # urllib3 has errors of its own, too
        return False


# Housekeeping -------------------------------------------------------------------------------------


def prune() -> None:
    for table in ("openid_codes", "openid_tokens", "openid_sessions"):
        get_db().execute(f"DELETE FROM {table} WHERE expires_at <= ?", (now(),))
    if fetch_row("SELECT 1 FROM openid_logouts WHERE next_at <= ?", (now(),)):
        g.has_logouts = True  # told after the caller's transaction, see tell_programs


def forget(author_id: int) -> None:
    for table in ("openid_codes", "openid_tokens"):
        get_db().execute(f"DELETE FROM {table} WHERE author_id = ?", (author_id,))
    note_logouts(author_id)


openid.register_blueprint(of_admins)
feature = Feature(
    openid,
    sentences={
        "openid-long": "That address is too long. Go back to the program and try again.",
        "openid-unknown": "Something is wrong with how that program is set up, so we can't sign you"
        " in to it. Please tell an admin: its client id and return address must match the ones on"
        " its page.",
        "openid-logout": "Write the whole address, such as https://photos.example.org/logout, or"
        " leave it empty.",
        "openid-redirects": "Write 1 to 10 whole addresses, one a line, such as"
        " https://photos.example.org/callback.",
    },
    events={
        "openid_set_up": "{actor} set up OpenID Connect for {subject}",
        "openid_logout_failed": "{subject} couldn't be told of a sign-out",
    },
    slots={"program": "openid/_program.html"},
    prune=prune,
    forget=forget,
    signed_out=note_logouts,
    access_lost=access_lost,
    left_out=("openid_codes", "openid_tokens", "openid_logouts", "openid_sessions"),
)
