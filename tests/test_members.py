"""An admin takes somebody out, or signs them out: at once and everywhere."""

import re
import threading

import pytest
import time_machine
from flask import session
from flask.typing import ResponseReturnValue

from foundation.words.clock import DAY, MINUTE
from simulator.vonage import Answer, Connection

from .cast import ADA, GRACE, MALLORY, Browser, Group, member_id, shown


@pytest.fixture
def grace(group: Group, ada: Browser) -> Browser:
    return group.join(GRACE, "grace")


def test_a_removed_member_is_out_at_once_with_all_that_is_theirs(
    group: Group, ada: Browser, grace: Browser
) -> None:
    group.invite(MALLORY, "grace")
    group.text(MALLORY)

    assert ada.post(f"/members/{member_id(group, 'grace')}/remove").location == "/admin/members"

    assert grace.username() is None
    assert group.rows("SELECT username FROM authors WHERE removed_at IS NULL") == [("ada",)]
    assert group.one("SELECT count(*) FROM sessions") == 1
    assert group.rows("SELECT * FROM whitelist") == []
    assert group.rows("SELECT * FROM pending_verifications WHERE author_id IS NOT 1") == []
    pin = group.vonage.pin_of(MALLORY)
    assert group.browser().sign_up(MALLORY, "grace", pin).status_code == 422
    assert "ada removed grace" in ada.get("/admin/journal").text


def test_a_request_in_flight_does_not_save_a_removed_member(
    group: Group, ada: Browser, grace: Browser
) -> None:
    started, removed = threading.Event(), threading.Event()

    def slow() -> ResponseReturnValue:
        session["seen"] = True
        started.set()
        removed.wait(5)
        return "done"

    group.app.view_functions["pages.home"] = slow
    request = threading.Thread(target=grace.get, args=("/",))
    request.start()
    assert started.wait(5)
    ada.post(f"/members/{member_id(group, 'grace')}/remove")
    removed.set()
    request.join()

    assert group.one("SELECT count(*) FROM sessions") == 1
    assert grace.get("/admin").location == "/signup?next=/admin"


def test_a_member_who_is_removed_while_their_pin_is_checked_stays_out(
    group: Group, ada: Browser, grace: Browser
) -> None:
    group.invite(GRACE, "grace")
    group.text(GRACE)
    removed = []

    def remove(connection: Connection, answer: Answer) -> None:
        removed.append(ada.post(f"/members/{member_id(group, 'grace')}/remove").status_code)
        connection.answer(answer)

    group.vonage.fail("check", remove, acts=True)
    again = group.browser()

    answer = again.sign_up(GRACE, "grace", group.vonage.pin_of(GRACE))

    assert removed == [303]
    assert answer.status_code == 422
    assert shown("invite-withdrawn") in answer.text
    assert again.username() is None


def test_an_old_cookie_is_not_good_for_a_namesake(
    group: Group, ada: Browser, grace: Browser
) -> None:
    ada.post(f"/members/{member_id(group, 'grace')}/remove")
    namesake = group.join(MALLORY, "grace", bound=True)

    assert grace.username() is None
    assert namesake.username() == "grace"


def test_signing_somebody_out_everywhere_leaves_them_a_member(
    group: Group, ada: Browser, grace: Browser
) -> None:
    second = group.join(GRACE, "grace", bound=True)

    assert ada.post(f"/members/{member_id(group, 'grace')}/sign-out").location == "/admin/members"

    assert grace.username() is second.username() is None
    assert ada.username() == "ada"
    assert "ada signed grace out everywhere" in ada.get("/admin/journal").text
    assert group.join(GRACE, "grace", bound=True).username() == "grace"


def test_an_admin_is_not_removed_while_in_admins(group: Group, ada: Browser) -> None:
    page = ada.post("/members/1/remove")

    assert page.status_code == 422
    assert shown("admin-stays") in page.text
    assert ada.username() == "ada"
    assert "Remove ada" not in page.text


@pytest.mark.parametrize("act", ["remove", "sign-out"])
@pytest.mark.parametrize("number", ["99", "0", "-1", "x", "9" * 30])
def test_somebody_who_is_not_there_cannot_be_removed(ada: Browser, act: str, number: str) -> None:
    assert ada.post(f"/members/{number}/{act}").status_code == 404


@pytest.mark.parametrize("act", ["remove", "sign-out"])
def test_only_admins_remove(group: Group, ada: Browser, grace: Browser, act: str) -> None:
    assert grace.post(f"/members/1/{act}").status_code == 403
    assert group.browser().post(f"/members/1/{act}").location == "/signup"
    assert ada.username() == "ada"


def test_who_may_not_is_a_line_in_the_log(grace: Browser, caplog: pytest.LogCaptureFixture) -> None:
    grace.get("/admin/journal?show=a-secret")
    assert caplog.messages[-1] == "grace was refused: journal.of_admins.journal"


