"""Passkeys: signing in by the device's own screen lock. The real browser's are in test_browser."""

import copy
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import time_machine
from werkzeug.test import TestResponse

from features.passkeys.ceremony import check_new_passkey, read_attachment
from foundation.running import running
from foundation.words.clock import DAY, MINUTE
from simulator.vonage import Vonage
from wsgi import create_app

from .authenticator import UP, Passkey, decode, encode
from .cast import ADA, GRACE, MALLORY, Browser, Group, sentence, shown
from .new_devices import add as add_device
from .passkeys import add, ask, options, send, use


@pytest.fixture
def grace(group: Group) -> Browser:
    return group.join(GRACE, "grace")


@pytest.fixture
def passkey(grace: Browser) -> Passkey:
    """Grace's, added."""
    made = Passkey()
    assert add(grace, made).status_code == 200
    return made


@pytest.fixture
def stranger(group: Group) -> Browser:
    """A browser that has looked at the sign-up page."""
    browser = group.browser()
    browser.get("/signup")
    return browser


def is_refused(answer: TestResponse, name: str = "passkey-refused") -> bool:
    return (answer.status_code, answer.get_json()) == (422, {"error": sentence(name)})


def kept(group: Group) -> list[object]:
    tables = ("passkeys", "used_challenges", "sessions", "journal")
    return [group.rows(f"SELECT * FROM {table}") for table in tables]


# The way -----------------------------------------------------------------------------------------


def test_a_passkey_signs_in_without_a_text_and_without_a_name(
    group: Group, grace: Browser, passkey: Passkey, stranger: Browser
) -> None:
    asked = len(group.vonage.requests)
    grace.post("/logout")

    answer = use(stranger, passkey, next="/devices")

    assert answer.get_json() == {"next": "/welcome?next=/devices"}
    assert stranger.username() == "grace"
    assert len(group.vonage.requests) == asked
    assert group.rows("SELECT began FROM sessions") == [("passkey",)]
    events = group.rows("SELECT event FROM journal ORDER BY id DESC LIMIT 3")
    assert events == [("passkey_used",), ("signed_out",), ("passkey_added",)]


def test_what_is_asked_of_the_browser(group: Group, grace: Browser, stranger: Browser) -> None:
    made = options(grace, "add")
    assert made["rp"] == {"name": "Trusted Group", "id": "localhost"}
    public_id = group.one("SELECT public_id FROM authors WHERE username = 'grace'")
    assert decode(made["user"]["id"]).hex() == public_id
    chosen = made["authenticatorSelection"]
    assert (chosen["residentKey"], chosen["userVerification"]) == ("required", "required")
    assert made["attestation"] == "none"

    asked = options(stranger, "sign-in")
    assert (asked["userVerification"], asked["allowCredentials"]) == ("required", [])


def test_several_are_listed_renamed_and_removed(
    group: Group, grace: Browser, passkey: Passkey
) -> None:
    assert use(grace, passkey, "confirm").status_code == 200
    excluded = options(grace, "add")["excludeCredentials"]
    assert [one["id"] for one in excluded] == [encode(passkey.id)]
    second = Passkey()
    assert add(grace, second).status_code == 200

    assert grace.post("/passkeys/2/rename", name=" My  <phone> ").location == "/account"
    assert "My &lt;phone&gt;" in grace.get("/account").text
    assert 'value="My &lt;phone&gt;"' in grace.get("/passkeys/2/rename").text
    for wrong, name in (
        ("", "passkey-name"),
        ("x" * 41, "passkey-name"),
        ("12025550101", "line-number"),
    ):
        refused = grace.post("/passkeys/2/rename", name=wrong)
        assert (refused.status_code, shown(name) in refused.text) == (422, True)
    assert grace.post("/passkeys/1/remove").location == "/account"

    browser = group.browser()
    browser.get("/signup")
    assert is_refused(use(browser, passkey))
    assert use(browser, second).status_code == 200


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ({"authenticatorAttachment": "platform"}, "platform"),
        ({"authenticatorAttachment": "cross-platform"}, "cross-platform"),
        ({"authenticatorAttachment": "cross-platform", "transports": ["usb"]}, "cross-platform"),
        # A phone, reached by a QR code or by its own browser, is lost with the passkey in it.
        ({"authenticatorAttachment": "cross-platform", "transports": ["hybrid"]}, "platform"),
        ({"authenticatorAttachment": "cross-platform", "transports": ["internal"]}, "platform"),
        ({"authenticatorAttachment": "cross-platform", "transports": "hybrid"}, "cross-platform"),
        ({"authenticatorAttachment": "something new"}, ""),
        ({}, ""),
    ],
)
def test_where_a_passkey_lives_is_as_the_browser_says(told: dict[str, Any], kept: str) -> None:
    credential = {"response": {"transports": told.pop("transports", None)}} | told
    assert read_attachment(credential) == kept


