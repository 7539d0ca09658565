"""Phone, username, PIN: who gets in, who does not, and what is counted."""

import re
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import time_machine
from werkzeug.test import TestResponse

from foundation.running import running
from simulator.vonage import Answer, Connection, answer_with, change, drop

from .cast import ADA, GRACE, MALLORY, Browser, Group, shown, wait_for

SENTENCE = shown("pin-wrong")


def wrong_pin(pin: str) -> str:
    return f"{(int(pin) + 1) % 1_000_000:06d}"


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("phone", "", shown("phone-missing")),
        ("phone", "<script>", shown("phone-unreadable")),
        ("username", "王小明", shown("username-missing")),
        ("username", "admin", shown("username-reserved")),
        ("username", "a" * 10_000, shown("username-unreadable")),
        ("pin", "", shown("pin-missing")),
        ("pin", "12345", shown("pin-unreadable")),
        ("pin", "1234567", shown("pin-unreadable")),
        ("pin", "-12345", shown("pin-unreadable")),
        ("pin", "123456\x00", shown("pin-unreadable")),
    ],
)
def test_what_cannot_be_is_told_beside_its_field_and_asks_nobody(
    group: Group, grace_texted: str, field: str, value: str, words: str
) -> None:
    form = {"phone": f"+{GRACE}", "username": "grace", "pin": grace_texted} | {field: value}
    asked = len(group.vonage.requests)

    browser = group.browser()
    browser.get("/signup")
    answer = browser.post("/login", **form)

    assert answer.status_code == 422
    error = answer.text.split(f'id="{field}-error">')[1].split("</p>")[0]
    assert words in error
    assert not re.search(rf"\b{grace_texted}\b", answer.text)
    if field != "username":
        assert 'value="grace"' in answer.text
    assert len(group.vonage.requests) == asked
    assert group.one("SELECT tries FROM whitelist") == 0


def test_an_empty_form_names_all_that_is_missing(group: Group) -> None:
    answer = group.browser().post("/login")

    assert answer.status_code == 422
    for field in ("phone", "pin"):
        assert f'id="{field}-error">{shown(f"{field}-missing")}' in answer.text


def test_a_stranger_learns_nothing_from_the_answer(group: Group, grace_texted: str) -> None:
    """No invite, no PIN running, a wrong PIN and an expired one are told in the same bytes."""
    group.invite(ADA, "ada")
    group.join("12025550150", "henry")

    def page(phone: str, username: str, pin: str) -> tuple[int, str]:
        answer = group.browser().sign_up(phone, username, pin)
        return answer.status_code, answer.text.replace(phone, "PHONE").replace(username, "NAME")

    pages = {
        page(MALLORY, "mallory", "123456"),  # not invited
        page(ADA, "mallory", "123456"),  # invited, and did not text back
        page(ADA, "henry", "123456"),  # nor is a taken name told
        page(ADA, "ada", "123456"),
        page(GRACE, "mallory", wrong_pin(grace_texted)),  # a wrong PIN
    }
    with time_machine.travel(time.time() + 301, tick=True):
        pages.add(page(GRACE, "mallory", grace_texted))  # the right PIN, too late

    assert len(pages) == 1
    status, text = pages.pop()
    assert status == 422
    assert SENTENCE in text


def test_a_pin_can_be_tried_again_after_a_mistake(group: Group, grace_texted: str) -> None:
    grace = group.browser()

    assert SENTENCE in grace.sign_up(GRACE, "grace", wrong_pin(grace_texted)).text
    assert grace.sign_up(GRACE, "grace", grace_texted).status_code == 303


def test_a_pin_is_good_once_and_for_its_own_phone(group: Group, grace_texted: str) -> None:
    group.invite(MALLORY)
    group.text(MALLORY)
    if group.vonage.pin_of(MALLORY) != grace_texted:
        answer = group.browser().sign_up(MALLORY, "mallory", grace_texted)
        assert SENTENCE in answer.text

    assert group.browser().sign_up(GRACE, "grace", grace_texted).status_code == 303
    assert SENTENCE in group.browser().sign_up(GRACE, "grace", grace_texted).text
    assert SENTENCE in group.browser().sign_up(GRACE, "grace2", grace_texted).text
    assert group.one("SELECT count(*) FROM authors") == 1


