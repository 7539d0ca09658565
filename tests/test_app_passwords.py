"""App passwords: made once, seen once, good for one program, and ended like a device."""

import hashlib
import re
import sqlite3
from pathlib import Path

import pytest
import time_machine

from features.app_passwords import digest_password, make_password
from foundation.words.clock import DAY

from .app_passwords import NATIVE, ask, basic, make
from .authenticator import Passkey
from .cast import ADA, GRACE, MALLORY, Browser, Group, Lock, once_of, shown
from .passkeys import add, use
from .registering import choose, register

THUNDERBIRD = {"User-Agent": "Mozilla/5.0 (X11) Gecko/20100101 Thunderbird/140.4.0"}


@pytest.fixture
def grace(group: Group, ada: Browser) -> Browser:
    """In a group with a wiki for everybody, and a calendar for the chosen."""
    register(ada, "wiki")
    register(ada, "calendar", who="chosen")
    return group.join(GRACE, "grace")


def test_it_opens_its_program_and_no_other(group: Group, ada: Browser, grace: Browser) -> None:
    choose(ada, "calendar", "grace")
    password = make(grace)

    let_in = ask(group, "program=wiki", "Grace", password)
    assert (let_in.status_code, let_in.headers["Remote-User"]) == (200, "grace")
    for query in ("program=calendar", "", "program=none", "program=wiki&program=wiki"):
        assert ask(group, query, "grace", password).status_code == 401, query
    assert ask(group, "program=wiki", "ada", password).status_code == 401


def test_it_is_seen_once_and_nowhere_kept(group: Group, grace: Browser) -> None:
    password = make(grace, name="On my <phone>")

    page = grace.get("/account").text
    assert "On my &lt;phone&gt;" in page
    assert password not in page
    everything = str(group.rows("SELECT * FROM app_passwords"))
    assert password not in everything
    assert password.replace("-", "") not in everything
    assert group.rows("SELECT actor, subject FROM journal WHERE event = 'app_password_made'") == [
        ("grace", "wiki")
    ]


def test_it_is_128_bits_however_it_is_typed() -> None:
    passwords = {make_password() for _ in range(500)}
    assert len(passwords) == 500
    for password in passwords:
        assert re.fullmatch(r"(?:[a-z2-7]{4}-){6}[a-z2-7]{2}", password)
        for typed in (password.upper(), password.replace("-", " "), f" {password} "):
            assert digest_password(typed) == digest_password(password)


def test_home_tells_of_it_and_it_is_ended(group: Group, grace: Browser) -> None:
    password = make(grace, name="Old laptop")
    other = group.join(MALLORY, "mallory")
    assert "Old laptop" in group.join(GRACE, "grace", bound=True).get("/").text
    assert "Old laptop" not in other.get("/").text
    row = group.one("SELECT id FROM app_passwords")

    assert other.post(f"/app-passwords/{row}/end").status_code == 404
    assert ask(group, "program=wiki", "grace", password).status_code == 200
    ended = grace.post(f"/app-passwords/{row}/end")
    assert (ended.status_code, ended.location) == (303, "/account")
    assert group.rows("SELECT actor, subject FROM journal WHERE event = 'app_password_ended'") == [
        ("grace", "wiki")
    ]
    assert shown("done-app-password-ended") in grace.get("/account").text
    assert ask(group, "program=wiki", "grace", password).status_code == 401


ENDS = {
    "removed": "remove grace",
    "signed out everywhere": "sign-out grace",
    "everybody signed out": "sign-out --all",
    "the program removed": "program remove wiki",
}


@pytest.mark.parametrize("what", ENDS)
def test_it_ends_with_its_owner_and_its_program(group: Group, grace: Browser, what: str) -> None:
    password = make(grace)
    assert group.command(*ENDS[what].split()).exit_code == 0

    assert ask(group, "program=wiki", "grace", password).status_code == 401
    assert group.rows("SELECT 1 FROM app_passwords") == []


def test_ending_all_other_devices_ends_it(group: Group, grace: Browser) -> None:
    password = make(grace)
    assert grace.post("/devices/end-others").status_code == 303
    assert ask(group, "program=wiki", "grace", password).status_code == 401


def test_it_ends_with_a_guests_stay_and_does_not_come_back(group: Group) -> None:
    with time_machine.travel("2026-11-25", tick=False) as clock:
        ada = group.join(ADA, "ada", bound=True)
        register(ada, "wiki")
        grace = group.join(GRACE, "grace")
        password = make(grace)
        row = group.one("SELECT id FROM authors WHERE username = 'grace'")
        ada.post(f"/members/{row}/last-day", ends_on="2026-11-25")
        assert ask(group, "program=wiki", "grace", password).status_code == 200
        clock.shift(DAY)
        assert ask(group, "program=wiki", "grace", password).status_code == 401
        ada.post(f"/members/{row}/last-day", ends_on="")
        assert ask(group, "program=wiki", "grace", password).status_code == 401


