"""The modules of the OpenID Foundation's test plans for providers (the basic profile, and one of
back-channel logout), each played here under its name. It is our own playing of them, and no run of
the Foundation's suite."""

import json
import time
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
import time_machine

from foundation.words.clock import DAY

from .authenticator import Passkey
from .cast import ADA, Browser, Group
from .test_openid import BACK, BARE, Program, told
from .test_passkeys import add, use
from .test_programs import register

Module = Callable[[Group, Browser, Program], None]


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


def backchannel_rp_initiated_logout(group: Group, ada: Browser, program: Program) -> None:
    claims = program.read_id(tokens := program.tokens(ada))
    form = {"id_token_hint": tokens["id_token"], "post_logout_redirect_uri": BACK}
    assert f'url={BACK}"' in ada.post("/openid/logout", **form).text
    told = json.loads(group.one("SELECT ids FROM outbox WHERE event = 'signed-out'"))
    assert told == {"sub": claims["sub"], "sid": claims["sid"]}


MODULES: dict[str, Module] = {
    "oidcc-server": signs_in(),
    "oidcc-response-type-missing": is_told("unsupported_response_type", response_type=None),
    "oidcc-userinfo-get": userinfo_by("get"),
    "oidcc-userinfo-post-header": userinfo_by("post header"),
    "oidcc-userinfo-post-body": userinfo_by("post body"),
    "oidcc-ensure-request-without-nonce-succeeds-for-code-flow": without_nonce,
    "oidcc-scope-profile": scope_brings("openid profile", "name", "preferred_username"),
    "oidcc-scope-email": scope_brings("openid email", "email", "email_verified"),
    "oidcc-scope-address": scope_brings("openid address"),
    "oidcc-scope-phone": scope_brings("openid phone"),
    "oidcc-scope-all": scope_brings("openid profile email address phone", "name", "email"),
    "oidcc-ensure-other-scope-order-succeeds": signs_in(scope="email openid"),
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
    "oidcc-unsigned-request-object-rejected-as-unsupported": is_told(
        "request_not_supported", request="eyJhbGciOiJub25lIn0.e30."
    ),
    "oidcc-request-uri-unsigned-rejected-as-unsupported": is_told(
        "request_uri_not_supported", request_uri="https://photos.example.org/request"
    ),
    "oidcc-refresh-token": refresh_token,
    "oidcc-ensure-request-with-valid-pkce-succeeds": signs_in(),
    "oidcc-backchannel-rp-initiated-logout": backchannel_rp_initiated_logout,
}


@pytest.mark.parametrize("name", MODULES)
def test_basic_profile(group: Group, name: str) -> None:
    ada = group.join(ADA, "ada", bound=True)
    register(ada, "photos")
    logout = "https://photos.example.org/logout"
    MODULES[name](group, ada, Program(group, ada, email="unverified", logout=logout))
