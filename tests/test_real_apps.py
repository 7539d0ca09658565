"""Apps that families run, for real and in Chromium: in at the first try with what docs/programs.md
says, and not again when removed. Their own sessions go on until they end, as its table says."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page

from .cast import GRACE, ROOT, Group, Served, find_port, require_executable
from .recipes import set_up, sign_up
from .web_servers import running

APPS = ROOT / "tests" / "apps"
pytestmark = pytest.mark.slow


@pytest.fixture
def grace(chromium: Browser, local: Group) -> Iterator[Page]:
    """Her browser. She is invited, and has texted back."""
    local.invite(GRACE)
    local.text(GRACE)
    window = chromium.new_context()
    yield window.new_page()
    window.close()


def node_of(package: str) -> str:
    node = require_executable("node")
    if not (APPS / "node_modules" / package).exists():
        require_executable(package)
    return node


def come_in(grace: Page, local: Group, there: str) -> None:
    """Over our sign-up form and the page after it, back to the app."""
    grace.wait_for_url(re.compile(f"{local.app.config['BASE_URL']}/signup"), timeout=60_000)
    sign_up(grace, local.vonage.pin_of(GRACE))
    grace.wait_for_url(re.compile(there), timeout=60_000)


def remove(grace: Page, local: Group) -> Page:
    """Grace is removed, and her session at the app has ended. Our cookie she has still."""
    assert local.command("remove", "grace").exit_code == 0
    browser = grace.context.browser
    assert browser
    window = browser.new_context()
    ours = [cookie for cookie in grace.context.cookies() if cookie["name"] in OURS]
    assert "session" in {cookie["name"] for cookie in ours}
    window.add_cookies([{**cookie} for cookie in ours])  # type: ignore[typeddict-item]
    return window.new_page()


OURS = {"session", "visitor"}


def is_asked_to_sign_in(page: Page, local: Group) -> bool:
    page.wait_for_url(re.compile(f"{local.app.config['BASE_URL']}/signup"), timeout=60_000)
    return page.get_by_text("I was invited").is_visible()


# Auth.js, as in Homarr and Karakeep ---------------------------------------------------------------


@pytest.fixture
def site_of_authjs(served: Served, local: Group, tmp_path: Path) -> Iterator[str]:
    node, port = node_of("@auth/express"), find_port()
    url = f"http://localhost:{port}"
    client = set_up(local, f"{url}/auth/callback/group")
    command = [node, str(APPS / "site_of_authjs.mjs"), str(port), served.url, *client]
    with running(command, port, tmp_path / "log"):
        yield url


def test_authjs(grace: Page, local: Group, site_of_authjs: str) -> None:
    def sign_in(page: Page) -> None:
        page.goto(f"{site_of_authjs}/auth/signin")
        page.get_by_role("button", name="Sign in with Our group").click()

    sign_in(grace)
    come_in(grace, local, f"{site_of_authjs}/?$")
    grace.goto(site_of_authjs)
    assert grace.locator("body").inner_text() == "Hello grace"

    again = remove(grace, local)
    sign_in(again)
    assert is_asked_to_sign_in(again, local)


# Node-RED -----------------------------------------------------------------------------------------

NODE_RED = """
const {{ Strategy }} = require("{folder}/passport-openidconnect")
const group = "{group}"
module.exports = {{
  uiHost: "127.0.0.1",
  uiPort: {port},
  adminAuth: {{
    type: "strategy",
    strategy: {{
      name: "openidconnect",
      label: "Sign in with Our group",
      strategy: Strategy,
      options: {{
        issuer: group,
        authorizationURL: group + "/openid/authorize",
        tokenURL: group + "/openid/token",
        userInfoURL: group + "/openid/userinfo",
        clientID: "{id}",
        clientSecret: "{secret}",
        callbackURL: "{url}/auth/strategy/callback",
        scope: ["profile"],
        verify: (issuer, profile, done) => done(null, profile),
      }},
    }},
    users: [{{ username: "grace", permissions: ["*"] }}],
  }},
}}
"""


@pytest.fixture
def node_red(served: Served, local: Group, tmp_path: Path) -> Iterator[str]:
    node, port = node_of("node-red"), find_port()
    url = f"http://localhost:{port}"
    client = set_up(local, f"{url}/auth/strategy/callback", pkce="no", email="none")
    facts = {"folder": APPS / "node_modules", "group": served.url, "port": port, "url": url}
    settings = NODE_RED.format(**facts, id=client.id, secret=client.secret)
    (tmp_path / "settings.js").write_text(settings)
    program = str(APPS / "node_modules" / "node-red" / "red.js")
    command = [
        node,
        program,
        "--userDir",
        str(tmp_path),
        "--settings",
        str(tmp_path / "settings.js"),
    ]
    with running(command, port, tmp_path / "log"):
        yield url


def test_node_red(grace: Page, local: Group, node_red: str) -> None:
    def sign_in(page: Page) -> None:
        page.goto(node_red)
        page.get_by_text("Sign in with Our group").click()

    sign_in(grace)
    come_in(grace, local, f"{node_red}/")
    grace.locator("#red-ui-workspace").wait_for()

    again = remove(grace, local)
    sign_in(again)
    assert is_asked_to_sign_in(again, local)


# Actual Budget ------------------------------------------------------------------------------------


@pytest.fixture
def actual(served: Served, local: Group, tmp_path: Path) -> Iterator[str]:
    node, port = node_of("@actual-app/sync-server"), find_port()
    url = f"http://localhost:{port}"
    client = set_up(local, f"{url}/openid/callback")
    settings = {
        "ACTUAL_DATA_DIR": str(tmp_path),
        "ACTUAL_HOSTNAME": "127.0.0.1",
        "ACTUAL_PORT": str(port),
        "ACTUAL_LOGIN_METHOD": "openid",
        "ACTUAL_OPENID_DISCOVERY_URL": served.url,
        "ACTUAL_OPENID_CLIENT_ID": client.id,
        "ACTUAL_OPENID_CLIENT_SECRET": client.secret,
        "ACTUAL_OPENID_SERVER_HOSTNAME": url,
        "ACTUAL_USER_CREATION_MODE": "login",
    }
    program = APPS / "node_modules" / "@actual-app" / "sync-server" / "build" / "app.js"
    with running([node, str(program)], port, tmp_path / "log", os.environ | settings, tmp_path):
        yield url


def test_actual_budget(grace: Page, local: Group, actual: str) -> None:
    def sign_in(page: Page) -> None:
        """What its button does, which stands there before it can be pressed."""
        form = {"loginMethod": "openid", "returnUrl": actual}
        answer = page.request.post(f"{actual}/account/login", data=form).json()
        page.goto(answer["data"]["returnUrl"])

    sign_in(grace)
    with grace.expect_request(f"{actual}/openid-cb?token=*", timeout=60_000) as back:
        come_in(grace, local, actual)
    held = {"X-ACTUAL-TOKEN": parse_qs(urlsplit(back.value.url).query)["token"][0]}
    known = grace.request.get(f"{actual}/account/validate", headers=held).json()
    assert known["data"]["userName"] == "grace"

    again = remove(grace, local)
    sign_in(again)
    assert is_asked_to_sign_in(again, local)


# MeshCentral --------------------------------------------------------------------------------------


@pytest.fixture
def meshcentral(served: Served, local: Group, tmp_path: Path) -> Iterator[str]:
    node, port = node_of("meshcentral"), find_port()
    url = f"http://localhost:{port}"
    client = set_up(local, f"{url}/auth-oidc-callback")
    openid = {
        "issuer": served.url,
        "client": {
            "client_id": client.id,
            "client_secret": client.secret,
            "redirect_uri": f"{url}/auth-oidc-callback",
        },
        "custom": {"claims": {"name": "preferred_username"}},
        "newAccounts": True,
    }
    settings = {
        "cert": "localhost",
        "WANonly": True,
        "port": port,
        "portBind": "127.0.0.1",
        "redirPort": 0,
        "mpsPort": 0,
        "exactPorts": True,
        "tlsOffload": "127.0.0.1",
        "selfUpdate": False,
        "autoBackup": False,
    }
    domain = {"title": "Mesh", "authStrategies": {"oidc": openid}, "certUrl": ""}
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "config.json").write_text(
        json.dumps({"settings": settings, "domains": {"": domain}})
    )
    program = str(APPS / "node_modules" / "meshcentral" / "meshcentral.js")
    command = [node, program, "--datapath", str(tmp_path / "data")]
    command += ["--filespath", str(tmp_path / "files")]
    with running(command, port, tmp_path / "log", folder=tmp_path):
        yield url


def test_meshcentral(grace: Page, local: Group, meshcentral: str) -> None:
    grace.goto(f"{meshcentral}/auth-oidc")
    come_in(grace, local, f"{meshcentral}/")
    grace.get_by_text("grace").first.wait_for()

    again = remove(grace, local)
    again.goto(f"{meshcentral}/auth-oidc")
    assert is_asked_to_sign_in(again, local)
