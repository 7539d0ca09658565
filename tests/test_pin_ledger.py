"""PINs while Vonage fails: what is counted, what the pages claim, and whose a number is."""

import logging
import re
import time

import pytest
import time_machine

from app import choose_act
from foundation.vonage.inbound import parse_inbound
from foundation.words.clock import MINUTE
from simulator.server import Server
from simulator.vonage import Answer, Connection, answer_with, drop

from .cast import CODE, GRACE, MALLORY, Browser, Group, find_port, point, shown
from .own_words import invite, is_unbound, pins

OUT_OF_CREDIT = answer_with(Answer.of(402, {}))


class Outage:
    """Nothing answers where Vonage was."""

    def __init__(self, group: Group, vonage_server: Server) -> None:
        self.group, self.host = group, vonage_server.host

    def __enter__(self) -> None:
        point(self.group.app, f"localhost:{find_port()}")

    def __exit__(self, *_: object) -> None:
        point(self.group.app, self.host)


@pytest.fixture
def outage(group: Group, vonage_server: Server) -> Outage:
    return Outage(group, vonage_server)


@pytest.fixture
def invited(group: Group, ada: Browser) -> int:
    ada.post("/invite", phone=f"+{GRACE}", who="Grace")
    return int(group.one("SELECT max(id) FROM whitelist"))


def books(group: Group) -> tuple[int, int, int]:
    """What the invite counts, what the ledger counts, and in how many lines."""
    sql = "SELECT pins_sent FROM whitelist ORDER BY id DESC LIMIT 1"
    lines = "SELECT sum(parts), count(*) FROM journal WHERE event = 'pin_sent' AND invite_id > 1"
    return (group.one(sql), *group.rows(lines)[0])


def lines(ada: Browser) -> list[str]:
    page = ada.get("/admin/journal").text
    return re.findall(r"</time> ([^<]*PIN[^<]*)</li>", page)


def test_an_outage_counts_a_pin_once(
    group: Group, ada: Browser, invited: int, outage: Outage
) -> None:
    message = group.vonage.inbound(GRACE, CODE)
    began, asked = time.time(), pins(group)
    with outage:
        for minute in (0, 6, 12, 18):
            with time_machine.travel(began + minute * MINUTE, tick=True):
                assert group.deliver(message, group.token()) == 503
    assert books(group) == (0, 0, 1)
    told = [line for line in lines(ada) if "Grace" in line]
    assert len(told) == 1
    assert "couldn" in told[0]
    with time_machine.travel(began + 24 * MINUTE, tick=True):
        assert group.deliver(message, group.token()) == 204
    assert pins(group) == asked + 1
    assert books(group) == (1, 1, 1)
    assert [line for line in lines(ada) if "Grace" in line] == ["A PIN was sent to Grace"]


def test_what_is_asked_again_keeps_to_the_budget(
    group: Group, ada: Browser, outage: Outage
) -> None:
    phones = [str(int(GRACE) + n) for n in range(5)]
    for phone in phones:
        ada.post("/invite", phone=f"+{phone}", send="self")
    group.app.config["TEXTS_PER_DAY"] = group.one("SELECT sum(parts) FROM journal") + 1
    messages = [group.vonage.inbound(phone, CODE) for phone in phones]
    with outage:
        assert [group.deliver(message) for message in messages] == [503] * 5
    asked = pins(group)
    assert [group.deliver(message) for message in messages] == [204] * 5
    assert pins(group) == asked + 1


def test_what_may_have_been_sent_stays_counted(
    group: Group, ada: Browser, invited: int, outage: Outage
) -> None:
    """The first answer is lost, and the second try reaches nobody."""
    message = group.vonage.inbound(GRACE, CODE)
    group.vonage.fail("start", drop, acts=True)
    assert group.deliver(message) == 503
    with outage:
        assert group.deliver(message) == 503
    assert books(group) == (1, 1, 1)


