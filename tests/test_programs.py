"""Programs: registering them, who may use which, and what their proxies are told."""

import re
import sqlite3
from typing import Any

import pytest
import time_machine

from foundation.words.clock import DAY

from .cast import ADA, GRACE, MALLORY, Browser, Group, shown
from .registering import GROUPS, PROGRAMS, asked, choose, register

PHONES = {"grace": GRACE, "mallory": MALLORY, "friend": "12025550177"}
PAGE_VIEW = {"Sec-Fetch-Mode": "navigate"}


@pytest.fixture
def grace(group: Group) -> Browser:
    return group.join(GRACE, "grace")


# Registering --------------------------------------------------------------------------------------


def test_a_program_is_registered_and_on_everybodys_start_page(
    group: Group, ada: Browser, grace: Browser
) -> None:
    answer = register(ada, "wiki", title="Our <Wiki>")

    assert (answer.status_code, answer.location) == (303, "/admin/programs/wiki")
    assert shown("done-program-added") in ada.get(answer.location).text
    for browser in (ada, grace):
        page = browser.get("/").text
        tile = re.findall(r'<a href="https://wiki.example.org/start">(.*?)</a>', page)[0]
        assert re.sub("<.*?>", "", tile) == "W Our &lt;Wiki&gt;"
    assert group.rows("SELECT actor, subject FROM journal WHERE event = 'program_added'") == [
        ("ada", "wiki")
    ]


def test_chosen_members_see_theirs(group: Group, ada: Browser, grace: Browser) -> None:
    register(ada, "photos", who="chosen")
    link = "https://photos.example.org/start"
    assert link not in ada.get("/").text + grace.get("/").text

    assert choose(ada, "photos", " Grace ").location == "/admin/programs/photos"
    assert link in grace.get("/").text
    assert link not in ada.get("/").text
    assert "grace" in ada.get("/admin/programs/photos").text

    grace_id = group.one("SELECT id FROM authors WHERE username = 'grace'")
    ada.post(f"/admin/programs/photos/members/{grace_id}/drop")
    assert link not in grace.get("/").text
    assert asked(grace, "program=photos") == (403, None)


BAD: list[tuple[dict[str, str], str]] = [
    ({"name": ""}, "program-name"),
    ({"name": "my wiki"}, "program-name"),
    ({"name": "-wiki"}, "program-name"),
    ({"name": "w" * 31}, "program-name"),
    ({"name": "wiki/../x"}, "program-name"),
    ({"title": ""}, "program-title"),
    ({"title": "x" * 41}, "program-title"),
    ({"title": " "}, "program-title"),
    ({"title": "a\x00b"}, "program-title"),
    ({"address": "wiki.example.org"}, "address-whole"),
    ({"address": "http://wiki.example.org"}, "address-https"),
    ({"address": "javascript:alert(1)"}, "address-whole"),
    ({"address": "https://"}, "address-whole"),
    ({"address": "https://a@b.example.org"}, "address-signs"),
    ({"address": "https://wiki.example.org:0"}, "address-whole"),
    ({"address": "https://wiki.example.org:x"}, "address-whole"),
    ({"address": "https://[wiki"}, "address-whole"),
    ({"address": "https://wiki.example.org/#a"}, "address-signs"),
    ({"address": "https://wiki.example.org/" + "x" * 300}, "address-long"),
    ({"address": "https://wiki.example.org/a b"}, "address-signs"),
    ({"address": "https://wíki.example.org"}, "address-signs"),
]


@pytest.mark.parametrize(("changes", "sentence"), BAD)
def test_what_cannot_be_registered(
    group: Group, ada: Browser, changes: dict[str, str], sentence: str
) -> None:
    answer = register(ada, **{"name": "wiki"} | changes)

    assert answer.status_code == 422
    assert shown(sentence).rpartition("{name}")[2] in answer.text
    assert group.rows("SELECT 1 FROM programs") == []


