"""What anybody may send, by the thousand: each parser answers with a value, or with the one error
that is its own; each route with a page. `make inputs` sends a million to each."""

import copy
import json
import os
import sys
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any, NamedTuple

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import create_environ, run_wsgi_app
from werkzeug.wrappers import Response

from features.app_passwords import parse_password_name, read_basic
from features.openid.addresses import parse_after_sign_out, parse_logout, parse_redirects
from features.passkeys.ceremony import check_new_passkey, check_passkey, read_attachment
from features.passkeys.challenges import Refused, refusing_odd_input
from features.passkeys.json_api import parse_json
from foundation.typed.codes import read_code
from foundation.typed.mistakes import Mistake, parse_coming_day, parse_pin, parse_who
from foundation.typed.phones import parse_known_phone, parse_phone, parse_sender
from foundation.typed.usernames import parse_chosen_username, parse_username
from foundation.vonage.client import parse_request_id
from foundation.vonage.inbound import is_signed, parse_delivery, parse_inbound
from foundation.web.forward_auth import read_program
from foundation.web.guards import parse_next
from foundation.words.languages import match_languages
from simulator.vonage import Vonage

from .authenticator import Passkey, decode, encode
from .cast import CODE, GRACE, SIGNATURE_SECRET, Browser, Group
from .openid_client import BACK, Program
from .registering import register

COUNT = int(os.environ.get("INPUTS", "1000"))

# Signs that have a meaning somewhere, or are more than they look like.
ODD = [
    *"\0\t\n\r \"#%&'()*+,-./:;<=>?@[\\]^_`{|}~09azAZ", "%00", "%2e", "..", "//", "&amp;", "\x7f",
    "\x85", "\xa0", "\xad", "\u0130", "\u0131", "\u0301", "\u0660", "\u061c", "\u200b", "\u202e",
    "\u2066", "\u2028", "\ufeff", "\uff11", "\ufffd", "\ud800", "\U0001f600", "\U000e0061",
]  # fmt: skip
VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    2**63,
    2**200,
    0.5,
    float("nan"),
    float("inf"),
    "",
    "1",
    [],
    {},
]

Maker = Callable[[Random], Any]


def nearly(*right: str) -> Maker:
    """Something that is right, with up to five pieces cut out, doubled or put in; or anything."""

    def make(chance: Random) -> str:
        if chance.random() < 0.1:
            return "".join(
                chr(chance.randrange(sys.maxunicode)) for _ in range(chance.randrange(40))
            )
        text = chance.choice(right)
        for _ in range(chance.randrange(6)):
            start = chance.randint(0, len(text))
            end = min(len(text), start + chance.randrange(4))
            piece = chance.choice([chance.choice(ODD), text[start:end] * 2, "", text[:40] * 9])
            text = text[:start] + piece + text[end:]
        return text

    return make


def any_value(chance: Random, depth: int = 0) -> Any:
    kind = chance.randrange(6)
    if kind == 0 and depth < 5:
        return [any_value(chance, depth + 1) for _ in range(chance.randrange(4))]
    if kind == 1 and depth < 5:
        names = chance.sample(ODD, chance.randrange(4))
        return {name: any_value(chance, depth + 1) for name in names}
    return chance.choice(ODD if kind == 2 else VALUES)


def nearly_like(right: dict[str, Any]) -> Maker:
    """That object with up to three of its values, at any depth, changed or gone."""

    def make(chance: Random) -> dict[str, Any]:
        made = copy.deepcopy(right)
        for _ in range(chance.randrange(4)):
            place, name = made, chance.choice([*made, "more"])
            while isinstance(place.get(name), dict) and place[name] and chance.random() < 0.5:
                place = place[name]
                name = chance.choice([*place, "more"])
            old = place.pop(name, "")
            if chance.random() < 0.8:
                is_text = isinstance(old, str) and old
                place[name] = nearly(old)(chance) if is_text else any_value(chance)
        return made

    return make


def with_odd_bytes(right: dict[str, Any], name: str) -> Maker:
    """A passkey's answer, with bytes changed in one of its parts: CBOR, or what an authenticator
    says."""

    def make(chance: Random) -> dict[str, Any]:
        made = copy.deepcopy(right)
        content = bytearray(decode(made["response"][name]))
        for _ in range(chance.randint(1, 4)):
            start = chance.randint(0, len(content))
            end = start + chance.randrange(3)
            content[start:end] = chance.randbytes(chance.randrange(4))
        made["response"][name] = encode(bytes(content))
        return made

    return make


def either(*makers: Maker) -> Maker:
    return lambda chance: chance.choice(makers)(chance)


VONAGE = Vonage(signature_secret=SIGNATURE_SECRET)
TEXT = VONAGE.inbound(GRACE, CODE)
MESSAGE = VONAGE.inbound_message(GRACE, CODE)
RECEIPT = VONAGE.receipt("0A0000001", "delivered", "0")
PASSKEY = Passkey()
CREATED = PASSKEY.create({"user": {"id": encode(b"x" * 16)}, "challenge": encode(b"c" * 32)})
USED = PASSKEY.get({"challenge": encode(b"c" * 32)})
PUBLIC_KEY = b"\xa5\x01\x02\x03\x26\x20\x01\x21\x58\x20" + b"\1" * 32 + b"\x22\x58\x20" + b"\2" * 32