def test_nobody_touches_somebody_elses_passkey(group: Group, passkey: Passkey) -> None:
    mallory = group.join(MALLORY, "mallory")

    assert mallory.post("/passkeys/1/rename", name="mine").status_code == 404
    assert mallory.get("/passkeys/1/rename").status_code == 404
    assert mallory.post("/passkeys/1/remove").status_code == 404
    assert is_refused(send(mallory, "confirm", passkey.get(options(mallory, "confirm"))))
    assert group.browser().post("/passkeys/1/remove").location == "/signup"
    assert group.browser().get("/passkeys/confirm").location == "/signup?next=/passkeys/confirm"


def test_two_sign_ins_within_one_second_both_work(
    group: Group, grace: Browser, passkey: Passkey
) -> None:
    with time_machine.travel("2030-11-25 12:00", tick=False):
        browsers = [group.browser() for _ in range(2)]
        for browser in browsers:
            browser.get("/signup")
            assert use(browser, passkey).status_code == 200
        assert [browser.username() for browser in browsers] == ["grace", "grace"]


def test_a_synced_passkey_that_does_not_count_works(group: Group, grace: Browser) -> None:
    synced = Passkey()
    synced.step = 0
    add(grace, synced)
    for _ in range(2):
        browser = group.browser()
        browser.get("/signup")
        assert use(browser, synced).status_code == 200


# What is refused ---------------------------------------------------------------------------------

Lie = Callable[[Passkey], None]
LIES: dict[str, Lie] = {
    "no user verification": lambda passkey: setattr(passkey, "flags", UP),
    "nobody present": lambda passkey: setattr(passkey, "flags", 0x04),
    "another origin": lambda passkey: setattr(passkey, "origin", "https://mallory.example"),
    "another port": lambda passkey: setattr(passkey, "origin", "http://localhost:8001"),
    "another host": lambda passkey: setattr(passkey, "host", "mallory.example"),
    "another key": lambda passkey: setattr(passkey, "key", Passkey().key),
    "another person": lambda passkey: setattr(passkey, "handle", b"x" * 16),
    "another passkey": lambda passkey: setattr(passkey, "id", b"x" * 16),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=list(LIES))
def test_a_passkey_that_lies_is_refused_and_nothing_is_written(
    group: Group, passkey: Passkey, stranger: Browser, lie: Lie
) -> None:
    lie(passkey)
    before = kept(group)

    assert is_refused(use(stranger, passkey))

    assert stranger.username() is None
    assert kept(group) == before


@pytest.mark.parametrize("lie", list(LIES)[:5])
def test_a_new_passkey_that_lies_is_refused(group: Group, grace: Browser, lie: str) -> None:
    made = Passkey()
    LIES[lie](made)
    before = kept(group)

    assert is_refused(add(grace, made))

    assert kept(group) == before


def test_a_passkey_is_added_once(group: Group, grace: Browser, ada: Browser) -> None:
    made = Passkey()
    add(grace, made)

    assert is_refused(add(ada, made))
    assert group.one("SELECT count(*) FROM passkeys") == 1


def test_an_answer_is_good_once(group: Group, passkey: Passkey, stranger: Browser) -> None:
    credential = passkey.get(options(stranger, "sign-in"))
    assert send(stranger, "sign-in", credential).status_code == 200
    stranger.post("/logout")

    assert is_refused(send(stranger, "sign-in", credential))
    assert stranger.username() is None


def test_a_counter_that_goes_back_is_refused_and_told(
    group: Group, ada: Browser, passkey: Passkey, stranger: Browser
) -> None:
    passkey.count = 10
    assert use(stranger, passkey).status_code == 200
    stranger.post("/logout")
    passkey.count = 5

    assert is_refused(use(stranger, passkey), "passkey-counter")

    assert stranger.username() is None
    assert "A passkey of grace was refused: its counter went back" in ada.get("/admin/journal").text


