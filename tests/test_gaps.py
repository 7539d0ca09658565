"""Nothing outlives its session, by a race or a gap."""

import re
import socket
from collections.abc import Callable
from urllib.parse import urlencode, urlsplit

import pytest

from foundation.storage.digests import digest_session

from .app_passwords import make
from .authenticator import Passkey
from .cast import ADA, GRACE, MALLORY, Browser, Group, Served
from .new_devices import add, confirm, give, offer
from .passkeys import add as add_passkey
from .registering import register

Act = Callable[[Group, Browser], object]


def end_on_the_way(group: Group, browser: Browser) -> None:
    """The session ends after the request has looked it up, and before it writes."""
    digest = digest_session(browser.cookie())

    def end() -> None:
        group.rows("DELETE FROM sessions WHERE id_digest = ?", digest)

    group.app.before_request_funcs[None].append(end)


ACTS: dict[str, Act] = {
    "an invite": lambda group, ada: ada.post("/invite", phone=f"+{MALLORY}"),
    "an app password": lambda group, ada: ada.post("/app-passwords", program="wiki", name="x"),
    "an offer": lambda group, ada: ada.post("/devices/add"),
    "a passkey": lambda group, ada: add_passkey(ada, Passkey()),
    "an app": lambda group, ada: register(ada, "photos"),
    "a client secret": lambda group, ada: ada.post(
        "/admin/programs/wiki/openid", redirects="https://wiki.example.org/back"
    ),
    "a longer stay": lambda group, ada: ada.post("/members/2/last-day", ends_on="2099-01-01"),
    "a removal": lambda group, ada: ada.post("/members/2/remove"),
}
MADE = [
    "whitelist", "app_passwords", "offers", "passkeys", "programs", "openid_clients",
    "authors WHERE ends_at OR removed_at", "journal",
]  # fmt: skip


@pytest.mark.parametrize("act", ACTS)
def test_a_session_that_ends_meanwhile_makes_nothing(group: Group, ada: Browser, act: str) -> None:
    group.join(GRACE, "grace")
    register(ada, "wiki")
    before = [group.rows(f"SELECT count(*) FROM {table}") for table in MADE]
    texts = len(group.vonage.texts)
    end_on_the_way(group, ada)

    ACTS[act](group, ada)

    assert [group.rows(f"SELECT count(*) FROM {table}") for table in MADE] == before
    assert len(group.vonage.texts) == texts


def test_a_half_sent_form_acts_for_nobody_who_is_out(served: Served, local: Group) -> None:
    """Without a proxy that buffers. The thief has sent all but the last letter."""
    ada = local.join(ADA, "ada", bound=True)
    phone = local.browser()
    add(ada, phone)
    body = urlencode({"phone": f"+{MALLORY}", "send": "self"})
    host = urlsplit(served.url).netloc
    head = (
        f"POST /invite HTTP/1.1\r\nHost: {host}\r\nCookie: session={phone.cookie()}\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\nSec-Fetch-Site: same-origin\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", urlsplit(served.url).port or 0)) as half:
        half.sendall((head + body[:-1]).encode())
        assert ada.post("/devices/end-others").status_code == 303
        half.sendall(body[-1:].encode())
        answer = half.makefile("rb").read()

    assert answer.startswith(b"HTTP/1.1 303")
    assert b"/signup" in answer
    assert local.rows("SELECT 1 FROM whitelist") == []


def test_an_app_password_of_an_added_device_ends_with_the_first(group: Group, ada: Browser) -> None:
    """Also when the added one has signed out since."""
    register(ada, "wiki")
    laptop, phone, tablet = group.join(GRACE, "grace"), group.browser(), group.browser()
    add(laptop, phone)
    add(phone, tablet)
    make(tablet)
    tablet.post("/logout")
    assert group.one("SELECT count(*) FROM app_passwords") == 1

    for path in re.findall(r'action="(/devices/\w{16}/end)"', laptop.get("/account").text):
        laptop.post(path)

    assert group.rows("SELECT 1 FROM app_passwords") == []


def test_an_older_visitor_cookie_fetches_nobodys_session(group: Group, ada: Browser) -> None:
    """Mallory used the browser before, and kept its cookie."""
    shared, mallory = group.browser(), group.browser()
    shared.get("/join")
    old = shared.client.get_cookie("visitor")
    assert old is not None
    mallory.client.set_cookie("visitor", old.value)

    give(shared, offer(ada))
    confirm(ada, shared)
    assert shared.post("/join/finish").location == "/welcome"

    assert shared.username() == "ada"
    mallory.post("/join/finish")
    assert mallory.username() is None
    assert group.one("SELECT count(*) FROM sessions") == 2


def test_the_code_may_be_pressed_twice(group: Group, ada: Browser) -> None:
    """The second press comes with the cookie of before the first."""
    phone = group.browser()
    phone.get("/join")
    old = phone.client.get_cookie("visitor")
    assert old is not None
    code = offer(ada)
    for _ in range(2):
        phone.client.set_cookie("visitor", old.value)
        assert give(phone, code) == 303
    assert give(phone, code) == 303  # and again, with the new one
    confirm(ada, phone)
    phone.post("/join/finish")
    assert phone.username() == "ada"


def test_signing_out_says_what_stays(group: Group, ada: Browser) -> None:
    said = ("Your passkeys stay.", "Your app passwords go on working.")
    assert not any(words in ada.get("/logout").text for words in said)
    register(ada, "wiki")
    make(ada)
    add_passkey(ada, Passkey())
    assert all(words in ada.get("/logout").text for words in said)
