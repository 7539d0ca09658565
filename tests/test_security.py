"""Guards that stand before every view: where a request comes from, and what an answer carries."""

import re
import subprocess
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from flask import Flask
from flask.testing import EnvironBuilder
from werkzeug.test import run_wsgi_app

from foundation.typed.mistakes import CONTROL
from foundation.web.guards import parse_next, with_next
from simulator.vonage import Vonage
from wsgi import create_app

from .cast import GRACE, Browser, Group, shown

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; object-src 'none'; base-uri 'none';"
    " frame-ancestors 'none'; form-action 'self'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def break_something() -> str:
    return str(1 / 0)


@pytest.fixture
def broken_app(settings: dict[str, str]) -> Flask:
    app = create_app(settings)
    app.add_url_rule("/broken", view_func=break_something)
    return app


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        ("/signup", 200),
        ("/healthz", 200),
        ("/static/style.css", 200),
        ("/admin", 303),
        ("/invite", 303),
        ("/answer", 405),
        ("/nothing", 404),
        ("/broken", 500),
    ],
)
def test_every_answer_carries_the_security_headers(
    broken_app: Flask, path: str, status: int
) -> None:
    answer = broken_app.test_client().get(path)
    answer.close()

    assert answer.status_code == status
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert "Strict-Transport-Security" not in answer.headers
    if path != "/static/style.css":
        assert answer.headers["Cache-Control"] == "no-store"
        assert "Cookie" in answer.headers["Vary"]


def test_on_https_browsers_are_told_to_stay_there(settings: dict[str, str]) -> None:
    app = create_app(settings | {"BASE_URL": "https://group.example.org"})
    answer = app.test_client().get("/", base_url="https://group.example.org")

    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"


def test_an_error_shows_nothing_of_the_inside(broken_app: Flask) -> None:
    page = broken_app.test_client().get("/broken").text

    assert shown("error-500") in page
    assert "ZeroDivisionError" not in page
    assert "Traceback" not in page


@pytest.mark.parametrize("debug", ["1", "0"])
def test_debug_mode_shows_nothing_either(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch, debug: str
) -> None:
    monkeypatch.setenv("FLASK_DEBUG", debug)
    app = create_app(settings)
    app.add_url_rule("/broken", view_func=break_something)

    assert shown("error-500") in app.test_client().get("/broken").text


CROSS_SITE: list[dict[str, str]] = [
    {},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": ""},
    {"Sec-Fetch-Site": "same-origin, cross-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost:8000"},
    {"Origin": "null"},
    {"Origin": "https://mallory.example"},
    {"Origin": "http://localhost:8000.mallory.example"},
    {"Origin": "http://localhost"},
    {"Origin": "https://localhost:8000"},
    {"Referer": "http://localhost:8000/"},
]
OWN: list[dict[str, str]] = [
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "null"},
    {"Origin": "http://localhost:8000"},
]
POSTS = ["/language", "/login", "/logout", "/invite", "/invite/1/revoke"]
POSTS += ["/members/1/remove", "/members/1/sign-out", "/members/1/last-day", "/leave"]
POSTS += ["/devices/1/end", "/devices/end-others"]
POSTS += ["/devices/add", "/devices/add/confirm", "/join", "/join/finish"]
POSTS += ["/passkeys/1/rename", "/passkeys/1/remove"]
POSTS += ["/admin/programs", "/app-passwords", "/app-passwords/1/end"]
POSTS += [
    f"/admin/programs/x{more}"
    for more in ("", "/remove", "/members", "/members/1/drop", "/who", "/title")
]
POSTS += ["/join/wait", "/members/1/forget", "/members/1", "/members/1/ways/<kind>/<short_id>"]
POSTS += [f"/admin/programs/x/openid{more}" for more in ("", "/secret", "/allow", "/try")]
POSTS += [f"/admin/circles{more}" for more in ("", "/x", "/x/remove", "/x/members")]
POSTS += ["/admin/circles/x/members/1/drop", "/admin/programs/x/circles"]
POSTS += ["/admin/programs/x/askers/1/drop", "/programs/x/ask"]
POSTS += ["/news/<kind>/<short_id>", "/news/<kind>/<short_id>/mine"]
OF_PROGRAMS = {f"/openid/{what}" for what in ("token", "userinfo", "authorize", "logout")}
OF_SCRIPTS = [f"/passkeys/{act}" for act in ("options", "add", "confirm", "sign-in")]


