"""Chromium's windows onto a group: on the simulator's stage, or in a house whose database the test
can reach. What they show is judged by axe, by the browser's own console and by its reports."""

import os
import re
import signal
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from io import BytesIO
from typing import Any, Literal

import pytest
import zxingcpp
from axe_playwright_python.sync_playwright import Axe
from flask import Flask
from PIL import Image
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Page,
    ViewportSize,
    expect,
    sync_playwright,
)

from simulator.page import create_page
from simulator.vonage import Vonage

from .cast import CODE, ROOT, Group, answering, find_port, require_chromium, served_here

ZOOMED = ViewportSize(width=195, height=422)  # a phone at 200 %
SMALL = ViewportSize(width=320, height=640)
PHONE = ViewportSize(width=390, height=844)
DESKTOP = ViewportSize(width=1280, height=900)
SIZES = (ZOOMED, SMALL, DESKTOP, PHONE)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += [f"--disable-{it}" for it in ("background-networking", "component-update", "sync")]
SHOTS = ROOT / "tests" / "screenshots"  # not in the repository; the README's are made of them
CAPTIONS = [
    "1. Ada invites a number",
    "2. Grace texts the word back",
    "3. Number, PIN and name, once",
    "4. In, and in the wiki, too",
]
PICTURE = """body { display: flex; justify-content: space-around; margin: 1rem 0; }
    figure { margin: 0; text-align: center; font: 600 1.2rem/3rem system-ui, sans-serif }
    img { display: block; height: 670px; border-radius: 1.5rem; box-shadow: 0 0 0 1px #8886 }"""
LEFT_OF_THE_PAGE = """[...document.querySelectorAll("body *:not(.skip)")]
    .filter((e) => e.getClientRects().length && e.getBoundingClientRect().left < -1)
    .map((e) => e.outerHTML.slice(0, 80))"""
WIDTH_AND_LEFT = f"""(() => {{
    const html = document.documentElement;
    const [width, direction] = [html.scrollWidth, html.dir];
    html.dir = "rtl";
    const left = {LEFT_OF_THE_PAGE};
    html.dir = direction;
    return [width, left];
}})()"""
TARGETS = "button, .button, nav a, .brand, summary, .choice"
SMALL_TARGETS = f"""[...document.querySelectorAll("{TARGETS}")]
    .filter((e) => e.getClientRects().length)
    .filter((e) => e.offsetHeight < 44)
    .map((e) => e.outerHTML.slice(0, 80))"""
AXE = Axe().axe_script + "; null"
VIOLATIONS = """axe.run({ resultTypes: ["violations"] }).then((found) => found.violations.flatMap(
    ({ id, nodes }) => nodes.map((node) => `${id}: ${node.failureSummary} ${node.html}`)))"""
