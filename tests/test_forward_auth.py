"""`/auth`, which a proxy asks before it hands a request on to another program."""

import sqlite3
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import time_machine
from flask import Flask
from werkzeug.test import TestResponse

from foundation.storage.database import get_db
from foundation.web.guards import with_next
from foundation.words.clock import DAY
from simulator.vonage import Vonage
from wsgi import create_app

from .cast import GRACE, Browser, Group


@pytest.fixture
def grace(group: Group) -> Browser:
    return group.join(GRACE, "grace")


def says_no(answer: TestResponse, status: int = 401) -> bool:
    return answer.status_code == status and "Remote-User" not in answer.headers


def test_who_is_signed_in_is_named_once(group: Group, grace: Browser) -> None:
    answer = grace.get("/auth")

    assert answer.status_code == 200
    assert answer.headers.getlist("Remote-User") == ["grace"]
    assert answer.data == b""
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Vary"] == "Cookie"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    assert grace.client.head("/auth").headers["Remote-User"] == "grace"


@pytest.mark.parametrize(
    "cookie", ["", "x", "0" * 64, "a" * 4000, "\xff", '"', ";;=;", "é", "=", "a=b; session"]
)
def test_any_other_cookie_is_nobody(group: Group, grace: Browser, cookie: str) -> None:
    stranger = group.app.test_client(use_cookies=False)

    assert says_no(stranger.get("/auth"))
    assert says_no(stranger.get("/auth", headers={"Cookie": f"session={cookie}"}))
    assert says_no(stranger.get("/auth", headers={"Cookie": cookie}))
    other_name = {"Cookie": f"Session={grace.cookie()}; __Host-session={grace.cookie()}"}
    assert says_no(stranger.get("/auth", headers=other_name))


LIES = [
    {"Remote-User": "ada"},
    {"Remote_User": "ada"},
    {"X-Forwarded-User": "ada"},
    {"X-Original-URL": "/healthz"},
    {"X-Rewrite-URL": "/static/style.css"},
    {"X-Forwarded-Uri": "/healthz"},
    {"X-Forwarded-Method": "OPTIONS"},
    {"X-Forwarded-Host": "localhost"},
    {"X-Forwarded-For": "127.0.0.1"},
    {"X-HTTP-Method-Override": "HEAD"},
    {"User-Agent": "kube-probe/1.0"},
    {"Host": "elsewhere.example"},
    {"Authorization": "Basic YWRhOmFkYQ=="},
    {"Sec-Fetch-Site": "cross-site"},
    {"Origin": "https://mallory.example"},
]


@pytest.mark.parametrize("lie", LIES, ids=str)
@pytest.mark.parametrize("path", ["/auth", "/auth?x=/healthz#/", "/auth?redirect=0"])
def test_nothing_but_the_cookie_decides(
    group: Group, grace: Browser, lie: dict[str, str], path: str
) -> None:
    stranger = group.app.test_client(use_cookies=False)
    assert says_no(stranger.get(path, headers=lie))

    answer = stranger.get(path, headers=lie | {"Cookie": f"session={grace.cookie()}"})
    assert (answer.status_code, answer.headers.getlist("Remote-User")) == (200, ["grace"])


def end_by_signing_out(group: Group, ada: Browser, grace: Browser) -> None:
    cookie = grace.cookie()
    grace.post("/logout")
    grace.client.set_cookie("session", cookie)


def end_by_removal(group: Group, ada: Browser, grace: Browser) -> None:
    ada.post("/members/2/remove")


def end_everywhere(group: Group, ada: Browser, grace: Browser) -> None:
    ada.post("/members/2/sign-out")


@pytest.mark.parametrize("end", [end_by_signing_out, end_by_removal, end_everywhere])
def test_the_next_answer_knows_that_a_session_has_ended(
    group: Group, ada: Browser, end: Callable[[Group, Browser, Browser], None]
) -> None:
    grace = group.join(GRACE, "grace")
    assert grace.get("/auth").headers["Remote-User"] == "grace"

    end(group, ada, grace)

    assert says_no(grace.get("/auth"))
    assert ada.get("/auth").headers["Remote-User"] == "ada"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_other_methods_are_refused(grace: Browser, method: str) -> None:
    answer = grace.client.open("/auth", method=method)

    assert says_no(answer, 405)
    assert answer.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/auth/", "/auth/x", "/Auth", "/auth%2f", "/auth;x"])
def test_no_other_path_says_who_is_signed_in(grace: Browser, path: str) -> None:
    assert says_no(grace.get(path), 404)


def test_visitors_of_guarded_programs_stay_signed_in(group: Group) -> None:
    """Also those who never look at a page of ours."""
    with time_machine.travel("2026-11-23", tick=False) as clock:
        grace = group.join(GRACE, "grace")
        for _ in range(12):
            clock.shift(29 * DAY)
            assert grace.get("/auth").status_code == 200
        clock.shift(29 * DAY)
        assert says_no(grace.get("/auth"))


