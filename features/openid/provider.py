"""Codes and tokens, and the grants that make them."""

import json
import secrets
import sqlite3
from typing import Any
from urllib.parse import urlsplit

from authlib.integrations.flask_oauth2.requests import FlaskOAuth2Payload
from authlib.oauth2 import AuthorizationServer, OAuth2Error, OAuth2Request
from authlib.oauth2.rfc6749 import InvalidClientError, InvalidGrantError
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant, RefreshTokenGrant
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oidc.core.grants import OpenIDCode, OpenIDToken
from flask import Response, request
from joserfc.jwk import RSAKey
from werkzeug.datastructures import MultiDict

from features.openid.clients import Client, find_client, know_scopes
from features.openid.keys import find_signing_key
from features.openid.logouts import prune_openid, remember_sign_in
from features.openid.people import Person, describe_person, find_person
from features.openid.refusals import ProgramRefused, explain_wrong_client, note_refusal
from features.openid.room import issuer
from foundation.storage.database import fetch_row, get_db, transaction
from foundation.storage.digests import random_digest
from foundation.web.sessions import find_auth_time, this_digest
from foundation.words.clock import DAY, MINUTE, now

CODE_LIFETIME = MINUTE
BARE_CODE_LIFETIME = 20  # of one that neither PKCE nor a nonce protects
ACCESS_LIFETIME = 10 * MINUTE


class Token:
    """A token that was found."""

    def __init__(self, row: sqlite3.Row) -> None:
        self.row = row

    def get_scope(self) -> str:
        return str(self.row["scope"])

    def check_client(self, client: Client) -> bool:
        return bool(self.row["program_id"] == client.row["program_id"])

    def find_person(self) -> Person | None:
        return find_person(self.row["session_digest"], self.row["program_id"])

    def get_nonce(self) -> None:
        """Not in the ID token of a refresh (OpenID Connect Core 1.0, 12.2)."""

    def get_auth_time(self) -> int:
        return int(self.row["auth_time"])

    def get_acr(self) -> None: ...

    def get_amr(self) -> None: ...

    def name_session(self) -> str:
        """What the program knows this device by (the claim `sid`), and no other program. It stays
        when the session gets another id."""
        which = self.row["session_digest"], self.row["program_id"]
        sql = "SELECT sid FROM openid_sessions WHERE session_digest = ? AND program_id = ?"
        known = fetch_row(sql, which)
        return known["sid"] if known else random_digest(" ".join(map(str, which)))[:32]


class Code(Token):
    """A code that was found."""

    code_challenge_method = "S256"

    def __init__(self, row: sqlite3.Row) -> None:
        super().__init__(row)
        self.code_challenge = row["challenge"]

    def get_redirect_uri(self) -> str:
        return str(self.row["redirect_uri"])

    def get_nonce(self) -> str | None:  # type: ignore[override]
        return self.row["nonce"] or None


