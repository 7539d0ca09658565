"""Pages are sound HTML, work without JavaScript, and say what they should to people and to
phones."""

import hashlib
import re
import struct
import subprocess
from pathlib import Path

import html5lib
import pytest
import time_machine

from foundation.web.responses import render_error
from foundation.words.clock import DAY
from foundation.words.sentences import say

from .cast import GRACE, ROOT, Browser, Group, require_executable, shown
from .every_page import pages_of_every_state


def test_every_page_is_sound_html(group: Group) -> None:
    for name, page in pages_of_every_state(group).items():
        parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
        document = parser.parse(page)
        assert document.find(".//h1") is not None, name
        assert document.find("head/title").text.endswith("· Trusted Group"), name
        ids = [element.get("id") for element in document.iter() if element.get("id")]
        assert len(ids) == len(set(ids)), name
        for element in document.iter("input"):
            if element.get("type") != "hidden":
                assert document.find(f".//label[@for='{element.get('id')}']") is not None, name
            for described in (element.get("aria-describedby") or "").split():
                assert described in ids, name


@pytest.mark.parametrize("sheet", ["static/style.css", "simulator/static/phones.css"])
def test_dark_pages_differ_in_colours_alone(sheet: str) -> None:
    """So the browser's tests measure a page once."""
    css = (ROOT / sheet).read_text()
    blocks = re.findall(r"prefers-color-scheme: dark\) (\{(?:[^{}]|\{[^{}]*\})*\})", css)
    assert len(blocks) == css.count("prefers-color-scheme") > 0
    rules = re.findall(r"\{([^{}]+)\}", "".join(block[1:-1] for block in blocks))
    changes = [change.strip() for rule in rules for change in rule.split(";") if change.strip()]
    assert changes
    for change in changes:
        assert re.fullmatch(r"(--[a-z-]+|color): #[0-9a-f]{3,8}", change), change


