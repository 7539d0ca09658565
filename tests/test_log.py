"""The server's log: who signed in and how, who was refused, and nothing that fills it."""

import logging

import pytest
import time_machine

from foundation.web.invite_lists import TRIES_PER_INVITE
from foundation.words.clock import MINUTE

from .app_passwords import basic, make
from .authenticator import Passkey
from .cast import ADA, GRACE, MALLORY, Browser, Group
from .openid_client import Program
from .passkeys import add, ask, send, use
from .registering import asked, choose, register


@pytest.fixture
def grace(group: Group) -> Browser:
    return group.join(GRACE, "grace")


@pytest.fixture
def log(group: Group, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    caplog.clear()
    return caplog


def lines(log: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Level and words of each."""
    return [(one.levelname, one.getMessage()) for one in log.records if one.name == "app"]


def test_each_way_of_signing_in_and_out_is_a_line(
    group: Group, grace: Browser, log: pytest.LogCaptureFixture
) -> None:
    passkey = Passkey()
    add(grace, passkey)
    group.join(GRACE, "grace", bound=True).post("/logout")
    browser = group.browser()
    browser.get("/signup")
    use(browser, passkey)
    browser.post("/devices/end-others")
    browser.post("/passkeys/1/remove")
    group.app.test_cli_runner().invoke(args=["sign-out", "--all"])

    assert [line for line in lines(log) if "grace" in line[1] and "invite" not in line[1]] == [
        ("INFO", "grace added a passkey"),
        ("INFO", "grace texted back"),
        ("INFO", "A PIN was sent to grace"),
        ("INFO", "grace signed in on a new device"),
        ("INFO", "grace signed out"),
        ("INFO", "grace signed in with a passkey"),
        ("INFO", "grace signed out all their other devices"),
        ("INFO", "grace removed a passkey"),
    ]


def test_so_is_signing_in_to_an_app_and_confirming(
    group: Group, ada: Browser, log: pytest.LogCaptureFixture
) -> None:
    register(ada, "photos")
    password = make(ada, "photos")
    group.rows("UPDATE app_passwords SET used_at = used_at - 86400")
    program, passkey = Program(group, ada), Passkey()
    add(ada, passkey)
    log.clear()
    program.tokens(ada)
    for _ in range(2):
        client = group.app.test_client(use_cookies=False)
        assert client.get("/auth?program=photos", headers=basic("ada", password)).status_code == 200
    use(ada, passkey, "confirm")
    assert lines(log) == [
        ("INFO", "ada signed in to photos"),
        ("INFO", "ada used an app password for photos"),
        ("INFO", "ada confirmed with a passkey"),
    ]


def test_guesses_are_a_line_a_minute(group: Group, log: pytest.LogCaptureFixture) -> None:
    """Also where no PIN runs, and no code is out."""
    with time_machine.travel("2030-11-25 12:00", tick=False) as clock:
        mallory = group.browser()
        mallory.get("/signup")
        for _ in range(20):
            mallory.sign_up(MALLORY, "mallory", "123456")
            mallory.post("/join", code="BCDF-GHJK")
        pin, code = (
            "Somebody entered a wrong PIN",
            "Somebody entered a wrong code for another device",
        )
        assert lines(log) == [("WARNING", pin), ("WARNING", code)]
        clock.shift(MINUTE)
        mallory.post("/join", code="BCDF-GHJK")
        assert lines(log)[2:] == [("WARNING", code)]


def test_wrong_pins_and_spent_tries_are_lines(group: Group, log: pytest.LogCaptureFixture) -> None:
    group.invite(GRACE, "grace")
    group.text(GRACE)
    browser = group.browser()
    browser.get("/signup")
    browser.sign_up(GRACE, "grace", "000001")
    group.rows("UPDATE whitelist SET tries = ?", TRIES_PER_INVITE)
    browser.sign_up(GRACE, "grace", "000002")
    assert [words for level, words in lines(log) if level == "WARNING"] == [
        "A wrong PIN was entered for grace",
        "Somebody entered a wrong PIN",
        "Somebody entered a PIN after the tries of its invite were spent",
    ]


def test_who_may_not_use_an_app_is_a_line_a_minute(
    group: Group, ada: Browser, grace: Browser, log: pytest.LogCaptureFixture
) -> None:
    """At its door, where each picture of a page asks, too."""
    register(ada, "wiki", who="chosen")
    register(ada, "photos", who="chosen")
    choose(ada, "photos", "grace")
    log.clear()
    for _ in range(3):
        assert asked(grace, "program=wiki")[0] == 403
        assert asked(grace, "program=photos")[0] == 200
        assert asked(grace, "program=" + "9" * 40)[0] == 403
        assert asked(grace, "", **{"X-Forwarded-Host": "wiki.example.org"})[0] == 403
    assert lines(log) == [
        ("WARNING", "grace was refused: wiki"),
        ("WARNING", "grace was refused: an app that isn't known"),
        ("WARNING", "A proxy asks for a guarded app and doesn't say which"),
    ]


def test_what_scripts_are_refused_is_a_line(group: Group, log: pytest.LogCaptureFixture) -> None:
    with time_machine.travel("2030-11-25 12:00", tick=False) as clock:
        grace = group.join(GRACE, "grace")
        add(grace, Passkey())
        clock.shift(10 * MINUTE)
        assert ask(grace, "add").status_code == 403
        assert send(grace, "confirm", {}).status_code == 422
    assert ("WARNING", "grace was refused: passkeys.options") in lines(log)
    assert ("WARNING", "Somebody's passkey was refused") in lines(log)
    assert [
        line for line in lines(log) if "KeyError" in line[1]
    ] == []  # for who looks closer (DEBUG)


def test_a_forgotten_name_is_not_written_again(
    group: Group, ada: Browser, grace: Browser, log: pytest.LogCaptureFixture
) -> None:
    ada.post("/members/2/remove")
    log.clear()
    ada.post("/members/2/forget")
    assert lines(log) == [("INFO", "ada had a name forgotten")]
    assert ADA not in str(lines(log))
