"""The modules of the OpenID Foundation's test plans for providers: Basic, Config, RP-Initiated
Logout and Back-Channel, each played here under its name. It is our own playing of them, by what
their published sources ask and look at, and no run of the Foundation's suite."""

import json
import re
import time
from collections.abc import Callable
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import time_machine
from joserfc import jwt
from joserfc.jwk import OctKey

from foundation.web.housekeeping import send_what_is_due
from foundation.words.clock import DAY

from .authenticator import Passkey, decode, encode
from .cast import ADA, Browser, Group, listening_with
from .openid_client import BACK, BARE, Program, read_keys, told
from .passkeys import add, use
from .registering import register
from .sign_outs import Listener

Module = Callable[[Group, Browser, Program], None]
NONE = encode(b'{"alg":"none"}')  # the header of a token without a signature


def signs_in(**changes: str | None) -> Module:
    """A question that has to succeed."""

    def play(group: Group, ada: Browser, program: Program) -> None:
        claims = program.read_id(program.tokens(ada, **changes))
        assert claims["preferred_username"] == "ada"
        assert claims.get("nonce") == program.query(**changes).get("nonce")

    return play


def is_told(error: str, **changes: str | None) -> Module:
    """A question that has to be refused, to the program."""

    def play(group: Group, ada: Browser, program: Program) -> None:
        assert told(program.send(ada, **changes))["error"] == error

    return play


def userinfo_by(how: str) -> Module:
    def play(group: Group, ada: Browser, program: Program) -> None:
        token = program.tokens(ada)["access_token"]
        client = group.app.test_client(use_cookies=False)
        header = {"Authorization": f"Bearer {token}"}
        answer = {
            "get": lambda: client.get("/openid/userinfo", headers=header),
            "post header": lambda: client.post("/openid/userinfo", headers=header),
            "post body": lambda: client.post("/openid/userinfo", data={"access_token": token}),
        }[how]()
        assert answer.get_json()["preferred_username"] == "ada"

    return play


def scope_brings(scope: str, *claims: str) -> Module:
    def play(group: Group, ada: Browser, program: Program) -> None:
        info = program.userinfo(program.tokens(ada, scope=scope)).get_json()
        assert {"sub", *claims} <= info.keys()

    return play


def code_reuse(seconds: int) -> Module:
    def play(group: Group, ada: Browser, program: Program) -> None:
        code = program.code(ada)
        tokens = program.exchange(code).get_json()
        with time_machine.travel(time.time() + seconds, tick=False):
            assert program.exchange(code).get_json()["error"] == "invalid_grant"
            assert program.userinfo(tokens).status_code == 401

    return play


def asks_again(longest: dict[str, str | None]) -> Module:
    """The time of the second sign-in is later than that of the first."""

    def play(group: Group, ada: Browser, program: Program) -> None:
        passkey = Passkey()
        add(ada, passkey)
        first = program.read_id(program.tokens(ada))["auth_time"]
        with time_machine.travel(time.time() + DAY + 1000, tick=False):
            sent = program.send(ada, **longest)
            way = parse_qs(urlsplit(sent.location).query)["next"][0]
            assert use(ada, passkey, "confirm").status_code == 200
            code = told(ada.get(way.replace("go-on", "authorize")))["code"]
            assert program.read_id(program.exchange(code).get_json())["auth_time"] > first

    return play


def prompt_none_signed_out(group: Group, ada: Browser, program: Program) -> None:
    assert told(program.send(group.browser(), prompt="none"))["error"] == "login_required"


def id_token_hint(group: Group, ada: Browser, program: Program) -> None:
    hint = program.tokens(ada)["id_token"]
    assert told(program.send(ada, prompt="none", id_token_hint=hint))["code"]


def other_redirect(group: Group, ada: Browser, program: Program) -> None:
    assert program.send(ada, redirect_uri=f"{BACK}/other").status_code == 400


def by_post(group: Group, ada: Browser, program: Program) -> None:
    sent = ada.client.post("/openid/authorize", data=program.query())
    assert told(ada.get(sent.location))["code"]