def test_a_challenge_is_for_one_browser_one_purpose_and_five_minutes(
    group: Group, grace: Browser, passkey: Passkey, stranger: Browser
) -> None:
    other = group.browser()
    other.get("/signup")
    assert is_refused(send(stranger, "sign-in", passkey.get(options(other, "sign-in"))))
    assert is_refused(send(stranger, "sign-in", passkey.get(options(grace, "confirm"))))
    assert is_refused(send(grace, "confirm", passkey.get(options(stranger, "sign-in"))))
    assert is_refused(send(stranger, "sign-in", passkey.get({"challenge": encode(b"x" * 49)})))
    with time_machine.travel("2030-11-25 12:00", tick=False) as clock:
        asked = options(stranger, "sign-in")
        clock.shift(5 * MINUTE)
        assert is_refused(send(stranger, "sign-in", passkey.get(asked)))
        clock.shift(-6 * MINUTE)
        assert is_refused(send(stranger, "sign-in", passkey.get(asked)))
        clock.shift(2 * MINUTE)
        assert send(stranger, "sign-in", passkey.get(asked)).status_code == 200


Event = Callable[[Group], object]
OUT: dict[str, Event] = {
    "removed": lambda group: group.command("remove", "grace"),
    "signed out by command": lambda group: group.command("sign-out", "grace"),
    "everybody signed out": lambda group: group.command("sign-out", "--all"),
    "guest's day over": lambda group: group.rows("UPDATE authors SET ends_at = unixepoch()"),
    "another host": lambda group: group.rows("UPDATE passkeys SET host = 'old.example.org'"),
}


@pytest.mark.parametrize("event", OUT.values(), ids=list(OUT))
def test_somebody_who_is_out_does_not_come_in_by_passkey(
    group: Group, passkey: Passkey, stranger: Browser, event: Event
) -> None:
    asked = options(stranger, "sign-in")
    event(group)

    assert is_refused(send(stranger, "sign-in", passkey.get(asked)))
    assert stranger.username() is None


def mutate(value: Any, path: list[str], to: Any) -> Any:
    changed = copy.deepcopy(value)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return changed


PATHS = [["id"], ["rawId"], ["type"], ["response"]]
PATHS += [
    ["response", name]
    for name in ("clientDataJSON", "authenticatorData", "signature", "userHandle")
]
ODD: list[Any] = [
    None,
    "",
    "x",
    1,
    [],
    {},
    "\x00",
    "A" * 9000,
    encode(b"{}"),
    encode(b"[" * 2000),
    "\ud800",
    "ä",
]


@pytest.mark.parametrize("path", PATHS, ids=".".join)
def test_whatever_is_sent_is_answered_in_a_sentence(
    group: Group, passkey: Passkey, stranger: Browser, path: list[str]
) -> None:
    before = kept(group)
    for odd in ODD:
        credential = passkey.get(options(stranger, "sign-in"))
        if path == ["response", "userHandle"] and odd in (None, "", [], {}):
            continue  # it may be left out
        answer = send(stranger, "sign-in", mutate(credential, path, odd))
        assert is_refused(answer) or path in (["id"], ["type"]), odd
        stranger.post("/logout")
        stranger.get("/signup")
    if path not in (["id"], ["type"]):
        assert kept(group) == before


@pytest.mark.parametrize("purpose", ["sign-in", "add", "confirm"])
@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"credential": 1}', b"\xff", b"[" * 9000])
def test_a_body_that_is_none_is_answered_in_a_sentence(
    group: Group, grace: Browser, stranger: Browser, purpose: str, body: bytes
) -> None:
    browser = stranger if purpose == "sign-in" else grace
    answer = browser.client.post(f"/passkeys/{purpose}", data=body, content_type="application/json")
    assert answer.status_code == 422
    assert answer.get_json()["error"]
    asked = browser.client.post("/passkeys/options", data=body, content_type="application/json")
    assert asked.status_code == 422