def test_somebody_who_may_no_longer_use_the_program_is_out(
    group: Group, ada: Browser, grace: Browser
) -> None:
    choose(ada, "calendar", "grace")
    password = make(grace, "calendar")
    assert ask(group, "program=calendar", "grace", password).status_code == 200
    row = group.one("SELECT id FROM authors WHERE username = 'grace'")
    ada.post(f"/admin/programs/calendar/members/{row}/drop")
    assert ask(group, "program=calendar", "grace", password).status_code == 401
    choose(ada, "calendar", "grace")
    assert ask(group, "program=calendar", "grace", password).status_code == 401


def test_it_ends_with_the_device_that_made_it(group: Group, grace: Browser) -> None:
    laptop = group.join(GRACE, "grace", bound=True)
    stolen, own = make(grace, name="x"), make(laptop, name="y")
    digest = hashlib.sha256(grace.cookie().encode()).hexdigest()
    assert laptop.post(f"/devices/{digest[:16]}/end").status_code == 303
    assert ask(group, "program=wiki", "grace", stolen).status_code == 401
    assert ask(group, "program=wiki", "grace", own).status_code == 200


WRONG = ["", "x", "a" * 5000, "aaaa-aaaa-aaaa-aaaa-aaaa-aaaa-aa", "%00", "é", "' OR 1=1 --"]


@pytest.mark.parametrize("password", WRONG)
def test_a_wrong_one_is_401_and_costs_no_write(group: Group, grace: Browser, password: str) -> None:
    make(grace)
    group.lose_patience()
    lock = Lock(group.app.config["DATABASE"])
    answer = ask(group, "program=wiki", "grace", password)
    lock.release()
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")
    assert "Remote-User" not in answer.headers


def test_a_wrong_one_is_a_line_in_the_log_once_a_minute(
    group: Group, grace: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    password = make(grace)
    with time_machine.travel(1_900_000_000, tick=False) as clock:
        for _ in range(3):
            ask(group, "program=wiki", "grace", "a-wrong-one")
            ask(group, "program=none-such", "grace", "a-wrong-one")
        ask(group, "program=calendar", "grace", password)
        assert told(caplog) == ["wiki", "calendar"]
        clock.shift(60)
        ask(group, "program=wiki", "grace", "a-wrong-one")
    assert told(caplog) == ["wiki", "calendar", "wiki"]
    assert "a-wrong-one" not in caplog.text


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    lines = [line for line in caplog.messages if "app password" in line]
    return [line.rsplit(" ", 1)[1] for line in lines]


ODD = ["", "Basic", "Basic ", "Basic !", "Basic Z3JhY2U=", "Basic " + "A" * 9000]
ODD += ["Bearer x", "Basic /w=="]


@pytest.mark.parametrize("header", ODD)
def test_an_odd_header_is_nobody(group: Group, grace: Browser, header: str) -> None:
    client = group.app.test_client(use_cookies=False)
    answer = client.get("/auth?program=wiki", headers=NATIVE | {"Authorization": header})
    assert answer.status_code == 401


def test_a_good_cookie_wins(group: Group, ada: Browser, grace: Browser) -> None:
    password = make(grace)
    both = ada.client.get("/auth?program=wiki", headers=basic("grace", password))
    assert both.headers["Remote-User"] == "ada"
    lost = group.app.test_client(use_cookies=False)
    stale = {"Cookie": "session=" + "0" * 64}
    answer = lost.get("/auth?program=wiki", headers=basic("grace", password) | stale)
    assert answer.headers["Remote-User"] == "grace"


@pytest.mark.parametrize(
    ("headers", "status", "is_challenged"),
    [
        ({"Sec-Fetch-Mode": "navigate"}, 303, False),
        ({"Accept": "text/html,*/*"}, 303, False),
        ({"Sec-Fetch-Mode": "cors", "Accept": "*/*"}, 401, False),
        ({"Sec-Fetch-Mode": "no-cors"}, 401, False),
        ({"Sec-Fetch-Mode": "websocket"}, 401, False),
        ({"Sec-Fetch-Mode": "no-cors", "X-Forwarded-Method": "GET"}, 401, False),
        ({"Sec-Fetch-Mode": "cors", "X-Forwarded-Method": "PROPFIND"}, 401, False),  # a script
        ({"Sec-Fetch-Mode": "no-cors", "X-Forwarded-Method": "PROPFIND"}, 401, True),
        ({"Sec-Fetch-Mode": "no-cors", "X-Forwarded-Method": "REPORT", **THUNDERBIRD}, 401, True),
        ({"Sec-Fetch-Mode": "no-cors", **THUNDERBIRD}, 401, True),
        ({"Sec-Fetch-Mode": "navigate", **THUNDERBIRD}, 303, False),
        ({"Accept": "text/html", "X-Forwarded-Method": "PROPFIND"}, 401, True),
        ({"Accept": "*/*"}, 401, True),
        ({"Accept": "text/calendar"}, 401, True),
        ({}, 401, True),
    ],
)
def test_who_is_asked_for_a_password(
    group: Group, headers: dict[str, str], status: int, is_challenged: bool
) -> None:
    """Clients are; browsers, which would show a box for it, never."""
    answer = group.app.test_client().get("/auth?redirect=1&program=wiki", headers=headers)
    assert answer.status_code == status
    assert ("WWW-Authenticate" in answer.headers) is is_challenged


@pytest.mark.parametrize(
    "dash", ["-", "\u2010", "\u2013", "\u2014", "\uff0d", " ", "\u200b-\u2060"]
)
def test_it_may_be_typed_as_phones_write_it(group: Group, grace: Browser, dash: str) -> None:
    """With other dashes, none, invisible signs, capitals, full-width letters."""
    password = make(grace)
    wide = "".join(chr(ord(c) + 0xFEE0) if c.isalnum() else c for c in password)
    for typed in (password, password.upper(), f"\u2068{password}\u2069", wide):
        answer = ask(group, "program=wiki", "grace", typed.replace("-", dash))
        assert answer.headers["Remote-User"] == "grace", typed


def test_its_last_use_is_noted_once_a_day(group: Group) -> None:
    with time_machine.travel("2026-11-25", tick=False) as clock:
        ada = group.join(ADA, "ada", bound=True)
        register(ada, "wiki")
        password, used = make(ada), "SELECT used_at FROM app_passwords"
        assert group.one(used) == 0
        ask(group, "program=wiki", "ada", password)
        first = group.one(used)
        clock.shift(DAY - 1)
        ask(group, "program=wiki", "ada", password)
        assert group.one(used) == first
        clock.shift(1)
        ask(group, "program=wiki", "ada", password)
        assert group.one(used) == first + DAY
        assert group.one("SELECT last_seen_at FROM authors") == first + DAY


def test_a_locked_database_keeps_nobody_out(group: Group) -> None:
    with time_machine.travel("2026-11-25", tick=True) as clock:
        ada = group.join(ADA, "ada", bound=True)
        register(ada, "wiki")
        password = make(ada)
        clock.shift(2 * DAY)
        group.lose_patience()
        lock = Lock(group.app.config["DATABASE"])
        assert ask(group, "program=wiki", "ada", password).status_code == 200
        lock.release()


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"program": "wiki", "name": ""}, "app-password-name"),
        ({"program": "wiki", "name": "x" * 41}, "app-password-name"),
        ({"program": "wiki", "name": "+1 202 555 0101"}, "line-number"),
        ({"program": "calendar", "name": "x"}, "program-not-yours"),
        ({"program": "none", "name": "x"}, "program-not-yours"),
        ({"name": "x"}, "program-not-yours"),
    ],
)
def test_what_cannot_be_made(
    group: Group, grace: Browser, fields: dict[str, str], sentence: str
) -> None:
    answer = grace.post("/app-passwords", **fields)
    assert answer.status_code == 422
    assert shown(sentence) in answer.text
    assert group.rows("SELECT 1 FROM app_passwords") == []


