"""OpenID Connect: what a program is told, and what nobody gets by asking oddly. The real programs
are in test_relying_parties."""

import base64
import hmac
import json
import logging
import re
import sqlite3
import threading
import time
from collections.abc import Callable
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import time_machine
from cryptography.fernet import Fernet
from flask import Flask
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey
from markupsafe import escape

from features.openid.keys import find_signing_key, make_key
from foundation.storage.digests import derive_key
from foundation.web.guards import with_next
from foundation.words.clock import DAY, MINUTE
from wsgi import create_app

from .authenticator import Passkey, decode, encode
from .cast import ADA, GRACE, MALLORY, Browser, Group, once_of, sentence, shown
from .openid_client import BACK, BARE, CHALLENGE, VERIFIER, Program, read_keys, told
from .passkeys import add, use
from .registering import choose, register


@pytest.fixture
def photos(group: Group, ada: Browser) -> Program:
    register(ada, "photos")
    return Program(group, ada)


@pytest.fixture
def grace(group: Group, photos: Program) -> Browser:
    return group.join(GRACE, "grace")


# The way ------------------------------------------------------------------------------------------


def test_a_member_signs_in_to_a_program(group: Group, photos: Program, grace: Browser) -> None:
    facts = told(photos.send(grace))
    assert facts.pop("state") == "a state & more"
    tokens = photos.exchange(facts.pop("code")).get_json()
    assert facts == {}

    public_id = group.one("SELECT public_id FROM authors WHERE username = 'grace'")
    claims = photos.read_id(tokens)
    assert claims["exp"] - claims["iat"] == 10 * MINUTE
    assert claims["auth_time"] == group.one("SELECT max(created_at) FROM sessions")
    own = {"sub": public_id, "preferred_username": "grace", "name": "grace", "groups": ["members"]}
    own |= {"email": f"{public_id}@members.invalid", "email_verified": False}
    assert own.items() <= claims.items()
    assert (claims["iss"], claims["aud"]) == ("http://localhost:8000", photos.id)
    assert claims["nonce"] == "a-nonce"
    assert photos.userinfo(tokens).get_json() == own
    assert tokens["token_type"] == "Bearer"
    again = photos.refresh(tokens).get_json()
    assert photos.userinfo(again).get_json() == own
    assert again["refresh_token"] == tokens["refresh_token"]
    refreshed = photos.read_id(again)
    changing = ("at_hash", "iat", "exp", "nonce")
    assert "nonce" not in refreshed
    assert {name: claims[name] for name in claims if name not in changing} == {
        name: refreshed[name] for name in refreshed if name not in changing
    }


def test_discovery_says_what_there_is(group: Group, photos: Program) -> None:
    client = group.app.test_client()
    said = client.get("/.well-known/openid-configuration").get_json()
    assert said["issuer"] == "http://localhost:8000"
    assert said["response_types_supported"] == ["code"]
    assert said["code_challenge_methods_supported"] == ["S256"]
    assert said["id_token_signing_alg_values_supported"] == ["RS256"]
    for parameter in ("request", "request_uri", "claims"):
        assert said[f"{parameter}_parameter_supported"] is False
    for ability in ("backchannel_logout", "backchannel_logout_session"):
        assert said[f"{ability}_supported"] is True
    (key,) = client.get("/openid/jwks").get_json()["keys"]
    assert {"kty": "RSA", "use": "sig", "alg": "RS256"}.items() <= key.items()
    assert set("dpq").isdisjoint(key)


def test_without_a_session_it_leads_over_the_sign_up_page(group: Group, photos: Program) -> None:
    group.invite(GRACE)
    group.text(GRACE)
    browser = group.browser()
    sent = photos.send(browser)
    assert sent.status_code == 303
    way = parse_qs(urlsplit(sent.location).query)["next"][0]
    assert way.startswith("/openid/go-on?")

    signed_in = browser.sign_up(GRACE, "grace", group.vonage.pin_of(GRACE), next=way)
    assert signed_in.location == with_next("/welcome", way)
    page = browser.get(way).text
    assert "Opening Our photos" in page
    onward = re.findall(r'content="0; url=([^"]+)"', page)[0].replace("&amp;", "&")
    facts = told(browser.get(onward))
    assert (facts["state"], bool(facts["code"])) == ("a state & more", True)


def test_a_form_of_the_program_leads_there_too(photos: Program, grace: Browser) -> None:
    sent = grace.client.post(
        "/openid/authorize", data=photos.query(), headers={"Sec-Fetch-Site": "cross-site"}
    )
    assert sent.status_code == 303
    assert told(grace.get(sent.location))["code"]


EMAILS = {
    "none": {},
    "unverified": {"email_verified": False},
    "verified": {"email_verified": True},
}


@pytest.mark.parametrize("email", EMAILS)
def test_an_address_that_is_nobodys(group: Group, ada: Browser, email: str) -> None:
    register(ada, "photos")
    photos = Program(group, ada, email=email)
    claims = photos.userinfo(photos.tokens(ada)).get_json()
    own = f"{claims['sub']}@members.invalid"
    expected = {"email": own} | EMAILS[email] if EMAILS[email] else {}
    assert {name: claims[name] for name in claims if name.startswith("email")} == expected
    without = photos.userinfo(photos.tokens(ada, scope="openid")).get_json()
    assert "email" not in without


def test_a_program_gets_the_scopes_that_its_page_gives_it(group: Group, ada: Browser) -> None:
    register(ada, "photos")
    photos = Program(group, ada, email="none")
    tokens = photos.tokens(ada, scope="openid profile email drives offline_access")
    assert tokens["scope"] == "openid profile offline_access"
    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    for more in ({}, {"scope": "openid profile email offline_access"}):
        again = photos.ask("/openid/token", None, **form, **more).get_json()
        assert again["scope"] == "openid profile offline_access"
        assert "email" not in photos.userinfo(again).get_json()