def test_ten_tries_an_invite_and_a_new_pin_does_not_reset_them(group: Group) -> None:
    group.vonage.wrong_pins_allowed = 100
    with time_machine.travel("2026-11-23", tick=True) as clock:
        group.invite(GRACE)
        group.text(GRACE)
        grace = group.browser()
        for guess in range(7):
            assert SENTENCE in grace.sign_up(GRACE, "grace", f"{guess:06d}").text
        clock.shift(601)
        group.text(GRACE)
        for guess in range(10, 13):
            assert SENTENCE in grace.sign_up(GRACE, "grace", f"{guess:06d}").text

        answer = grace.sign_up(GRACE, "grace", group.vonage.pin_of(GRACE))

        assert answer.status_code == 422
        assert shown("tries-spent") in answer.text
        assert len(group.vonage.calls("check")) == 10
        pins = len(group.vonage.calls("start"))
        assert group.text(GRACE) == 204
        assert len(group.vonage.calls("start")) == pins  # no PIN that could not be used is paid for
        group.invite(GRACE)
        group.text(GRACE)
        assert grace.sign_up(GRACE, "grace", group.vonage.pin_of(GRACE)).status_code == 303


def test_a_pin_that_vonage_ended_asks_for_a_new_text(group: Group, grace_texted: str) -> None:
    grace = group.browser()
    for _ in range(3):
        grace.sign_up(GRACE, "grace", wrong_pin(grace_texted))

    assert SENTENCE in grace.sign_up(GRACE, "grace", grace_texted).text
    assert group.one("SELECT tries FROM whitelist") == 3  # what is over costs no more
    group.text(GRACE)
    assert grace.sign_up(GRACE, "grace", group.vonage.pin_of(GRACE)).status_code == 303


# Names


def test_a_name_that_is_taken_costs_no_pin(group: Group, ada: Browser, grace_texted: str) -> None:
    group.join("12025550150", "henry")
    group.invite("12025550151", "irene")
    checks = len(group.vonage.calls("check"))
    grace = group.browser()

    for name in ("henry", "irene", "ada"):
        answer = grace.sign_up(GRACE, name, grace_texted)
        assert answer.status_code == 422
        assert shown("username-taken") in answer.text
        assert 'aria-invalid="true"' in answer.text

    assert len(group.vonage.calls("check")) == checks
    assert group.one("SELECT tries FROM whitelist WHERE username IS NULL") == 3
    assert grace.sign_up(GRACE, "grace", grace_texted).status_code == 303


@pytest.mark.parametrize("name", ["ada", "ADA", " Ada "])
def test_an_admins_name_is_not_for_the_first_to_come(
    group: Group, grace_texted: str, name: str
) -> None:
    mallory = group.browser()

    assert shown("username-taken") in mallory.sign_up(GRACE, name, grace_texted).text
    assert group.rows("SELECT * FROM authors") == []


def test_an_invite_for_a_name_is_good_for_no_other(group: Group) -> None:
    group.invite(GRACE, "grace")
    group.text(GRACE)
    pin = group.vonage.pin_of(GRACE)
    mallory = group.browser()

    answer = mallory.sign_up(GRACE, "mallory", pin)

    assert shown("username-not-invited") in answer.text
    assert ">grace<" not in answer.text
    assert mallory.sign_up(GRACE, "grace", pin).status_code == 303


def in_flight(group: Group, during: Callable[[], Any]) -> Callable[[Connection, Answer], None]:
    """While Vonage is checking a PIN, something else happens."""

    def how(connection: Connection, answer: Answer) -> None:
        during()
        connection.answer(answer)

    return how


def test_two_friends_who_choose_one_name_at_once(group: Group, grace_texted: str) -> None:
    """The second learns that it is taken before her PIN is burnt."""
    group.invite(MALLORY)
    group.text(MALLORY)
    second = group.browser()
    answers = []
    group.vonage.fail(
        "check",
        in_flight(
            group,
            lambda: answers.append(second.sign_up(MALLORY, "sam", group.vonage.pin_of(MALLORY))),
        ),
        acts=True,
    )

    assert group.browser().sign_up(GRACE, "sam", grace_texted).status_code == 303
    assert shown("username-taken") in answers[0].text
    pin = group.vonage.pin_of(MALLORY)
    assert second.sign_up(MALLORY, "samantha", pin).status_code == 303
    assert group.rows("SELECT username FROM authors") == [("sam",), ("samantha",)]