def test_there_are_never_more_than_fifty(group: Group, grace: Browser) -> None:
    for n in range(50):
        make(grace, name=f"No. {n}")
    answer = grace.post("/app-passwords", program="wiki", name="one more")
    assert (answer.status_code, shown("app-passwords-many") in answer.text) == (422, True)


def test_a_form_that_is_sent_again_makes_no_other(group: Group, grace: Browser) -> None:
    once = once_of(grace.get("/app-passwords").text)
    form = {"program": "wiki", "name": "git", "once": once}
    first, again = grace.post("/app-passwords", **form), grace.post("/app-passwords", **form)
    assert (first.status_code, again.status_code) == (200, 422)
    assert shown("made-already") in again.text
    assert 'id="password"' in first.text
    assert 'id="password"' not in again.text
    assert len(group.rows("SELECT 1 FROM app_passwords")) == 1
    once = once_of(again.text)  # the page is ready for another
    assert grace.post("/app-passwords", **form | {"once": once}).status_code == 200


def test_who_has_a_passkey_confirms_first(group: Group, grace: Browser) -> None:
    passkey = Passkey()
    add(grace, passkey)
    form = {"program": "wiki", "name": "git"}
    answer = grace.post("/app-passwords", **form)
    assert answer.location == "/passkeys/confirm?next=/app-passwords"
    assert group.rows("SELECT 1 FROM app_passwords") == []
    assert use(grace, passkey, "confirm", next="/app-passwords").get_json() == {
        "next": "/app-passwords"
    }
    assert grace.post("/app-passwords", **form).status_code == 200


def test_strangers_make_none(group: Group, grace: Browser) -> None:
    for answer in (group.browser().get("/app-passwords"), group.browser().post("/app-passwords")):
        assert answer.status_code == 303


def test_a_backup_has_none(group: Group, grace: Browser, tmp_path: Path) -> None:
    make(grace)
    file = str(tmp_path / "copy.db")
    assert group.command("backup", file).exit_code == 0
    with sqlite3.connect(file) as db:
        assert db.execute("SELECT count(*) FROM app_passwords").fetchone() == (0,)
        assert db.execute("SELECT count(*) FROM programs").fetchone() == (2,)
    db.close()