def test_a_refusal_after_an_outage_is_told_and_lets_the_number_go(
    group: Group, ada: Browser, outage: Outage
) -> None:
    word = invite(ada)
    message = group.vonage.inbound(GRACE, word)
    with outage:
        assert group.deliver(message) == 503
    assert shown("pin-unsent") in ada.get("/admin").text
    group.vonage.fail("start", OUT_OF_CREDIT)
    assert group.deliver(message) == 204
    assert is_unbound(group)
    assert group.one("SELECT pins_sent FROM whitelist") == 0
    page = ada.get("/admin").text
    assert "Texted back, no PIN sent." in page
    assert shown("pin-unsent") not in page
    group.text(MALLORY, word)
    assert not is_unbound(group)


def test_after_half_an_hour_nothing_tries_again(
    group: Group, ada: Browser, invited: int, outage: Outage
) -> None:
    message, began = group.vonage.inbound(GRACE, CODE), time.time()
    with outage:
        assert group.deliver(message, group.token()) == 503
        with time_machine.travel(began + 31 * MINUTE, tick=True):
            page = ada.get("/admin").text  # Vonage didn't call again
            assert shown("replied-late") in page.split('id="invite"')[0]
    with time_machine.travel(began + 31 * MINUTE, tick=True):
        assert group.deliver(message, group.token()) == 204
        assert shown("replied-late") in ada.get("/admin").text
        assert shown("pin-unsent") not in ada.get("/admin").text


def test_a_slow_failure_says_nothing_of_a_newer_pin(
    group: Group, ada: Browser, invited: int
) -> None:
    def fail_after_another(connection: Connection, answer: Answer) -> None:
        assert group.text(GRACE) == 204
        drop(connection, answer)

    group.vonage.fail("start", fail_after_another)
    message = group.vonage.inbound(GRACE, CODE)
    assert group.deliver(message) == 503
    assert shown("pin-unsent") not in ada.get("/admin").text
    assert lines(ada)[0] == "A PIN was sent to Grace"
    assert group.deliver(message) == 204
    grace = group.browser()
    assert grace.sign_up(GRACE, "grace", group.vonage.pin_of(GRACE)).status_code == 303


def test_nobody_changes_the_lines_of_anothers_invite(
    group: Group, ada: Browser, invited: int
) -> None:
    mallory = group.join(MALLORY, "mallory")
    for _ in range(2):
        group.text(GRACE)
    group.vonage.fail("start", drop)
    assert group.text(GRACE) == 503
    before = group.rows("SELECT * FROM journal")
    assert mallory.post(f"/invite/{invited}/revoke").status_code == 403
    assert group.rows("SELECT * FROM journal") == before


@pytest.mark.parametrize("how", ["withdrawn", "replaced", "its inviter leaves"])
def test_a_pin_that_was_never_seen_to_be_sent_is_not_claimed_afterwards(
    group: Group, ada: Browser, how: str
) -> None:
    group.app.config["MEMBER_INVITES"] = 2
    mallory = group.join(MALLORY, "mallory")
    mallory.post("/invite", phone=f"+{GRACE}", who="Grace")
    group.vonage.fail("start", drop)
    assert group.text(GRACE) == 503
    group.pass_a_minute()
    if how == "withdrawn":
        ada.post(f"/invite/{group.one('SELECT id FROM whitelist')}/revoke")
    elif how == "replaced":
        ada.post("/invite", phone=f"+{GRACE}")
    else:
        mallory.post("/leave")
    assert "No PIN was sent to an invited friend" in lines(ada)[0]


# Whose the number is ------------------------------------------------------------------------------


@pytest.mark.parametrize("write", ["STOP {}", "stop {} stop", "unsubscribe {}"])
def test_stop_with_a_word_asks_for_nothing(group: Group, ada: Browser, write: str) -> None:
    word, asked = invite(ada), pins(group)
    assert group.text(GRACE, write.format(word)) == 204
    assert is_unbound(group)
    assert pins(group) == asked