def add(credential: Any) -> None:
    with refusing_odd_input():
        read_attachment(credential)
        check_new_passkey(credential, b"c" * 32)


def use(credential: Any) -> None:
    with refusing_odd_input():
        read_attachment(credential)
        check_passkey(credential, b"c" * 32, PUBLIC_KEY)


def parse_addresses(text: str) -> str:
    return parse_redirects(text, True) + parse_after_sign_out(text, False)


def parse_basic(text: str) -> tuple[str, str] | None:
    return read_basic({"HTTP_AUTHORIZATION": text})


class Parser(NamedTuple):
    parse: Callable[[Any], object]
    odd: Maker
    error: type[Exception] | None  # None: it has none


PHONES = nearly("+1 202 555 0101", "0044 7700 900001", "tel:+12025550101;ext=5", "٠٠٤٤٧٧٠٠", GRACE)
ADDRESSES = nearly(BACK, "http://localhost:8080/a", "com.example.app:/back", "http://nas.local/x")
COOKIES = nearly("session=" + "a" * 64, '__Host-session="x"; a=b; session=', "visitor=1; session=2")
PAGES = nearly(
    "/devices?next=/a", "https://wiki.example.org/a?b=c#d", "/i/ABCDEF", "//evil.example"
)
BASIC = nearly("Basic " + b64encode(b"grace:abcd-efgh").decode(), "basic Og==", "Bearer abc")
LANGUAGES = nearly("de-AT,de;q=0.9,en;q=0.8", "pt-BR", "*;q=0", "zh-Hant-TW, ar;q=1.000")

REQUEST_ID = nearly("c11236f4-00bf-4b89-84ba-88b25df97315", "a" * 64)

PARSERS = {
    "a text by the SMS API": Parser(parse_inbound, nearly_like(TEXT), None),
    "a text by the Messages API": Parser(parse_inbound, nearly_like(MESSAGE), None),
    "a receipt": Parser(parse_delivery, nearly_like(RECEIPT), None),
    "a signature": Parser(is_signed, nearly_like(TEXT), None),
    "a sender": Parser(parse_sender, either(PHONES, any_value), None),
    "a typed phone": Parser(parse_phone, PHONES, Mistake),
    "a phone to invite": Parser(parse_known_phone, PHONES, Mistake),
    "a PIN": Parser(parse_pin, nearly("123456", "１２３ ４５６", "12-34-56"), Mistake),
    "a username": Parser(parse_username, nearly("grace", "Grace_1", "x-y"), Mistake),
    "a chosen name": Parser(parse_chosen_username, nearly("Grace H.", "José", "ß ﬁ"), Mistake),
    "a code": Parser(read_code, nearly("ABCD-EFGH", "abcdefgh"), None),
    "a day": Parser(parse_coming_day, nearly("2030-01-31", "2030-02-30", "٢٠٣٠-٠١-٣١"), Mistake),
    "a note": Parser(parse_who, nearly("Grace from chess", "+1 202 555 0101"), Mistake),
    "a name for a password": Parser(parse_password_name, nearly("git on my phone"), Mistake),
    "a place to go on to": Parser(parse_next, PAGES, None),
    "languages": Parser(match_languages, LANGUAGES, None),
    "a password in a header": Parser(parse_basic, BASIC, None),
    "an app in a query": Parser(
        lambda text: read_program({"QUERY_STRING": text}), nearly("program=wiki&redirect=1"), None
    ),
    "return addresses": Parser(parse_addresses, ADDRESSES, Mistake),
    "an address for sign-outs": Parser(lambda text: parse_logout(text, True), ADDRESSES, Mistake),
    "a request_id": Parser(parse_request_id, either(REQUEST_ID, any_value), ValueError),
    "JSON": Parser(
        lambda text: parse_json(text.encode("utf-8", "surrogatepass")),
        nearly(json.dumps(CREATED), "[[[[" * 200, '{"a": 1e999}'),
        ValueError,
    ),
    "a new passkey, as JSON": Parser(add, nearly_like(CREATED), Refused),
    "a new passkey, as CBOR": Parser(add, with_odd_bytes(CREATED, "attestationObject"), Refused),
    "a passkey's answer, as JSON": Parser(use, nearly_like(USED), Refused),
    "a passkey's answer, as bytes": Parser(use, with_odd_bytes(USED, "authenticatorData"), Refused),
}


def send(make: Maker, look: Callable[[Any], None]) -> None:
    """The same ones each time."""
    chance = Random(COUNT)
    for number in range(COUNT):
        odd = make(chance)
        try:
            look(odd)
        except Exception as error:
            raise AssertionError(f"input {number}, {odd!r}: {error!r}") from error


