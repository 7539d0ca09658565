"""How a member adds another device."""

import re

from .cast import Browser


def offer(browser: Browser) -> str:
    """Press "Add a device"; the code that is shown."""
    assert browser.post("/devices/add").location == "/devices/add"
    page = browser.get("/devices/add").text
    return "".join(re.findall(r'class="code" dir="ltr">(\w{4})-(\w{4})<', page)[0])


def give(browser: Browser, code: str) -> int:
    browser.get("/join")
    return browser.post("/join", code=code).status_code


def number(browser: Browser) -> str:
    """The two digits on the new device."""
    page = browser.get("/join/wait").text
    return str(re.findall(r'class="code" dir="ltr">(\d\d)<', page)[0])


def confirm(first: Browser, second: Browser) -> None:
    assert first.post("/devices/add/confirm", number=number(second)).status_code == 303


def add(first: Browser, second: Browser) -> None:
    """The whole way."""
    assert give(second, offer(first)) == 303
    confirm(first, second)
    assert second.post("/join/finish").location == "/welcome"
