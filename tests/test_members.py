"""An admin takes somebody out, or signs them out: at once and everywhere."""

import re
import threading

import pytest
import time_machine
from flask import session
from flask.typing import ResponseReturnValue

from foundation.clock import DAY, MINUTE
from simulator.vonage import Answer, Connection

from .conftest import ADA, GRACE, MALLORY, Browser, Group, shown


@pytest.fixture
def grace(group: Group, ada: Browser) -> Browser:
    return group.join(GRACE, "grace")


def member_id(group: Group, name: str) -> int:
    return int(group.one("SELECT id FROM authors WHERE username = ?", name))


def test_a_removed_member_is_out_at_once_with_all_that_is_theirs(
    group: Group, ada: Browser, grace: Browser
) -> None:
    group.invite(MALLORY, "grace")
    group.text(MALLORY)

    assert ada.post(f"/members/{member_id(group, 'grace')}/remove").location == "/admin"

    assert grace.username() is None
    assert group.rows("SELECT username FROM authors WHERE removed_at IS NULL") == [("ada",)]
    assert group.one("SELECT count(*) FROM sessions") == 1
    assert group.rows("SELECT * FROM whitelist") == []
    assert group.rows("SELECT * FROM pending_verifications WHERE author_id IS NOT 1") == []
    pin = group.vonage.pin_of(MALLORY)
    assert group.browser().sign_up(MALLORY, "grace", pin).status_code == 422
    assert "ada removed grace" in ada.get("/admin").text


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

    assert ada.post(f"/members/{member_id(group, 'grace')}/sign-out").location == "/admin"

    assert grace.username() is second.username() is None
    assert ada.username() == "ada"
    assert "ada signed grace out everywhere" in ada.get("/admin").text
    assert group.join(GRACE, "grace", bound=True).username() == "grace"


def test_an_admin_is_not_removed_while_in_admins(group: Group, ada: Browser) -> None:
    page = ada.post("/members/1/remove")

    assert page.status_code == 422
    assert shown("admin-stays") in page.text
    assert ada.username() == "ada"
    assert "Remove ada" not in page.text


@pytest.mark.parametrize("act", ["remove", "sign-out"])
@pytest.mark.parametrize("number", ["99", "0", "-1", "x", "9" * 30])
def test_whoever_is_not_there_cannot_be_removed(ada: Browser, act: str, number: str) -> None:
    assert ada.post(f"/members/{number}/{act}").status_code == 404


@pytest.mark.parametrize("act", ["remove", "sign-out"])
def test_only_admins_remove(group: Group, ada: Browser, grace: Browser, act: str) -> None:
    assert grace.post(f"/members/1/{act}").status_code == 403
    assert group.browser().post(f"/members/1/{act}").location == "/signup"
    assert ada.username() == "ada"


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
            page = ada.get("/admin").text
            entry = page.split(f"<strong>{name}</strong>")[1].split("</p>")[0]
            return " ".join(entry.split('<p class="note">')[1].split())

        joined = "Joined on 23 November 2026"
        assert told("ada") == f"{joined}. Signed in on 1 device, last seen today"
        assert told("grace") == f"{joined}, invited by ada. Signed in on 2 devices, last seen today"
        clock.shift(DAY)
        assert (
            told("grace")
            == f"{joined}, invited by ada. Signed in on 2 devices, last seen yesterday"
        )
        clock.shift(5 * DAY)
        grace.get("/")
        assert told("grace") == f"{joined}, invited by ada. Signed in on 2 devices, last seen today"
        clock.shift(25 * DAY)
        assert (
            told("grace")
            == f"{joined}, invited by ada. Signed in on 1 device, last seen 25 days ago"
        )
        clock.shift(6 * DAY)
        assert told("grace") == f"{joined}, invited by ada. Signed in on no device"


def test_members_see_who_is_in_and_who_invited_whom(group: Group, ada: Browser) -> None:
    ada.post("/invite", phone=f"+{GRACE}")
    group.text(GRACE)
    grace = group.browser()
    grace.sign_up(GRACE, "grace", group.vonage.pin_of(GRACE))

    circle = grace.get("/").text.split('<ul class="circle">')[1].split("</ul>")[0]

    people = [" ".join(re.sub("<.*?>", "", li).split()) for li in circle.split("<li>")[1:]]
    assert people == ["ada", "grace invited by ada"]
    assert "Who is in" not in group.browser().get("/").text


def test_whoever_was_invited_by_somebody_who_left_stays(group: Group, ada: Browser) -> None:
    ada.post("/invite", phone=f"+{GRACE}")
    group.text(GRACE)
    grace = group.browser()
    grace.sign_up(GRACE, "grace", group.vonage.pin_of(GRACE))
    group.app.config["ADMINS"] = frozenset({"grace"})

    grace.post(f"/members/{member_id(group, 'ada')}/remove")

    assert "invited by ada" in grace.get("/").text
    assert "<strong>ada</strong>" not in grace.get("/").text
    assert "invited by ada" in grace.get("/admin").text.split("Members</h2>")[1].split("<h2")[0]