def run(group: Group, sql: str, *values: object) -> None:
    with sqlite3.connect(group.app.config["DATABASE"], timeout=5) as db:
        db.execute(sql, values)
    db.close()


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM whitelist",
        "UPDATE whitelist SET username = 'henry'",
        "UPDATE whitelist SET id = 99",
        "UPDATE whitelist SET expires_at = 1",
    ],
)
def test_an_invite_that_changes_while_its_pin_is_checked_lets_nobody_in(
    group: Group, grace_texted: str, sql: str
) -> None:
    group.vonage.fail("check", in_flight(group, lambda: run(group, sql)), acts=True)
    grace = group.browser()

    answer = grace.sign_up(GRACE, "grace", grace_texted)

    assert answer.status_code == 422
    assert shown("invite-withdrawn") in answer.text
    assert grace.username() is None
    assert group.rows("SELECT * FROM authors") == []
    assert group.rows("SELECT * FROM sessions") == []


def test_a_name_that_is_given_away_while_the_pin_is_checked(
    group: Group, ada: Browser, grace_texted: str
) -> None:
    invited = lambda: ada.post("/invite", phone=f"+{MALLORY}", username="grace")  # noqa: E731
    group.vonage.fail("check", in_flight(group, invited), acts=True)
    grace = group.browser()

    answer = grace.sign_up(GRACE, "grace", grace_texted)
    assert shown("username-given-away") in answer.text
    assert group.rows("SELECT username FROM authors") == [("ada",)]
    group.text(GRACE)
    assert grace.sign_up(GRACE, "grace2", group.vonage.pin_of(GRACE)).status_code == 303


def test_another_form_meets_a_pin_that_is_being_checked(group: Group, grace_texted: str) -> None:
    answers = []
    mallory = group.browser()
    group.vonage.fail(
        "check",
        in_flight(group, lambda: answers.append(mallory.sign_up(GRACE, "mallory", grace_texted))),
        acts=True,
    )

    assert group.browser().sign_up(GRACE, "grace", grace_texted).status_code == 303
    assert answers[0].status_code == 422
    assert shown("being-checked") in answers[0].text
    assert len(group.vonage.calls("check")) == 1


def test_a_lease_that_was_left_by_a_crash_holds_for_30_seconds(
    group: Group, grace_texted: str
) -> None:
    with time_machine.travel(int(time.time()), tick=False) as clock:
        now = int(time.time())
        run(group, "UPDATE pending_verifications SET username = 'sam', leased_until = ?", now + 30)
        grace = group.browser()
        assert "being checked" in grace.sign_up(GRACE, "grace", grace_texted).text
        clock.shift(29)
        page = grace.sign_up(GRACE, "grace", grace_texted).text
        assert "being checked" in page
        assert 'data-seconds="1">0:01</span>' in page
        clock.shift(1)
        assert grace.sign_up(GRACE, "grace", grace_texted).status_code == 303


def test_a_lease_from_a_clock_that_was_ahead_holds_nobody(group: Group, grace_texted: str) -> None:
    ahead = int(time.time()) + 3600
    run(group, "UPDATE pending_verifications SET username = 'grace', leased_until = ?", ahead)

    assert group.browser().sign_up(GRACE, "grace", grace_texted).status_code == 303


# Twice the same


Fault = Callable[[Connection, Answer], None]


def press_twice(
    group: Group, pin: str, how: Fault, acts: bool
) -> tuple[Browser, Browser, dict[Browser, TestResponse]]:
    """The same form twice from one browser, the second while Vonage checks the first; Vonage's
    answer is `how`. Returns both ends of the browser, and what each was told."""
    first, second = group.browser(), group.browser()
    first.get("/signup")
    second.client.set_cookie("visitor", first.cookie("visitor"))
    answers: dict[Browser, TestResponse] = {}

    def press(browser: Browser) -> None:
        answers[browser] = browser.sign_up(GRACE, "grace", pin)

    again = threading.Thread(target=press, args=(second,))

    def press_again(connection: Connection, answer: Answer) -> None:
        again.start()
        connection.wait(0.5)
        how(connection, answer)

    group.vonage.fail("check", press_again, acts=acts)
    press(first)
    again.join()
    return first, second, answers


def test_a_double_click_signs_in_once(group: Group, grace_texted: str) -> None:
    right: Fault = lambda connection, answer: connection.answer(answer)  # noqa: E731

    first, second, answers = press_twice(group, grace_texted, right, acts=True)

    assert [answer.status_code for answer in answers.values()] == [303, 303]
    assert first.cookie() == second.cookie()
    assert len(group.vonage.calls("check")) == 1
    assert group.one("SELECT count(*) FROM sessions") == 1
    assert group.one("SELECT count(*) FROM authors") == 1


