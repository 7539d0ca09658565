"""The program as its users run it: a name with https, the real web server with its file of deploy/,
`flask serve`, and .env as `make setup` writes it. The journey of every feature goes through once.

What stands in for the world: Chromium and the other programs find the names on this machine, and
Vonage is the simulator.
"""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from socket import create_connection, socket
from typing import NamedTuple
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from foundation.cli.source_files import FILES, FOLDERS
from simulator.server import serving
from simulator.vonage import Vonage

from .cast import (
    ADA,
    GRACE,
    ROOT,
    find_port,
    in_background,
    require_chromium,
    require_executable,
    wait_for,
)
from .recipes import APACHE, MODULES, read_recipe
from .web_servers import (
    GROUP,
    WIKI,
    Proxy,
    Visitor,
    Wiki,
    make_certificate,
    running,
    start_caddy,
    start_nginx,
)
from .windows import FLAGS, PHONE, add_screen_lock, press, read_picture

pytestmark = pytest.mark.slow

CLUB = "https://club.example.org"
FRIEND, GUEST = "12025550177", "12025550178"
PARTS = [*FILES, *FOLDERS, ".env.example", "tools"]


class Tunnel(BaseHTTPRequestHandler):
    """What names are for the other programs, and for ours: each is a port of this machine."""

    ports: dict[str, int]

    def do_CONNECT(self) -> None:
        there = create_connection(("127.0.0.1", self.ports[self.path.removesuffix(":443")]))
        # (`select` takes no descriptor above 1023.)
        with there, DefaultSelector() as either:
            either.register(self.connection, EVENT_READ, (self.connection, there))
            either.register(there, EVENT_READ, (there, self.connection))
            self.send_response(200)
            self.end_headers()
            self.wfile.flush()
            while (ready := either.select(30)) and all(pass_on(*key.data) for key, _ in ready):
                pass
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


def pass_on(one: socket, other: socket) -> bool:
    data = one.recv(65536)
    other.sendall(data)
    return bool(data)


class FarVonage(Vonage):
    """It finds our name, too."""

    proxy: Proxy

    def is_active(self, url: str) -> bool:
        return Visitor(self.proxy).ask(url).status == 200


class Site(NamedTuple):
    folder: Path  # a copy of the program
    environment: dict[str, str]
    vonage: Vonage
    proxy: Proxy
    browser: Browser
    club: int  # the port of another program's web server

    def flask(self, *words: str) -> str:
        """A command, as somebody types it in the program's folder."""
        return run(self, [sys.executable, "-m", "flask", *words])

    def window(self) -> Page:
        """Somebody's browser."""
        page = self.browser.new_context(viewport=PHONE).new_page()
        page.set_default_timeout(15_000)
        return page

    def reply(self, phone: str) -> str:
        """The friend texts back, Vonage calls, a PIN arrives."""
        text = urlencode(self.vonage.inbound(phone, "sunflower"))
        there = self.vonage.webhook or ""
        assert Visitor(self.proxy).ask(there, [], "POST", text).status == 204
        return self.vonage.pin_of(phone)

    def let_in(self, phone: str, username: str) -> Page:
        """Invited from the command line, and signed in."""
        with closing(sqlite3.connect(self.folder / "instance" / "group.db")) as db, db:
            db.execute("DELETE FROM cooldowns")  # as after a minute
        self.flask("invite", f"+{phone}", "--username", username)
        page = self.window()
        page.goto(f"{GROUP}/signup")
        sign_up(page, phone, username, self.reply(phone))
        return page


def sign_up(page: Page, phone: str, username: str, pin: str) -> None:
    for field, value in {"phone": f"+{phone}", "username": username, "pin": pin}.items():
        page.locator(f"[name={field}]").fill(value)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url(re.compile(f"{GROUP}/(welcome)?$"))
    assert_in(page, username)


def submit(page: Page, button: str) -> None:
    with page.expect_navigation():
        page.locator(button).first.click()


def assert_in(page: Page, username: str) -> None:
    page.goto(GROUP)  # and so the cookie came back
    assert username in page.get_by_role("heading", level=1).inner_text()


