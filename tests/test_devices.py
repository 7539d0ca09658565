"""A member sees where they are signed in, and ends what they do not know."""

import re
import sqlite3

import pytest
import time_machine

from foundation.storage.digests import digest_session
from foundation.web.sessions import name_device
from foundation.words.clock import DAY

from .cast import GRACE, MALLORY, Browser, Group

FIREFOX = "Mozilla/5.0 (Android 14; Mobile; rv:133.0) Gecko/133.0 Firefox/133.0"
SAFARI = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15"
    " (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1"
)


def sign_in(group: Group, phone: str, name: str, user_agent: str) -> Browser:
    """On one more device."""
    known = group.rows("SELECT 1 FROM authors WHERE username = ?", name)
    group.invite(phone, name if known else None)
    group.text(phone)
    browser = group.browser()
    browser.client.environ_base["HTTP_USER_AGENT"] = user_agent
    assert browser.sign_up(phone, name, group.vonage.pin_of(phone)).status_code == 303
    return browser


@pytest.fixture
def phone(group: Group) -> Browser:
    return sign_in(group, GRACE, "grace", FIREFOX)


@pytest.fixture
def tablet(group: Group, phone: Browser) -> Browser:
    return sign_in(group, GRACE, "grace", SAFARI)


def entries(browser: Browser) -> list[str]:
    """The devices as the page tells them, without the markup."""
    items = browser.get("/account").text.split('<ul class="list">')[1].split("</ul>")[0]
    plain = (
        re.sub(r"<form.*?</form>|<[^>]+>", " ", item, flags=re.S) for item in items.split("<li>")
    )
    return [" ".join(item.split()) for item in plain][1:]


def id_of(browser: Browser, other: Browser) -> str:
    """Under which id `browser` sees another device of its owner."""
    found = re.findall(r"/devices/(\w+)/end", browser.get("/account").text)
    (id,) = (str(id) for id in found if digest_session(other.cookie()).startswith(id))
    return id


def test_members_see_their_devices_in_words(group: Group) -> None:
    with time_machine.travel("2026-11-23 12:00", tick=False) as clock:
        sign_in(group, GRACE, "grace", SAFARI)
        clock.shift(3 * DAY)
        phone = sign_in(group, GRACE, "grace", FIREFOX)
        sign_in(group, MALLORY, "mallory", "curl/8.5")

        assert entries(phone) == [
            "Firefox on Android this device Last used today · signed in on 26 November 2026 by PIN",
            "Safari on iPhone Last used 3 days ago · signed in on 23 November 2026 by PIN",
        ]


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        (FIREFOX, "Firefox on Android"),
        (SAFARI, "Safari on iPhone"),
        (SAFARI.replace("Version/18.1", "CriOS/131.0"), "Chrome on iPhone"),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
            " Chrome/131.0.0.0 Safari/537.36 Edg/131.0.0.0",
            "Edge on Windows",
        ),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15"
            " (KHTML, like Gecko) Version/18.1 Safari/605.1.15",
            "Safari on macOS",
        ),
        ("curl/8.5", "curl"),
        ("(X11; Linux x86_64)", "Linux"),
        ("", ""),
        ("\x00<script>", ""),
        ("é" * 10_000, ""),
        ("12025550101bot/1.0", ""),
        ("Mozilla/5.0 (Windows NT 10.0) 12025550101bot/1.0", "Windows"),
    ],
)
def test_a_device_is_called_as_its_owner_would_call_it(user_agent: str, name: str) -> None:
    assert name_device(user_agent) == name


@pytest.mark.parametrize("user_agent", ["a;" * 30_000, "Mozilla/5.0 (" * 5000, "x/" + "9" * 60_000])
def test_a_long_user_agent_is_cut_and_not_kept(group: Group, user_agent: str) -> None:
    grace = sign_in(group, GRACE, "grace", user_agent)

    assert len(group.one("SELECT device FROM sessions")) <= 80
    assert "this device" in entries(grace)[0]


def test_a_device_that_says_nothing_is_listed_all_the_same(group: Group) -> None:
    assert entries(sign_in(group, GRACE, "grace", ""))[0].startswith("Unknown device")


def test_one_device_is_ended_at_once(group: Group, phone: Browser, tablet: Browser) -> None:
    ended = phone.post(f"/devices/{id_of(phone, tablet)}/end")

    assert (ended.status_code, ended.location) == (303, "/account")
    assert (phone.username(), tablet.username()) == ("grace", None)
    assert group.one("SELECT event FROM journal ORDER BY id DESC") == "device_ended"


def test_ending_this_device_is_signing_out(group: Group, phone: Browser, tablet: Browser) -> None:
    answer = phone.post(f"/devices/{id_of(tablet, phone)}/end")

    assert (answer.status_code, answer.location) == (303, "/")
    assert phone.client.get_cookie("session") is None
    assert (phone.username(), tablet.username()) == (None, "grace")
    assert group.one("SELECT event FROM journal ORDER BY id DESC") == "signed_out"


def test_all_other_devices_are_ended(group: Group, phone: Browser, tablet: Browser) -> None:
    other = sign_in(group, MALLORY, "mallory", FIREFOX)

    assert phone.post("/devices/end-others").location == "/account"

    assert [b.username() for b in (phone, tablet, other)] == ["grace", None, "mallory"]
    assert group.one("SELECT event FROM journal ORDER BY id DESC") == "other_devices_ended"
    assert "Sign out all others" not in phone.get("/account").text
    before = group.one("SELECT count(*) FROM journal")
    assert phone.post("/devices/end-others").location == "/account"
    assert group.one("SELECT count(*) FROM journal") == before


def test_nobody_ends_somebody_elses_device(group: Group, phone: Browser, tablet: Browser) -> None:
    mallory = sign_in(group, MALLORY, "mallory", FIREFOX)

    assert mallory.post(f"/devices/{id_of(phone, tablet)}/end").status_code == 404

    assert tablet.username() == "grace"


@pytest.mark.parametrize(
    "id", ["0" * 16, "%" * 16, "x", "a" * 65, "..", "'" + "-" * 16, "\x00" * 16]
)
def test_a_device_that_is_not_there_cannot_be_ended(phone: Browser, id: str) -> None:
    assert phone.post(f"/devices/{id}/end").status_code == 404
    assert phone.username() == "grace"


def test_strangers_have_no_devices(group: Group) -> None:
    stranger = group.browser()
    assert stranger.get("/account").location == "/signup?next=/account"
    assert stranger.post("/devices/end-others").location == "/signup"
    assert stranger.get("/devices").location == "/account"  # where old links lead


def test_a_locked_database_ends_nothing_and_says_so(
    group: Group, phone: Browser, tablet: Browser
) -> None:
    locker = sqlite3.connect(group.app.config["DATABASE"], isolation_level=None)
    group.lose_patience()
    locker.execute("BEGIN IMMEDIATE")

    for path in ("/devices/end-others", f"/devices/{id_of(phone, tablet)}/end"):
        assert phone.post(path).status_code == 503

    locker.execute("ROLLBACK")
    locker.close()
    assert (phone.username(), tablet.username()) == ("grace", "grace")
