"""A member's page: what an admin sees there of one member, and does."""

import csv
import io
import re
from collections.abc import Callable

import pytest
import time_machine

from foundation.storage.authors import FORGOTTEN
from foundation.words.clock import DAY

from .app_passwords import ask, make
from .authenticator import Passkey
from .cast import ADA, GRACE, MALLORY, Browser, Group, member_id
from .passkeys import add as add_passkey
from .passkeys import use
from .registering import register


@pytest.fixture
def grace(group: Group, ada: Browser) -> Browser:
    return group.join(GRACE, "grace")


@pytest.fixture
def page_of(group: Group, ada: Browser) -> Callable[[str], str]:
    """A member's page, as Ada sees it."""
    return lambda name: ada.get(f"/members/{member_id(group, name)}").text


def find_names(page: str) -> list[str]:
    return re.findall(r"<strong>([\w-]+)</strong>", page.split("</nav>")[-1])


def test_filters_count_whom_they_show(group: Group) -> None:
    with time_machine.travel("2026-06-01 12:00", tick=False) as clock:
        ada = group.join(ADA, "ada", bound=True)
        group.join(GRACE, "grace")
        clock.shift(60 * DAY)
        group.join(MALLORY, "mallory")
        mallory = member_id(group, "mallory")
        ada = group.join(ADA, "ada", bound=True)
        ada.post(f"/members/{mallory}/last-day", ends_on="2026-12-24")
        clock.shift(29 * DAY + 23 * 3600)

        def counts() -> dict[str, int]:
            nav = ada.get("/admin/members").text.split('aria-label="Show"')[1].split("</nav>")[0]
            found = re.findall(r">\s*([A-Z][^<]*?) ([0-9]+)</a>", nav)
            return {name: int(count) for name, count in found}

        assert counts() == {"All": 3, "Guests": 1, "Not seen for 90 days": 0, "One way in": 2}
        clock.shift(3600)
        group.pass_a_minute()  # Grace's only device, unused for so long, is signed out
        assert counts() == {"All": 3, "Guests": 1, "Not seen for 90 days": 1, "One way in": 1}
        for show, names in {
            "": ["ada", "grace", "mallory"],
            "guests": ["mallory"],
            "away": ["grace"],
            "nothing-like-it": ["ada", "grace", "mallory"],
        }.items():
            assert find_names(ada.get(f"/admin/members?show={show}").text) == names


def test_the_longest_away_come_first(group: Group, ada: Browser) -> None:
    for name, days in (("bo", 100), ("cy", 400), ("di", 95), ("ed", 10)):
        group.rows(
            "INSERT INTO authors (username, joined_at, last_seen_at)"
            " VALUES (?1, unixepoch() - 500 * 86400, unixepoch() - ?2 * 86400)",
            name,
            days,
        )

    assert find_names(ada.get("/admin/members?show=away").text) == ["cy", "bo", "di"]
    assert find_names(ada.get("/admin/members?show=away&q=d").text) == ["di"]


def test_what_is_asked_leads_back_to_the_same_place(
    group: Group, ada: Browser, grace: Browser
) -> None:
    number, place = member_id(group, "grace"), "?show=one-way&q=ra"
    entry = f'href="/members/{number}{place}"'.replace("&", "&amp;")
    assert entry in ada.get(f"/admin/members{place}").text

    page = ada.get(f"/members/{number}{place}&else=no").text
    for act in ("last-day", "sign-out", "remove"):
        there = f"/members/{number}/{act}{place}"
        assert f'href="{there}"'.replace("&", "&amp;") in page
        asked = ada.get(there).text
        assert f'href="/members/{number}{place}"'.replace("&", "&amp;") in asked
    asked = ada.get(f"/members/{number}/last-day{place}").text
    assert f'action="/members/{number}/last-day{place}"'.replace("&", "&amp;") in asked
    for act in ("last-day", "sign-out", "remove", "forget"):
        answer = ada.post(f"/members/{number}/{act}{place}", ends_on="2030-01-01")
        assert answer.location == f"/admin/members{place}", act


def test_an_admin_ends_one_way_in(
    group: Group, ada: Browser, grace: Browser, page_of: Callable[[str], str]
) -> None:
    number = member_id(group, "grace")
    first = re.findall(rf'"(/members/{number}/ways/device/[0-9a-f]{{16}})"', page_of("grace"))[0]
    second = group.join(GRACE, "grace", bound=True)
    assert "2 ways in" in page_of("grace")

    assert "only way in" not in ada.get(first).text
    assert ada.post(first).location == f"/members/{number}"

    assert (grace.username(), second.username()) == (None, "grace")
    assert "1 way in" in page_of("grace")
    assert "ada ended a way in of grace" in ada.get("/admin/journal").text
    assert ada.post(first).status_code == 404
    last = re.findall(rf'"(/members/{number}/ways/device/[0-9a-f]{{16}})"', page_of("grace"))[0]
    assert "only way in that grace has" in ada.get(last).text
    ada.post(last)
    assert "0 ways in" in page_of("grace")