def test_who_may_ask(group: Group, grace: Browser, stranger: Browser) -> None:
    assert ask(stranger, "add").status_code == ask(stranger, "confirm").status_code == 401
    assert ask(stranger, "other").status_code == ask(grace, "sign-in").status_code == 422
    assert ask(group.browser(), "sign-in").status_code == 200
    add(grace, Passkey())
    first = ask(grace, "add")
    assert (first.status_code, first.get_json()["next"]) == (403, "/passkeys/confirm?next=/account")
    cross = {"Sec-Fetch-Site": "cross-site"}
    answer = grace.client.post("/passkeys/options", json={"for": "add"}, headers=cross)
    assert (answer.status_code, answer.get_json()["error"]) == (403, sentence("cross-site"))


# Before something new can sign in ----------------------------------------------------------------


def test_a_passkey_asks_before_another_one_and_before_a_device(
    group: Group, grace: Browser, passkey: Passkey
) -> None:
    with time_machine.travel("2030-11-25 12:00", tick=False) as clock:
        browser = group.browser()
        browser.get("/signup")
        use(browser, passkey)
        assert ask(browser, "add").status_code == 403
        offered = browser.post("/devices/add")
        assert offered.location == "/passkeys/confirm?next=/devices/add"
        assert 'data-next="/devices/add"' in browser.get(offered.location).text
        assert group.rows("SELECT * FROM offers") == []

        answer = use(browser, passkey, "confirm", next="/devices/add")

        assert answer.get_json() == {"next": "/devices/add"}
        assert browser.post("/devices/add").location == "/devices/add"
        assert ask(browser, "add").status_code == 200
        clock.shift(5 * MINUTE)
        assert ask(browser, "add").status_code == 403


def test_confirming_makes_a_new_session_id(
    group: Group, grace: Browser, passkey: Passkey, ada: Browser
) -> None:
    """What somebody may have copied before is no good afterwards; what hangs on the session stays.
    A confirmation that is refused changes nothing."""
    other = Passkey()
    add(ada, other)
    old = grace.cookie()
    assert use(grace, other, "confirm").status_code == 422
    assert grace.cookie() == old

    assert use(grace, passkey, "confirm").status_code == 200

    assert grace.cookie() != old
    assert grace.username() == "grace"
    thief = group.browser()
    thief.client.set_cookie("session", old)
    assert thief.username() is None
    hangs = "SELECT count(*) FROM passkeys JOIN sessions ON id_digest = passkeys.added_by"
    assert group.one(hangs) == 2
    assert ask(grace, "add").status_code == 200


@pytest.mark.parametrize("killed_at", range(1, 12))
def test_a_confirmation_that_cannot_be_written_signs_nobody_out(
    group: Group, grace: Browser, passkey: Passkey, killed_at: int
) -> None:
    """Whichever write fails, this browser has the old id or the new one."""
    made, db = passkey.get(options(grace, "confirm")), running(group.app).connections.db
    writes = 0

    def fail(action: int, table: str | None, *_: object) -> int:
        nonlocal writes
        writes += action in (sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE)
        return sqlite3.SQLITE_DENY if writes == killed_at else sqlite3.SQLITE_OK

    group.app.config["PROPAGATE_EXCEPTIONS"] = False
    db.set_authorizer(fail)
    answer = send(grace, "confirm", made)
    db.set_authorizer(None)
    assert answer.status_code in (200, 500)
    assert grace.username() == "grace"


ENDINGS = ["/passkeys/1/remove", "/devices/{other}/end", "/devices/end-others?passkeys=yes"]


@pytest.fixture
def later(group: Group) -> Iterator[tuple[Any, Browser, Passkey]]:
    """Ten minutes after Grace came in, on a laptop, too, and added a passkey on her phone: the
    clock, the laptop, and the passkey."""
    with time_machine.travel("2030-11-25 12:00", tick=False) as clock:
        phone, laptop, passkey = group.join(GRACE, "grace"), group.browser(), Passkey()
        add_device(phone, laptop)
        add(phone, passkey)
        clock.shift(10 * MINUTE)
        yield clock, laptop, passkey


def fill_in(ending: str, laptop: Browser) -> str:
    other = re.search(r"/devices/(\w+)/end", laptop.get("/account").text)
    assert other
    return ending.format(other=other[1])


def end(laptop: Browser, page: str) -> TestResponse:
    return laptop.post(page, **({"passkeys": "yes"} if "passkeys=" in page else {}))


