"""How a browser adds a passkey and uses it."""

from typing import Any

from werkzeug.test import TestResponse

from .authenticator import Passkey
from .cast import Browser


def ask(browser: Browser, purpose: str) -> TestResponse:
    return browser.client.post("/passkeys/options", json={"for": purpose})


def options(browser: Browser, purpose: str) -> dict[str, Any]:
    answer = ask(browser, purpose)
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.get_json()
    return made


def send(browser: Browser, purpose: str, credential: Any, **more: str) -> TestResponse:
    return browser.client.post(f"/passkeys/{purpose}", json={"credential": credential} | more)


def add(browser: Browser, passkey: Passkey) -> TestResponse:
    return send(browser, "add", passkey.create(options(browser, "add")))


def use(browser: Browser, passkey: Passkey, purpose: str = "sign-in", **more: str) -> TestResponse:
    return send(browser, purpose, passkey.get(options(browser, purpose)), **more)