def test_admins_see_when_and_where_members_are(group: Group) -> None:
    with time_machine.travel("2026-11-23 12:00", tick=False) as clock:
        ada = group.join(ADA, "ada", bound=True)
        ada.post("/invite", phone=f"+{GRACE}")
        group.text(GRACE)
        grace = group.browser()
        grace.sign_up(GRACE, "grace", group.vonage.pin_of(GRACE))
        clock.shift(MINUTE)
        group.join(GRACE, "grace", bound=True)

        def told(name: str) -> str:
            page = ada.get("/admin/members").text
            entry = page.split(f"<strong>{name}</strong>")[1].split("</li>")[0]
            return re.sub(r"<[^>]*>|\s+", " ", entry.split('<span class="note">')[1]).strip()

        assert told("ada") == "Last seen today · 1 way in"
        assert told("grace") == "Last seen today · 2 ways in"
        page = ada.get(f"/members/{member_id(group, 'grace')}").text
        assert "Joined on 23 November 2026, invited by ada." in page
        assert "Joined on 23 November 2026." in ada.get("/members/1").text
        clock.shift(DAY)
        assert told("grace") == "Last seen yesterday · 2 ways in"
        clock.shift(5 * DAY)
        grace.get("/")
        assert told("grace") == "Last seen today · 2 ways in"
        clock.shift(25 * DAY)
        assert told("grace") == "Last seen 25 days ago · 1 way in"
        clock.shift(6 * DAY)
        group.pass_a_minute()
        assert told("grace") == "Last seen 31 days ago · 0 ways in"


def test_members_see_who_is_in_and_who_invited_whom(group: Group, ada: Browser) -> None:
    ada.post("/invite", phone=f"+{GRACE}")
    group.text(GRACE)
    grace = group.browser()
    grace.sign_up(GRACE, "grace", group.vonage.pin_of(GRACE))

    everybody = grace.get("/members").text.split('<ul class="everybody card">')[1].split("</ul>")[0]

    people = [" ".join(re.sub("<.*?>", "", li).split()) for li in everybody.split("<li>")[1:]]
    assert people == ["ada", "grace invited by ada"]
    assert group.browser().get("/members").location == "/signup?next=/members"
    assert ada.get("/members?q=gra").location == "/admin/members?q=gra"


def test_somebody_who_was_invited_by_somebody_who_left_stays(group: Group, ada: Browser) -> None:
    ada.post("/invite", phone=f"+{GRACE}")
    group.text(GRACE)
    grace = group.browser()
    grace.sign_up(GRACE, "grace", group.vonage.pin_of(GRACE))
    group.app.config["ADMINS"] = frozenset({"grace"})

    grace.post(f"/members/{member_id(group, 'ada')}/remove")

    assert "Nobody else is here yet" in grace.get("/").text
    assert "invited by ada" in grace.get(f"/members/{member_id(group, 'grace')}").text


def test_a_member_becomes_a_guest_and_stays_for_good_after_all(group: Group) -> None:
    with time_machine.travel("2026-11-25 12:00", tick=False) as clock:
        ada = group.join(ADA, "ada", bound=True)
        grace = group.join(GRACE, "grace")

        assert ada.post("/members/2/last-day", ends_on="2026-11-25").status_code == 303

        assert "guest until 25 November 2026" in ada.get("/admin/members").text
        assert 'value="2026-11-25"' in ada.get("/members/2/last-day").text
        assert "ada changed how long grace can stay" in ada.get("/admin/journal").text
        ada.post("/members/2/last-day", ends_on="2026-11-26")
        clock.move_to("2026-11-26 23:59:59+00:00")
        assert grace.username() == "grace"
        ada.post("/members/2/last-day")
        clock.shift(2)
        assert grace.username() == "grace"
        ada.post("/members/2/last-day", ends_on="2026-11-27")
        clock.shift(DAY)
        assert grace.username() is None
        assert "was a guest until 27 November 2026" in ada.get("/admin/members").text
        ada.post("/members/2/last-day")
        assert grace.username() is None  # a member again, but the old session stays over
        assert "was a guest" not in ada.get("/admin/members").text


@pytest.mark.parametrize(
    ("number", "day", "sentence"),
    [
        (2, "2026-11-24", "day-over"),
        (2, "soon", "day-unreadable"),
        (1, "2030-01-01", "day-for-admin"),
    ],
)
def test_a_last_day_that_cannot_be_changes_nothing(
    group: Group, number: int, day: str, sentence: str
) -> None:
    with time_machine.travel("2026-11-25 12:00", tick=False):
        ada = group.join(ADA, "ada", bound=True)
        group.join(GRACE, "grace")

        page = ada.post(f"/members/{number}/last-day", ends_on=day)

        assert page.status_code == 422
        assert shown(sentence) in page.text
        assert group.rows("SELECT ends_at FROM authors") == [(None,), (None,)]


def test_members_are_found_by_a_part_of_their_name(ada: Browser, grace: Browser) -> None:
    def found(wanted: str) -> list[str]:
        page = ada.get("/admin/members", query_string={"q": wanted}).text
        return re.findall(r"<strong>(\w+)</strong>", page)

    assert found("") == found("a") == ["ada", "grace"]
    assert found(" RAC ") == ["grace"]
    assert found("%") == found("_") == found("nobody") == []
    assert "No member has" in ada.get("/admin/members?q=%3Cb%3E").text
    assert "<b>" not in ada.get("/admin/members?q=%3Cb%3E").text
