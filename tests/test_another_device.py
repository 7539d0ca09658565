"""Another device: added from one that is signed in, without a text and without an admin."""

import re
import sqlite3
import threading
from collections.abc import Callable

import pytest
import time_machine

from foundation.typed.codes import ALPHABET
from foundation.words.clock import DAY, MINUTE

from .cast import GRACE, Browser, Group, shown
from .new_devices import add, confirm, give, number, offer

TABLES = ("authors", "sessions", "offers", "journal")


@pytest.fixture
def grace(group: Group) -> Browser:
    return group.join(GRACE, "grace")


@pytest.fixture
def phone(group: Group) -> Browser:
    """The new device."""
    return group.browser()


def other_than(digits: str) -> str:
    return f"{(int(digits) + 1) % 100:02d}"


def state(browser: Browser, path: str) -> str | None:
    found = re.search(r'data-state="(\w+)"', browser.get(path).text)
    return found[1] if found else None


def everything(group: Group) -> list[object]:
    return [group.rows(f"SELECT * FROM {table}") for table in TABLES]


# The way -----------------------------------------------------------------------------------------


def test_a_new_phone_comes_in_without_a_text(group: Group, grace: Browser, phone: Browser) -> None:
    asked = len(group.vonage.requests)

    code = offer(grace)
    assert state(grace, "/devices/add") == "waiting"
    assert f'value="{code}"' in phone.get(f"/join/{code}").text
    assert give(phone, code) == 303
    assert "You will be <strong>grace</strong>" in phone.get("/join/wait").text
    assert state(grace, "/devices/add") == "bound"
    shown = grace.get("/devices/add").text.split("<main")[1].split("</main>")[0]
    assert set(re.findall(r"[0-9]+", shown)) == {"1", "10"}  # h1, and a field of 10 letters
    confirm(grace, phone)
    assert state(grace, "/devices/add") == "confirmed"
    assert phone.username() is None
    assert state(phone, "/join/wait") == "confirmed"
    assert phone.post("/join/finish").location == "/welcome"

    assert phone.username() == "grace"
    assert state(grace, "/devices/add") == "added"
    assert len(group.vonage.requests) == asked
    began = "SELECT began, added_by IS NOT NULL FROM sessions ORDER BY began"
    assert group.rows(began) == [("device", 1), ("pin", 0)]
    events = group.rows("SELECT event FROM journal ORDER BY id DESC LIMIT 2")
    assert events == [("device_added",), ("device_offered",)]
    group.rows("UPDATE sessions SET created_at = created_at - 86400 WHERE began = 'device'")
    assert "was added to your devices." in grace.get("/").text


def test_a_second_year_costs_no_text(group: Group) -> None:
    """And neither does a second device: the old phone adds the new one."""
    with time_machine.travel("2026-01-01 12:00", tick=False) as clock:
        old = group.join(GRACE, "grace")
        asked = len(group.vonage.requests)
        for _ in range(12):
            clock.shift(28 * DAY)
            assert old.username() == "grace"
        new = group.browser()
        add(old, new)
        for _ in range(12):
            clock.shift(28 * DAY)
            assert new.username() == "grace"

        assert old.username() is None
        assert len(group.vonage.requests) == asked


@pytest.mark.parametrize(
    "typed", ["{0}-{1}", " {0} {1} ", "\u200e{0}\u2013{1}", "{0}{1}", "{0}.{1}"]
)
@pytest.mark.parametrize("change", [str.upper, str.lower])
def test_a_code_is_typed_as_people_do(
    group: Group, grace: Browser, phone: Browser, typed: str, change: Callable[[str], str]
) -> None:
    code = offer(grace)

    assert give(phone, change(typed.format(code[:4], code[4:]))) == 303


@pytest.mark.parametrize(
    "wrong", ["", "ABCD", "ABCDEFGH", "B" * 9, "\x00" * 8, "\u0661" * 8, "<b>"]
)
def test_a_code_that_is_none_is_said(
    group: Group, grace: Browser, phone: Browser, wrong: str
) -> None:
    offer(grace)
    before = everything(group)
    phone.get("/join")

    answer = phone.post("/join", code=wrong)

    assert answer.status_code == 422
    assert shown("code-wrong" if wrong and wrong.strip("\x00<>") else "code-missing") in answer.text
    assert everything(group) == before