def test_an_answer_costs_one_statement_and_writes_nothing(group: Group, grace: Browser) -> None:
    statements: list[str] = []
    with group.app.app_context():
        get_db().set_trace_callback(statements.append)

    assert grace.get("/auth").status_code == 200

    with group.app.app_context():
        get_db().set_trace_callback(None)
    assert [statement.split()[0] for statement in statements] == ["SELECT"]


def test_a_locked_database_opens_nothing(group: Group, grace: Browser) -> None:
    group.lose_patience()
    with group.app.app_context():
        get_db().execute("PRAGMA journal_mode = DELETE")
    locker = sqlite3.connect(group.app.config["DATABASE"], isolation_level=None)
    locker.execute("BEGIN EXCLUSIVE")

    for path in ("/auth", "/auth?redirect=1"):
        answer = grace.get(path)
        assert says_no(answer, 503)
        assert answer.headers["Retry-After"] == "5"

    locker.execute("ROLLBACK")
    locker.close()
    assert grace.get("/auth").status_code == 200


def test_a_renewal_can_wait_while_somebody_writes(group: Group) -> None:
    with time_machine.travel("2026-11-23", tick=False) as clock:
        grace = group.join(GRACE, "grace")
        clock.shift(2 * DAY)
        group.lose_patience()
        locker = sqlite3.connect(group.app.config["DATABASE"], isolation_level=None)
        locker.execute("BEGIN IMMEDIATE")

        assert grace.get("/auth").headers["Remote-User"] == "grace"

        locker.execute("ROLLBACK")
        locker.close()


def test_a_broken_database_opens_nothing(group: Group, grace: Browser) -> None:
    with sqlite3.connect(group.app.config["DATABASE"]) as db:
        db.execute("ALTER TABLE sessions RENAME TO gone")
    db.close()

    assert says_no(grace.get("/auth"), 503)


# Back to where the visitor was going


@pytest.fixture
def guard(settings: dict[str, str]) -> Flask:
    more = {"BASE_URL": "https://group.example.org", "COOKIE_DOMAIN": "example.org"}
    return create_app(settings | more)


def forwarded(url: str, method: str = "GET") -> dict[str, str]:
    scheme, rest = url.split("://", 1)
    host, slash, path = rest.partition("/")
    return {
        "X-Forwarded-Proto": scheme,
        "X-Forwarded-Host": host,
        "X-Forwarded-Uri": slash + path,
        "X-Forwarded-Method": method,
        "Accept": "text/html,application/xhtml+xml",
    }


@pytest.mark.parametrize(
    ("url", "came_for"),
    [
        ("https://wiki.example.org/", "https://wiki.example.org/"),
        ("https://wiki.example.org/a?b=1&c=%2F", "https://wiki.example.org/a?b=1&c=%2F"),
        ("https://example.org/x", "https://example.org/x"),
        ("https://wiki.example.org:8443/x", "https://wiki.example.org:8443/x"),
        ("https://group.example.org/pad/1?x=y", "/pad/1?x=y"),
        ("http://wiki.example.org/", None),
        ("https://mallory.example/", None),
        ("https://example.org.mallory.example/", None),
        ("https://notexample.org/", None),
        ("https://wiki.example.org\\@mallory.example/", None),
        ("https://wiki.example.org@mallory.example/", None),
        ("https://group.example.org//mallory.example", None),
        ("https:///x", None),
        ("https://wiki.example.org/?" + "a" * 1974, "https://wiki.example.org/?" + "a" * 1974),
        ("https://wiki.example.org/?" + "a" * 1975, None),
    ],
)
def test_the_way_leads_over_the_sign_up_page_and_back(
    guard: Flask, url: str, came_for: str | None
) -> None:
    answer = guard.test_client().get("/auth?redirect=1", headers=forwarded(url))

    assert says_no(answer, 303)
    assert answer.headers["Location"].startswith("https://group.example.org/signup")
    query = parse_qs(urlsplit(answer.headers["Location"]).query)
    assert query == ({"next": [came_for]} if came_for else {})


def test_nobody_is_led_back_into_sending_a_form(guard: Flask) -> None:
    headers = forwarded("https://wiki.example.org/edit", "POST")
    answer = guard.test_client().get("/auth?redirect=1", headers=headers)

    assert answer.headers["Location"] == "https://group.example.org/signup"


def test_without_word_from_a_proxy_the_way_is_the_sign_up_page(guard: Flask) -> None:
    answer = guard.test_client().get("/auth?redirect=1", headers={"Sec-Fetch-Mode": "navigate"})

    assert answer.headers["Location"] == "https://group.example.org/signup"