@pytest.mark.parametrize("headers", CROSS_SITE, ids=str)
def test_a_post_from_another_site_is_refused(app: Flask, headers: dict[str, str]) -> None:
    for path in (*POSTS, *OF_SCRIPTS):
        assert app.test_client().post(path, headers=headers).status_code == 403, path


@pytest.mark.parametrize("headers", OWN, ids=str)
def test_a_post_from_our_own_page_is_not(app: Flask, headers: dict[str, str]) -> None:
    for path in POSTS:
        status = app.test_client().post(path, headers=headers).status_code
        assert status in (303, 400, 422), path


def test_no_route_that_changes_something_was_forgotten(app: Flask) -> None:
    rules = [rule for rule in app.url_map.iter_rules() if "POST" in (rule.methods or ())]
    posts = {
        re.sub(r"<(int\(.*?|device_id)>", "1", rule.rule.replace("<name>", "x")) for rule in rules
    }

    webhooks = {"/answer", "/answer/<token>", "/delivery", "/delivery/<token>"}

    assert posts - webhooks - OF_PROGRAMS == {*POSTS, *OF_SCRIPTS}


def test_a_cross_site_sign_in_burns_no_pin(group: Group, grace_texted: str) -> None:
    form = {"phone": f"+{GRACE}", "username": "mallory", "pin": grace_texted}
    answer = group.app.test_client().post(
        "/login", data=form, headers={"Sec-Fetch-Site": "cross-site"}
    )

    assert answer.status_code == 403
    assert group.vonage.calls("check") == []


METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_on_every_route_is_answered_in_order(app: Flask, method: str) -> None:
    for rule in app.url_map.iter_rules():
        path = re.sub("<.*?>", "1", rule.rule)
        answer = app.test_client().open(
            path, method=method, headers={"Sec-Fetch-Site": "same-origin"}
        )
        answer.close()
        same_path = [other for other in app.url_map.iter_rules() if other.rule == rule.rule]
        allowed = any(method in (other.methods or ()) for other in same_path)
        assert (answer.status_code != 405) == allowed, (method, path)
        assert answer.status_code < 500


# Hosts


@pytest.mark.parametrize(
    "host", ["mallory.example", "localhost.mallory.example", "", "a b", "[::1"]
)
def test_a_host_that_is_not_ours_is_refused_with_a_page(app: Flask, host: str) -> None:
    client = app.test_client()
    answer = client.get("/signup", headers={"Host": host})

    assert answer.status_code == 400
    assert shown("strange-host") in answer.text
    assert "mallory" not in answer.text
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:8000"])
def test_a_loopback_address_has_several_names(app: Flask, host: str) -> None:
    assert app.test_client().get("/", headers={"Host": host}).status_code == 200


def test_health_is_told_to_anybody_by_any_name(app: Flask) -> None:
    for host in ("10.0.0.1", "mallory.example", "localhost"):
        answer = app.test_client().get("/healthz", headers={"Host": host})
        assert (answer.status_code, answer.text) == (200, "ok\n")


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-Host": "mallory.example"},
        {"Forwarded": "host=mallory.example"},
        {"X-Forwarded-Proto": "https", "X-Forwarded-For": "1.2.3.4"},
        {"X-Original-URL": "https://mallory.example/"},
    ],
)
def test_no_header_changes_the_address_in_the_text(
    group: Group, vonage: Vonage, headers: dict[str, str]
) -> None:
    ada = group.join("12025550100", "ada", bound=True)

    ada.client.post("/invite", data={"phone": f"+{GRACE}"}, headers=headers)

    assert "http://localhost:8000/signup" in vonage.thread(GRACE)[0]
    assert "mallory" not in vonage.thread(GRACE)[0]