def secret_post(group: Group, ada: Browser, program: Program) -> None:
    fields = {"grant_type": "authorization_code", "code": program.code(ada)}
    fields |= {"client_id": program.id, "client_secret": program.secret, "redirect_uri": BACK}
    client = group.app.test_client(use_cookies=False)
    answer = client.post("/openid/token", data=fields | {"code_verifier": program.verifier})
    assert answer.status_code == 200


def refresh_token(group: Group, ada: Browser, program: Program) -> None:
    tokens = program.tokens(ada)
    again = program.refresh(tokens).get_json()
    assert program.userinfo(again).get_json() == program.userinfo(tokens).get_json()
    assert program.ask("/openid/token", ("other", program.secret)).status_code in (400, 401)


def without_nonce(group: Group, ada: Browser, program: Program) -> None:
    """And, as the suite asks, without PKCE."""
    register(ada, "plain")
    plain = Program(group, ada, "plain", pkce="no")
    code = plain.code(ada, **BARE, nonce=None)
    tokens = plain.exchange(code, code_verifier="").get_json()
    assert "nonce" not in plain.read_id(tokens)


def id_token_signature(group: Group, ada: Browser, program: Program) -> None:
    header = read_header(program.tokens(ada)["id_token"])
    assert header["alg"] == "RS256"
    assert header["kid"]


def read_header(token: str) -> dict[str, str]:
    return dict(json.loads(decode(token.split(".")[0])))


def no_unsigned_tokens(group: Group, ada: Browser, program: Program) -> None:
    """The suite skips it where they aren't offered."""
    assert discover(group)["id_token_signing_alg_values_supported"] == ["RS256"]


def alternate_happy_flow(group: Group, ada: Browser, program: Program) -> None:
    turned = dict(reversed(program.query(scope="email openid").items()))
    code = told(ada.get(f"/openid/authorize?{urlencode(turned)}"))["code"]
    tokens = program.exchange(code).get_json()
    assert program.userinfo(tokens).get_json()["email"]


def other_redirect_in_object(group: Group, ada: Browser, program: Program) -> None:
    """The address that counts is the one outside, which isn't registered."""
    inside = encode(json.dumps({"redirect_uri": BACK}).encode())
    request = f"{NONE}.{inside}."
    assert program.send(ada, redirect_uri=f"{BACK}/other", request=request).status_code == 400


def discover(group: Group) -> dict[str, Any]:
    answer = group.app.test_client().get("/.well-known/openid-configuration")
    assert answer.status_code == 200
    assert answer.content_type == "application/json"
    return dict(answer.get_json())


def discovery(group: Group, ada: Browser, program: Program) -> None:
    said, issuer = discover(group), group.app.config["BASE_URL"]
    assert said["issuer"] == issuer
    assert {"code"} <= set(said["response_types_supported"])
    assert set(said["subject_types_supported"]) <= {"public", "pairwise"}
    assert "RS256" in said["id_token_signing_alg_values_supported"]
    assert "openid" in said["scopes_supported"]
    assert {"sub", "iss", "auth_time"} <= set(said["claims_supported"])
    assert said["request_uri_parameter_supported"] is False  # left out, it would mean that it is
    for name in ("authorization", "token", "userinfo", "end_session"):
        assert said[f"{name}_endpoint"].startswith(f"{issuer}/")
    keys = group.app.test_client().get(said["jwks_uri"].removeprefix(issuer)).get_json()["keys"]
    assert len({key["kid"] for key in keys}) == len(keys) > 0
    assert all(key.keys().isdisjoint({"d", "p", "q", "dp", "dq", "qi"}) for key in keys)


def discovery_says(*names: str) -> Module:
    def play(group: Group, ada: Browser, program: Program) -> None:
        assert all(discover(group)[name] for name in names)

    return play