def test_what_was_added_from_a_device_ends_with_it(
    group: Group, ada: Browser, grace: Browser, page_of: Callable[[str], str]
) -> None:
    register(ada, "files", title="Files", who="all")
    make(grace, "files", "Laptop")
    number = member_id(group, "grace")
    assert "App password: Laptop" in page_of("grace")

    device = re.findall(rf'"(/members/{number}/ways/device/[0-9a-f]{{16}})"', page_of("grace"))[0]
    assert "the app password Laptop" in ada.get(device).text
    ada.post(device)

    assert group.one("SELECT count(*) FROM app_passwords") == 0


def test_an_admin_ends_an_app_password_alone(
    group: Group, ada: Browser, grace: Browser, page_of: Callable[[str], str]
) -> None:
    register(ada, "files", title="Files", who="all")
    make(grace, "files", "Laptop")
    way = re.findall(r'"(/members/\d+/ways/app-password/\d+)"', page_of("grace"))[0]

    assert "Remove the app password Laptop?" in ada.get(way).text
    ada.post(way)

    assert group.one("SELECT count(*) FROM app_passwords") == 0
    assert grace.username() == "grace"


def test_this_device_is_signed_out_elsewhere(
    group: Group, ada: Browser, page_of: Callable[[str], str]
) -> None:
    assert "this device" in page_of("ada")
    assert "/ways/" not in page_of("ada")
    short = group.one("SELECT substr(id_digest, 1, 16) FROM sessions")
    way = f"/members/{member_id(group, 'ada')}/ways/device/{short}"
    assert ada.get(way).location == ada.post(way).location == "/logout"
    assert ada.username() == "ada"


def test_a_device_that_a_passkey_signed_in_ends_with_it(
    group: Group, ada: Browser, grace: Browser, page_of: Callable[[str], str]
) -> None:
    """A thief's, perhaps."""
    passkey, thief = Passkey(), group.browser()
    assert add_passkey(grace, passkey).status_code == 200
    assert use(thief, passkey).status_code == 200
    (way,) = re.findall(r'"(/members/\d+/ways/passkey/\d+)"', page_of("grace"))
    assert "This ends, too" in ada.get(way).text
    ada.post(way)
    assert (grace.username(), thief.username()) == ("grace", None)


def test_a_guest_whose_stay_is_over_has_no_ticks(
    group: Group, ada: Browser, grace: Browser, page_of: Callable[[str], str]
) -> None:
    """They would be gone when the stay is made longer."""
    register(ada, "files", who="chosen")
    assert 'name="programs"' in page_of("grace")
    group.rows("UPDATE authors SET ends_at = 1000 WHERE username = 'grace'")
    assert 'name="programs"' not in page_of("grace")
    assert ada.post(f"/members/{member_id(group, 'grace')}", programs="files").status_code == 404


def test_a_calendar_that_syncs_is_its_owner(group: Group) -> None:
    with time_machine.travel("2026-01-01", tick=False) as clock:
        ada = group.join(ADA, "ada", bound=True)
        register(ada, "files", title="Files")
        password = make(group.join(GRACE, "grace"), "files", "Laptop")
        for _ in range(10):
            clock.shift(10 * DAY)
            ask(group, "program=files", "grace", password)
        ada = group.join(ADA, "ada", bound=True)
        assert find_names(ada.get("/admin/members?show=away").text) == []


@pytest.mark.parametrize("way", ["device/0123456789abcdef", "passkey/1", "nothing/1", "device/1"])
def test_what_is_not_there_does_not_end(
    group: Group, ada: Browser, grace: Browser, way: str
) -> None:
    address = f"/members/{member_id(group, 'grace')}/ways/{way}"
    assert ada.get(address).status_code == ada.post(address).status_code == 404
    of_ada = group.one("SELECT substr(id_digest, 1, 16) FROM sessions WHERE author_id = 1")
    other = f"/members/{member_id(group, 'grace')}/ways/device/{of_ada}"
    assert ada.post(other).status_code == 404
    assert grace.post(other).status_code == 403
    assert grace.get(f"/members/{member_id(group, 'ada')}").status_code == 403