def test_what_is_not_said_opens_nothing(group: Group, ada: Browser) -> None:
    register(ada, who="")
    assert asked(ada, "program=wiki") == (403, None)
    register(ada, "photos", title="Club 2020-2024")
    change = {"title": "The club", "address": "https://photos.example.org"}
    assert ada.post("/admin/programs/photos", **change).status_code == 303
    assert asked(ada, "program=photos") == (403, None)


def test_a_name_is_registered_once(group: Group, ada: Browser) -> None:
    register(ada)
    again = register(ada, title="Another")
    assert again.status_code == 422
    assert shown("program-taken") in again.text
    assert 'value="Another"' in again.text


def test_a_program_is_changed_and_removed(group: Group, ada: Browser, grace: Browser) -> None:
    register(ada)
    change = {"title": "The Wiki", "address": "https://w.example.org", "who": "chosen"}
    assert ada.post("/admin/programs/wiki", **change).status_code == 303
    assert asked(grace, "program=wiki") == (403, None)
    assert ada.post("/admin/programs/wiki", **change | {"title": ""}).status_code == 422
    assert choose(ada, "wiki", "nobody").status_code == 422

    assert "The Wiki" in ada.get("/admin/programs/wiki/remove").text
    assert ada.post("/admin/programs/wiki/remove").location == "/admin/programs"
    assert ada.get("/admin/programs/wiki").status_code == 404
    assert asked(ada, "program=wiki") == (403, None)


@pytest.mark.parametrize("path", ["", "/wiki", "/wiki/remove"])
def test_only_admins_register(group: Group, ada: Browser, grace: Browser, path: str) -> None:
    register(ada)
    assert grace.get(f"/admin/programs{path}").status_code == 403
    assert group.browser().get(f"/admin/programs{path}").status_code == 303
    before = group.rows("SELECT * FROM programs")
    for post in (path, "/wiki/members", "/wiki/members/1/drop"):
        assert grace.post(f"/admin/programs{post}").status_code == 403
    assert group.rows("SELECT * FROM programs") == before


def test_fifty_a_page(group: Group, ada: Browser) -> None:
    for n in range(51):
        assert register(ada, f"p{n}").status_code == 303
    assert ada.get("/admin/programs").text.count('aria-label="Set up') == 50
    assert ada.get("/admin/programs?page=2").text.count('aria-label="Set up') == 1


def test_on_the_command_line(group: Group, ada: Browser) -> None:
    def run(*words: str) -> tuple[int, str]:
        done = group.command("program", *words)
        return done.exit_code, done.output

    code, told = run("add", "wiki", "Our wiki", "https://wiki.example.org", "--chosen")
    assert (code, "/auth?program=wiki" in told) == (0, True)
    assert run("choose", "wiki", "ADA") == (0, "ada may use Our wiki.\n")
    assert asked(ada, "program=wiki") == (200, "ada")
    assert run("list")[1] == "wiki: Our wiki, https://wiki.example.org, for 1 chosen member\n"
    for words in (["choose", "wiki", "!"], ["choose", "no", "ada"], ["remove", "no"]):
        assert run(*words)[0] == 1
    assert run("add", "wiki", "x", "https://wiki.example.org")[0] == 1
    assert run("add", "new", "x", "nowhere")[0] == 1
    assert run("remove", "wiki") == (0, "Our wiki is removed.\n")
    assert asked(ada, "program=wiki") == (403, None)


# What a proxy is told -----------------------------------------------------------------------------


def test_who_may_and_who_may_not(group: Group, ada: Browser, grace: Browser) -> None:
    register(ada, "wiki")
    register(ada, "photos", who="chosen")
    choose(ada, "photos", "grace")

    assert asked(grace, "program=wiki") == (200, "grace")
    assert asked(grace, "program=photos") == (200, "grace")
    assert asked(ada, "redirect=1&program=photos") == (403, None)
    told = asked(ada, "redirect=1&program=photos", **PAGE_VIEW)
    assert told == (303, "http://localhost:8000/programs/photos")
    refused = ada.get("/programs/photos")
    assert refused.status_code == 403
    assert "Our photos" in refused.text
    assert grace.get("/programs/photos").location == "https://photos.example.org/start"
    assert group.browser().get("/programs/photos").location == "/signup?next=/programs/photos"


