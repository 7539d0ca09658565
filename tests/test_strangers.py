"""What somebody can do who was never invited, and what an accident costs."""

import re
import threading

import pytest
import time_machine

from foundation.storage.database import get_db
from foundation.words.clock import DAY, MINUTE
from simulator.vonage import Answer, Connection

from .cast import ADA, GRACE, MALLORY, Browser, Group, Lock, shown, wait_for


def test_a_stranger_takes_no_write_lock(group: Group, ada: Browser) -> None:
    """While somebody else writes, what is refused is refused, and waits for nobody."""
    group.invite(GRACE)  # and has no PIN running
    stranger = group.browser()
    stranger.get("/signup")
    group.lose_patience()
    lock = Lock(group.app.config["DATABASE"])

    for phone in (MALLORY, GRACE):
        answer = stranger.post("/login", phone=f"+{phone}", username="mallory", pin="123456")
        assert answer.status_code == 422
        assert shown("pin-wrong") in answer.text
    assert stranger.post("/login", phone="x", username="!", pin="").status_code == 422
    lock.release()


def test_a_flood_of_forgeries_is_counted_in_memory(group: Group) -> None:
    assert group.deliver({"text": "sunflower"}) == 401
    group.lose_patience()
    lock = Lock(group.app.config["DATABASE"])

    for _ in range(50):
        assert group.deliver({"text": "sunflower"}) == 401

    lock.release()
    counted = "SELECT detail FROM journal WHERE event = 'webhook_refused'"
    assert group.rows(counted) == [('{"": 1}',)]
    group.keep_house()
    assert group.rows(counted) == [('{"": 51}',)]


def test_no_question_scans_the_journal(group: Group, ada: Browser) -> None:
    """SQLite's own account: every statement of a sign-up, a text and an invite uses an index."""
    statements: list[str] = []
    group.invite(GRACE)
    group.pass_a_minute()
    with group.app.app_context():
        get_db().set_trace_callback(statements.append)
        group.text(GRACE, "hello?")
        group.text(GRACE)
        group.text(MALLORY)
        group.browser().sign_up(GRACE, "grace", "000000")
        group.browser().sign_up(GRACE, "grace", group.vonage.pin_of(GRACE))
        ada.post("/invite", phone=f"+{MALLORY}")
        get_db().set_trace_callback(None)
        for sql in statements:
            if "journal" in sql and not sql.startswith("INSERT"):
                plan = [row["detail"] for row in get_db().execute(f"EXPLAIN QUERY PLAN {sql}")]
                assert not [step for step in plan if step.startswith("SCAN journal")], (sql, plan)


def test_an_invite_made_again_texts_a_number_once_a_minute(group: Group) -> None:
    with time_machine.travel("2026-11-25 12:00", tick=False) as clock:
        ada = group.join(ADA, "ada", bound=True)
        texts = len(group.vonage.calls("text"))
        for _ in range(6):
            answer = ada.post("/invite", phone=f"+{GRACE}")
            for (id,) in group.rows("SELECT id FROM whitelist"):
                ada.post(f"/invite/{id}/revoke")

        assert answer.status_code == 422
        assert shown("invited-just-now") in answer.text
        assert len(group.vonage.calls("text")) == texts + 1
        clock.shift(MINUTE)
        assert ada.post("/invite", phone=f"+{GRACE}").status_code == 303
        clock.shift(DAY)
        group.command("prune")
        assert group.rows("SELECT * FROM cooldowns") == []


def test_of_presses_that_wait_only_one_holds_a_thread(group: Group, grace_texted: str) -> None:
    asked, free = threading.Event(), threading.Event()

    def hold(connection: Connection, answer: Answer) -> None:
        asked.set()
        free.wait(10)
        connection.answer(answer)

    group.vonage.fail("check", hold, acts=True)
    grace = group.browser()
    grace.get("/signup")
    visitor = grace.cookie("visitor")
    statuses: list[int] = []

    def press() -> None:
        browser = group.browser()
        browser.client.set_cookie("visitor", visitor)
        form = {"phone": f"+{GRACE}", "username": "grace", "pin": grace_texted}
        statuses.append(browser.post("/login", **form).status_code)

    presses = [threading.Thread(target=press) for _ in range(8)]
    presses[0].start()
    assert asked.wait(10)
    for one in presses[1:]:
        one.start()
    wait_for(lambda: len(statuses) == 6)  # they were told so; one waits, one asks

    free.set()
    for one in presses:
        one.join(20)
    assert sorted(statuses) == [303, 303, 422, 422, 422, 422, 422, 422]
    assert len(group.vonage.calls("check")) == 1
    assert group.one("SELECT count(*) FROM sessions") == 1


