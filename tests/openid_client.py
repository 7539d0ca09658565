"""An app that signs its members in by OpenID Connect."""

import base64
import copy
import hashlib
import json
import re
import time
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import KeySet
from werkzeug.test import TestResponse

from features.openid.keys import make_key

from .cast import Browser, Group

BACK = "https://photos.example.org/callback"
VERIFIER = "a-verifier-of-at-least-43-characters-0123456789"
CHALLENGE = (
    base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
)
KEYS: dict[str, tuple[str, str]] = {}  # by SECRET_KEY: the halves of one


def lend_key(group: Group) -> None:
    """Making one takes a tenth of a second, and reading it another, in each of hundreds of
    tests."""
    if group.one("SELECT count(*) FROM openid_keys"):
        return
    secret = group.app.config["SECRET_KEY"]
    if secret not in KEYS:
        with group.app.app_context():
            made, private = make_key()
        KEYS[secret] = (json.dumps(made.as_dict(private=False)), private)
    sql = "INSERT INTO openid_keys (public, private, created_at) VALUES (?, ?, ?)"
    group.rows(sql, *KEYS[secret], int(time.time()))


class Program:
    """As a program asks, with its secret."""

    verifier = VERIFIER

    def __init__(self, group: Group, ada: Browser, name: str = "photos", **how: str) -> None:
        self.group, self.back = group, how.pop("back", BACK)
        lend_key(group)
        page = ada.post(f"/admin/programs/{name}/openid", redirects=self.back, **how)
        assert page.status_code == 200, page.text
        self.read(page)

    def read(self, page: TestResponse) -> None:
        shown_ones = dict(re.findall(r'id="(client-id|secret)">([^<]+)<', page.text))
        self.id, self.secret = shown_ones["client-id"], shown_ones["secret"]

    def take_new_secret(self, ada: Browser, name: str = "photos") -> "Program":
        """As a program of its own; this one goes on with the old secret."""
        newer = copy.copy(self)
        newer.read(ada.post(f"/admin/programs/{name}/openid/secret"))
        return newer

    def query(self, **changes: str | None) -> dict[str, str]:
        asked: dict[str, str | None] = {
            "response_type": "code",
            "client_id": self.id,
            "redirect_uri": self.back,
            "scope": "openid profile email groups offline_access",
            "state": "a state & more",
            "nonce": "a-nonce",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
        }
        return {name: value for name, value in (asked | changes).items() if value is not None}

    def send(self, browser: Browser, **changes: str | None) -> TestResponse:
        """Send a member's browser to the authorize endpoint."""
        return browser.get(f"/openid/authorize?{urlencode(self.query(**changes))}")

    def code(self, browser: Browser, **changes: str | None) -> str:
        issuer = self.group.app.config["BASE_URL"]
        return told(self.send(browser, **changes), issuer=issuer)["code"]

    def ask(self, path: str, auth: tuple[str, str] | None = None, **fields: str) -> TestResponse:
        client = self.group.app.test_client(use_cookies=False)
        return client.post(path, data=fields, auth=auth or (self.id, self.secret))

    def exchange(self, code: str, /, **changes: str) -> TestResponse:
        fields = {"grant_type": "authorization_code", "code": code, "redirect_uri": self.back}
        return self.ask("/openid/token", None, **fields | {"code_verifier": VERIFIER} | changes)

    def tokens(self, browser: Browser, **changes: str | None) -> dict[str, Any]:
        answer = self.exchange(self.code(browser, **changes))
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.get_json()
        return found

    def refresh(self, tokens: dict[str, Any]) -> TestResponse:
        fields = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
        return self.ask("/openid/token", None, **fields)

    def userinfo(self, tokens: dict[str, Any]) -> TestResponse:
        header = {"Authorization": f"Bearer {tokens['access_token']}"}
        client = self.group.app.test_client(use_cookies=False)
        return client.get("/openid/userinfo", headers=header)

    def read_id(self, tokens: dict[str, Any]) -> dict[str, Any]:
        """The claims of the ID token, once its signature is checked."""
        keys = read_keys(self.group)
        return dict(jwt.decode(tokens["id_token"], keys, algorithms=["RS256"]).claims)


def told(
    answer: TestResponse, back: str = BACK, issuer: str = "http://localhost:8000"
) -> dict[str, str]:
    """What the program is told, at the address that it gave, and by whom."""
    assert answer.status_code == 303, answer.text
    assert answer.location.split("?")[0] == back
    facts = {name: values[0] for name, values in parse_qs(urlsplit(answer.location).query).items()}
    assert facts.pop("iss") == issuer
    return facts


BARE: dict[str, str | None] = {"code_challenge": None, "code_challenge_method": None}


def read_keys(group: Group) -> KeySet:
    client = group.app.test_client(use_cookies=False)
    return KeySet.import_key_set(client.get("/openid/jwks").get_json())