@pytest.mark.parametrize("ending", ENDINGS)
def test_ending_a_way_in_is_confirmed_first(
    group: Group, later: tuple[Any, Browser, Passkey], ending: str
) -> None:
    _, laptop, passkey = later
    page = fill_in(ending, laptop)
    before = kept(group)
    asked = end(laptop, page)
    assert asked.location == f"/passkeys/confirm?{urlencode({'next': page}, safe='/')}"
    assert shown("passkey-first") in laptop.get(asked.location).text
    assert kept(group) == before

    assert use(laptop, passkey, "confirm", next=page).get_json() == {"next": page}
    assert laptop.get(page).status_code == 200
    assert end(laptop, page).location == "/account"
    assert group.one("SELECT count(*) FROM passkeys") == 0
    assert laptop.post("/devices/add").location == "/devices/add"  # and nothing else is asked


@pytest.mark.parametrize("ending", ENDINGS)
def test_who_lost_the_passkey_goes_on_and_nothing_new_comes_in_for_a_day(
    group: Group, later: tuple[Any, Browser, Passkey], ending: str
) -> None:
    """Or somebody who found the laptop would remove the passkey, and then add a phone."""
    clock, laptop, _ = later
    page = fill_in(ending, laptop)
    asks = laptop.get(end(laptop, page).location).text
    without = re.search(r'href="([^"]+unconfirmed=yes)"', asks)
    assert without
    page = unescape(without[1])
    assert "nothing new can be added to your account for a day" in laptop.get(page).text
    assert end(laptop, page).location == "/account"
    assert group.one("SELECT count(*) FROM passkeys") == 0

    for seconds in (0, DAY - 1):
        clock.shift(seconds)
        held = laptop.post("/devices/add")
        assert held.location == "/passkeys/confirm?next=/devices/add"
        assert "removed without confirming" in laptop.get(held.location).text
        assert ask(laptop, "add").status_code == 403
    again = group.join(GRACE, "grace", bound=True)  # an admin invited her
    assert again.post("/devices/add").location == "/devices/add"
    clock.shift(1)
    assert laptop.post("/devices/add").location == "/devices/add"
    assert ask(laptop, "add").status_code == 200


def test_who_just_signed_in_or_has_no_passkey_is_not_asked(group: Group) -> None:
    with time_machine.travel("2030-11-25 12:00", tick=False) as clock:
        phone, laptop = group.join(GRACE, "grace"), group.browser()
        add_device(phone, laptop)
        clock.shift(DAY)
        page = fill_in(ENDINGS[1], laptop)
        assert laptop.post(page).location == "/account"
        add(laptop, Passkey())
        clock.shift(DAY)
        fresh = group.join(GRACE, "grace", bound=True)
        assert fresh.post("/passkeys/1/remove").location == "/account"
        assert group.rows("SELECT 1 FROM journal WHERE detail = 'unconfirmed'") == []


def test_a_passkey_is_not_added_unless_another_one_confirms(
    group: Group, grace: Browser, passkey: Passkey
) -> None:
    """Also where the options were asked for before."""
    with time_machine.travel("2030-11-25 12:00", tick=False) as clock:
        browser = group.browser()
        browser.get("/signup")
        use(browser, passkey)
        use(browser, passkey, "confirm")
        made = Passkey().create(options(browser, "add"))
        clock.shift(5 * MINUTE)
        answer = send(browser, "add", made)
        assert (answer.status_code, answer.get_json()["error"]) == (403, sentence("passkey-first"))
        assert group.one("SELECT count(*) FROM passkeys") == 1


def test_who_is_signed_in_signs_in_as_nobody_else(
    passkey: Passkey, stranger: Browser, ada: Browser
) -> None:
    made = passkey.get(options(stranger, "sign-in"))
    ada.client.set_cookie("visitor", stranger.cookie("visitor"))
    assert is_refused(send(ada, "sign-in", made))
    assert ada.username() == "ada"


def test_a_way_back_leads_to_our_own_pages_only(
    group: Group, grace: Browser, passkey: Passkey, stranger: Browser
) -> None:
    for elsewhere in ("https://mallory.example", "//mallory.example", "javascript:alert(1)"):
        assert use(grace, passkey, "confirm", next=elsewhere).get_json() == {"next": "/account"}
        page = grace.get("/passkeys/confirm", query_string={"next": elsewhere}).text
        assert 'data-next="/account"' in page
    assert use(stranger, passkey, next="//mallory.example").get_json() == {"next": "/welcome"}