class CodeGrant(AuthorizationCodeGrant):  # type: ignore[misc]
    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post")

    def save_authorization_code(self, code: str, request: Any) -> None:
        asked = request.payload.data
        nonce, challenge = asked.get("nonce"), asked.get("code_challenge")
        lasts = CODE_LIFETIME if nonce or challenge else BARE_CODE_LIFETIME
        with transaction() as db:
            prune_openid()
            db.execute(
                "INSERT INTO openid_codes (digest, program_id, session_digest, author_id,"
                " redirect_uri, scope, nonce, challenge, auth_time, expires_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    random_digest(code), request.client.row["program_id"], this_digest(),
                    request.user.id, request.payload.redirect_uri,
                    know_scopes(asked.get("scope", "")), nonce, challenge, find_auth_time(),
                    now() + lasts,
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
            sql = "UPDATE openid_codes SET used_at = ? WHERE digest = ? AND used_at IS NULL"
            is_ours = db.execute(sql, (now(), code)).rowcount > 0
            if is_ours:
                found = self.request.authorization_code
                remember_sign_in(found.row, found.name_session())
                remember_what_it_sends(found.row)
                return super().create_token_response()
            db.execute("DELETE FROM openid_tokens WHERE code_digest = ?", (code,))
        raise InvalidGrantError("This code was used before.")

    def delete_authorization_code(self, authorization_code: Code) -> None:
        """It stays until it expires, so that a second use is known for one."""


def remember_what_it_sends(code: sqlite3.Row) -> None:
    """A program that needs no PKCE is held to what it has sent once: otherwise somebody who
    steals a code could leave it out. Asked when the code is exchanged: a link alone changes
    nothing."""
    get_db().execute(
        "UPDATE openid_clients SET sends_challenge = sends_challenge OR ?2,"
        " sends_nonce = sends_nonce OR ?3 WHERE program_id = ?1 AND NOT needs_pkce",
        (code["program_id"], bool(code["challenge"]), bool((code["nonce"] or "").strip())),
    )


class RefreshGrant(RefreshTokenGrant):  # type: ignore[misc]
    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post")

    def authenticate_refresh_token(self, refresh_token: str) -> Token | None:
        return find_token(refresh_token, "refresh")

    def create_token_response(self) -> Any:
        self.request.authorization_code = self.request.refresh_token  # an ID token looks there
        with transaction():  # or the device could be signed out in between
            prune_openid()
            return super().create_token_response()

    def issue_token(self, user: Person, refresh_token: Token) -> dict[str, Any]:
        """With the refresh token once more: some programs forget it if it isn't there."""
        token: dict[str, Any] = super().issue_token(user, refresh_token)
        return token | {"refresh_token": self.request.form["refresh_token"]}

    def authenticate_user(self, refresh_token: Token) -> Person | None:
        return refresh_token.find_person()

    def revoke_old_credential(self, refresh_token: Token) -> None:
        """Valid until the device is signed out: the program has a secret to keep it with."""


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
            raise ProgramRefused("invalid_request", "openid-pkce")
        super().validate_code_challenge(grant, redirect_uri)
        client = grant.request.client.row
        if client["needs_pkce"] and not asked.get("code_challenge"):
            raise ProgramRefused("invalid_request", "openid-pkce")
        for column, parameter in (("sends_challenge", "code_challenge"), ("sends_nonce", "nonce")):
            if client[column] and not asked.get(parameter, "").strip():
                raise ProgramRefused("invalid_request", "openid-stopped")


class IdToken(OpenIDToken):  # type: ignore[misc]
    def resolve_client_private_key(self, client: Client) -> RSAKey:
        return find_signing_key()

    def get_encode_header(self, client: Client) -> dict[str, str]:
        return {"alg": "RS256", "kid": find_signing_key().kid or ""}

    def get_client_claims(self, client: Client) -> dict[str, Any]:
        aud = client.get_client_id()
        return {"iss": issuer(), "aud": aud, "exp": now() + ACCESS_LIFETIME, "iat": now()}

    def get_authorization_code_claims(self, authorization_code: Token) -> dict[str, Any]:
        claims: dict[str, Any] = super().get_authorization_code_claims(authorization_code)
        person = authorization_code.find_person()
        exp = now() + (person.shorten(ACCESS_LIFETIME) if person else 0)
        return claims | {"sid": authorization_code.name_session(), "exp": exp}

    def generate_user_info(self, user: Person, scope: str) -> dict[str, Any]:
        return describe_person(user, scope)


class FirstIdToken(IdToken, OpenIDCode):  # type: ignore[misc]
    """The one that comes of a code."""

    def exists_nonce(self, nonce: str, request: Any) -> bool:
        return False  # a code is good once, so its nonce is


class OurRequest(OAuth2Request):  # type: ignore[misc]
    """Authlib takes no request for a http address, and behind a proxy that is what Flask sees. What
    counts is BASE_URL, which has https, except on one's own machine."""

    def __init__(self) -> None:
        address = f"https://{urlsplit(issuer()).netloc}{request.full_path}"
        super().__init__(request.method, address, headers=request.headers)
        self.payload = FlaskOAuth2Payload(request)

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
        kinds = {"access": token["access_token"]}
        if "refresh_token" in token and not asked.refresh_token:  # later it is the same again
            kinds["refresh"] = token["refresh_token"]
        with transaction() as db:
            for kind, text in kinds.items():
                lasts = token["expires_in"] if kind == "access" else asked.user.shorten(365 * DAY)
                db.execute(
                    "INSERT INTO openid_tokens VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        random_digest(text), kind, code, began["program_id"],
                        began["session_digest"], began["author_id"],
                        began["scope"] if kind == "refresh" else token["scope"],
                        began["auth_time"], now() + lasts,
                    ),
                )  # fmt: skip

    def authenticate_client(self, *args: Any, **kwargs: Any) -> Client:
        """Raises ProgramRefused, which says what is wrong about the program that asks."""
        try:
            found: Client = super().authenticate_client(*args, **kwargs)
        except InvalidClientError:
            client, refused = explain_wrong_client()
            note_refusal(client, refused)
            raise refused from None
        return found

    def handle_error_response(self, asked: Any, error: OAuth2Error) -> Response:
        """To a program, which by now is known, except where `authenticate_client` refused it."""
        note_refusal(asked.client, error)
        response: Response = super().handle_error_response(asked, error)
        if response.status_code == 401:  # RFC 7617, 2
            response.headers["WWW-Authenticate"] = 'Basic realm="OpenID Connect"'
        return response

    def create_oauth2_request(self, _: Any) -> OurRequest:
        return OurRequest()

    def handle_response(self, status: int, body: Any, headers: Any) -> Response:
        text = json.dumps(body) if isinstance(body, dict) else body
        return Response(text, status, headers)

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None: ...


def make_token(
    grant_type: str, client: Client, user: Person, scope: str = "", **_: Any
) -> dict[str, Any]:
    """A refresh token only where it was asked for (`offline_access`), and once. It keeps what was
    asked for, as some programs ask for all of it again."""
    scope = client.get_allowed_scope(scope)
    token = {"token_type": "Bearer", "access_token": secrets.token_urlsafe(32)}
    if "offline_access" in scope.split() and grant_type == "authorization_code":
        token["refresh_token"] = secrets.token_urlsafe(32)
    return token | {"expires_in": user.shorten(ACCESS_LIFETIME), "scope": scope}


server = Server(scopes_supported=None)
server.register_token_generator("default", make_token)
server.register_grant(CodeGrant, [FirstIdToken(), Pkce()])
server.register_grant(RefreshGrant, [IdToken()])