def test_groups_say_who_is_admin_and_who_was_chosen(group: Group, ada: Browser) -> None:
    register(ada, "photos", who="chosen")
    photos = Program(group, ada)
    choose(ada, "photos", "ada")
    assert photos.read_id(photos.tokens(ada))["groups"] == ["members", "admins", "chosen"]


# Who may not, and who no longer -------------------------------------------------------------------


def test_who_may_not_use_it_is_told_the_program(group: Group, ada: Browser) -> None:
    register(ada, "photos", who="chosen")
    photos = Program(group, ada)
    facts = {"error": "access_denied", "error_description": sentence("openid-not-theirs")}
    assert told(photos.send(ada)) == facts | {"state": "a state & more"}


ENDS: dict[str, Callable[[Group, Browser, Browser], object]] = {
    "removed": lambda group, ada, grace: group.command("remove", "grace"),
    "signed out everywhere": lambda group, ada, grace: group.command("sign-out", "grace"),
    "signed out": lambda group, ada, grace: grace.post("/logout"),
    "no longer chosen": lambda group, ada, grace: ada.post(
        "/admin/programs/photos",
        title="x",
        address="https://photos.example.org",
        who="chosen",
    ),
    "the program removed": lambda group, ada, grace: group.command("program", "remove", "photos"),
    "ended": lambda group, ada, grace: group.rows(
        "UPDATE authors SET ends_at = unixepoch() WHERE username = 'grace'"
    ),
}


@pytest.mark.parametrize("what", ENDS)
def test_somebody_who_is_out_is_out_at_once(
    group: Group, ada: Browser, photos: Program, grace: Browser, what: str
) -> None:
    """Between code and token, and with all tokens."""
    code, tokens = photos.code(grace), photos.tokens(grace)
    assert photos.userinfo(tokens).status_code == 200
    ENDS[what](group, ada, grace)

    assert photos.exchange(code).status_code in (400, 401)
    assert photos.userinfo(tokens).status_code == 401
    assert photos.refresh(tokens).status_code in (400, 401)


def test_tokens_end_with_the_device_they_came_from(
    group: Group, photos: Program, grace: Browser
) -> None:
    laptop = group.join(GRACE, "grace", bound=True)
    on_phone, on_laptop = photos.tokens(grace), photos.tokens(laptop)
    grace.post("/logout")
    assert photos.refresh(on_phone).status_code == 400
    assert photos.refresh(on_laptop).status_code == 200


def test_how_long_each_lives(group: Group) -> None:
    with time_machine.travel("2026-11-25", tick=False) as clock:
        ada = group.join(ADA, "ada", bound=True)
        register(ada, "photos")
        photos = Program(group, ada)
        code, tokens = photos.code(ada), photos.tokens(ada)
        clock.shift(MINUTE - 1)
        assert photos.exchange(photos.code(ada)).status_code == 200
        clock.shift(1)
        assert photos.exchange(code).status_code == 400
        clock.shift(9 * MINUTE - 1)
        assert photos.userinfo(tokens).status_code == 200
        clock.shift(1)
        assert photos.userinfo(tokens).status_code == 401
        photos.code(ada)
        assert group.one("SELECT count(*) FROM openid_codes") == 1
        group.keep_house()
        kinds = "SELECT kind, count(*) FROM openid_tokens GROUP BY kind ORDER BY kind"
        assert group.rows(kinds) == [("access", 1), ("refresh", 2)]  # of the second code, too
        clock.shift(20 * DAY)
        ada.get("/")
        clock.shift(20 * DAY)
        assert photos.refresh(tokens).status_code == 200


# Attacks ------------------------------------------------------------------------------------------


def test_a_code_that_is_used_twice_ends_its_tokens(photos: Program, grace: Browser) -> None:
    code = photos.code(grace)
    tokens = photos.exchange(code).get_json()
    other = photos.tokens(grace)
    assert photos.exchange(code).get_json()["error"] == "invalid_grant"
    assert photos.userinfo(tokens).status_code == 401
    assert photos.refresh(tokens).status_code == 400
    assert photos.userinfo(other).status_code == 200