def run(site: Site, command: list[str], answers: str = "") -> str:
    done = subprocess.run(
        command,
        cwd=site.folder,
        env=site.environment,
        input=answers,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def browser(club: int, proxy: Proxy) -> Iterator[Browser]:
    there = {"group": proxy.port, "wiki": proxy.port, "club": club}
    rules = ", ".join(f"MAP {name}.example.org 127.0.0.1:{there[name]}" for name in there)
    flags = [*FLAGS, f"--host-resolver-rules={rules}", "--ignore-certificate-errors"]
    with sync_playwright() as playwright:
        chromium = require_chromium()
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def club() -> int:
    return find_port()


@pytest.fixture(scope="module")
def program() -> int:
    return find_port()


@pytest.fixture(scope="module", params=["nginx", "caddy"])
def proxy(
    request: pytest.FixtureRequest, program: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    """The web server, with its file of deploy/ as it is, except for the ports of this machine."""
    require_executable(request.param)
    start = {"nginx": start_nginx, "caddy": start_caddy}[request.param]
    server = ThreadingHTTPServer(("127.0.0.1", 0), Wiki)
    with ExitStack() as stack, in_background(server) as wiki:
        addresses = {
            "127.0.0.1:8000": f"127.0.0.1:{program}",
            "127.0.0.1:8080": f"127.0.0.1:{wiki}",
        }
        proxy = start(stack, tmp_path_factory.mktemp(request.param), addresses)
        assert proxy
        yield proxy


@pytest.fixture(scope="module")
def site(
    proxy: Proxy,
    browser: Browser,
    program: int,
    club: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    folder, vonage = tmp_path_factory.mktemp("program"), FarVonage()
    vonage.proxy = proxy
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, folder / part)
    with ExitStack() as stack:
        server = stack.enter_context(serving(vonage, folder))
        Tunnel.ports = {"group.example.org": proxy.port, "club.example.org": club}
        tunnel = stack.enter_context(in_background(ThreadingHTTPServer(("127.0.0.1", 0), Tunnel)))
        make_certificate(folder, "club")
        trusted = (server.certificate, folder / "club.crt", *proxy.certificates())
        (folder / "trusted.pem").write_text("\n".join(one.read_text() for one in trusted))
        world = {"VONAGE_API_HOST": server.host, "VONAGE_REST_HOST": server.host}
        world |= {"HTTPS_PROXY": f"http://127.0.0.1:{tunnel}", "NO_PROXY": "localhost"}
        world |= {"REQUESTS_CA_BUNDLE": f"{folder}/trusted.pem", "PATH": os.environ["PATH"]}
        site = Site(folder, world, vonage, proxy, browser, club)
        set_up(site)
        command = [sys.executable, "-m", "flask", "serve", "--port", str(program)]
        stack.enter_context(running(command, program, folder / "log", world, folder))
        site.flask("doctor", "--fix")
        yield site


def set_up(site: Site) -> None:
    """`make setup`, and what `make serve` does first."""
    vonage = site.vonage
    answers = ["Book Club", GROUP, "sunflower", "ada", vonage.api_key, vonage.api_secret]
    run(site, [sys.executable, "-m", "tools.setup"], "\n".join([*answers, vonage.number, ""]))
    site.flask("init-db")


def test_an_admin_lets_a_guest_in(site: Site) -> None:
    ada = site.let_in(ADA, "ada")
    ada.goto(f"{GROUP}/admin")
    ada.locator("[name=phone]").fill(f"+{GUEST}")
    ada.locator("#invite summary").click()
    ada.locator("[name=ends_on]").fill("2099-12-31")
    press(ada, "Text them")
    guest = site.window()
    guest.goto(f"{GROUP}/signup")
    sign_up(guest, GUEST, "cousin", site.reply(GUEST))
    ada.goto(f"{GROUP}/admin/members")
    assert "31 December 2099" in ada.locator("li", has_text="cousin").inner_text()


def test_another_device_is_added(site: Site) -> None:
    old, new = site.let_in(GRACE, "grace"), site.window()
    old.goto(f"{GROUP}/devices/add")
    submit(old, "form[action='/devices/add'] button")
    address = read_picture(old)
    assert address.startswith(f"{GROUP}/join/")
    new.goto(address)
    submit(new, "form[action='/join'] button")
    digits = new.locator(".code").inner_text()
    old.locator("[name=number]").fill(digits)
    old.locator("form[action='/devices/add/confirm'] button").first.click()
    new.wait_for_url(re.compile(f"{GROUP}/(devices|)$"))
    assert_in(new, "grace")


def test_a_passkey_signs_in(site: Site) -> None:
    page = site.let_in(FRIEND, "friend")
    add_screen_lock(page)
    page.goto(f"{GROUP}/devices")
    with page.expect_navigation():
        page.locator("[data-passkey=add] button").click()
    page.goto(f"{GROUP}/logout")
    submit(page, "main form button")
    page.goto(f"{GROUP}/signup")
    page.get_by_text("Been here before?").click()
    page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_url(f"{GROUP}/")
    assert_in(page, "friend")


def test_an_app_password_opens_the_wiki(site: Site) -> None:
    register(site, "wiki", WIKI)
    page = site.let_in(GRACE, "grace")
    page.goto(f"{GROUP}/app-passwords")
    page.locator("[name=program]").select_option("wiki")
    page.locator("[name=name]").fill("Calendar on my phone")
    submit(page, "form[action='/app-passwords'] button")
    password = page.locator("#password").inner_text()

    pair = b64encode(f"grace:{password}".encode()).decode()
    answer = Visitor(site.proxy).ask(WIKI, [("Authorization", f"Basic {pair}")])

    assert answer.told("remote-user") == [("remote-user", "grace")]


def test_openid_connect_signs_in_and_out(site: Site, tmp_path: Path) -> None:
    """A real Apache with mod_auth_openidc, set up as docs/programs.md says."""
    ada = register(site, "club", CLUB)
    ada.goto(f"{GROUP}/admin/programs/club/openid")
    ada.locator("[name=redirects]").fill(f"{CLUB}/callback")
    ada.locator("[name=logout]").fill(f"{CLUB}/callback?logout=backchannel")
    submit(ada, "form[action$='/openid'] button")
    recipe = read_recipe("Apache")
    for what, id in {"the client id": "client-id", "the client secret": "secret"}.items():
        recipe = recipe.replace(what, ada.locator(f"#{id}").inner_text())
    with ExitStack() as stack:
        start_apache(stack, site, recipe, tmp_path)
        grace = site.let_in(GRACE, "grace")
        stranger = site.window()
        grace.goto(CLUB)
        assert grace.locator("body").inner_text() == "The club's page."
        stranger.goto(CLUB)
        assert stranger.url.startswith(f"{GROUP}/signup")

        site.flask("remove", "grace")

        wait_for(lambda: grace.goto(CLUB) and grace.url.startswith(f"{GROUP}/signup"))


def start_apache(stack: ExitStack, site: Site, recipe: str, folder: Path) -> None:
    (folder / "pages").mkdir()
    (folder / "pages" / "index.html").write_text("The club's page.")
    here = f"""
        LoadModule ssl_module {MODULES}/mod_ssl.so
        SSLEngine on
        SSLCertificateFile {site.folder}/club.crt
        SSLCertificateKeyFile {site.folder}/club.key
        OIDCOutgoingProxy {site.environment["HTTPS_PROXY"].removeprefix("http://")}
        OIDCCABundlePath {site.folder}/trusted.pem
    """
    config = APACHE.format(port=site.club, folder=folder, modules=MODULES, recipe=here + recipe)
    config = config.replace("ServerName localhost", f"ServerName {CLUB}:443\nUseCanonicalName On")
    (folder / "apache.conf").write_text(config)
    command = [require_executable("apache2"), "-f", f"{folder}/apache.conf", "-D", "FOREGROUND"]
    stack.enter_context(running(command, site.club, folder / "apache.log"))


def register(site: Site, name: str, address: str) -> Page:
    """An app, on its page; Ada's window."""
    ada = site.let_in(ADA, "ada")
    ada.goto(f"{GROUP}/admin/programs")
    for field, value in {"name": name, "title": f"The {name}", "address": address}.items():
        ada.locator(f"[name={field}]").fill(value)
    submit(ada, "form[action='/admin/programs'] button")
    ada.goto(f"{GROUP}/admin/programs/{name}")
    return ada


def test_a_language_is_kept(site: Site) -> None:
    page = site.window()
    page.goto(f"{GROUP}/signup")
    page.locator("footer summary").click()
    submit(page, "footer button[value=de]")
    page.goto(GROUP)
    assert page.locator("html").get_attribute("lang") == "de"


def test_the_doctor_connects_vonage_and_finds_nothing_to_mend(site: Site) -> None:
    assert site.flask("doctor", "--fix").endswith("All is well.\n")
    assert site.vonage.webhook == site.flask("webhook-url").strip()