def test_a_thousand_guesses_find_nothing_and_write_nothing(
    group: Group, grace: Browser, phone: Browser
) -> None:
    code = offer(grace)
    before = everything(group)
    phone.get("/join")
    lock = sqlite3.connect(group.app.config["DATABASE"], isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")  # a guess that wanted to write would wait, and fail

    for guess in range(1000):
        letters = "".join(ALPHABET[guess // 28**place % 28] for place in range(8))
        if letters != code:
            assert phone.post("/join", code=letters).status_code == 422

    lock.execute("ROLLBACK")
    lock.close()
    assert everything(group) == before


def test_a_bot_that_opens_the_link_spends_nothing(
    group: Group, grace: Browser, phone: Browser
) -> None:
    code = offer(grace)
    before = everything(group)
    for _ in range(3):
        assert group.app.test_client().get(f"/join/{code}").status_code == 200
        assert group.app.test_client().head(f"/join/{code}").status_code == 200
    assert everything(group) == before

    assert give(phone, code) == 303
    confirm(grace, phone)


def test_a_browser_without_cookies_spends_nothing(
    group: Group, grace: Browser, phone: Browser
) -> None:
    code = offer(grace)

    answer = group.browser().post("/join", code=code)

    assert answer.status_code == 422
    assert shown("no-cookie-here") in answer.text
    assert f'value="{code}"' in answer.text
    assert state(grace, "/devices/add") == "waiting"


# How it ends without a device --------------------------------------------------------------------


def nobody_came_in(group: Group, phone: Browser) -> bool:
    assert phone.post("/join/finish").status_code in (303, 422)
    return phone.username() is None and group.one("SELECT count(*) FROM sessions") == 1


def test_the_first_wrong_number_ends_it(group: Group, grace: Browser, phone: Browser) -> None:
    give(phone, offer(grace))
    right = number(phone)

    grace.post("/devices/add/confirm", number=other_than(right))
    grace.post("/devices/add/confirm", number=right)

    assert shown("offer-wrong-number") in grace.get("/devices/add").text
    assert shown("offer-wrong-number") in phone.get("/join/wait").text
    assert nobody_came_in(group, phone)
    assert group.one("SELECT event FROM journal ORDER BY id DESC") == "device_refused"


@pytest.mark.parametrize("typed", ["", "7", "123", "ab", "1\x00"])
def test_what_is_no_number_is_said_and_ends_nothing(
    group: Group, grace: Browser, phone: Browser, typed: str
) -> None:
    give(phone, offer(grace))

    answer = grace.post("/devices/add/confirm", number=typed)

    assert answer.status_code == 422
    assert shown("number-unreadable") in answer.text
    confirm(grace, phone)
    assert phone.post("/join/finish").location == "/welcome"


def test_digits_of_any_script_are_digits(group: Group, grace: Browser, phone: Browser) -> None:
    give(phone, offer(grace))
    arabic = "".join(chr(0x660 + int(digit)) for digit in number(phone))

    grace.post("/devices/add/confirm", number=f" {arabic[0]} {arabic[1]}\u200f")

    assert state(grace, "/devices/add") == "confirmed"


def test_not_mine_ends_it(group: Group, grace: Browser, phone: Browser) -> None:
    give(phone, offer(grace))

    grace.post("/devices/add/confirm", refuse="yes")

    assert shown("offer-not-me") in grace.get("/devices/add").text
    assert nobody_came_in(group, phone)


@pytest.mark.parametrize("confirmed", [True, False])
def test_a_second_browser_with_the_code_ends_it(
    group: Group, grace: Browser, phone: Browser, confirmed: bool
) -> None:
    code = offer(grace)
    give(phone, code)
    if confirmed:
        confirm(grace, phone)
    mallory = group.browser()

    assert give(mallory, code) == 422

    for browser, path in ((grace, "/devices/add"), (phone, "/join/wait")):
        assert shown("offer-two-devices") in browser.get(path).text
    assert nobody_came_in(group, phone)
    assert state(mallory, "/join/wait") == "over"
    assert give(mallory, code) == give(group.browser(), code) == 422
    assert len(group.rows("SELECT * FROM journal WHERE event = 'device_refused'")) == 1


def test_the_same_browser_may_give_the_code_again(
    group: Group, grace: Browser, phone: Browser
) -> None:
    code = offer(grace)
    assert give(phone, code) == give(phone, code) == 303
    confirm(grace, phone)
    assert give(phone, code) == 303
    assert phone.post("/join/finish").location == "/welcome"


def test_five_minutes_are_over(group: Group) -> None:
    with time_machine.travel("2026-11-25 12:00", tick=False) as clock:
        grace, phone = group.join(GRACE, "grace"), group.browser()
        code = offer(grace)
        give(phone, code)
        confirm(grace, phone)
        clock.shift(5 * MINUTE)

        assert state(phone, "/join/wait") == "over"
        assert nobody_came_in(group, phone)
        assert give(group.browser(), code) == 422
        assert "Show a code" in grace.get("/devices/add").text
        give(phone, offer(grace))
        assert group.one("SELECT count(*) FROM offers") == 1
        clock.shift(5 * MINUTE)
        group.keep_house()
        assert group.one("SELECT count(*) FROM offers") == 0


def test_a_new_offer_ends_the_one_before(group: Group, grace: Browser, phone: Browser) -> None:
    first = offer(grace)
    second = offer(grace)

    assert give(phone, first) == 422
    assert give(phone, second) == 303


Event = Callable[[Group, Browser], object]
MEANWHILE: dict[str, Event] = {
    "signed out": lambda group, grace: grace.post("/logout"),
    "signed out by an admin": lambda group, grace: group.command("sign-out", "grace"),
    "removed": lambda group, grace: group.command("remove", "grace"),
    "left": lambda group, grace: grace.post("/leave"),
    "guest's day over": lambda group, grace: group.rows(
        "UPDATE authors SET ends_at = unixepoch() WHERE username = 'grace'"
    ),
    "session ran out": lambda group, grace: group.rows("UPDATE sessions SET expires_at = 1"),
}


@pytest.mark.parametrize("meanwhile", MEANWHILE.values(), ids=list(MEANWHILE))
@pytest.mark.parametrize("step", ["offered", "bound", "confirmed"])
def test_somebody_who_is_out_meanwhile_adds_nothing(
    group: Group, grace: Browser, phone: Browser, meanwhile: Event, step: str
) -> None:
    code = offer(grace)
    if step != "offered":
        give(phone, code)
    if step == "confirmed":
        confirm(grace, phone)

    meanwhile(group, grace)

    phone.get("/join")
    assert phone.post("/join", code=code).status_code == 422
    assert phone.post("/join/finish").status_code == 422
    assert phone.username() is None
    assert grace.post("/devices/add/confirm", number="11").location == "/signup"
    assert state(phone, "/join/wait") == "over"


def test_only_the_device_that_offered_confirms(
    group: Group, grace: Browser, phone: Browser
) -> None:
    other = group.join(GRACE, "grace", bound=True)
    give(phone, offer(grace))

    other.post("/devices/add/confirm", number=number(phone))
    group.browser().post("/devices/add/confirm", number=number(phone))

    assert state(grace, "/devices/add") == "bound"


def test_only_the_browser_that_gave_the_code_finishes(
    group: Group, grace: Browser, phone: Browser
) -> None:
    give(phone, offer(grace))
    confirm(grace, phone)
    mallory = group.browser()
    mallory.get("/join")

    assert mallory.post("/join/finish").status_code == 422
    assert group.browser().post("/join/finish").location == "/join"
    assert mallory.username() is None


def test_the_device_itself_is_not_another_one(group: Group, grace: Browser) -> None:
    answer = (grace.get("/join"), grace.post("/join", code=offer(grace)))[1]

    assert answer.status_code == 422
    assert shown("code-of-this-device") in answer.text
    assert state(grace, "/devices/add") == "waiting"


# All at once, and once more ----------------------------------------------------------------------


def at_once(group: Group, browser: Browser, path: str, **fields: str) -> list[int]:
    """50 presses of the same browser at the same instant."""
    barrier, answers = threading.Barrier(50), []

    def press() -> None:
        twin = group.browser()
        for name in ("session", "visitor"):
            cookie = browser.client.get_cookie(name)
            if cookie:
                twin.client.set_cookie(name, cookie.value)
        barrier.wait()
        answers.append(twin.post(path, **fields).status_code)

    threads = [threading.Thread(target=press) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_fifty_confirmations_and_fifty_finishes_give_one_session(
    group: Group, grace: Browser, phone: Browser
) -> None:
    give(phone, offer(grace))

    confirmed = at_once(group, grace, "/devices/add/confirm", number=number(phone))
    finished = at_once(group, phone, "/join/finish")

    assert set(confirmed) == set(finished) == {303}
    assert group.one("SELECT count(*) FROM sessions") == 2
    assert group.one("SELECT count(*) FROM journal WHERE event = 'device_added'") == 1


def test_fifty_guesses_of_the_number_are_one(group: Group, grace: Browser, phone: Browser) -> None:
    give(phone, offer(grace))

    at_once(group, grace, "/devices/add/confirm", number=other_than(number(phone)))

    assert group.one("SELECT count(*) FROM journal WHERE event = 'device_refused'") == 1
    assert nobody_came_in(group, phone)


def test_a_lost_answer_is_given_again_for_ten_minutes(group: Group) -> None:
    with time_machine.travel("2026-11-25 12:00", tick=False) as clock:
        grace, phone = group.join(GRACE, "grace"), group.browser()
        add(grace, phone)
        cookie = phone.cookie()
        phone.client.delete_cookie("session")

        clock.shift(9 * MINUTE)
        assert phone.post("/join/finish").location == "/welcome"
        assert phone.cookie() == cookie
        assert phone.username() == "grace"
        assert group.one("SELECT count(*) FROM sessions") == 2

        phone.client.delete_cookie("session")
        clock.shift(MINUTE)
        assert phone.post("/join/finish").status_code == 422
        assert phone.username() is None


def test_an_ended_session_is_not_given_again(group: Group, grace: Browser, phone: Browser) -> None:
    add(grace, phone)
    phone.post("/logout")

    assert phone.post("/join/finish").status_code == 422
    assert phone.username() is None


def test_a_browser_that_is_somebody_else_says_so_first(
    group: Group, ada: Browser, grace: Browser
) -> None:
    ada.get("/join")
    assert ada.post("/join", code=offer(grace)).status_code == 303
    confirm(grace, ada)
    page = ada.get("/join/wait").text
    assert "you're still signed in as <strong>ada</strong>" in page
    assert "data-now" not in page
    assert ada.username() == "ada"

    assert ada.post("/join/finish").location == "/welcome"

    assert ada.username() == "grace"
    assert group.one("SELECT count(*) FROM sessions WHERE author_id = 1") == 0


# Ending devices ----------------------------------------------------------------------------------


def end(browser: Browser, name: str) -> None:
    """Sign out the device with that user agent, from this one."""
    page = browser.get("/account").text
    part = next(one for one in page.split("<li>") if f"<strong>{name}" in one)
    browser.post(re.findall(r'action="(/devices/\w+/end)"', part)[0])


def named(group: Group, browser: Browser, name: str) -> Browser:
    group.rows("UPDATE sessions SET device = ? WHERE device = ''", name)
    return browser


def test_ending_a_device_ends_those_added_from_it(group: Group, grace: Browser) -> None:
    named(group, grace, "laptop")
    stolen = named(group, group.join(GRACE, "grace", bound=True), "phone")
    first, second = group.browser(), group.browser()
    add(stolen, first)
    named(group, first, "thief")
    add(first, second)
    named(group, second, "loot")
    first.post("/logout")  # the one in the middle goes by itself
    assert "from phone" in grace.get("/account").text

    end(grace, "phone")

    assert stolen.username() is first.username() is second.username() is None
    assert grace.username() == "grace"


def test_the_old_phone_is_signed_out_from_the_new_one(group: Group, grace: Browser) -> None:
    named(group, grace, "old")
    new = group.browser()
    add(grace, new)

    end(new, "old")

    assert new.username() == "grace"
    assert grace.username() is None


# What is kept ------------------------------------------------------------------------------------


def test_the_database_holds_no_code_and_the_page_no_cookie(
    group: Group, grace: Browser, phone: Browser
) -> None:
    code = offer(grace)
    give(phone, code)
    visitor = phone.cookie("visitor")

    dump = "\n".join(str(row) for table in TABLES for row in group.rows(f"SELECT * FROM {table}"))

    assert code not in dump
    assert visitor not in dump
    assert number(phone) not in [
        str(value) for row in group.rows("SELECT * FROM offers") for value in row
    ]


def test_a_backup_has_no_offers(group: Group, grace: Browser, tmp_path: object) -> None:
    offer(grace)
    file = f"{tmp_path}/copy.db"
    assert group.command("backup", file).exit_code == 0
    with sqlite3.connect(file) as db:
        assert db.execute("SELECT count(*) FROM offers").fetchone() == (0,)
    db.close()


def test_strangers_are_led_to_where_they_can_begin(group: Group, grace: Browser) -> None:
    assert group.browser().get("/devices/add").location == "/signup?next=/devices/add"
    assert group.browser().post("/devices/add").location == "/signup"
    led = group.browser().get("/join/wait")
    assert (led.status_code, led.location) == (303, "/join")
    stranger = group.browser()
    for place in ("/join", "/join/wait"):  # with no cookie, and with that of the page before
        led = stranger.get("/join/finish")
        assert (led.status_code, led.location) == (303, place)
        stranger.get("/join")


def test_a_stranger_who_presses_finish_takes_no_lock(
    group: Group, grace: Browser, phone: Browser
) -> None:
    give(phone, offer(grace))
    lock = sqlite3.connect(group.app.config["DATABASE"], isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")  # somebody who wanted to write would wait, and get 503

    assert phone.post("/join/finish").status_code == 422

    lock.execute("ROLLBACK")
    lock.close()


def test_the_offering_device_does_not_finish_its_own_offer(group: Group, grace: Browser) -> None:
    """It would end the session that the new one is added from, and nobody could end both."""
    code, alias = offer(grace), group.browser()
    give(alias, code)
    confirm(grace, alias)
    grace.client.set_cookie("visitor", alias.cookie("visitor"))

    assert grace.post("/join/finish").status_code == 422
    assert group.one("SELECT count(*) FROM sessions") == 1


def test_signing_out_the_others_ends_what_is_half_added(
    group: Group, grace: Browser, phone: Browser
) -> None:
    give(phone, offer(grace))
    confirm(grace, phone)

    grace.post("/devices/end-others")

    assert nobody_came_in(group, phone)


def test_the_new_device_may_cancel(group: Group, grace: Browser, phone: Browser) -> None:
    code = offer(grace)
    assert phone.post("/join/wait").location == "/"  # nothing to cancel yet
    give(phone, code)
    group.browser().post("/join/wait")  # by somebody else
    assert state(grace, "/devices/add") == "bound"

    led = phone.post("/join/wait", next="/devices")
    assert (led.status_code, led.location) == (303, "/signup?next=/devices")

    assert nobody_came_in(group, phone)
    assert state(grace, "/devices/add") == state(phone, "/join/wait") == "refused"
    assert shown("offer-cancelled") in grace.get("/devices/add").text
    assert shown("offer-cancelled") in phone.get("/join/wait").text


def test_what_is_confirmed_is_not_cancelled(group: Group, grace: Browser, phone: Browser) -> None:
    give(phone, offer(grace))
    confirm(grace, phone)
    phone.post("/join/wait")
    assert phone.post("/join/finish").location == "/welcome"
    assert "This device is added. You&#39;re grace." in phone.get("/").text


def test_a_code_in_the_address_asks_for_a_yes(group: Group, grace: Browser, phone: Browser) -> None:
    code = offer(grace)
    page = phone.get(f"/join/{code}").text
    assert "<h1>Sign in as the person who showed you this code?</h1>" in page
    assert f"{code[:4]}-{code[4:]}" in page
    assert 'type="text"' not in page
    assert 'id="code"' in phone.get("/join").text