@pytest.mark.parametrize(
    ("how", "status"),
    [
        (answer_with(Answer.of(400, {})), 422),
        (answer_with(Answer.of(404, {})), 422),
        (answer_with(Answer.of(500, {})), 503),
    ],
)
def test_a_double_click_is_told_twice_what_went_wrong_once(
    group: Group, grace_texted: str, how: Fault, status: int
) -> None:
    *_, answers = press_twice(group, grace_texted, how, acts=False)

    assert [answer.status_code for answer in answers.values()] == [status, status]
    assert len(group.vonage.calls("check")) == 1
    assert group.one("SELECT tries FROM whitelist") == 1


def test_a_double_click_on_a_withdrawn_invite_is_told_that_the_pin_is_used_up(
    group: Group, grace_texted: str
) -> None:
    def withdraw(connection: Connection, answer: Answer) -> None:
        run(group, "UPDATE whitelist SET stopped_at = ?", int(time.time()))
        connection.answer(answer)

    first, second, answers = press_twice(group, grace_texted, withdraw, acts=True)

    assert shown("invite-withdrawn") in answers[first].text
    assert answers[second].status_code == 503
    assert shown("pin-used-up") in answers[second].text


def test_a_lost_answer_is_given_again_to_the_same_browser(group: Group, grace_texted: str) -> None:
    grace = group.browser()
    first = grace.sign_up(GRACE, "grace", grace_texted)
    cookie = grace.cookie()
    grace.client.delete_cookie("session")

    again = grace.sign_up(GRACE, "grace", grace_texted)

    assert first.status_code == again.status_code == 303
    assert grace.cookie() == cookie
    assert grace.username() == "grace"
    assert len(group.vonage.calls("check")) == 1
    assert group.one("SELECT count(*) FROM journal WHERE event = 'joined'") == 1


def test_a_receipt_is_for_the_same_form_of_the_same_browser(
    group: Group, grace_texted: str
) -> None:
    grace = group.browser()
    grace.sign_up(GRACE, "grace", grace_texted)

    for username, pin in (("grace2", grace_texted), ("grace", wrong_pin(grace_texted))):
        assert SENTENCE in grace.sign_up(GRACE, username, pin).text
    mallory = group.browser()
    assert SENTENCE in mallory.sign_up(GRACE, "grace", grace_texted).text
    assert mallory.username() is None


def test_a_receipt_is_good_for_ten_minutes(group: Group, grace_texted: str) -> None:
    grace = group.browser()
    grace.sign_up(GRACE, "grace", grace_texted)
    grace.client.delete_cookie("session")

    with time_machine.travel(time.time() + 601, tick=True):
        assert SENTENCE in grace.sign_up(GRACE, "grace", grace_texted).text


@pytest.mark.parametrize("how", ["sign out", "removal", "a new PIN"])
def test_a_receipt_ends_with_what_it_is_for(group: Group, grace_texted: str, how: str) -> None:
    grace = group.browser()
    grace.sign_up(GRACE, "grace", grace_texted)
    if how == "sign out":
        grace.post("/logout")
    elif how == "removal":
        with sqlite3.connect(group.app.config["DATABASE"]) as db:
            db.execute("PRAGMA foreign_keys = ON")
            db.execute("DELETE FROM authors")
        db.close()
    else:
        group.invite(GRACE, "grace")
        group.text(GRACE)

    assert SENTENCE in grace.sign_up(GRACE, "grace", grace_texted).text


# Vonage stumbles