def test_somebody_who_signs_in_is_back_where_they_were_going(guard: Flask, vonage: Vonage) -> None:
    base = {"base_url": "https://group.example.org"}
    group = Group(guard, vonage)
    group.invite(GRACE)
    assert guard.test_client().post("/answer", data=vonage.inbound(GRACE, "sunflower"), **base)
    visitor = guard.test_client()
    wanted = "https://wiki.example.org/a?b=1&c=2"
    page = visitor.get("/auth?redirect=1", headers=forwarded(wanted), **base)

    assert 'value="https://wiki.example.org/a?b=1&amp;c=2"' in visitor.get(page.location).text
    form = {"phone": f"+{GRACE}", "username": "grace", "pin": vonage.pin_of(GRACE), "next": wanted}
    signed_in = visitor.post("/login", data=form, headers={"Sec-Fetch-Site": "same-origin"}, **base)

    assert (signed_in.status_code, signed_in.location) == (303, with_next("/welcome", wanted))
    assert (
        'href="https://wiki.example.org/a?b=1&amp;c=2">Not now'
        in visitor.get(signed_in.location, **base).text
    )
    for host in ("group", "wiki"):
        there = {"base_url": f"https://{host}.example.org"}
        assert visitor.get("/auth", **there).headers["Remote-User"] == "grace"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Mode": "navigate"}, 303),
        ({"Sec-Fetch-Mode": "navigate", "Accept": "*/*"}, 303),
        ({"Accept": "text/html,*/*;q=0.8"}, 303),
        ({"Accept": "text/html", "X-Forwarded-Method": "PROPFIND"}, 401),
        ({"Sec-Fetch-Mode": "cors", "Accept": "text/html"}, 401),  # a script
        ({"Sec-Fetch-Mode": "no-cors", "Accept": "image/avif"}, 401),
        ({"Accept": "application/json"}, 401),
        ({"Accept": "*/*"}, 401),
        ({}, 401),
    ],
)
def test_only_a_page_view_is_led_to_the_sign_up_page(
    guard: Flask, headers: dict[str, str], status: int
) -> None:
    answer = guard.test_client().get("/auth?redirect=1", headers=headers)

    assert says_no(answer, status)


# Several cookies of our name, and none at all


def test_each_cookie_of_our_name_is_tried_up_to_four(group: Group, grace: Browser) -> None:
    """A browser that has one of an earlier COOKIE_DOMAIN sends it first."""
    stranger = group.app.test_client(use_cookies=False)

    for old in range(6):
        cookies = "; ".join([*(f"session={number:064x}" for number in range(old)), ""])
        headers = {"Cookie": f"{cookies}session={grace.cookie()}; theme=dark"}
        expected = 200 if old < 4 else 401
        assert stranger.get("/auth", headers=headers).status_code == expected
        assert ("Hello, " in stranger.get("/", headers=headers).text) == (old < 4)


def test_signing_in_and_out_ends_the_cookies_of_earlier_domains(
    settings: dict[str, str], vonage: Vonage
) -> None:
    more = {"BASE_URL": "https://my.group.example.org", "COOKIE_DOMAIN": "group.example.org"}
    group = Group(create_app(settings | more), vonage)
    group.invite(GRACE)
    base: dict[str, Any] = {"base_url": more["BASE_URL"]}
    client = group.app.test_client()
    client.environ_base["HTTP_SEC_FETCH_SITE"] = "same-origin"
    assert client.post("/answer", data=vonage.inbound(GRACE, "sunflower"), **base)
    client.get("/signup", **base)
    form = {"phone": f"+{GRACE}", "username": "grace", "pin": vonage.pin_of(GRACE)}

    for path in ("/login", "/logout"):
        cookies = client.post(path, data=form, **base).headers.getlist("Set-Cookie")
        cookies = [cookie for cookie in cookies if not cookie.startswith("__Host-notice=")]
        ended = {c.split("Domain=")[1].split(";")[0] for c in cookies if "Max-Age=0" in c}
        assert ended - {"group.example.org"} == {"my.group.example.org", "example.org"}
        assert all("__Secure-session=" in cookie and "Secure" in cookie for cookie in cookies)


def test_cookies_that_got_lost_are_said_once_in_the_log(
    group: Group, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = group.app.test_client(use_cookies=False)

    for _ in range(3):
        assert stranger.get("/auth", headers={"Cookie": ""}).status_code == 401

    assert caplog.text.count("letters beyond ASCII") == 1


def test_a_browser_that_keeps_no_cookies_spends_nothing(group: Group, grace_texted: str) -> None:
    group.app.test_client().get("/signup")
    forgetful = group.app.test_client(use_cookies=False)
    headers = {"Sec-Fetch-Site": "same-origin"}
    form = {"phone": f"+{GRACE}", "username": "grace", "pin": grace_texted}

    answer = forgetful.post("/login", data=form, headers=headers)

    assert answer.status_code == 422
    assert "Your browser did not keep our cookie" in answer.text
    assert f'value="+{GRACE}"' in answer.text
    assert answer.headers["Set-Cookie"].startswith("visitor=")
    assert group.vonage.calls("check") == []
    assert group.rows("SELECT tries FROM whitelist") == [(0,)]
    kept = {"Cookie": answer.headers["Set-Cookie"].split(";")[0]}
    assert forgetful.post("/login", data=form, headers=headers | kept).status_code == 303


def test_static_files_have_no_session(group: Group) -> None:
    with time_machine.travel("2026-11-23", tick=False) as clock:
        grace = group.join(GRACE, "grace")
        clock.shift(2 * DAY)

        with grace.get("/static/style.css?v=1") as answer:
            assert "Set-Cookie" not in answer.headers
            assert answer.cache_control.public or answer.cache_control.max_age
        assert "Set-Cookie" in grace.get("/").headers
