"""A member sees where they are signed in, and ends what they do not know."""

import re
import sqlite3

import pytest
import time_machine

from app import require_member
from foundation.storage.digests import digest_session
from foundation.web.sessions import name_device
from foundation.words.clock import DAY, MINUTE

from .conftest import GRACE, MALLORY, Browser, Group

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
    items = browser.get("/devices").text.split('<ul class="list">')[1].split("</ul>")[0]
    plain = (
        re.sub(r"<form.*?</form>|<[^>]+>", " ", item, flags=re.S) for item in items.split("<li>")
    )
    return [" ".join(item.split()) for item in plain][1:]


def id_of(browser: Browser, other: Browser) -> str:
    """Under which id `browser` sees another device of its owner."""
    found = re.findall(r"/devices/(\w+)/end", browser.get("/devices").text)
    (id,) = (str(id) for id in found if digest_session(other.cookie()).startswith(id))
    return id


def until(date: str) -> str:
    return f"signed in until {date}, or longer if you use it"


def test_a_visit_counts_before_it_is_shown(group: Group) -> None:
    with time_machine.travel("2026-11-23 12:00", tick=False) as clock:
        grace = group.join(GRACE, "grace")
        clock.shift(3 * DAY)

        answer = grace.get("/devices")

        assert "signed in until 26 December 2026" in answer.text
        assert "Expires=Fri, 26 Nov 2027" in answer.headers["Set-Cookie"]
        assert "Set-Cookie" not in grace.get("/devices").headers


def test_members_see_their_devices_in_words(group: Group) -> None:
    with time_machine.travel("2026-11-23 12:00", tick=False) as clock:
        sign_in(group, GRACE, "grace", SAFARI)
        clock.shift(3 * DAY)
        phone = sign_in(group, GRACE, "grace", FIREFOX)
        sign_in(group, MALLORY, "mallory", "curl/8.5")

        assert entries(phone) == [
            f"Firefox on Android this device Last seen today, {until('26 December 2026')} Sign out",
            f"Safari on iOS Last seen 3 days ago, {until('23 December 2026')}",
        ]


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        (FIREFOX, "Firefox on Android"),
        (SAFARI, "Safari on iOS"),
        (SAFARI.replace("Version/18.1", "CriOS/131.0"), "Chrome on iOS"),
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

    assert (ended.status_code, ended.location) == (303, "/devices")
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

    assert phone.post("/devices/end-others").location == "/devices"

    assert [b.username() for b in (phone, tablet, other)] == ["grace", None, "mallory"]
    assert group.one("SELECT event FROM journal ORDER BY id DESC") == "other_devices_ended"
    assert "Sign out all others" not in phone.get("/devices").text
    before = group.one("SELECT count(*) FROM journal")
    assert phone.post("/devices/end-others").location == "/devices"
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


def test_a_session_is_renewed_by_the_button(group: Group) -> None:
    with time_machine.travel("2026-11-23 12:00", tick=False) as clock:
        grace = group.join(GRACE, "grace")
        clock.shift(DAY - MINUTE)
        assert "until 23 December 2026" in entries(grace)[0]

        answer = grace.post("/devices/renew")

        assert answer.location == "/devices"
        assert "Expires=Wed, 24 Nov 2027" in answer.headers["Set-Cookie"]
        assert "until 24 December 2026" in entries(grace)[0]


def test_a_session_is_not_renewed_beyond_its_longest_life(group: Group) -> None:
    with time_machine.travel("2026-01-01", tick=False) as clock:
        grace = group.join(GRACE, "grace")
        for _ in range(18):
            clock.shift(20 * DAY)
            grace.get("/")

        assert "until 1 January 2027; then an admin has to invite you again" in entries(grace)[0]
        assert "Renew now" not in grace.get("/devices").text
        grace.post("/devices/renew")
        assert "until 1 January 2027" in entries(grace)[0]


def test_a_renewal_does_not_bring_an_ended_session_back(
    group: Group, phone: Browser, tablet: Browser
) -> None:
    """The device is ended between the question who is asking and the renewal."""
    id = id_of(tablet, phone)

    def end_first() -> object:
        require_member()
        tablet.post(f"/devices/{id}/end")
        return renew()

    renew = group.app.view_functions["devices.renew_device"]
    group.app.view_functions["devices.renew_device"] = end_first  # type: ignore[assignment]

    answer = phone.post("/devices/renew")

    assert "Set-Cookie" not in answer.headers
    assert phone.username() is None
    assert group.one("SELECT count(*) FROM sessions") == 1


@pytest.mark.parametrize("path", ["/devices", "/devices/renew", "/devices/end-others"])
def test_strangers_have_no_devices(group: Group, path: str) -> None:
    stranger = group.browser()
    answer = stranger.get(path) if path == "/devices" else stranger.post(path)

    assert answer.status_code == 303
    assert answer.location == ("/signup?next=/devices" if path == "/devices" else "/signup")


def test_a_locked_database_ends_nothing_and_says_so(
    group: Group, phone: Browser, tablet: Browser
) -> None:
    locker = sqlite3.connect(group.app.config["DATABASE"], isolation_level=None)
    group.lose_patience()
    locker.execute("BEGIN IMMEDIATE")

    for path in ("/devices/renew", "/devices/end-others", f"/devices/{id_of(phone, tablet)}/end"):
        assert phone.post(path).status_code == 503

    locker.execute("ROLLBACK")
    locker.close()
    assert (phone.username(), tablet.username()) == ("grace", "grace")
