"""The journal: who did what, to whom and when, as the admin reads it; never a phone number."""

import json
import re
import sqlite3
import subprocess
import sys
from html import unescape

import pytest
import time_machine

from features.journal import KINDS
from foundation.running import running
from foundation.words.clock import DAY, MINUTE

from .app_passwords import make
from .cast import ADA, GRACE, MALLORY, ROOT, Browser, Group, Served, shown
from .registering import register


def lines(page: str) -> list[str]:
    """The journal on a page, newest first, without the times."""
    days = re.findall(r'<ol class="journal">(.*?)</ol>', page, re.S)
    found = re.findall(r"</time>\s*(.*?)\s*</li>", "".join(days), re.S)
    return [unescape(line) for line in found]


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
        "The invite for grace was texted",
        "ada invited grace",
        "grace signed out",
        "grace joined",
        "A wrong PIN was entered for grace",
        "A PIN was sent to grace",
        "grace texted back",
        "The invite for grace was texted",
        "ada invited grace",
        "ada joined",
        "A PIN was sent to ada",
        "ada texted back",
        "The invite for ada was texted",
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


# Who it is about, and what is looked for ----------------------------------------------------------


def test_lines_of_an_invite_say_who_it_is_for(group: Group, ada: Browser) -> None:
    ada.post("/invite", phone=f"+{GRACE}", who="Grace {from} <chess>")
    group.text(GRACE)
    page = ada.get("/admin/journal").text
    assert "A PIN was sent to Grace {from} <chess>" in lines(page)
    assert "<chess>" not in page
    assert "chess" not in str(group.rows("SELECT * FROM journal"))
    group.browser().sign_up(GRACE, "hopper", group.vonage.pin_of(GRACE))
    assert "A PIN was sent to hopper" in lines(ada.get("/admin/journal").text)
    assert "chess" not in ada.get("/admin/journal").text


def test_every_event_is_of_a_kind(group: Group) -> None:
    known = tuple(start for starts in KINDS.values() for start in starts)
    events = {event.split(",")[0] for event in running(group.app).events}
    assert len(events) > 40
    assert [event for event in events if not event.startswith(known)] == []


def test_the_journal_is_searched(group: Group, ada: Browser) -> None:
    grace = group.join(GRACE, "grace")
    grace.post("/app-passwords", program="none", name="x")
    group.join(MALLORY, "mallory").post("/logout")
    ada.post("/admin/programs", name="wiki", title="W", address="https://w.example.org", who="all")

    def find(**asked: str) -> list[str]:
        return lines(ada.get("/admin/journal", query_string=asked).text)

    assert find(show="apps") == ["ada added the app wiki"]
    assert find(show="devices") == ["mallory signed out"]
    assert "grace joined" in find(show="invites")
    assert find(who="mallory")[0] == "mallory signed out"
    assert all("mallory" in line for line in find(who="mallory"))
    assert len(find(who="mallory")) == 6  # from the invite on
    assert find(who="nobody") == find(show="refused") == []
    ada.post("/invite", phone="+12025550177", username="mallory")
    assert find(who="mallory")[0] == "ada invited mallory"
    assert len(find(show="nonsense")) == len(find())
    assert find(show="devices", who="grace") == []


def test_days_are_headings(group: Group) -> None:
    with time_machine.travel("2026-11-23 12:00", tick=False) as clock:
        ada = group.join(ADA, "ada", bound=True)
        clock.shift(DAY)
        group.invite(GRACE)
        page = ada.get("/admin/journal").text
    assert re.findall(r"<h2>([^<]+)</h2>", page) == ["24 November 2026", "23 November 2026"]
    assert ">12:00</time>" in page


def test_the_journal_on_the_command_line(group: Group, ada: Browser) -> None:
    plain = group.command("journal").output.splitlines()
    assert len(plain) == 5
    assert plain[-1].endswith("ada joined")
    last = int(plain[-2].split()[0])
    (line,) = group.command("journal", "--json", "--since", str(last)).output.splitlines()
    told = json.loads(line)
    assert told.pop("at").endswith("Z")
    assert told == {
        "id": last + 1, "event": "joined", "actor": "ada", "subject": None, "words": "ada joined"
    }  # fmt: skip


def test_the_journal_is_followed(served: Served) -> None:
    command = [sys.executable, "-m", "flask", "journal", "--follow", "--since", "0"]
    with subprocess.Popen(
        command, cwd=ROOT, env=served.environment(), stdout=subprocess.PIPE, text=True
    ) as following:
        assert following.stdout
        served.command("invite", f"+{ADA}", "--username", "ada")
        assert "ada was invited from the command line" in following.stdout.readline()
        following.terminate()