def test_fifty_at_once_get_one_token_for_a_code(
    group: Group, photos: Program, grace: Browser
) -> None:
    code, statuses = photos.code(grace), []

    def exchange() -> None:
        statuses.append(photos.exchange(code).status_code)

    threads = [threading.Thread(target=exchange) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses.count(200) == 1
    assert set(statuses) == {200, 400}


WRONG_EXCHANGES: dict[str, dict[str, str]] = {
    "wrong verifier": {"code_verifier": "x" * 43},
    "verifier too short": {"code_verifier": "x"},
    "the challenge itself": {"code_verifier": CHALLENGE},
    "no verifier": {"code_verifier": ""},
    "another address": {"redirect_uri": "https://photos.example.org/other"},
    "no address": {"redirect_uri": ""},
    "another grant": {"grant_type": "password"},
    "implicit": {"grant_type": "implicit"},
    "client credentials": {"grant_type": "client_credentials"},
    "no code": {"code": ""},
    "an odd grant": {"grant_type": 'x"\n\\é'},
    "an odd verifier": {"code_verifier": 'x"\n\\é' * 20},
    "an odd address too": {"redirect_uri": 'x"\n\\é'},
    "an odd code": {"code": "x\x00' OR 1=1 --"},
}


@pytest.mark.parametrize("what", WRONG_EXCHANGES)
def test_a_wrong_exchange_gets_nothing(photos: Program, grace: Browser, what: str) -> None:
    code = photos.code(grace)
    answer = photos.exchange(code, **WRONG_EXCHANGES[what])
    assert answer.status_code in (400, 401)
    assert "access_token" not in answer.text
    assert photos.exchange(code).status_code == 200  # and nothing is lost by it


@pytest.mark.parametrize("secret", ["", "x", "é", "a" * 5000])
def test_a_wrong_secret_gets_nothing(photos: Program, grace: Browser, secret: str) -> None:
    fields = {"grant_type": "authorization_code", "code": photos.code(grace)}
    fields |= {"redirect_uri": BACK, "code_verifier": VERIFIER}
    answer = photos.ask("/openid/token", (photos.id, secret), **fields)
    assert (answer.status_code, answer.get_json()["error"]) == (401, "invalid_client")
    why = sentence("openid-secret" if secret else "openid-no-secret")
    assert answer.get_json()["error_description"] == why
    client = photos.group.app.test_client(use_cookies=False)
    posted = fields | {"client_id": photos.id, "client_secret": secret}
    assert client.post("/openid/token", data=posted).status_code == 401
    public = fields | {"client_id": photos.id}
    assert client.post("/openid/token", data=public).status_code == 401


def test_the_secret_may_come_in_the_form(photos: Program, grace: Browser) -> None:
    client = photos.group.app.test_client(use_cookies=False)
    fields = {"grant_type": "authorization_code", "code": photos.code(grace)}
    fields |= {"redirect_uri": BACK, "code_verifier": VERIFIER}
    fields |= {"client_id": photos.id, "client_secret": photos.secret}
    assert client.post("/openid/token", data=fields).status_code == 200


def test_another_programs_code_and_tokens_are_no_good(
    group: Group, ada: Browser, photos: Program, grace: Browser
) -> None:
    register(ada, "wiki")
    wiki = Program(group, ada, "wiki")
    code, tokens = photos.code(grace), photos.tokens(grace)
    assert wiki.exchange(code).get_json()["error"] == "invalid_grant"
    assert wiki.refresh(tokens).status_code == 400
    assert photos.exchange(code).status_code == 200


DOWNGRADES: list[dict[str, str | None]] = [
    {"code_challenge": None},
    {"code_challenge": None, "code_challenge_method": None},
    {"code_challenge_method": "plain"},
    {"code_challenge_method": None},
    {"code_challenge_method": "s256"},
    {"code_challenge": "short"},
]


@pytest.mark.parametrize("changes", DOWNGRADES, ids=str)
def test_pkce_cannot_be_left_out(
    photos: Program, grace: Browser, changes: dict[str, str | None]
) -> None:
    facts = told(photos.send(grace, **changes))
    assert (facts["error"], "code" in facts) == ("invalid_request", False)


def test_who_cannot_do_pkce_needs_nothing_in_its_place(group: Group, ada: Browser) -> None:
    register(ada, "photos")
    photos = Program(group, ada, pkce="no")
    code = photos.code(ada, **BARE, nonce=None)
    refused = photos.exchange(code)  # a verifier out of nowhere
    assert (refused.status_code, "code_verifier" in refused.text) == (400, True)
    tokens = photos.exchange(code, code_verifier="").get_json()
    assert "nonce" not in photos.read_id(tokens)
    assert told(photos.send(ada, code_challenge_method="plain"))["error"] == "invalid_request"


def test_a_code_without_both_lives_20_seconds(group: Group) -> None:
    with time_machine.travel("2026-11-25", tick=False) as clock:
        ada = group.join(ADA, "ada", bound=True)
        register(ada, "photos")
        photos = Program(group, ada, pkce="no")
        early, late = (photos.code(ada, **BARE, nonce=None) for _ in range(2))
        with_nonce, with_challenge = photos.code(ada, **BARE), photos.code(ada, nonce=None)
        clock.shift(19)
        assert photos.exchange(early, code_verifier="").status_code == 200
        clock.shift(1)
        assert photos.exchange(late, code_verifier="").status_code == 400
        assert photos.exchange(with_nonce, code_verifier="").status_code == 200
        assert photos.exchange(with_challenge).status_code == 200


@pytest.mark.parametrize("first", ["nonce", "challenge"])
def test_who_ever_sent_one_of_the_two_has_to_go_on(group: Group, ada: Browser, first: str) -> None:
    """Unless an admin lets it stop."""
    register(ada, "photos")
    photos = Program(group, ada, pkce="no")
    changes: dict[str, str | None] = {"nonce": None} if first == "challenge" else BARE
    verifier = {} if first == "challenge" else {"code_verifier": ""}
    code = photos.code(ada, **changes)
    assert told(photos.send(ada, **BARE, nonce=None))["code"]  # a link alone changes nothing
    assert photos.exchange(code, **verifier).status_code == 200
    facts = told(photos.send(ada, **BARE, nonce=None))
    assert (facts["error"], facts["error_description"]) == (
        "invalid_request",
        sentence("openid-stopped"),
    )
    assert photos.exchange(photos.code(ada, **changes), **verifier).status_code == 200
    ada.post("/admin/programs/photos/openid/allow")
    code = photos.code(ada, **BARE, nonce=None)
    assert photos.exchange(code, code_verifier="").status_code == 200


TRICKS = [
    "https://photos.example.org/callback/", "https://photos.example.org/callback?a=1",
    "https://photos.example.org/callback#a", "https://photos.example.org/Callback",
    "https://photos.example.org:443/callback", "https://photos.example.org/x/../callback",
    "https://photos.example.org.evil.example/callback", "https://evil.example/callback",
    "https://photos.example.org@evil.example/callback", "//photos.example.org/callback",
    "http://photos.example.org/callback", "https:/photos.example.org/callback",
    "https://photos.example.org/callback ", " https://photos.example.org/callback",
    "https://photos.example.org/callback\n", "https://photos.example.org%2Fcallback",
    "https://PHOTOS.example.org/callback", "javascript:alert(1)", "data:text/html,x", "/callback",
    "https://photos.example.org\\callback", "https://photos.example.org/callback%00", "",
    "urn:ietf:wg:oauth:2.0:oob",
]  # fmt: skip


@pytest.mark.parametrize("address", TRICKS)
def test_the_browser_is_sent_nowhere_else(photos: Program, grace: Browser, address: str) -> None:
    answer = photos.send(grace, redirect_uri=address)
    assert answer.status_code == 400
    assert shown("openid-unknown") in answer.text
    assert "Location" not in answer.headers


ODD: list[tuple[dict[str, str | None], str]] = [
    ({"response_type": "token"}, "unsupported_response_type"),
    ({"response_type": "id_token"}, "unsupported_response_type"),
    ({"response_type": "code id_token"}, "unsupported_response_type"),
    ({"response_type": None}, "unsupported_response_type"),
    ({"prompt": "none login"}, "invalid_request"),
    ({"response_type": 'x"\n\\é'}, "invalid_request"),
]


@pytest.mark.parametrize(("changes", "error"), ODD)
def test_odd_questions_are_told_the_program(
    photos: Program, grace: Browser, changes: dict[str, str | None], error: str
) -> None:
    facts = told(photos.send(grace, **changes))
    assert (facts["error"], facts["state"]) == (error, "a state & more")


@pytest.mark.parametrize("client_id", ["", "unknown", "x" * 500, "' OR 1=1 --"])
def test_unknown_programs_are_told_the_member(
    photos: Program, grace: Browser, client_id: str
) -> None:
    answer = photos.send(grace, client_id=client_id)
    assert (answer.status_code, shown("openid-unknown") in answer.text) == (400, True)


@pytest.mark.parametrize(
    "more",
    [
        f"state={'x' * 2000}",
        f"state={'/' * 800}",  # each of these is three letters on the way back
        f"prompt={'x' * 2000}",  # which doesn't go along
    ],
)
def test_what_is_too_long_is_said_here(photos: Program, grace: Browser, more: str) -> None:
    answer = grace.get(f"/openid/authorize?{urlencode(photos.query(state=None))}&{more}")
    assert (answer.status_code, shown("openid-long") in answer.text) == (400, True)


@pytest.mark.parametrize("text", ["a&b=c", "é", "%26", "<script>", " ", "+", "=", '"', "\u200f"])
def test_state_and_nonce_go_through_untouched(photos: Program, grace: Browser, text: str) -> None:
    facts = told(photos.send(grace, state=text, nonce=text))
    assert facts["state"] == text
    assert photos.read_id(photos.exchange(facts["code"]).get_json())["nonce"] == text


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Bearer x", "Basic x", "bearer é"])
def test_userinfo_wants_a_token(photos: Program, grace: Browser, header: str) -> None:
    photos.tokens(grace)
    client = photos.group.app.test_client(use_cookies=False)
    answer = client.get("/openid/userinfo", headers={"Authorization": header})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert grace.get("/openid/userinfo").status_code == 401  # a cookie is none


def test_a_refresh_token_is_no_access_token(photos: Program, grace: Browser) -> None:
    tokens = photos.tokens(grace)
    swapped = {"access_token": tokens["refresh_token"], "refresh_token": tokens["access_token"]}
    assert photos.userinfo(swapped).status_code == 401
    assert photos.refresh(swapped).status_code == 400


@pytest.mark.parametrize("scope", ["openid email", 'x"\n\\é'])
def test_refreshing_asks_for_no_more_than_there_was(
    photos: Program, grace: Browser, scope: str
) -> None:
    tokens = photos.tokens(grace, scope="openid offline_access")
    fields = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    more = photos.ask("/openid/token", None, **fields, scope=scope)
    assert (more.status_code, more.get_json()["error"]) == (400, "invalid_scope")
    assert "refresh_token" not in photos.tokens(grace, scope="openid")


# Asking again -------------------------------------------------------------------------------------


def test_prompt_none_asks_nobody(group: Group, photos: Program, grace: Browser) -> None:
    assert told(photos.send(grace, prompt="none"))["code"]
    facts = told(photos.send(group.browser(), prompt="none"))
    assert (facts["error"], facts["state"]) == ("login_required", "a state & more")


def test_nobody_is_asked_again_and_again(group: Group, photos: Program, grace: Browser) -> None:
    passkey = Passkey()
    add(grace, passkey)
    for changes in ({"max_age": "0"}, {"prompt": "login"}, {"prompt": "login", "max_age": "0"}):
        with time_machine.travel(time.time() + DAY + 10, tick=False) as clock:
            use(grace, passkey, "confirm")  # a moment ago, which is not enough here
            clock.shift(2)
            sent = photos.send(grace, **changes)
            assert sent.location.startswith("/passkeys/confirm?next="), changes
            way = parse_qs(urlsplit(sent.location).query)["next"][0]
            use(grace, passkey, "confirm")
            clock.shift(30)
            assert told(grace.get(way.replace("go-on", "authorize")))["code"]


@pytest.mark.parametrize(
    ("changes", "silently", "error"),
    [
        ({"prompt": "login"}, "login none", "invalid_request"),
        ({"max_age": "0"}, "none", "login_required"),
        ({"max_age": "1000"}, "none", "login_required"),
    ],
)
def test_a_program_may_ask_for_a_fresh_sign_in(
    group: Group, changes: dict[str, str | None], silently: str, error: str
) -> None:
    """Of a member with a passkey that is older than this device's last proof, or than a day: who
    finds a device that is signed in could add one. Nobody else can prove anything."""
    with time_machine.travel("2026-11-25", tick=False) as clock:
        ada = group.join(ADA, "ada", bound=True)
        register(ada, "photos")
        photos = Program(group, ada)
        clock.shift(1001)
        passkey = Passkey()
        for made in ("", "of today", "elsewhere"):
            if made == "of today":
                add(ada, passkey)
            elif made == "elsewhere":
                group.rows("UPDATE passkeys SET host = 'old.example', created_at = 0")
            facts = told(photos.send(ada, **changes))
            assert facts["error"] == "login_required"
            assert facts["error_description"] == sentence("openid-no-proof")
        group.rows("UPDATE passkeys SET host = 'localhost', created_at = ?", int(time.time()))
        assert told(photos.send(ada, **changes | {"prompt": silently}))["error"] == error
        clock.shift(DAY)
        confirm = photos.send(ada, **changes)
        assert confirm.location.startswith("/passkeys/confirm?next=%2Fopenid%2Fgo-on")
        assert "Our photos wants to know" in ada.get(confirm.location).text
        way = parse_qs(urlsplit(confirm.location).query)["next"][0]
        newer = Passkey()
        assert use(ada, passkey, "confirm").status_code == 200
        clock.shift(1)
        add(ada, newer)
        clock.shift(1001)
        refused = use(ada, newer, "confirm", next=way)
        assert (refused.status_code, refused.get_json()["error"]) == (422, sentence("passkey-new"))
        onward = way.replace("/openid/go-on", "/openid/authorize")
        assert ada.get(onward).location.startswith("/passkeys/confirm?")
        assert use(ada, passkey, "confirm", next=way).status_code == 200
        code = told(ada.get(onward))["code"]
        tokens = photos.exchange(code).get_json()
        assert photos.read_id(tokens)["auth_time"] == int(time.time())


def test_signing_in_with_a_new_passkey_proves_no_more(group: Group) -> None:
    """Otherwise one would add one, sign out, and sign in with it."""
    with time_machine.travel("2026-11-25", tick=False) as clock:
        ada = group.join(ADA, "ada", bound=True)
        register(ada, "photos")
        photos = Program(group, ada)
        clock.shift(10 * DAY)
        passkey = Passkey()
        add(ada, passkey)
        ada.post("/logout")
        sent = photos.send(ada, prompt="login")
        assert sent.location.startswith("/signup?next=")
        way = parse_qs(urlsplit(sent.location).query)["next"][0]
        ada.get("/signup")
        assert use(ada, passkey, "sign-in", next=way).status_code == 200
        onward = way.replace("/openid/go-on", "/openid/authorize")
        assert told(ada.get(onward))["error"] == "login_required"
        assert told(photos.send(ada, prompt="login"))["error"] == "login_required"
        tokens = photos.tokens(ada)
        assert photos.read_id(tokens)["auth_time"] == int(time.time())
        clock.shift(DAY)
        assert photos.send(ada, prompt="login").location.startswith("/passkeys/confirm?")


def test_who_cancels_goes_back_to_the_program(group: Group) -> None:
    with time_machine.travel("2026-11-25", tick=False) as clock:
        ada = group.join(ADA, "ada", bound=True)
        register(ada, "photos")
        photos = Program(group, ada)
        add(ada, Passkey())
        clock.shift(2 * DAY)
        page = ada.get(photos.send(ada, prompt="login").location).text
        (cancel,) = re.findall(r'<a class="button quiet" href="([^"]+)">Cancel', page)
        (onward,) = re.findall(r'content="0; url=([^"]+)"', ada.get(unescape(cancel)).text)
        assert told(ada.get(unescape(onward)))["error"] == "login_required"


@pytest.mark.parametrize("changes", [{"max_age": "0"}, {"prompt": "login"}])
def test_an_admin_may_have_that_ignored(group: Group, changes: dict[str, str | None]) -> None:
    with time_machine.travel("2026-11-25", tick=False) as clock:
        ada = group.join(ADA, "ada", bound=True)
        register(ada, "photos")
        photos = Program(group, ada, ignores_login="yes")
        clock.shift(1001)
        assert told(photos.send(ada, **changes))["code"]


# A program signs out here, too --------------------------------------------------------------------


@pytest.mark.parametrize("how", ["client_id", "id_token_hint"])
def test_a_program_may_ask_to_sign_out_here(
    group: Group, photos: Program, grace: Browser, how: str
) -> None:
    said = {"client_id": photos.id, "id_token_hint": photos.tokens(grace)["id_token"]}
    query = {how: said[how], "post_logout_redirect_uri": BACK, "state": "a&b"}
    asked = grace.get(f"/openid/logout?{urlencode(query)}")
    assert "signed out of Our photos" in asked.text
    assert grace.username() == "grace"  # a link alone signs nobody out
    kept = dict(re.findall(r'name="(\w+)" value="([^"]*)"', asked.text))
    gone = grace.post("/openid/logout", **{name: unescape(value) for name, value in kept.items()})
    assert f'url={escape(f"{BACK}?state=a%26b")}"' in gone.text
    assert "<h1>You&#39;re signed out</h1>" in gone.text
    assert "Opening Our photos" in gone.text
    assert grace.username() is None
    again = grace.get(f"/openid/logout?{urlencode(query)}")
    assert "<h1>You&#39;re signed out</h1>" in again.text


def test_a_device_keeps_its_name_for_a_program_when_it_confirms(group: Group, ada: Browser) -> None:
    """The claim `sid`, which the program is told again when the device signs out."""
    register(ada, "photos")
    photos, passkey = Program(group, ada, logout="https://photos.example.org/out"), Passkey()
    add(ada, passkey)
    tokens = photos.tokens(ada)
    sid = photos.read_id(tokens)["sid"]
    use(ada, passkey, "confirm")
    assert photos.read_id(photos.refresh(tokens).get_json())["sid"] == sid
    assert photos.read_id(photos.tokens(ada))["sid"] == sid
    ada.post("/logout")
    assert [json.loads(ids)["sid"] for (ids,) in group.rows("SELECT ids FROM outbox")] == [sid]


def test_a_hint_that_is_over_gives_no_more_than_a_client_id(group: Group) -> None:
    """Which program asks, and where it may be returned to. Whom it names gets nothing by it."""
    with time_machine.travel("2030-11-25 12:00", tick=False) as clock:
        ada, mallory = group.join(ADA, "ada", bound=True), group.browser()
        register(ada, "photos")
        photos = Program(group, ada)
        hint = photos.tokens(ada)["id_token"]
        clock.shift(DAY)
        for asked in ({"id_token_hint": hint}, {"client_id": photos.id}):
            query = urlencode(asked | {"post_logout_redirect_uri": BACK})
            assert f'url={BACK}"' in mallory.get(f"/openid/logout?{query}").text
            assert "signed out of Our photos" in ada.get(f"/openid/logout?{query}").text
        assert ada.username() == "ada"
        silent = told(photos.send(mallory, prompt="none", id_token_hint=hint))
        assert silent["error"] == "login_required"
        assert photos.userinfo({"access_token": hint}).status_code == 401


@pytest.mark.parametrize(
    ("client_id", "address"),
    [("", BACK), ("x", BACK), ("own", "https://evil.example"), ("own", ""), ("own", "//evil")],
)
def test_signing_out_leads_to_no_other_place(
    photos: Program, grace: Browser, client_id: str, address: str
) -> None:
    said = photos.id if client_id == "own" else client_id
    form = {"client_id": said, "post_logout_redirect_uri": address, "id_token_hint": "x.y.z"}
    assert 'content="0; url=/"' in grace.post("/openid/logout", **form).text
    assert grace.username() is None
    page = grace.get(f"/openid/logout?{urlencode(form)}").text
    assert 'content="0; url=/"' in page
    assert f"Opening {photos.group.app.config['GROUP_NAME']}" in page


def test_a_form_of_another_site_signs_nobody_out(photos: Program, grace: Browser) -> None:
    form = {"client_id": photos.id, "post_logout_redirect_uri": BACK}
    elsewhere = {"Sec-Fetch-Site": "cross-site"}
    answer = grace.client.post("/openid/logout", data=form, headers=elsewhere)
    assert (answer.status_code, answer.location) == (303, f"/openid/logout?{urlencode(form)}")
    assert grace.username() == "grace"
    assert "signed out of Our photos" in grace.get(answer.location).text


# Keys, and what is stored -------------------------------------------------------------------------


def test_a_stolen_database_has_no_token_and_no_key(
    group: Group, photos: Program, grace: Browser, settings: dict[str, str]
) -> None:
    code, tokens = photos.code(grace), photos.tokens(grace)
    whole = Path(settings["DATABASE"]).read_bytes()
    whole += Path(settings["DATABASE"] + "-wal").read_bytes()
    secrets_ = [code, tokens["access_token"], tokens["refresh_token"], photos.secret]
    for secret in (*secrets_, tokens["id_token"], '"d":', '"d": '):
        assert secret.encode() not in whole


def test_a_new_secret_key_makes_a_new_key_and_ends_all_tokens(
    group: Group, photos: Program, grace: Browser, settings: dict[str, str]
) -> None:
    code, tokens = photos.code(grace), photos.tokens(grace)
    old = photos.read_id(tokens)
    photos.group = Group(create_app(settings | {"SECRET_KEY": "x" * 32 + "12345678"}), group.vonage)

    assert photos.exchange(code).status_code == 400
    assert photos.userinfo(tokens).status_code == 401
    with pytest.raises(JoseError):
        photos.read_id(tokens)
    again = photos.group.browser()
    again.client.set_cookie("session", grace.cookie())
    assert photos.read_id(photos.tokens(again))["sub"] == old["sub"]


def test_a_key_of_version_1_is_sealed_anew(group: Group, photos: Program, grace: Browser) -> None:
    """It was kept by Fernet. What it signed stays good."""
    before, secret = photos.tokens(grace), group.app.config["SECRET_KEY"]
    with group.app.app_context():
        private = json.dumps(find_signing_key().as_dict(private=True)).encode()
    vault = Fernet(base64.urlsafe_b64encode(derive_key(secret, "openid keys")))
    group.rows("UPDATE openid_keys SET private = ?", vault.encrypt(private).decode())

    after = photos.tokens(grace)

    kids = [jws.extract_compact(t["id_token"].encode()).headers()["kid"] for t in (before, after)]
    assert kids[0] == kids[1]
    assert photos.read_id(before)["sub"] == photos.read_id(after)["sub"]
    kept = group.one("SELECT private FROM openid_keys")
    header = json.loads(decode(kept.split(".")[0]))
    assert header == {"alg": "dir", "enc": "A256GCM"}


def test_no_request_ends_tokens_or_makes_keys(
    group: Group, photos: Program, grace: Browser, settings: dict[str, str]
) -> None:
    """While one process still has another SECRET_KEY, or a stranger asks."""
    other = create_app(settings)
    other.config["SECRET_KEY"] = "x" * 32 + "12345678"
    tokens, keys = photos.tokens(grace), group.rows("SELECT * FROM openid_keys")
    for app in (other, group.app):
        stranger = app.test_client(use_cookies=False)
        for ask in (stranger.get, stranger.post):
            for path in ("/openid/jwks", "/openid/token", "/openid/authorize", "/openid/userinfo"):
                ask(path)
    assert group.rows("SELECT * FROM openid_keys") == keys
    assert photos.userinfo(tokens).status_code == 200


def test_tokens_are_in_no_log(
    photos: Program, grace: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    """At any level, of any logger."""
    loggers = [name for name in logging.root.manager.loggerDict if name.startswith("authlib")]
    assert len(loggers) > 3
    for name in ("", *loggers):
        caplog.set_level(logging.DEBUG, logger=name)
    tokens = photos.tokens(grace)
    photos.refresh(tokens)
    logging.getLogger("another").debug("heard")
    assert "heard" in caplog.text
    for token in ("access_token", "refresh_token", "id_token"):
        assert tokens[token] not in caplog.text


def test_keys_rotate_without_signing_anybody_out(group: Group) -> None:
    with time_machine.travel("2026-11-25", tick=False) as clock:
        ada = group.join(ADA, "ada", bound=True)
        register(ada, "photos")
        photos = Program(group, ada)
        before = photos.tokens(ada)
        assert group.command("openid", "rotate-key").exit_code == 0
        after = photos.tokens(ada)
        kids = {json.loads(base64.urlsafe_b64decode(t["id_token"].split(".")[0] + "=="))["kid"]
                for t in (before, after)}  # fmt: skip
        assert len(kids) == 2
        assert photos.read_id(before)["sub"] == photos.read_id(after)["sub"]
        assert photos.userinfo(before).status_code == 200
        clock.shift(DAY + 1)
        assert len(group.app.test_client().get("/openid/jwks").get_json()["keys"]) == 1
        assert photos.refresh(before).status_code == 200


def test_a_key_is_not_rotated_under_another_secret_key(
    group: Group, photos: Program, ada: Browser, settings: dict[str, str]
) -> None:
    """The running server couldn't read it."""
    other = Group(create_app(settings), group.vonage)
    other.app.config["SECRET_KEY"] = "x" * 32 + "12345678"
    keys = group.rows("SELECT * FROM openid_keys")
    refused = other.command("openid", "rotate-key")
    assert (refused.exit_code, "Nothing has changed." in refused.output) == (1, True)
    assert group.rows("SELECT * FROM openid_keys") == keys


def test_the_signing_key_is_as_strong_as_128_bits(app: Flask) -> None:
    with app.app_context():
        made, private = make_key()
    assert len(decode(str(made.as_dict(private=False)["n"]))) * 8 == 3072
    assert "-----" not in private


def test_our_tokens_have_one_algorithm(group: Group, photos: Program, grace: Browser) -> None:
    """Neither one without a signature, nor one that takes our public key for a shared secret."""
    token = photos.tokens(grace)["id_token"]
    (public,) = read_keys(group).keys
    assert isinstance(public, RSAKey)
    secret, body = public.as_pem(private=False), token.split(".")[1]
    unsigned, shared = (
        f"{encode(json.dumps({'alg': alg}).encode())}.{body}" for alg in ("none", "HS256")
    )
    signature = hmac.digest(secret, shared.encode(), "sha256")

    assert is_known(grace, token)
    assert not is_known(grace, f"{unsigned}.")
    assert not is_known(grace, f"{shared}.{encode(signature)}")


def is_known(browser: Browser, hint: str) -> bool:
    """Whether it is a token of ours to us: then we know the program that signs somebody out."""
    asked = {"id_token_hint": hint, "post_logout_redirect_uri": BACK}
    return "signed out of Our photos" in browser.get(f"/openid/logout?{urlencode(asked)}").text


def test_only_a_new_secret_ends_the_old_one(group: Group, ada: Browser, photos: Program) -> None:
    """Saving the settings changes them, and nothing else."""
    code, other = photos.code(ada), "https://photos.example.org/other"
    saved = ada.post("/admin/programs/photos/openid", redirects=f"{BACK}\n{other}", email="none")
    assert (saved.status_code, saved.location) == (303, "/admin/programs/photos/openid")
    assert photos.exchange(code).status_code == 200
    code = told(photos.send(ada, redirect_uri=other), other)["code"]
    assert photos.exchange(code, redirect_uri=other).status_code == 200

    assert "/openid/secret" in ada.get(saved.location).text
    code = photos.code(ada)
    assert "Make a new secret" in ada.get("/admin/programs/photos/openid/secret").text
    assert photos.exchange(code).status_code == 200
    code = photos.code(ada)
    newer = photos.take_new_secret(ada)
    assert photos.exchange(code).get_json()["error_description"] == sentence("openid-secret")
    assert newer.exchange(code).status_code == 200
    page = ada.get("/admin/programs/photos/openid").text
    assert newer.id in page
    assert newer.secret not in page


def test_a_form_that_is_sent_again_keeps_the_secret(group: Group, ada: Browser) -> None:
    register(ada, "photos")
    page = ada.get("/admin/programs/photos/openid").text
    photos = Program(group, ada, once=once_of(page))
    grace = group.join(GRACE, "grace")
    again = ada.post("/admin/programs/photos/openid", redirects=BACK, once=once_of(page))
    assert (again.status_code, shown("made-already") in again.text) == (422, True)
    code = told(photos.send(grace))["code"]
    assert photos.exchange(code).status_code == 200


NOT_TO_RETURN_TO = {
    "": "openid-addresses",
    "\n".join(["https://a.org"] * 11): "openid-addresses",
    "https://photos.example.org/a b": "address-signs",
    "photos.example.org": "address-whole",
    "photos.example.org:8080/cb": "address-whole",
    "https://": "address-whole",
    "https://[x": "address-whole",
    "https://photos.example.org:0/cb": "address-whole",
    "https://photos..example.org/cb": "address-whole",
    "https://photos.example.org/ü": "address-signs",
    "https://photos.example.org/" + "x" * 300: "address-long",
    "https://x_y|z.org/cb": "address-whole",
    "https://[v1.a]/cb": "address-whole",
    "http://evil%2ecom/cb": "address-whole",
    "http://evil.com%2f.localhost/cb": "address-whole",
    "http://[::1].evil.example/cb": "address-whole",
    "http://[fd00::1]evil.com/cb": "address-whole",
    "http://photos.example.org/cb": "address-https",
    "http://8.8.8.8/cb": "address-https",
    "http://169.254.169.254/cb": "address-https",
    "http://2130706433/cb": "address-https",
    "http://0x7f000001/cb": "address-https",
    "http://192.168.1.5.nip.io/cb": "address-https",
    "http://nas.local/cb": "address-local",
    "http://nas:8080/cb": "address-local",
    "https://*.example.org/cb": "address-signs",
    "https://a@photos.example.org/cb": "address-signs",
    "https://photos.example.org/#x": "address-signs",
    "javascript:alert(1)": "address-whole",
    "data:text/html,x": "address-whole",
    "file:///etc": "openid-scheme",
    "audiobookshelf://oauth": "openid-scheme",
}


@pytest.mark.parametrize("address", NOT_TO_RETURN_TO)
def test_where_a_program_may_not_return_to(group: Group, ada: Browser, address: str) -> None:
    """Each refusal says what is wrong, and with which address."""
    register(ada, "photos")
    answer = ada.post("/admin/programs/photos/openid", redirects=address)
    said = sentence(NOT_TO_RETURN_TO[address]).replace("{name}", address[:80])
    assert (answer.status_code, str(escape(said)) in answer.text) == (422, True)
    assert escape(address) in answer.text  # nothing is lost
    assert group.rows("SELECT 1 FROM openid_clients") == []


def test_ones_own_machine_may_be_returned_to(group: Group, ada: Browser) -> None:
    back = "http://localhost:5000/cb"
    register(ada, "photos")
    photos = Program(group, ada, back=back)
    assert told(photos.send(ada), back)["code"]


AT_HOME: dict[str, dict[str, str]] = {
    "app.immich:///oauth-callback": {},
    "http://192.168.1.5:2283/auth/login": {},
    "http://10.0.0.2/cb": {},
    "http://[fd00::5]:80/cb": {},
    "http://nas.local/cb": {"local_names": "yes"},
    "http://nas:8080/cb": {"local_names": "yes"},
    "http://immich.home.arpa/cb": {"local_names": "yes"},
}


@pytest.mark.parametrize("back", AT_HOME)
def test_what_may_be_somebody_elses_is_reached_by_a_press_only(
    group: Group, ada: Browser, back: str
) -> None:
    """An address at home is one in every café, too, and any app can take a scheme for itself."""
    register(ada, "photos")
    photos = Program(group, ada, back=back, **AT_HOME[back])
    asked: list[dict[str, str | None]]
    asked = [{}, {"prompt": "none"}, {"code_challenge": None, "code_challenge_method": None}]
    said = []
    for changes in asked:
        page = photos.send(ada, **changes)
        assert (page.status_code, "Location" in page.headers) == (200, False)
        assert f'<code class="words">{escape(back)}</code>' in page.text
        assert "refresh" not in page.text
        (link,) = [
            unescape(link)
            for link in re.findall(r'href="([^"]+)"', page.text)
            if back in unescape(link)
        ]
        said.append({name: values[0] for name, values in parse_qs(link.split("?", 1)[1]).items()})
    assert photos.exchange(said[0]["code"]).status_code == 200
    assert said[1]["error"] == "interaction_required"
    assert said[2]["error"] == "invalid_request"
    assert {one["state"] for one in said} == {"a state & more"}


def test_only_admins_set_one_up(photos: Program, grace: Browser) -> None:
    for answer in (
        grace.get("/admin/programs/photos/openid"),
        grace.post("/admin/programs/photos/openid", redirects=BACK),
    ):
        assert answer.status_code == 403


def test_a_backup_has_neither_codes_nor_tokens(
    group: Group, photos: Program, grace: Browser, tmp_path: Path
) -> None:
    photos.tokens(grace)
    file = tmp_path / "copy.db"
    assert group.command("backup", str(file)).exit_code == 0
    with sqlite3.connect(file) as db:
        for table, count in (("openid_tokens", 0), ("openid_codes", 0), ("openid_clients", 1)):
            assert db.execute(f"SELECT count(*) FROM {table}").fetchone() == (count,)
    db.close()


def test_mallory_signs_nobody_in(group: Group, photos: Program, grace: Browser) -> None:
    """A link that Mallory sends leads the member to the registered address only, and a code that
    Mallory got in her own browser is hers."""
    mallory = group.join(MALLORY, "mallory")
    tokens = photos.exchange(photos.code(mallory)).get_json()
    assert photos.read_id(tokens)["preferred_username"] == "mallory"