def test_home_says_for_a_week_what_was_added(group: Group) -> None:
    with time_machine.travel("2026-11-25 12:00", tick=False) as clock:
        grace = group.join(GRACE, "grace")
        other = group.join(GRACE, "grace", bound=True)
        add(grace, Passkey())

        said = "The passkey Passkey was added."
        assert said in other.get("/").text
        assert said not in grace.get("/").text  # which did it
        clock.shift(DAY)
        assert said in grace.get("/").text
        clock.shift(6 * DAY)
        assert said not in other.get("/").text


# Signing out everywhere --------------------------------------------------------------------------


@pytest.mark.parametrize("ticked", [True, False])
def test_signing_out_everywhere_may_take_the_passkeys_along(
    group: Group, ada: Browser, grace: Browser, passkey: Passkey, ticked: bool
) -> None:
    number = group.one("SELECT id FROM authors WHERE username = 'grace'")
    assert "Passkey: Passkey" in ada.get(f"/members/{number}").text
    page = ada.get(f"/members/{number}/sign-out").text
    assert re.search(r'name="passkeys" value="yes" checked.*and remove\s+the passkey', page, re.S)

    ada.post(f"/members/{number}/sign-out", **({"passkeys": "yes"} if ticked else {}))

    assert group.one("SELECT count(*) FROM passkeys") == (0 if ticked else 1)


def test_signing_out_the_others_may_too(group: Group, grace: Browser, passkey: Passkey) -> None:
    group.join(GRACE, "grace", bound=True)
    assert "and remove" in grace.get("/account").text

    grace.post("/devices/end-others")
    assert group.one("SELECT count(*) FROM passkeys") == 1
    grace.post("/devices/end-others", passkeys="yes")
    assert group.one("SELECT count(*) FROM passkeys") == 0


# Where there can be none, and the doctor ---------------------------------------------------------


def test_an_ip_address_has_no_passkeys(settings: dict[str, str], vonage: Vonage) -> None:
    group = Group(create_app(settings | {"BASE_URL": "http://127.0.0.1:8000"}), vonage)
    client = group.app.test_client()
    base = {"base_url": "http://127.0.0.1:8000"}

    assert "Use a passkey" not in client.get("/signup", **base).text
    asked = client.post(
        "/passkeys/options",
        json={"for": "sign-in"},
        headers={"Sec-Fetch-Site": "none"},
        **base,
    )
    assert asked.status_code == 404


def test_the_doctor_says_that_the_host_changed(group: Group, passkey: Passkey) -> None:
    assert "1 passkeys were made for another host" not in group.command("doctor").output
    group.rows("UPDATE passkeys SET host = 'old.example.org'")
    assert "wrong  1 passkeys were made for another host" in group.command("doctor").output


def test_the_database_lets_nobody_in(group: Group, passkey: Passkey) -> None:
    secret = passkey.key.private_numbers().private_value.to_bytes(32, "big")
    (row,) = group.rows("SELECT * FROM passkeys")
    assert secret not in [value for value in row if isinstance(value, bytes)]
    assert ADA not in str(group.rows("SELECT * FROM passkeys"))


# A device that was taken -------------------------------------------------------------------------


def end_named(browser: Browser, name: str) -> None:
    page = browser.get("/account").text
    part = next(one for one in page.split("<li>") if f"<strong>{name}" in one)
    browser.post(re.findall(r'action="(/devices/\w+/end)"', part)[0])


def test_ending_a_device_ends_the_passkeys_added_on_it(group: Group, grace: Browser) -> None:
    own = Passkey()
    add(grace, own)
    stolen = group.join(GRACE, "grace", bound=True)
    group.rows("UPDATE sessions SET device = 'phone' WHERE created_at = (SELECT max(created_at)"
               " FROM sessions) AND id_digest NOT IN (SELECT added_by FROM passkeys)")  # fmt: skip
    use(stolen, own, "confirm")
    theirs = Passkey()
    add(stolen, theirs)
    thief = group.browser()
    thief.get("/signup")
    assert use(thief, theirs).status_code == 200

    end_named(grace, "phone")

    assert thief.username() is stolen.username() is None
    assert group.rows("SELECT credential_id FROM passkeys") == [(encode(own.id),)]
    thief.get("/signup")
    assert is_refused(use(thief, theirs))


