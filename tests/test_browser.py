"""The whole journey in a real browser, as `make demo` shows it: two people with two phones, on the
simulator's own page. What every page shows is judged by axe and by the browser's own console."""

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, sync_playwright

from .conftest import ADA, GRACE, ROOT, require_program

SMALL = ViewportSize(width=320, height=640)
PHONE = ViewportSize(width=390, height=844)
DESKTOP = ViewportSize(width=1280, height=900)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += [f"--disable-{it}" for it in ("background-networking", "component-update", "sync")]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    require_program("chromium")
    with sync_playwright() as playwright:
        path = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the screenshots of a run are; pytest keeps the folders of the last three runs."""
    return tmp_path_factory.mktemp("screenshots")


class Stage:
    """The demo, and a browser window for each person."""

    def __init__(self, browser: Browser, phones: str, group: str, shots: Path) -> None:
        self.browser, self.phones, self.group, self.shots = browser, phones, group, shots
        self.complaints: list[str] = []
        self.seen: set[str] = set()
        self.table = self.window().new_page()

    def window(self, **more: Any) -> BrowserContext:
        """Somebody's browser, which tells us of every error in its console."""
        context = self.browser.new_context(**({"viewport": PHONE} | more))
        context.on("console", lambda message: self.listen(message.type, message.text))
        context.on("weberror", lambda error: self.listen("error", str(error.error)))
        return context

    def listen(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and "status of 422" not in text:  # a form that was refused
            self.complaints.append(text)

    def reply(self, phone: str, text: str = "Sunflower please") -> str:
        """Type a reply on somebody's phone; the PIN that arrives there, by itself."""
        self.table.goto(self.phones)
        thread = self.table.locator(f"#phone-{phone}")
        thread.get_by_label("Reply from this phone").fill(text)
        thread.get_by_role("button", name="Send").click()
        pins = thread.locator("li.theirs").filter(has_text=re.compile(r"^\d{6} is your"))
        pins.nth(sum(one.startswith(phone) for one in self.seen)).wait_for(timeout=10_000)
        pin = pins.last.inner_text()[:6]
        self.seen.add(f"{phone} {pin}")
        return pin

    def sign_up(self, page: Page, phone: str, username: str, pin: str) -> None:
        page.goto(f"{self.group}/signup")
        page.get_by_label("Your phone number").fill(f"+{phone}")
        page.get_by_label("Username").fill(username)
        page.get_by_label("PIN").fill(pin)
        page.get_by_role("button", name="Come in").click()

    def invite(self, page: Page, phone: str, username: str = "") -> None:
        page.goto(f"{self.group}/admin")
        page.get_by_label("Phone number").fill(f"+{phone}")
        page.get_by_label("Username (optional)").fill(username)
        page.get_by_role("button", name="Invite", exact=True).click()

    def look(self, page: Page, name: str) -> None:
        """A picture in every size and colour; nothing too wide, and nothing that axe objects to."""
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            for size in (SMALL, PHONE, DESKTOP):
                page.set_viewport_size(size)
                wide = page.evaluate("document.documentElement.scrollWidth")
                assert wide <= size["width"], (name, size)
                file = self.shots / f"{name}-{size['width']}-{scheme}.png"
                page.screenshot(path=file, full_page=True)
            found = Axe().run(page)
            assert found.violations_count == 0, (name, scheme, found.generate_report())


@pytest.fixture
def stage(chromium: Browser, shots: Path) -> Iterator[Stage]:
    with demo() as told:
        phones, group = (re.search(rf"{it} +(\S+)", told) for it in ("The phones", "The group"))
        assert phones
        assert group
        stage = Stage(chromium, phones[1], group[1], shots)
        yield stage
        assert stage.complaints == []


@contextmanager
def demo() -> Iterator[str]:
    """`make demo`; what it prints."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "simulator"],
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


def test_two_people_come_in_with_two_phones(stage: Stage) -> None:
    ada = stage.window().new_page()
    ada.goto(stage.group)
    stage.look(ada, "landing")
    ada.get_by_role("link", name="I have a PIN").click()
    stage.look(ada, "sign-up")
    pin = stage.reply(ADA)
    stage.sign_up(ada, ADA, "ada", f"{pin[:3]} {pin[3:]}")
    assert ada.get_by_role("heading", level=1).inner_text() == "You are in, ada"
    ada.get_by_role("link", name="Admin").click()
    assert ada.get_by_text("No one is invited at the moment.").is_visible()
    stage.look(ada, "admin-empty")

    stage.invite(ada, GRACE)
    assert ada.get_by_role("status").is_visible()
    grace_window = stage.window()
    grace = grace_window.new_page()
    pin = stage.reply(GRACE)
    stage.sign_up(grace, GRACE, "ada", pin)
    stage.look(grace, "sign-up-taken-name")
    assert grace.get_by_label("Your phone number").input_value() == f"+{GRACE}"
    assert grace.evaluate("document.activeElement.id") == "username"
    stage.sign_up(grace, GRACE, "grace", "000000" if pin != "000000" else "000001")
    assert grace.get_by_text("That PIN is not right, or has expired").is_visible()
    assert grace.get_by_label("PIN").input_value() == ""
    stage.look(grace, "sign-up-wrong-pin")
    stage.sign_up(grace, GRACE, "grace", pin)
    assert grace.get_by_role("heading", level=1).inner_text() == "You are in, grace"
    assert grace.get_by_text("invited by ada").is_visible()
    stage.look(grace, "home")

    stage.invite(ada, GRACE, "grace")
    tablet = stage.window().new_page()
    stage.sign_up(tablet, GRACE, "grace", stage.reply(GRACE))
    grace.get_by_role("link", name="Devices", exact=True).click()
    assert grace.get_by_text("this device", exact=True).is_visible()
    stage.look(grace, "devices")
    grace.get_by_role("button", name="Sign out all others").click()
    tablet.reload()
    assert tablet.get_by_role("link", name="I have a PIN").is_visible()

    ada.goto(f"{stage.group}/admin")
    stage.look(ada, "admin")
    ada.get_by_text("Sign out or remove").last.click()
    stage.look(ada, "admin-open")
    ada.get_by_role("button", name="Remove grace").click()
    grace.get_by_role("button", name="Renew now").click()  # while the page is still open
    assert grace.url.startswith(f"{stage.group}/signup")
    stage.table.goto(stage.phones)
    stage.look(stage.table, "phones")


def test_without_script_and_by_keyboard_alone(stage: Stage) -> None:
    page = stage.window(java_script_enabled=False).new_page()
    pin = stage.reply(ADA)
    page.goto(f"{stage.group}/signup")
    for text in (f"+{ADA}", "ada", pin):
        tab_to(page, "INPUT")
        page.keyboard.type(text)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{stage.group}/")

    assert page.get_by_role("heading", level=1).inner_text() == "You are in, ada"


def tab_to(page: Page, element: str) -> None:
    """Press Tab until such an element has the focus. (`evaluate` works without the page's own
    scripts, too.)"""
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.tagName") == element:
            return
    raise AssertionError(f"no {element} can be reached by Tab")


def test_pages_of_errors_are_fit_to_be_seen(stage: Stage) -> None:
    page = stage.window().new_page()
    for path, name in (("/nothing", "error-404"), ("/login", "error-405")):
        page.goto(stage.group + path)
        stage.look(page, name)
    stage.complaints = [text for text in stage.complaints if "status of 40" not in text]