def signs_out(is_led_back: bool, **changes: str | None) -> Module:
    """The member is asked, and then out; and back at the program, or on our start page."""

    def play(group: Group, ada: Browser, program: Program) -> None:
        sent = {"id_token_hint": program.tokens(ada)["id_token"], "state": "a state"}
        sent |= {"post_logout_redirect_uri": BACK}
        asked = ask_to_sign_out(ada, {**sent, **changes})
        state = "" if "state" in changes else "?state=a+state"
        assert asked == (BACK + state if is_led_back else "/")
        assert told(program.send(ada, prompt="none"))["error"] == "login_required"

    return play


def ask_to_sign_out(ada: Browser, sent: dict[str, str | None]) -> str:
    """By the program's link, and then by the page's button. Where that leads."""
    query = urlencode({name: value for name, value in sent.items() if value is not None})
    asked = ada.get(f"/openid/logout?{query}")
    assert asked.status_code == 200
    assert ada.username() == "ada"
    kept = dict(re.findall(r'name="(\w+)" value="([^"]*)"', asked.text))
    page = ada.post("/openid/logout", **{name: unescape(value) for name, value in kept.items()})
    return unescape(re.findall(r'content="0; url=([^"]*)"', page.text)[0])


def hint_without_signature(group: Group, ada: Browser, program: Program) -> None:
    _, claims, _ = program.tokens(ada)["id_token"].split(".")
    hint = f"{NONE}.{claims}."
    signs_out(False, id_token_hint=hint)(group, ada, program)


def hint_of_another_key(group: Group, ada: Browser, program: Program) -> None:
    claims = program.read_id(program.tokens(ada))
    key = OctKey.import_key(program.secret)
    hint = jwt.encode({"alg": "HS256"}, claims, key, algorithms=["HS256"])
    signs_out(False, id_token_hint=hint)(group, ada, program)


def backchannel_rp_initiated_logout(group: Group, ada: Browser, program: Program) -> None:
    with listening_with(Listener) as listening:
        Listener.heard.clear()
        register(ada, "calendar")
        calendar = Program(group, ada, "calendar", logout=f"{listening}/calendar")
        claims = calendar.read_id(calendar.tokens(ada))
        signs_out(True)(group, ada, calendar)
        send_what_is_due(group.app)
    (path, token), *more = Listener.heard
    heard = jwt.decode(token, read_keys(group), algorithms=["RS256"]).claims
    assert (path, more) == ("/calendar", [])
    assert {name: heard[name] for name in ("iss", "aud", "sub", "sid")} == {
        name: claims[name] for name in ("iss", "aud", "sub", "sid")
    }
    assert heard["events"] == {"http://schemas.openid.net/event/backchannel-logout": {}}
    assert {"iat", "jti"} <= heard.keys()
    assert "nonce" not in heard