expect.set_options(timeout=30_000)  # ms: what Playwright's actions wait, too
REPORT = """addEventListener("securitypolicyviolation", (event) =>
    console.error("forbidden by the policy: " + event.violatedDirective))"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    path = require_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


class Stage:
    """A group, the phones on the simulator's page, and a browser window for each person."""

    def __init__(self, browser: Browser, phones: str, group: str, wiki: str = "") -> None:
        self.browser, self.phones, self.group, self.wiki = browser, phones, group, wiki
        self.complaints: list[str] = []
        self.expected = {422}  # statuses of pages that are no complaint: a form that was refused
        self.seen: set[str] = set()
        self.database = ""
        self.windows: list[BrowserContext] = []
        SHOTS.mkdir(exist_ok=True)

    @cached_property
    def table(self) -> Page:
        """The window with the phones."""
        return self.window().new_page()

    def window(self, **more: Any) -> BrowserContext:
        """Somebody's browser, which tells us of every error in its console."""
        context = self.browser.new_context(**({"viewport": PHONE} | more))
        self.windows.append(context)
        context.add_init_script(REPORT)
        context.on("console", lambda message: self.listen(message.type, message.text))
        context.on("weberror", lambda error: self.listen("error", str(error.error)))
        return context

    def close(self) -> None:
        """Everybody goes, with whatever their pages still do."""
        for window in self.windows:
            window.close()
        assert self.complaints == []

    def listen(self, kind: str, text: str) -> None:
        status = re.search(r"status of (\d+)", text)
        is_expected = status is not None and int(status[1]) in self.expected
        if kind in ("error", "warning") and not is_expected:
            self.complaints.append(text)

    def reply(self, phone: str, text: str = "Sunflower please") -> str:
        """Type a reply on somebody's phone; the PIN that arrives there, by itself."""
        self.table.goto(self.phones)
        thread = self.table.locator(f"#phone-{phone}")
        thread.get_by_label("Reply from this phone").fill(text)
        thread.get_by_role("button", name="Send").click()
        pins = thread.locator("li.theirs").filter(has_text="code: ")
        pins.nth(sum(one.startswith(phone) for one in self.seen)).wait_for(timeout=60_000)
        pin = str(re.findall(r"code:\s*(\d{6})", pins.last.inner_text())[0])
        self.seen.add(f"{phone} {pin}")
        return pin

    def play(self, phone: str, trick: str) -> str:
        """Play a trick in the name of a phone; the newest line of what went over the wire."""
        self.table.goto(self.phones)
        before = self.table.locator("#wire").inner_text()
        self.table.get_by_label("In the name of").select_option(phone)
        self.table.get_by_role("button", name=trick).click()
        if trick != "Let the PIN expire":
            self.table.wait_for_function(
                "before => document.getElementById('wire').innerText !== before", arg=before
            )
        return self.table.locator("#wire li").first.inner_text()

    def fill(self, page: Page, phone: str, username: str, pin: str) -> None:
        page.goto(f"{self.group}/signup")
        page.get_by_label("Your phone number").fill(f"+{phone}")
        page.get_by_label("PIN", exact=True).fill(pin)
        page.get_by_label("Username").fill(username)

    def sign_up(self, page: Page, phone: str, username: str, pin: str) -> None:
        self.fill(page, phone, username, pin)
        send(page)

    def invite(self, page: Page, phone: str, username: str = "") -> None:
        page.goto(f"{self.group}/admin")
        page.get_by_label("Phone number").fill(f"+{phone}")
        if username:
            page.get_by_text("More", exact=True).click()
            page.get_by_label("Username (optional)").fill(username)
        press(page, "Text them")

    def look(self, page: Page, name: str) -> None:
        """In every size: nothing too wide, also from right to left, and no small target. In both
        colours, which change no size (see test_pages): nothing that axe objects to."""
        for size in SIZES:
            page.set_viewport_size(size)
            width, left = page.evaluate(WIDTH_AND_LEFT)
            assert width <= size["width"], (name, size)
            assert left == [], (name, size)
        is_ours = not page.url.startswith(f"{self.phones}/")
        assert not is_ours or page.evaluate(SMALL_TARGETS) == [], name
        for scheme in in_both_colours(page):
            assert find_violations(page) == [], (name, scheme)
            take_pictures(page, name, scheme)

    def snap(self, page: Page, name: str) -> None:
        """What the README shows: a phone's worth of page, in both colours."""
        for scheme in in_both_colours(page):
            page.screenshot(path=SHOTS / f"{name}-{scheme}.png")

    def snap_phone(self, phone: str, name: str) -> None:
        self.table.goto(self.phones)
        for scheme in in_both_colours(self.table):
            self.table.locator(f"#phone-{phone}").screenshot(path=SHOTS / f"{name}-{scheme}.png")

    def compose(self) -> None:
        """The README's picture of the journey, from what was snapped on the way."""
        page = self.window(viewport=ViewportSize(width=1520, height=760)).new_page()
        for scheme in ("light", "dark"):
            shots = [SHOTS / f"journey-{n}-{scheme}.png" for n in range(1, 5)]
            figures = "".join(
                f"<figure><img src='data:image/png;base64,{b64encode(shot.read_bytes()).decode()}'>"
                f"<figcaption>{caption}</figcaption></figure>"
                for shot, caption in zip(shots, CAPTIONS, strict=True)
            )
            colours = "#eceef1" if scheme == "dark" else "#1d2126"
            page.set_content(f"<style>{PICTURE} body {{ color: {colours} }}</style>{figures}")
            page.locator("img").last.wait_for()
            page.screenshot(path=SHOTS / f"journey-{scheme}.png", omit_background=True)