def test_the_validator_finds_nothing(group: Group, tmp_path: Path) -> None:
    validator = require_executable("html-validate")
    for name, page in pages_of_every_state(group).items():
        (tmp_path / f"{name}.html").write_text(page)
    config = str(ROOT / "tests" / ".htmlvalidate.json")

    checked = subprocess.run(
        [validator, "--config", config, *map(str, tmp_path.glob("*.html"))],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_no_page_has_inline_script_or_style(group: Group) -> None:
    for name, page in pages_of_every_state(group).items():
        assert not re.search(r"<style|style=|<script(?! src=\"/static/)|\son\w+=", page), name
        assert "http://" not in page, name


def test_no_page_for_strangers_names_the_code_or_the_number(group: Group) -> None:
    for name, page in pages_of_every_state(group).items():
        assert "sunflower" not in page.lower(), name
        assert group.vonage.number not in page or name.startswith("admin"), name


def test_fields_tell_phones_which_keyboard_and_what_to_fill_in(group: Group) -> None:
    page = group.browser().get("/signup").text
    inputs = dict(re.findall(r'<input id="(\w+)"(.*?)>', page, re.S))

    for field, attributes in {
        "phone": ['type="tel"', 'inputmode="tel"', 'autocomplete="tel"'],
        "username": ['type="text"', 'autocomplete="username webauthn"', 'autocapitalize="none"'],
        "pin": ['type="text"', 'inputmode="numeric"', 'autocomplete="one-time-code"'],
    }.items():
        for attribute in attributes:
            assert attribute in inputs[field]


def test_an_error_stands_beside_its_field(group: Group) -> None:
    page = group.browser().post("/login", phone="+1 202", username="grace", pin="123456").text

    assert 'aria-describedby="phone-error phone-hint"' in page
    assert 'aria-invalid="true"' in page
    assert page.count('class="error"') == 1


def test_times_are_said_as_people_say_them(group: Group) -> None:
    with group.app.app_context():
        said = [
            group.app.jinja_env.filters["span"](seconds)
            for seconds in (0, 59, 60, 3599, 3600, 86_399, 86_400, 7 * 86_400 - 1)
        ]
        assert group.app.jinja_env.filters["date"](1795392000) == "23 November 2026"
        ahead = group.app.jinja_env.filters["ahead"](11 * 86_400)
    short = ["1 minute", "1 minute", "1 minute", "60 minutes"]
    assert said == [*short, "1 hour", "24 hours", "1 day", "7 days"]
    assert ahead == "in 11 days"


@pytest.mark.parametrize("code", [401, 403, 404, 405, 413, 500, 503])
def test_every_error_has_a_sentence_of_its_own(group: Group, code: int) -> None:
    with group.app.test_request_context():
        assert say(f"error-{code}") != say("error-418") == say("error")
        assert render_error(f"error-{code}").count("<h1>") == 1


def test_an_unusual_error_has_the_general_sentence(group: Group) -> None:
    beyond = {"Range": "bytes=99999999-"}
    answer = group.browser().get("/static/style.css", headers=beyond)
    assert answer.status_code == 416
    assert shown("error") in answer.text


def test_static_files_are_kept_until_they_change(group: Group) -> None:
    browser = group.browser()
    linked = set(re.findall(r'(?:href|src)="(/static/[^"]+)"', browser.get("/").text))

    assert len(linked) == 4
    for address in linked:
        name = address.removeprefix("/static/").split("?")[0]
        content = (ROOT / "static" / name).read_bytes()
        assert address == f"/static/{name}?v={hashlib.sha256(content).hexdigest()[:8]}"
        with browser.get(address) as answer:
            assert (answer.data, answer.status_code) == (content, 200)
            assert answer.cache_control.max_age == 365 * DAY
            assert "Vary" not in answer.headers
        with browser.get(f"/static/{name}") as answer:
            assert answer.headers["Cache-Control"] == "no-cache"
    assert browser.get("/static/nothing.css?v=1").cache_control.max_age is None


def test_the_page_for_a_strange_host_is_no_less_pretty(group: Group) -> None:
    elsewhere = {"Host": "elsewhere.example"}
    page = group.browser().get("/", headers=elsewhere)
    assert page.status_code == 400
    for address in set(re.findall(r'(?:href|src)="(/static/[^"]+)"', page.text)):
        with group.browser().get(address, headers=elsewhere) as answer:
            assert answer.status_code == 200
    assert group.browser().get("/static/../app.py", headers=elsewhere).status_code in (400, 404)


def test_static_files_are_few_and_small() -> None:
    sizes = {file.name: file.stat().st_size for file in Path(ROOT / "static").iterdir()}

    icons = {f"icon-{size}.png" for size in (180, 192, 512)}
    assert sizes.keys() == {"app.js", "passkeys.js", "icon.svg", "style.css"} | icons
    assert sum(sizes.values()) < 29_000


def test_the_start_page_can_be_installed(group: Group) -> None:
    browser = group.browser()
    page = browser.get("/").text
    assert '<link rel="manifest" href="/manifest.webmanifest">' in page
    assert '<link rel="apple-touch-icon" href="/apple-touch-icon.png">' in page

    answer = browser.get("/manifest.webmanifest")

    assert answer.mimetype == "application/manifest+json"
    manifest = answer.get_json()
    assert (manifest["name"], manifest["start_url"]) == ("Trusted Group", "/")
    sizes = {icon["src"]: icon["sizes"] for icon in manifest["icons"]}
    assert set(sizes.values()) == {"192x192", "512x512"}
    for address, size in (sizes | {"/apple-touch-icon.png": "180x180"}).items():
        with browser.get(address) as icon:
            assert (icon.status_code, icon.mimetype) == (200, "image/png")
            width, height = struct.unpack(">II", icon.data[16:24])
            assert f"{width}x{height}" == size
    with browser.get("/favicon.ico") as icon:
        assert icon.mimetype == "image/png"


def test_what_programs_look_for_at_the_root(group: Group) -> None:
    browser = group.browser()
    with time_machine.travel("2026-11-25 12:00", tick=False):
        lines = browser.get("/.well-known/security.txt").text.splitlines()
        assert lines[:2] == ["Contact: http://localhost:8000", "Expires: 2026-12-25T12:00:00Z"]
        group.app.config["SECURITY_CONTACT"] = "mailto:holes@example.org"
        assert "Contact: mailto:holes@example.org" in browser.get("/.well-known/security.txt").text
    assert browser.get("/robots.txt").text == "User-agent: *\nDisallow: /\n"
    assert '<meta name="robots" content="noindex">' in browser.get("/signup").text


def test_a_link_that_is_shared_says_nothing_about_who(group: Group, ada: Browser) -> None:
    for path in ("/", "/signup"):
        page = group.browser().get(path).text
        assert '<meta property="og:title" content="Sign in to Trusted Group">' in page
        assert "ada" not in page.split("</head>")[0].replace("data", "")


def test_errors_are_in_the_title(group: Group) -> None:
    browser = group.browser()

    assert "<title>Sign in ·" in browser.get("/signup").text
    assert "<title>Error: Sign in ·" in browser.post("/login").text


def test_pages_weigh_little(group: Group, ada: Browser) -> None:
    """With everything they link to, and nothing compressed; test_proxies has it compressed."""
    for browser, path in ((group.browser(), "/"), (group.browser(), "/signup"), (ada, "/"),
                          (ada, "/account"), (ada, "/admin")):  # fmt: skip
        page = browser.get(path).text
        names = set(re.findall(r'"/static/([a-z.]+)\?', page))
        weight = len(page) + sum((ROOT / "static" / name).stat().st_size for name in names)
        assert weight < (30_500 if "passkeys.js" in names else 27_000), (path, weight)


def test_files_for_everybody_open_and_renew_no_session(group: Group) -> None:
    with time_machine.travel("2026-11-23 12:00", tick=False) as clock:
        grace = group.join(GRACE, "grace")
        clock.shift(2 * DAY)
        for path in ("/favicon.ico", "/manifest.webmanifest", "/robots.txt", "/icon-512.png"):
            with grace.get(path, headers={"Host": "elsewhere.example"}) as answer:
                assert answer.status_code == 200
                assert "Set-Cookie" not in answer.headers
                assert "no-store" not in answer.headers.get("Cache-Control", "")
        assert "Set-Cookie" in grace.get("/").headers  # which is when it is due


def test_every_page_leads_out(group: Group) -> None:
    """By the member's own name, beside which is what one does with an account: sign out of it."""
    pages = pages_of_every_state(group)
    of_members = {name: page for name, page in pages.items() if "data-member" in page}
    assert len(of_members) > 15
    for name, page in of_members.items():
        assert re.search(r'<header>.* href="/account".*</header>', page, re.DOTALL), name
    assert 'href="/logout"' in pages["devices"]


def test_friends_read_what_a_text_cannot_promise(group: Group) -> None:
    page = group.browser().get("/texts").text
    assert "Somebody who takes over your number can read them." in page
    assert "About our texts" in group.browser().get("/signup").text


def test_a_page_past_the_end_is_the_first(group: Group, ada: Browser) -> None:
    ada.get(ada.post("/invite", phone=f"+{GRACE}").location)
    for path in ("/", "/admin/members", "/admin"):
        pages = (ada.get(f"{path}{more}").text for more in ("?page=9", ""))
        first, last = (re.sub('name="once" value="[^"]+"', "", page) for page in pages)
        assert first == last