@pytest.mark.parametrize("name", PARSERS)
def test_a_value_or_its_one_error(app: Flask, name: str) -> None:
    parser = PARSERS[name]

    def look(odd: Any) -> None:
        with suppress(*([parser.error] if parser.error else [])):
            parser.parse(odd)

    with app.test_request_context(base_url=app.config["BASE_URL"]):
        send(parser.odd, look)


# Whole requests, with what stands in their headers, forms and bodies ------------------------------

AUTHORIZE = {
    "response_type": "code",
    "client_id": "photos",
    "redirect_uri": BACK,
    "scope": "openid profile",
    "state": "a state",
    "nonce": "n",
    "code_challenge": "c" * 43,
    "code_challenge_method": "S256",
    "prompt": "login",
    "max_age": "60",
    "login_hint": "grace",
    "id_token_hint": "e30.e30.e30",
    "ui_locales": "de fr",
    "claims": "{}",
}
TOKEN = {"grant_type": "authorization_code", "code": "c", "redirect_uri": BACK}
SIGN_UP = {"phone": f"+{GRACE}", "pin": "123456", "username": "grace", "next": "/devices"}


def header(text: str) -> str:
    """As it comes through WSGI: latin-1, on one line."""
    return text.encode("utf-8", "replace").decode("latin-1").replace("\n", "").replace("\r", "")


Ask = Callable[[FlaskClient, Any, Program], Response]


class Sent(NamedTuple):
    odd: Maker
    ask: Ask


def ask_with(name: str, path: str) -> Ask:
    return lambda client, odd, _: client.get(path, environ_overrides={name: header(odd)})


def ask_for_host(client: FlaskClient, odd: str, _: Program) -> Response:
    """The test client itself reads the host of an answer, and not any odd one."""
    environ = create_environ("/login") | {"HTTP_HOST": header(odd)}
    return Response(*run_wsgi_app(client.application, environ))


def post(path: str) -> Ask:
    return lambda client, odd, _: client.post(path, data=to_form(odd))


def post_json(path: str) -> Ask:
    return lambda client, odd, _: client.post(path, json=odd)


def ask_as_app(path: str) -> Ask:
    """As one that is known, unless that is what is odd."""

    def ask(client: FlaskClient, odd: dict[str, Any], photos: Program) -> Response:
        known = {"client_id": photos.id} if odd.get("client_id") == "photos" else {}
        return client.get(path, query_string=to_form(odd | known))

    return ask


REQUESTS = {
    "cookies of a page": Sent(COOKIES, ask_with("HTTP_COOKIE", "/signup")),
    "cookies of a proxy's question": Sent(COOKIES, ask_with("HTTP_COOKIE", "/auth?redirect=1")),
    "a password": Sent(BASIC, ask_with("HTTP_AUTHORIZATION", "/auth?program=wiki")),
    "a token": Sent(BASIC, ask_with("HTTP_AUTHORIZATION", "/openid/userinfo")),
    "languages": Sent(LANGUAGES, ask_with("HTTP_ACCEPT_LANGUAGE", "/signup")),
    "a host": Sent(nearly("localhost:8000", "[::1]:8000", "a@b"), ask_for_host),
    "a query": Sent(
        nearly("program=wiki&redirect=1", "next=/devices"), ask_with("QUERY_STRING", "/auth")
    ),
    "a sign-up": Sent(nearly_like(SIGN_UP), post("/login")),
    "a text": Sent(nearly_like(TEXT), post("/answer")),
    "a text as JSON": Sent(nearly_like(MESSAGE), post_json("/answer")),
    "a receipt": Sent(nearly_like(RECEIPT), post("/delivery")),
    "an app that asks": Sent(nearly_like(AUTHORIZE), ask_as_app("/openid/authorize")),
    "an app that signs out": Sent(nearly_like(AUTHORIZE), ask_as_app("/openid/logout")),
    "an app with a code": Sent(
        nearly_like(TOKEN),
        lambda client, odd, photos: client.post(
            "/openid/token", data=to_form(odd), auth=(photos.id, photos.secret)
        ),
    ),
    "a passkey": Sent(
        nearly_like({"credential": USED, "next": "/"}), post_json("/passkeys/sign-in")
    ),
}


def to_form(odd: dict[str, Any]) -> dict[str, str]:
    """Forms have texts only, in UTF-8."""
    return {name: str(one).encode("utf-8", "replace").decode() for name, one in odd.items()}


@pytest.mark.parametrize("name", REQUESTS)
def test_an_answer_and_no_fault_of_ours(group: Group, ada: Browser, name: str) -> None:
    for app in ("wiki", "photos"):
        register(ada, app)
    sent, photos = REQUESTS[name], Program(group, ada)
    client = group.app.test_client(use_cookies=False)
    client.environ_base["HTTP_SEC_FETCH_SITE"] = "same-origin"

    def look(odd: Any) -> None:
        answer = sent.ask(client, odd, photos)
        assert answer.status_code < 500
        assert "Remote-User" not in answer.headers
        answer.close()

    before = group.rows("SELECT count(*) FROM sessions")
    send(sent.odd, look)
    assert group.rows("SELECT count(*) FROM sessions") == before