@pytest.mark.parametrize(
    "how",
    [
        answer_with(Answer.of(401, {})),
        answer_with(Answer.of(402, {})),
        answer_with(Answer.of(403, {})),
        answer_with(Answer.of(409, {})),
        answer_with(Answer.of(422, {})),
        answer_with(Answer.of(429, {})),
        answer_with(Answer(500, b"<h1>No</h1>", "text/html")),
        answer_with(Answer.of(503, {})),
        answer_with(Answer(200, b"<h1>Hello</h1>", "text/html")),
        answer_with(Answer(200, b"")),
        answer_with(Answer.of(200, None)),
        answer_with(Answer.of(200, [])),
        answer_with(Answer(200, b'{"status": "compl')),
        answer_with(Answer.of(200, {"status": "completed"})),
        answer_with(Answer.of(200, {"status": "completed", "request_id": "another-request"})),
        answer_with(Answer(307, b"", headers={"Location": "https://localhost:1/"})),
        change(status="failed"),
        change(status="COMPLETED"),
        change(status=True),
        change(request_id="another-request"),
        drop,
    ],
)
def test_when_vonage_stumbles_nobody_is_in_and_the_pin_is_still_good(
    group: Group, grace_texted: str, how: Callable[[Connection, Answer], None]
) -> None:
    # For answers that are right except for one word, the PIN is left unused at Vonage too.
    group.vonage.fail("check", how)
    running = dict(group.vonage.verifications)
    request_id = next(iter(running))
    if how.__qualname__.startswith("change"):
        group.vonage.faults["check"].clear()
        right = Answer.of(200, {"request_id": request_id, "status": "completed"})
        group.vonage.fail("check", lambda connection, _: how(connection, right))
    grace = group.browser()

    answer = grace.sign_up(GRACE, "grace", grace_texted)

    assert answer.status_code == 503
    assert shown("pin-unchecked") in answer.text
    assert 'value="grace"' in answer.text
    assert not re.search(rf"\b{grace_texted}\b", answer.text)
    assert grace.username() is None
    assert group.one("SELECT tries FROM whitelist") == 1
    assert len(group.vonage.calls("check")) == 1
    assert grace.sign_up(GRACE, "grace", grace_texted).status_code == 303


def test_a_sign_in_that_cannot_be_stored_says_that_the_pin_is_used_up(
    group: Group, grace_texted: str
) -> None:
    """The database is locked from Vonage's yes on: nobody is in, and the invite stands."""
    group.lose_patience()
    database = group.app.config["DATABASE"]
    locker = sqlite3.connect(database, isolation_level=None, check_same_thread=False)

    def lock(connection: Connection, answer: Answer) -> None:
        locker.execute("BEGIN IMMEDIATE")
        connection.answer(answer)

    group.vonage.fail("check", lock, acts=True)
    grace = group.browser()
    answer = grace.sign_up(GRACE, "grace", grace_texted)
    locker.execute("ROLLBACK")
    locker.close()

    assert answer.status_code == 503
    assert shown("pin-used-up") in answer.text
    assert grace.username() is None
    assert group.rows("SELECT * FROM authors") == []
    group.text(GRACE)
    with time_machine.travel(time.time() + 31, tick=True):  # the lease could not be released
        pin = group.vonage.pin_of(GRACE)
        assert grace.sign_up(GRACE, "grace", pin).status_code == 303


def test_a_try_is_given_back_when_vonage_was_certainly_not_asked(
    group: Group, grace_texted: str
) -> None:
    client = running(group.app).vonage.verify.http_client
    host, client._api_host = client._api_host, "localhost:1"  # nobody listens there
    grace = group.browser()

    assert grace.sign_up(GRACE, "grace", grace_texted).status_code == 503

    assert group.one("SELECT tries FROM whitelist") == 0
    client._api_host = host
    assert grace.sign_up(GRACE, "grace", grace_texted).status_code == 303


def test_what_the_browser_sends_besides_does_not_matter(group: Group, grace_texted: str) -> None:
    more = {"request_id": "x", "author_id": "1", "is_admin": "1", "verified": "1", "user": "ada"}

    answer = group.browser().sign_up(GRACE, "grace", grace_texted, **more)

    assert answer.status_code == 303
    assert group.rows("SELECT id, username FROM authors") == [(1, "grace")]


def test_vonage_is_never_asked_inside_a_transaction(group: Group) -> None:
    from foundation.storage.database import transaction
    from foundation.vonage.client import asking_vonage

    with group.app.app_context(), pytest.raises(RuntimeError, match="never called"):  # noqa: SIM117
        with transaction(), asking_vonage("check"):
            pass

    waiting = threading.Event()
    free = threading.Event()

    def hold(connection: Connection, answer: Answer) -> None:
        waiting.set()
        free.wait(5)
        connection.answer(answer)

    group.invite(GRACE)
    group.text(GRACE)
    group.vonage.fail("check", hold, acts=True)
    pin = group.vonage.pin_of(GRACE)
    signing_up = threading.Thread(target=group.browser().sign_up, args=(GRACE, "grace", pin))
    signing_up.start()
    wait_for(waiting.is_set)
    with sqlite3.connect(group.app.config["DATABASE"], timeout=0) as db:
        db.execute("BEGIN IMMEDIATE")  # would fail if a writer were waiting for Vonage
        db.execute("ROLLBACK")
    db.close()
    free.set()
    signing_up.join()
    assert group.one("SELECT count(*) FROM authors") == 1