def test_a_stop_while_vonage_refuses_stays(group: Group, ada: Browser) -> None:
    word = invite(ada)

    def stop_meanwhile(connection: Connection, answer: Answer) -> None:
        assert group.text(GRACE, "stop") == 204
        OUT_OF_CREDIT(connection, answer)

    group.vonage.fail("start", stop_meanwhile)
    assert group.text(GRACE, word) == 204
    assert group.rows("SELECT phone_hint, stopped_at > 0 FROM whitelist") == [("01", 1)]
    assert ada.post("/invite", phone=f"+{GRACE}").status_code == 422
    asked = pins(group)
    group.text(MALLORY, word)
    assert pins(group) == asked


def test_a_pin_is_kept_for_the_phone_that_it_went_to(
    group: Group, ada: Browser, outage: Outage
) -> None:
    """While it was started, its number was let go, and another has been bound."""
    word = invite(ada)
    message = group.vonage.inbound(GRACE, word)
    with outage:
        assert group.deliver(message) == 503

    def let_go_meanwhile(connection: Connection, answer: Answer) -> None:
        sql = "UPDATE whitelist SET phone_digest = 'other', phone_hint = '88'"
        group.rows(sql)
        connection.answer(answer)

    group.vonage.fail("start", let_go_meanwhile, acts=True)
    assert group.deliver(message) == 204
    assert group.rows("SELECT 1 FROM pending_verifications WHERE author_id IS NULL") == []


def test_the_slower_of_two_phones_is_told_of(group: Group, ada: Browser) -> None:
    word = invite(ada)
    with group.app.test_request_context():
        slower = parse_inbound(group.vonage.inbound(MALLORY, word))
        assert slower
        act = choose_act(slower)
        assert group.text(GRACE, word) == 204
        assert act
        act(slower)
    assert group.one("SELECT phone_hint FROM whitelist") == "01"
    assert shown("replied-another") in ada.get("/admin").text


# Forms that are sent twice, and logs --------------------------------------------------------------


def test_a_form_is_known_by_where_it_is_sent(group: Group, ada: Browser) -> None:
    ada.post("/admin/programs", name="wiki", title="Wiki", address="https://wiki.example.org")
    back = "https://wiki.example.org/cb"
    assert ada.post("/admin/programs/wiki/openid", redirects=back, once="x").status_code == 200
    assert ada.post("/invite", phone=f"+{GRACE}", once="x").status_code == 303


def test_the_words_go_to_the_number_of_the_invite_only(group: Group, ada: Browser) -> None:
    form = {"who": "Grace", "send": "self", "once": "x"}
    assert f'href="sms:+{GRACE}?' in ada.post("/invite", phone=f"+{GRACE}", **form).text
    assert 'href="sms:?' in ada.post("/invite", phone=f"+{MALLORY}", **form).text
    assert group.one("SELECT count(*) FROM whitelist") == 1


def test_a_text_that_nobody_saw_leave_is_not_claimed(group: Group, ada: Browser) -> None:
    """The process died between counting it and sending it."""
    ada.post("/invite", phone=f"+{GRACE}", once="x")
    group.rows("UPDATE whitelist SET message_ids = '{}', created_at = created_at - 90")
    again = ada.post("/invite", phone=f"+{GRACE}", once="x")
    page = ada.get(again.location).text
    assert "is on its way" not in page
    assert shown("vonage-unavailable") in page


def test_a_word_gets_into_no_log(group: Group, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    logging.getLogger("werkzeug").info('"GET /i/BCDFGH HTTP/1.1" 200')
    group.app.logger.error("Exception on /join/BCDFGHJK [GET]")
    assert "BCDFGH" not in caplog.text
    for path in ("/i/BCDFGH", "/join/BCDFGHJK"):
        assert group.browser().get(path).headers["Referrer-Policy"] == "no-referrer"
    assert group.browser().get("/").headers["Referrer-Policy"] == "same-origin"


@pytest.mark.parametrize("path", ["/i/BCDFGH", "/join/BCDFGHJK"])
def test_the_language_is_chosen_there_too(group: Group, path: str) -> None:
    browser = group.browser()
    assert f'name="here" value="{path}"' in browser.get(path).text
    assert browser.post("/language", language="de", here=path).location == path
    for elsewhere in ("//mallory.example/", "https://mallory.example/", "/nothing", "x"):
        assert browser.post("/language", language="de", here=elsewhere).location == "/"