@pytest.mark.parametrize(
    "query",
    ["program=none", "program=", "program", "program=wiki&program=wiki", "programs=wiki"]
    + ["program=wiki%00", "program=WIKI", "program=wiki'--", "program[]=wiki", "program=%77iki"]
    + ["amp;program=wiki", "x=1&amp;program=wiki", "PROGRAM=x&program"],
)
def test_an_unknown_program_is_closed_to_all(group: Group, ada: Browser, query: str) -> None:
    register(ada)
    for more in ("", "&redirect=1"):
        assert asked(ada, query + more, **PAGE_VIEW) == (403, None)
    assert asked(group.browser(), query) == (401, None)


HOSTS = ["wiki.example.org", "WIKI.example.org", "wiki.example.org:443", "wiki.example.org."]
HOSTS += ["wiki.example.org:8443", "wiki.example.org, x", "x, wiki.example.org:80"]


@pytest.mark.parametrize("host", HOSTS)
def test_a_proxy_that_forgets_the_program_is_closed(group: Group, ada: Browser, host: str) -> None:
    headers = {"X-Forwarded-Host": host, "X-Forwarded-Proto": "https"}
    assert asked(ada, "", **headers) == (200, "ada")
    register(ada)
    assert asked(ada, "", **headers) == (403, None)
    assert asked(ada, "program=wiki", **headers) == (200, "ada")
    assert asked(ada, "", **{"X-Forwarded-Host": "other.example.org"}) == (200, "ada")
    assert asked(ada, "") == (200, "ada")


@pytest.mark.parametrize("who", GROUPS)
def test_groups_times_programs_times_what_happens_to_a_member(group: Group, who: str) -> None:
    """3 groups of members, 4 programs, and each member as member, guest, removed and ended."""
    with time_machine.travel("2026-11-25", tick=False) as clock:
        ada = group.join(ADA, "ada", bound=True)
        browsers = {name: group.join(PHONES[name], name) for name in GROUPS[who]}
        for program, chosen in PROGRAMS.items():
            register(ada, program, who="all" if chosen is None else "chosen")
            for name in set(chosen or ()) & browsers.keys():
                assert choose(ada, program, name).status_code == 303

        def table() -> dict[tuple[str, str], int]:
            return {
                (name, program): asked(browser, f"program={program}")[0]
                for name, browser in browsers.items()
                for program in PROGRAMS
            }

        def expected(inside: set[str]) -> dict[tuple[str, str], int]:
            return {
                (name, program): 401
                if name not in inside
                else 200
                if chosen is None or name in chosen
                else 403
                for name in browsers
                for program, chosen in PROGRAMS.items()
            }

        everybody = set(browsers)
        assert table() == expected(everybody)
        if "friend" in browsers:  # a guest until the 27th
            row = group.one("SELECT id FROM authors WHERE username = 'friend'")
            assert ada.post(f"/members/{row}/last-day", ends_on="2026-11-27").status_code == 303
            assert table() == expected(everybody)
            clock.shift(3 * DAY - 1)
            assert table() == expected(everybody)
            clock.shift(1)
            assert table() == expected(everybody - {"friend"})
        group.command("remove", "grace")
        assert table() == expected(everybody - {"friend", "grace"})
        assert (
            group.rows(
                "SELECT 1 FROM program_members JOIN authors ON authors.id = author_id"
                " WHERE username = 'grace'"
            )
            == []
        )


def test_a_locked_or_broken_database_opens_no_program(group: Group, ada: Browser) -> None:
    register(ada)
    with sqlite3.connect(group.app.config["DATABASE"]) as db:
        db.execute("ALTER TABLE programs RENAME COLUMN name TO other")
    db.close()

    answer: Any = ada.client.get("/auth?program=wiki")
    assert answer.status_code == 503
    assert "Remote-User" not in answer.headers
