"""How a member makes an app password, and an app uses it."""

import re
from base64 import b64encode

from werkzeug.test import TestResponse

from .cast import Browser, Group

NATIVE = {"User-Agent": "git/2.39", "Accept": "*/*"}


def make(browser: Browser, program: str = "wiki", name: str = "git") -> str:
    answer = browser.post("/app-passwords", program=program, name=name)
    assert answer.status_code == 200, answer.text
    found = re.search(r'id="password">([^<]+)<', answer.text)
    assert found
    return found[1]


def basic(username: str, password: str) -> dict[str, str]:
    pair = b64encode(f"{username}:{password}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


def ask(group: Group, query: str, username: str, password: str) -> TestResponse:
    """As the proxy in front of a program asks for a client without a browser."""
    client = group.app.test_client(use_cookies=False)
    return client.get(f"/auth?{query}", headers=NATIVE | basic(username, password))