ENDS: dict[str, Callable[[Group, Browser], object]] = {
    "the others are signed out": lambda group, other: other.post(
        "/devices/end-others", passkeys="yes"
    ),
    "removed": lambda group, other: group.command("remove", "grace"),
    "guest's day over": lambda group, other: group.rows("UPDATE authors SET ends_at = 1"),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=list(ENDS))
def test_somebody_who_is_signed_out_while_the_browser_asks_adds_no_passkey(
    group: Group, grace: Browser, monkeypatch: pytest.MonkeyPatch,
    end: Callable[[Group, Browser], object],
) -> None:  # fmt: skip
    """At the worst moment: after the answer was checked, before it is stored."""
    other = group.join(GRACE, "grace", bound=True)
    made = Passkey()
    credential = made.create(options(grace, "add"))

    def end_first(*args: Any) -> Any:
        found = check_new_passkey(*args)
        end(group, other)
        return found

    monkeypatch.setattr("features.passkeys.using.check_new_passkey", end_first)

    assert is_refused(send(grace, "add", credential))
    assert group.rows("SELECT * FROM passkeys") == []


def test_a_guest_who_comes_back_has_no_old_passkey(
    group: Group, grace: Browser, passkey: Passkey, stranger: Browser
) -> None:
    group.rows("UPDATE authors SET ends_at = unixepoch() WHERE username = 'grace'")
    group.join(GRACE, "grace", bound=True)

    assert is_refused(use(stranger, passkey))


def test_a_backup_has_no_used_challenges(group: Group, passkey: Passkey, tmp_path: Path) -> None:
    assert group.command("backup", f"{tmp_path}/copy.db").exit_code == 0
    with closing(sqlite3.connect(tmp_path / "copy.db")) as db:
        assert db.execute("SELECT count(*) FROM used_challenges").fetchone() == (0,)
        assert db.execute("SELECT count(*) FROM passkeys").fetchone() == (1,)


# What is no reason to refuse ----------------------------------------------------------------------


def pad(text: str) -> str:
    return text + "=" * (-len(text) % 4)


ODD_WAYS: dict[str, Callable[[dict[str, Any]], object]] = {
    "an attachment of the future": lambda one: one.update(authenticatorAttachment="ring"),
    "an attachment that is no word": lambda one: one.update(authenticatorAttachment=[1]),
    "padded": lambda one: one.update(
        rawId=pad(one["rawId"]),
        response={name: pad(value) for name, value in one["response"].items()},
    ),
    "no id and no type": lambda one: (one.pop("id"), one.pop("type")),
    "another id": lambda one: one.update(id="not the same"),
    "more than is asked": lambda one: one["response"].update(publicKey=None, transports=7),
}


@pytest.mark.parametrize("way", ODD_WAYS.values(), ids=list(ODD_WAYS))
def test_what_extensions_make_is_taken(
    group: Group, grace: Browser, stranger: Browser, way: Callable[[dict[str, Any]], object]
) -> None:
    passkey = Passkey()
    credential = passkey.create(options(grace, "add"))
    way(credential)
    assert send(grace, "add", credential).status_code == 200
    credential = passkey.get(options(stranger, "sign-in"))
    way(credential)
    assert send(stranger, "sign-in", credential).status_code == 200
    assert stranger.username() == "grace"


@pytest.mark.parametrize("binding", ["x", {"status": "of the future"}, {"status": "present"}, {}])
def test_a_token_binding_is_no_reason_to_refuse(
    group: Group, grace: Browser, stranger: Browser, binding: object
) -> None:
    passkey = Passkey()
    passkey.more = {"tokenBinding": binding}
    assert add(grace, passkey).status_code == 200
    assert use(stranger, passkey).status_code == 200


def test_a_page_that_was_open_for_days_heals_itself(group: Group, passkey: Passkey) -> None:
    """The visitor cookie is gone, or the page sets none, as the start page."""
    browser = group.browser()
    browser.get("/")
    answer = ask(browser, "sign-in")
    assert "visitor=" in answer.headers["Set-Cookie"]
    assert send(browser, "sign-in", passkey.get(answer.get_json())).status_code == 200
    assert browser.username() == "grace"


def test_a_page_whose_session_is_over_leads_to_the_door(group: Group, grace: Browser) -> None:
    group.command("sign-out", "grace")
    for purpose in ("add", "confirm"):
        answer = ask(grace, purpose)
        assert (answer.status_code, answer.get_json()["next"]) == (401, "/signup")