# Where one goes after signing in


@pytest.mark.parametrize(
    "next_", ["/", "/admin", "/wiki/Main_Page?action=edit&x=a%20b", "/a/b/", "/caf%C3%A9"]
)
def test_a_friend_goes_on_to_where_they_wanted_to_go(group: Group, next_: str) -> None:
    group.invite(GRACE)
    group.text(GRACE)
    grace = group.browser()
    page = grace.get("/signup", query_string={"next": next_}).text
    assert f'name="next" value="{next_.replace("&", "&amp;")}"' in page

    answer = grace.sign_up(GRACE, "grace", group.vonage.pin_of(GRACE), next=next_)

    assert answer.location == with_next("/welcome", next_)
    page = grace.get(answer.location).text
    assert f'href="{next_.replace("&", "&amp;")}">Not now' in page


ELSEWHERE = [
    "https://mallory.example", "http://mallory.example", "//mallory.example", "///mallory.example",
    "////mallory.example", "/\\mallory.example", "\\\\mallory.example", "\\/mallory.example",
    "/\t/mallory.example", "/\n/mallory.example", "/\r/mallory.example", "\t//mallory.example",
    " //mallory.example", "/ /mallory.example", "/..//mallory.example", "/.//mallory.example",
    "/a//mallory.example", "/a/..//mallory.example", "javascript:alert(1)", "data:text/html,x",
    "JaVaScRiPt:alert(1)", "vbscript:x", "https:mallory.example", "https:/mallory.example",
    "https:///mallory.example", "http:/\\mallory.example", "/a\r\nSet-Cookie: x=1", "/a\nb",
    "/\x00",
    "/\u2028/mallory.example", "/\uff0fmallory.example", "\uff0f\uff0fmallory.example", "/é",
    "mallory.example", "@mallory.example", "?next=//x", "#//x", "./x", "../x", "", ".", "/.", "/..",
    "/a/../b", "https://localhost:8000@mallory.example", "https://localhost:8000.mallory.example",
    "https://example.org.mallory.example", "https://mallory.example/example.org",
    "https://mallory.example?example.org", "https://mallory.example#.example.org",
    "https://mallory.example\\.example.org", "https://malloryexample.org", "https://example.org@mallory",
    "https://ada:x@wiki.example.org", "http://wiki.example.org", "https://wiki.example.org\\@mallory",
    "https://wiki.example.org:99999999", "https://wiki.example.org:x", "HTTPS://mallory.example",
    "https://wiki.example.org\n.mallory.example", "https://[::1]/", "https://wiki%2eexample.org",
    "//wiki.example.org", "ftp://wiki.example.org", "https://.example.org@x", "/%0d%0a\r\nx",
]  # fmt: skip


@pytest.mark.parametrize("next_", ELSEWHERE)
def test_nobody_is_sent_elsewhere(settings: dict[str, str], next_: str) -> None:
    domain = {"BASE_URL": "https://example.org", "COOKIE_DOMAIN": "example.org"}
    app = create_app(settings | domain)

    with app.app_context():
        assert parse_next(next_) is None


@pytest.mark.parametrize(
    "next_",
    ["https://example.org", "https://wiki.example.org/a?b=c", "https://wiki.example.org:8443/"],
)
def test_a_guarded_program_below_the_cookie_domain_may_be_gone_to(
    settings: dict[str, str], next_: str
) -> None:
    domain = {"BASE_URL": "https://example.org", "COOKIE_DOMAIN": "example.org"}
    app = create_app(settings | domain)

    with app.app_context():
        assert parse_next(next_) == next_
    policy = app.test_client().get("/", base_url="https://example.org").headers
    assert "https://*.example.org" in policy["Content-Security-Policy"]


