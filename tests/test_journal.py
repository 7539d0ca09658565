"""The journal: who did what, to whom and when, as the admin reads it; never a phone number."""

import re
import sqlite3
from html import unescape

import pytest
import time_machine

from foundation.words.clock import DAY, MINUTE

from .conftest import GRACE, MALLORY, Browser, Group, shown
from .test_app_passwords import make
from .test_programs import register


def lines(page: str) -> list[str]:
    """The journal on a page, newest first, without the times."""
    journal = page.split('<ol class="journal">')[1].split("</ol>")[0]
    return [unescape(line) for line in re.findall(r"</time>\s*(.*?)\s*</li>", journal, re.S)]


def test_the_whole_journey_stands_in_the_journal(group: Group, ada: Browser) -> None:
    ada.post("/invite", phone=f"+{GRACE}")
    group.text(GRACE)
    group.browser().sign_up(GRACE, "grace", "000000")
    grace = group.browser()
    grace.sign_up(GRACE, "grace", group.vonage.pin_of(GRACE))
    grace.post("/logout")
    group.pass_a_minute()
    ada.post("/invite", phone=f"+{GRACE}", username="grace")
    group.text(GRACE)
    group.browser().sign_up(GRACE, "grace", group.vonage.pin_of(GRACE))
    ada.post("/members/2/remove")

    assert lines(ada.get("/admin/journal").text) == [
        "ada removed grace",
        "grace signed in on a new device",
        "A PIN was sent to grace",
        "grace texted back",
        "The invite was texted",
        "ada invited grace",
        "grace signed out",
        "grace joined",
        "A wrong PIN was entered for an invited friend",
        "A PIN was sent to an invited friend",
        "An invited friend texted back",
        "The invite was texted",
        "ada invited a friend",
        "ada joined",
        "A PIN was sent to ada",
        "ada texted back",
        "The invite was texted",
        "ada was invited from the command line",
    ]


def test_a_message_that_is_delivered_twice_is_told_once(group: Group, ada: Browser) -> None:
    group.invite(GRACE)
    fields = group.vonage.inbound(GRACE, "sunflower")

    assert [group.deliver(fields) for _ in range(3)] == [204, 204, 204]

    told = lines(ada.get("/admin/journal").text)
    assert told.count("An invited friend texted back (number ending in 01)") == 1


def test_an_invite_says_how_far_its_friend_is(group: Group, ada: Browser) -> None:
    with time_machine.travel("2026-11-23 12:00", tick=False) as clock:
        ada = group.join("12025550100", "ada", bound=True)
        ada.post("/invite", phone=f"+{GRACE}")
        assert "Texted, waiting for a reply" in ada.get("/admin").text
        assert "expires in 7 days" in ada.get("/admin").text

        group.text(GRACE)
        clock.shift(2 * MINUTE)
        assert "Texted back, PIN sent 2 minutes ago" in ada.get("/admin").text
        assert (
            'Good for another <span role="timer" data-seconds="180">3:00<' in ada.get("/admin").text
        )

        group.browser().sign_up(GRACE, "grace", "000000")
        assert "A wrong PIN was entered just now (1 of 10 tries)" in ada.get("/admin").text

        group.text(GRACE)
        clock.shift(5 * MINUTE)
        assert (
            "PIN sent 5 minutes ago. It has expired; texting the word again"
            in ada.get("/admin").text
        )

        clock.shift(4 * DAY)
        assert "expires in 3 days" in ada.get("/admin").text
        clock.shift(3 * DAY)
        assert "No one is invited at the moment" in ada.get("/admin").text


def test_an_invite_says_when_its_friend_can_text_again(group: Group) -> None:
    with time_machine.travel("2026-11-23 12:00", tick=False) as clock:
        ada = group.join("12025550100", "ada", bound=True)
        group.invite(GRACE)
        for _ in range(4):
            clock.shift(MINUTE)
            group.text(GRACE)

        assert shown("pins-too-fast") in ada.get("/admin").text
        assert 'again in <span role="timer" data-seconds="420">7:00<' in ada.get("/admin").text
        clock.shift(7 * MINUTE)
        assert "again in" not in ada.get("/admin").text
        group.text(GRACE)
        assert "PIN sent just now" in ada.get("/admin").text


def test_an_invite_says_when_too_many_pins_were_wrong(group: Group, ada: Browser) -> None:
    group.vonage.wrong_pins_allowed = 99
    group.invite(GRACE)
    group.text(GRACE)
    for _ in range(11):
        group.browser().sign_up(GRACE, "grace", "000000")

    page = ada.get("/admin").text
    assert shown("tries-spent-admin") in page
    told = lines(ada.get("/admin/journal").text)
    assert told.count("A wrong PIN was entered for an invited friend (number ending in 01)") == 10


def test_the_whole_journal_can_be_read(group: Group, ada: Browser) -> None:
    with sqlite3.connect(group.app.config["DATABASE"]) as db:
        rows = [(at, "joined", f"friend-{at}") for at in range(1, 121)]
        db.executemany("INSERT INTO journal (at, event, actor) VALUES (?, ?, ?)", rows)
    db.close()

    read, path = [], "/admin/journal"
    while path:
        page = ada.get(path).text
        read += lines(page)
        older = re.search(r'href="(/admin/journal\?before=\d+)', page)
        path = older[1] if older else ""

    assert len(read) == group.one("SELECT count(*) FROM journal") > 120
    assert read[:2] == ["friend-120 joined", "friend-119 joined"]
    assert read[-1] == "ada was invited from the command line"


@pytest.mark.parametrize("before", ["x", "-1", "9" * 18, "9" * 40, "1;", "\u0661", ""])
def test_an_odd_place_in_the_journal_is_its_end(ada: Browser, before: str) -> None:
    page = ada.get("/admin/journal", query_string={"before": before})

    assert page.status_code == 200
    assert lines(page.text)[0] == "ada joined"


def test_the_journal_names_no_phone(group: Group, ada: Browser) -> None:
    group.join(GRACE, "grace")
    ada.post("/invite", phone=f"+{MALLORY}")
    group.text(MALLORY, "stop")

    lines = str(group.rows("SELECT * FROM journal"))
    assert "'stopped'" in lines
    assert not re.search(r"202\D*555", lines)


def test_a_member_cannot_fill_the_journal(group: Group, ada: Browser) -> None:
    grace = group.join(GRACE, "grace")
    register(ada, "wiki")
    for _ in range(30):
        grace.post("/devices/add")
        make(grace)
        for (row,) in group.rows("SELECT id FROM app_passwords"):
            grace.post(f"/app-passwords/{row}/end")

    lines = dict(group.rows("SELECT event, count(*) FROM journal WHERE actor = 'grace' GROUP BY 1"))
    assert {lines[event] for event in lines.keys() - {"joined"}} == {10}