@pytest.mark.parametrize(
    "write",
    [
        "{0}",
        "123 456",
        "\u200e{0}\u2069",
        "{0}\u00ad",
        "123-456",
        "123\u2013456",
        "\u0661\u0662\u0663\u0664\u0665\u0666",
        "\uff11\uff12\uff13\uff14\uff15\uff16",
        "\u06f1\u06f2\u06f3 \u06f4\u06f5\u06f6",
    ],
)
def test_a_pin_is_read_as_phones_write_it(group: Group, write: str) -> None:
    group.invite(GRACE)
    group.text(GRACE)
    (running,) = group.vonage.verifications.values()
    running.pin = "123456"

    answer = group.browser().sign_up(GRACE, "grace", write.format("123456"))

    assert answer.status_code == 303


def test_odd_ways_to_the_sign_up_page(group: Group) -> None:
    by_hand = group.browser().get("/login")
    from_a_text = group.browser().get("/signup.")

    assert (by_hand.status_code, by_hand.location) == (303, "/signup")
    assert from_a_text.status_code == 200
    assert "Your phone number" in from_a_text.text
    assert group.vonage.thread(GRACE) == []
    group.invite(GRACE)
    assert group.vonage.thread(GRACE)[0].endswith("http://localhost:8000/signup")


def test_a_friend_whose_browser_says_nothing_is_not_called_an_intruder(group: Group) -> None:
    answer = group.app.test_client().post("/login", data={"phone": f"+{GRACE}"})

    assert answer.status_code == 403
    assert shown("cross-site") in answer.text
    assert "admins" not in answer.text


def test_the_invite_names_who_invites_if_that_fits(group: Group, ada: Browser) -> None:
    ada.post("/invite", phone=f"+{GRACE}")
    assert group.vonage.thread(GRACE)[0].startswith("ada invited you to Trusted Group. Reply")

    name = "a-name-of-thirty-characters-ab"
    group.app.config["ADMINS"] = frozenset({"ada", name})
    admin = group.join("12025550150", name, bound=True)
    group.app.config["BASE_URL"] = "https://a-rather-long-name.of-our-village.example"
    admin.client.environ_base["HTTP_SEC_FETCH_SITE"] = "same-origin"
    admin.post("/invite", phone=f"+{MALLORY}")

    (text,) = group.vonage.thread(MALLORY)
    assert text.startswith("You're invited to Trusted Group. Reply")
    assert len(text) <= 160


def test_a_receipt_is_refused_to_strangers_without_a_lock(group: Group) -> None:
    group.join(GRACE, "grace")
    stranger = group.browser()
    stranger.get("/signup")
    group.lose_patience()
    lock = Lock(group.app.config["DATABASE"])

    answer = stranger.post("/login", phone=f"+{GRACE}", username="grace", pin="123456")
    forged = group.deliver({"text": "sunflower"})

    assert (answer.status_code, forged) == (422, 401)
    lock.release()


def test_inviting_again_leaves_the_receipt(group: Group) -> None:
    """The answer got lost, and an admin is in a hurry."""
    group.invite(GRACE)
    group.text(GRACE)
    grace, pin = group.browser(), group.vonage.pin_of(GRACE)
    assert grace.sign_up(GRACE, "grace", pin).status_code == 303
    cookie = grace.cookie()
    grace.client.delete_cookie("session")

    group.invite(GRACE, "grace")

    assert grace.sign_up(GRACE, "grace", pin).status_code == 303
    assert grace.cookie() == cookie


@pytest.mark.parametrize(
    "typed", ["", "grace", '"><b>&amp;', "\x1apin\x1a", "\x1ausername\x1a", "\x1a", "{{ 1 }}"]
)
def test_a_kept_page_is_the_page_as_rendered(group: Group, typed: str) -> None:
    """Strangers get pages from outlines, see foundation/web/kept_forms.py. A notice has the page
    rendered for them."""
    browser = group.browser()
    browser.get("/signup")
    form = {"phone": typed, "username": typed, "pin": typed}
    for _ in range(2):  # the first time, the outline is made
        kept = browser.post("/login", **form).text
        browser.client.set_cookie("notice", "done-signed-out")
        rendered = browser.post("/login", **form).text
        told = re.search(r'\n    <p class="notice".*?</p>', rendered)
        assert told
        assert kept == rendered.replace(told[0], "")


def test_a_kept_page_has_what_this_stranger_typed(group: Group) -> None:
    for name in ("mallory", "grace"):
        browser = group.browser()
        browser.get("/signup")
        answer = browser.post("/login", phone=f"+{MALLORY}", username=name, pin="123456")
        assert re.findall(r'name="(\w+)" value="([^"]*)"', answer.text) == [
            ("phone", f"+{MALLORY}"),
            ("username", name),
        ]


def test_a_notice_is_shown_once_and_not_kept(group: Group, ada: Browser) -> None:
    ada.post("/logout")
    assert shown("done-signed-out") in ada.get("/signup").text
    assert shown("done-signed-out") not in ada.get("/signup").text