BASIC: dict[str, Module] = {
    "oidcc-server": signs_in(),
    "oidcc-response-type-missing": is_told("unsupported_response_type", response_type=None),
    "oidcc-idtoken-signature": id_token_signature,
    "oidcc-idtoken-unsigned": no_unsigned_tokens,
    "oidcc-userinfo-get": userinfo_by("get"),
    "oidcc-userinfo-post-header": userinfo_by("post header"),
    "oidcc-userinfo-post-body": userinfo_by("post body"),
    "oidcc-ensure-request-without-nonce-succeeds-for-code-flow": without_nonce,
    "oidcc-scope-profile": scope_brings("openid profile", "name", "preferred_username"),
    "oidcc-scope-email": scope_brings("openid email", "email", "email_verified"),
    "oidcc-scope-address": scope_brings("openid address"),
    "oidcc-scope-phone": scope_brings("openid phone"),
    "oidcc-scope-all": scope_brings("openid profile email address phone", "name", "email"),
    "oidcc-alternate-happy-flow": alternate_happy_flow,
    "oidcc-display-page": signs_in(display="page"),
    "oidcc-display-popup": signs_in(display="popup"),
    "oidcc-prompt-login": asks_again({"prompt": "login"}),
    "oidcc-prompt-none-not-logged-in": prompt_none_signed_out,
    "oidcc-prompt-none-logged-in": signs_in(prompt="none"),
    "oidcc-max-age-1": asks_again({"max_age": "1"}),
    "oidcc-max-age-10000": signs_in(max_age="10000"),
    "oidcc-ensure-request-with-unknown-parameter-succeeds": signs_in(extra="foobar"),
    "oidcc-id-token-hint": id_token_hint,
    "oidcc-login-hint": signs_in(login_hint="buffy"),
    "oidcc-ui-locales": signs_in(ui_locales="se"),
    "oidcc-claims-locales": signs_in(claims_locales="se"),
    "oidcc-ensure-request-with-acr-values-succeeds": signs_in(acr_values="1 2"),
    "oidcc-claims-essential": signs_in(claims='{"userinfo":{"name":{"essential":true}}}'),
    "oidcc-codereuse": code_reuse(0),
    "oidcc-codereuse-30seconds": code_reuse(30),
    "oidcc-ensure-registered-redirect-uri": other_redirect,
    "oidcc-ensure-post-request-succeeds": by_post,
    "oidcc-server-client-secret-post": secret_post,
    "oidcc-unsigned-request-object-supported-correctly-or-rejected-as-unsupported": is_told(
        "request_not_supported", request="eyJhbGciOiJub25lIn0.e30."
    ),
    "oidcc-request-uri-unsigned-supported-correctly-or-rejected-as-unsupported": is_told(
        "request_uri_not_supported", request_uri="https://photos.example.org/request"
    ),
    "oidcc-refresh-token": refresh_token,
    "oidcc-ensure-request-with-valid-pkce-succeeds": signs_in(),
    "oidcc-ensure-request-object-with-redirect-uri": other_redirect_in_object,
}
OUT = "oidcc-rp-initiated-logout"
RP_INITIATED_LOGOUT = {
    f"{OUT}-discovery-endpoint-verification": discovery_says("end_session_endpoint"),
    OUT: signs_out(True),
    f"{OUT}-bad-post-logout-redirect-uri": signs_out(False, post_logout_redirect_uri=f"{BACK}2"),
    f"{OUT}-modified-id-token-hint": hint_without_signature,
    f"{OUT}-no-id-token-hint": signs_out(False, id_token_hint=None),
    f"{OUT}-no-params": signs_out(
        False, id_token_hint=None, post_logout_redirect_uri=None, state=None
    ),
    f"{OUT}-no-post-logout-redirect-uri": signs_out(False, post_logout_redirect_uri=None),
    f"{OUT}-no-state": signs_out(True, state=None),
    f"{OUT}-only-state": signs_out(False, id_token_hint=None, post_logout_redirect_uri=None),
    f"{OUT}-query-added-to-post-logout-redirect-uri": signs_out(
        False, post_logout_redirect_uri=f"{BACK}?foo=bar"
    ),
    f"{OUT}-bad-id-token-hint": hint_of_another_key,
}
BACK_CHANNEL = {
    "oidcc-backchannel-logout-discovery-endpoint-verification": discovery_says(
        "backchannel_logout_supported",
        "backchannel_logout_session_supported",
        "end_session_endpoint",
    ),
    "oidcc-backchannel-rp-initiated-logout": backchannel_rp_initiated_logout,
}
CONFIG = {"oidcc-discovery-endpoint-verification": discovery}
MODULES = BASIC | CONFIG | RP_INITIATED_LOGOUT | BACK_CHANNEL


def test_no_module_is_missing() -> None:
    plans = (BASIC, CONFIG, RP_INITIATED_LOGOUT, BACK_CHANNEL)
    assert [len(plan) for plan in plans] == [38, 1, 11, 2]
    assert len(MODULES) == 52


@pytest.mark.parametrize("name", MODULES)
def test_a_module_of_the_foundations_plans(group: Group, name: str) -> None:
    ada = group.join(ADA, "ada", bound=True)
    register(ada, "photos")
    logout = "https://photos.example.org/logout"
    MODULES[name](group, ada, Program(group, ada, email="unverified", logout=logout))