def in_both_colours(page: Page) -> Iterator[str]:
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        yield scheme


def find_violations(page: Page) -> list[str]:
    """What axe objects to, and where."""
    if not page.evaluate("!!window.axe"):
        page.evaluate(AXE)
    return list(page.evaluate(VIOLATIONS))


def take_pictures(page: Page, name: str, scheme: str) -> None:
    """In all sizes; leaves it in the last."""
    for size in SIZES if "PICTURES" in os.environ else ():
        page.set_viewport_size(size)
        take_picture(page, f"{name}-{size['width']}-{scheme}")


def take_picture(page: Page, name: str) -> None:
    """To be looked at by somebody, who says PICTURES=1: they take as long as all checks."""
    if "PICTURES" in os.environ:
        page.screenshot(path=SHOTS / f"{name}.png", full_page=True)


@pytest.fixture
def stage(chromium: Browser) -> Iterator[Stage]:
    with demo() as told:
        names = ("The phones", "The group", "The wiki")
        addresses = [re.findall(rf"{name} +(\S+)", told)[0] for name in names]
        stage = Stage(chromium, *addresses)
        stage.database = re.findall(r"the database (\S+) is ready", told)[0]
        yield stage
        stage.close()


@contextmanager
def demo() -> Iterator[str]:
    """`make demo`; what it prints."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "simulator", *(str(find_port()) for _ in range(3))],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    try:
        told = ""
        for line in process.stdout:
            told += line
            if "Ctrl-C" in line:
                break
        yield told
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def press(page: Page, name: str, role: Literal["button", "link"] = "button") -> None:
    """Press what leads to another page, and wait for that: not for one that brings the button."""
    target = page.get_by_role(role, name=name, exact=True)
    target.wait_for()
    with page.expect_navigation():
        target.click()


def send(page: Page) -> None:
    """Press "Sign in", and wait for the answer: another page, or what is wrong on this one."""
    with page.expect_response(lambda answer: answer.url.endswith("/login")):
        page.get_by_role("button", name="Sign in", exact=True).click()
    page.locator("[aria-busy]").wait_for(state="detached")


def other_than(pin: str) -> str:
    return "000000" if pin != "000000" else "000001"


def read_picture(page: Page) -> str:
    """What another program reads in a screenshot of the QR picture."""
    shot = Image.open(BytesIO(page.locator("svg.qr").screenshot()))
    return str(zxingcpp.read_barcodes(shot)[0].text)


def add_screen_lock(page: Page) -> None:
    """Chromium's own virtual authenticator."""
    devtools = page.context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    kind = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True}
    kind |= {"hasUserVerification": True, "isUserVerified": True}
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": kind})


class House(Stage):
    """A group whose database and whose Vonage the test can reach."""

    def __init__(self, browser: Browser, phones: str, local: Group) -> None:
        super().__init__(browser, phones, local.app.config["BASE_URL"])
        self.local = local

    def let_in(self, phone: str, username: str) -> Page:
        """The page of somebody who is signed in."""
        cookie = self.local.join(phone, username, bound=True).cookie()
        window = self.window()
        window.add_cookies([{"name": "session", "value": cookie, "url": self.group}])
        return window.new_page()

    def write(self, sql: str, *values: object) -> None:
        self.local.rows(sql, *values)


@contextmanager
def look_into(group: Group, chromium: Browser) -> Iterator[House]:
    """A group that is served."""
    url = group.app.config["BASE_URL"]
    page: Flask = create_page(group.vonage, f"{url}/answer", url, CODE)
    with answering(page) as phones:
        house = House(chromium, f"http://localhost:{phones}", group)
        yield house
        house.close()


@pytest.fixture
def house(chromium: Browser, settings: dict[str, str], vonage: Vonage) -> Iterator[House]:
    settings["MEMBER_INVITES"] = "2"
    with served_here(settings, vonage) as group, look_into(group, chromium) as house:
        yield house