def test_a_path_made_to_keep_us_busy_is_dropped(app: Flask) -> None:
    """It would take a pattern that can match in many ways forever."""
    with app.app_context():
        assert parse_next("/" + "a" * 15_000 + "\n") is None
        assert parse_next("/" + "a/" * 7_000 + "!") is None


def test_browsers_resolve_what_is_allowed_to_our_own_site(app: Flask) -> None:
    """Judged by the URL parser of a real JavaScript engine, where one is installed."""
    with app.app_context():
        allowed = [next_ for next_ in [*ELSEWHERE, "/", "/admin", "/a?b=//c"] if parse_next(next_)]
    assert "/admin" in allowed
    script = "console.log(process.argv.slice(1).map(a => new URL(a, 'http://localhost:8000').host))"
    try:
        found = subprocess.run(["node", "-e", script, *allowed], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("node is not installed")
    assert set(re.findall("'(.*?)'", found.stdout)) == {"localhost:8000"}
    assert all(not urlsplit(path).netloc for path in allowed)


# What people type comes back as text


@pytest.mark.parametrize("field", ["phone", "username", "pin", "next"])
def test_what_is_typed_is_shown_as_text(app: Flask, field: str) -> None:
    browser = Browser(app)
    attack = "\"><script>alert(1)</script>'"

    page = browser.post("/login", **{field: attack}).text

    assert "<script>alert" not in page
    assert '"><script' not in page


@pytest.mark.parametrize("field", ["phone", "username"])
def test_what_an_admin_types_is_shown_as_text(ada: Browser, field: str) -> None:
    page = ada.post("/invite", **{field: "\"><script>alert(1)</script>'"}).text

    assert "<script>alert" not in page


def test_the_address_of_a_page_that_is_not_there_is_not_repeated(app: Flask) -> None:
    answer = app.test_client().get("/<script>alert(1)</script>")

    assert answer.status_code == 404
    assert "alert" not in answer.text


@pytest.mark.parametrize("size", [16 * 1024 + 1, 1_000_000])
def test_a_form_that_is_too_large_is_refused(app: Flask, size: int) -> None:
    answer = Browser(app).post("/login", phone="1" * size)

    assert answer.status_code == 413
    assert "too long" in answer.text


@pytest.mark.parametrize("path", ["//signup", "/static//style.css", ""])
def test_no_redirect_is_built_from_the_host_header(app: Flask, path: str) -> None:
    environ = EnvironBuilder(app).get_environ() | {"PATH_INFO": path}
    _, status, headers = run_wsgi_app(app, environ)

    assert status in ("404 NOT FOUND", "200 OK")
    assert "Location" not in headers


@pytest.mark.parametrize("number", ["0", "-1", "9" * 30, str(2**63), "x"])
def test_an_invite_that_cannot_be_is_not_there(ada: Browser, number: str) -> None:
    assert ada.post(f"/invite/{number}/revoke").status_code == 404
    assert ada.get(f"/admin?new={number}").status_code == 200


def test_ten_thousand_fields_are_too_many(app: Flask) -> None:
    fields: dict[str, Any] = {f"field{number}": "x" for number in range(10_000)}

    assert Browser(app).post("/login", **fields).status_code == 413


@pytest.mark.parametrize("code", ["%00", "%01", "%1b", "%7F", "a%00b"])
def test_no_page_has_a_control_character(group: Group, ada: Browser, code: str) -> None:
    for path, status in (
        (f"/admin/members?q={code}", 400),
        (f"/signup?next=/{code}", 400),
        (f"/openid/logout?state={code}", 400),
        (f"/join/{code}", 404),
    ):
        answer = ada.get(path)
        assert (answer.status_code, CONTROL.search(answer.text)) == (status, None)
    typed = unquote(code)
    answer = ada.post("/invite", phone=typed, who=typed)
    assert (answer.status_code, CONTROL.search(answer.text)) == (422, None)


def test_popups_may_speak_to_the_app_that_opened_them(ada: Browser) -> None:
    policy = ada.get("/").headers["Cross-Origin-Opener-Policy"]
    assert policy == "same-origin-allow-popups"