def test_ticks_say_which_apps_a_member_may_use(
    group: Group, ada: Browser, grace: Browser, page_of: Callable[[str], str]
) -> None:
    register(ada, "wiki", title="Our wiki", who="all")
    register(ada, "money", title="Money", who="chosen")
    register(ada, "photos", title="Photos", who="chosen")
    number = member_id(group, "grace")

    def ticked() -> set[str]:
        boxes = re.findall(r'<input type="checkbox"[^>]*>', page_of("grace"))
        return {re.findall(r'value="(\w+)"', box)[0] for box in boxes if " checked" in box}

    def save(*programs: str, were: str = "") -> None:
        ticks = {"programs": [*programs], "programs_were": were}
        answer = ada.client.post(f"/members/{number}?q=gr", data=ticks)
        assert answer.location == f"/members/{number}?q=gr"

    assert ticked() == {"wiki"}
    save("money")
    assert ticked() == {"wiki", "money"}
    assert "Money" in grace.get("/").text
    save("photos")  # on a page from before that
    assert ticked() == {"wiki", "money", "photos"}
    save("money", "wiki", "nothing", were="money photos")
    assert ticked() == {"wiki", "money"}
    changes = group.rows("SELECT subject FROM journal WHERE event = 'program_members_changed'")
    assert changes == [("money",), ("photos",), ("photos",)]


def test_letting_out_by_a_tick_ends_app_passwords_and_letting_in_settles_who_asked(
    group: Group, ada: Browser, grace: Browser
) -> None:
    register(ada, "files", title="Files", who="chosen")
    number = member_id(group, "grace")
    grace.post("/programs/files/ask")
    ada.post(f"/members/{number}", programs="files")
    assert group.one("SELECT count(*) FROM program_askers") == 0
    make(grace, "files", "Laptop")

    ada.post(f"/members/{number}", programs_were="files")

    assert group.one("SELECT count(*) FROM app_passwords") == 0


def test_the_page_of_somebody_who_was_removed(
    group: Group, ada: Browser, grace: Browser, page_of: Callable[[str], str]
) -> None:
    number = member_id(group, "grace")
    assert "/forget" not in page_of("grace")
    ada.post(f"/members/{number}/remove")

    listed = ada.get("/admin/members").text
    assert f'href="/members/{number}"' in listed.split("Removed: 1")[1]
    page = page_of("grace")
    assert "Removed on" in page
    assert f'href="/members/{number}/forget"' in page
    assert 'href="/admin/journal?who=grace"' in page
    for act in ("sign-out", "remove", "last-day", "ways"):
        assert f"/members/{number}/{act}" not in page
    assert ada.post(f"/members/{number}").status_code == 404
    ada.post(f"/members/{number}/forget")
    assert ada.get(f"/members/{number}").status_code == 404
    assert group.one("SELECT username FROM authors WHERE id = ?", number).startswith(FORGOTTEN)


def test_when_somebody_was_last_seen_outlives_their_devices(
    group: Group, ada: Browser, grace: Browser, page_of: Callable[[str], str]
) -> None:
    """Not their membership: all that stays behind then is a username."""
    grace.post("/logout")
    assert "Last seen today" in page_of("grace")
    assert group.one("SELECT last_seen_at FROM authors WHERE username = 'grace'")

    group.join(GRACE, "grace", bound=True)
    ada.post(f"/members/{member_id(group, 'grace')}/remove")
    assert group.one("SELECT last_seen_at FROM authors WHERE username = 'grace'") is None


def test_the_list_on_the_command_line(group: Group, ada: Browser, grace: Browser) -> None:
    ada.post(f"/members/{member_id(group, 'grace')}/last-day", ends_on="2030-01-01")
    told = group.command("members").output.splitlines()
    assert re.fullmatch(r"ada: admin, seen [0-9-]{10}, 1 way in", told[0])
    assert re.fullmatch(r"grace: guest until 2030-01-01, seen [0-9-]{10}, 1 way in", told[1])


def test_a_spreadsheet_takes_no_cell_for_a_formula(group: Group, ada: Browser) -> None:
    for n, sign in enumerate("=+-@"):
        group.rows(
            "INSERT INTO authors (username, joined_at) VALUES (?, unixepoch())",
            f"{sign}cmd{n}",
        )
    written = group.command("members", "--csv").output
    answer = ada.get("/admin/members.csv")
    assert (answer.text, answer.mimetype) == (written, "text/csv")
    rows = [*csv.DictReader(io.StringIO(written))]
    assert {row["username"] for row in rows} == {"ada", "'=cmd0", "'+cmd1", "'-cmd2", "'@cmd3"}
    of_ada = next(row for row in rows if row["username"] == "ada")
    assert (of_ada["is_admin"], of_ada["ways_in"], of_ada["last_day"]) == ("yes", "1", "")
    assert of_ada["joined"] == of_ada["last_seen"] != ""
