"""Real programs that sign their members in by OpenID Connect, with a real browser's way in between
played by requests."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from playwright.sync_api import Browser, expect

from .cast import ADA, GRACE, ROOT, Group, Served, find_port, require_executable, sentence, wait_for
from .recipes import APACHE, MODULES, Client, read_recipe, set_up, sign_up
from .web_servers import running
from .windows import House, look_into, press

pytestmark = pytest.mark.slow


def let_in(served: Served, local: Group) -> requests.Session:
    """Grace's browser."""
    browser = served.browser()
    local.invite(GRACE)
    local.text(GRACE)
    form = {"phone": f"+{GRACE}", "username": "grace", "pin": served.vonage.pin_of(GRACE)}
    assert browser.post(f"{served.url}/login", data=form).url == f"{served.url}/welcome"
    return browser


@pytest.mark.parametrize("how", ["basic", "post"])
def test_openid_client_of_npm(served: Served, local: Group, how: str) -> None:
    node, back = require_executable("node"), "http://localhost:9/callback"
    if not (ROOT / "tests" / "node_modules" / "openid-client").exists():
        require_executable("openid-client")
    program, grace = set_up(local, back, email="verified"), let_in(served, local)
    command = [node, "tests/relying_party.mjs", served.url, program.id, program.secret, back, how]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        there = process.stdout.readline().strip()
        sent = grace.get(there, allow_redirects=False)
        told, _ = process.communicate(sent.headers["Location"] + "\n", timeout=30)
    assert process.returncode == 0
    learned = json.loads(told)

    assert learned["claims"]["preferred_username"] == "grace"
    assert learned["info"]["groups"] == ["members"]
    assert learned["info"]["email_verified"] is True
    assert learned["later"] == learned["info"]


@pytest.fixture
def house(chromium: Browser, served: Served, local: Group) -> Iterator[House]:
    """Of the served program, which the other programs ask, too."""
    with look_into(local, chromium) as house:
        yield house


@pytest.fixture
def apache(served: Served, local: Group, tmp_path: Path) -> Iterator[str]:
    """Its address, with a page for members."""
    program, port = require_executable("apache2"), find_port()
    if not Path(MODULES, "mod_auth_openidc.so").exists():
        require_executable("mod_auth_openidc")
    url = f"http://localhost:{port}"
    client = set_up(local, f"{url}/callback", logout=f"{url}/callback?logout=backchannel")
    pages = tmp_path / "pages"
    pages.mkdir()
    (pages / "index.html").write_text("The club's page.")
    recipe = fill_in(read_recipe("Apache"), served, "https://club.example.org", url, client)
    config = APACHE.format(port=port, folder=tmp_path, modules=MODULES, recipe=recipe)
    (tmp_path / "apache.conf").write_text(config)
    command = [program, "-f", str(tmp_path / "apache.conf"), "-D", "FOREGROUND"]
    with running(command, port, tmp_path / "apache.log"):
        yield url


def test_a_page_of_apache_for_members(served: Served, local: Group, apache: str) -> None:
    stranger = served.browser()
    assert urlsplit(stranger.get(apache, timeout=20).url).path == "/signup"

    grace = let_in(served, local)
    page = grace.get(apache, timeout=20)
    assert (page.status_code, page.text) == (200, "The club's page.")
    assert local.command("remove", "grace").exit_code == 0  # and Apache is told
    wait_for(lambda: urlsplit(grace.get(apache, timeout=20).url).path == "/signup")


HUB = """
c.JupyterHub.bind_url = "{url}"
c.JupyterHub.hub_port = {hub}
c.JupyterHub.redirect_to_server = False
c.JupyterHub.db_url = "sqlite:///{folder}/hub.sqlite"
c.JupyterHub.cookie_secret_file = "{folder}/cookie-secret"
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{api}"
c.ConfigurableHTTPProxy.pid_file = "{folder}/proxy.pid"
c.ConfigurableHTTPProxy.command = ["{proxy}"]
{recipe}
"""


@pytest.fixture
def hub(served: Served, local: Group, tmp_path: Path) -> Iterator[str]:
    """JupyterHub's address."""
    port = find_port()
    url = f"http://localhost:{port}"
    recipe = fill_in(
        read_recipe("JupyterHub"),
        served,
        "https://hub.example.org",
        url,
        set_up(local, f"{url}/hub/oauth_callback"),
    )
    facts = {"hub": find_port(), "api": find_port(), "folder": tmp_path, "recipe": recipe}
    facts |= {"url": url, "proxy": require_executable("configurable-http-proxy")}
    (tmp_path / "hub.py").write_text(HUB.format(**facts))
    command = [sys.executable, "-m", "jupyterhub", "-f", str(tmp_path / "hub.py")]
    keyed = {"JUPYTERHUB_CRYPT_KEY": "0" * 64}
    with running(command, port, tmp_path / "hub.log", os.environ | keyed):
        wait_for(lambda: requests.get(f"{url}/hub/api", timeout=5).ok, seconds=60)
        yield url


def fill_in(recipe: str, served: Served, address: str, url: str, client: Client) -> str:
    """A recipe of the docs with what is different on this machine."""
    for old, new in {
        "https://group.example.org": served.url,
        address: url,
        "the client id": client.id,
        "the client secret": client.secret,
    }.items():
        assert old in recipe
        recipe = recipe.replace(old, new)
    return recipe


def test_jupyterhub(house: House, local: Group, hub: str) -> None:
    grace = house.window().new_page()
    house.expected |= {403, 404}
    local.invite(GRACE)
    local.text(GRACE)
    grace.goto(f"{hub}/hub/oauth_login")
    sign_up(grace, local.vonage.pin_of(GRACE))
    grace.wait_for_url(re.compile(f"{hub}/hub/"))
    grace.goto(f"{hub}/hub/home")
    assert "grace" in grace.content()

    assert local.command("remove", "grace").exit_code == 0

    def is_out() -> bool:
        grace.goto(f"{hub}/hub/home")
        return "grace" not in grace.content()

    wait_for(is_out, seconds=20)


SYNAPSE = """
server_name: localhost
public_baseurl: {url}/
pid_file: {folder}/synapse.pid
listeners:
  - {{port: {port}, bind_addresses: [127.0.0.1], type: http, resources: [{{names: [client]}}]}}
database: {{name: sqlite3, args: {{database: {folder}/synapse.db}}}}
media_store_path: {folder}/media
signing_key_path: {folder}/signing.key
macaroon_secret_key: anything
form_secret: anything
report_stats: false
trusted_key_servers: []
sso: {{client_whitelist: ["{url}/"]}}
{recipe}
"""


@pytest.fixture
def synapse(served: Served, local: Group, tmp_path: Path) -> Iterator[str]:
    """A Matrix server's address. Its packages have an environment of their own."""
    python, port = ROOT / ".venv" / "synapse" / "bin" / "python", find_port()
    if not python.exists():
        require_executable("matrix-synapse")
    url = f"http://localhost:{port}"
    room = f"{url}/_synapse/client/oidc"
    client = set_up(local, f"{room}/callback", logout=f"{room}/backchannel_logout")
    recipe = fill_in(read_recipe("Synapse"), served, "https://chat.example.org", url, client)
    facts = {"url": url, "port": port, "folder": tmp_path, "recipe": recipe}
    (tmp_path / "synapse.yaml").write_text(SYNAPSE.format(**facts))
    command = [str(python), "-m", "synapse.app.homeserver", "-c", str(tmp_path / "synapse.yaml")]
    subprocess.run([*command, "--generate-keys"], check=True, timeout=60)
    with running(command, port, tmp_path / "synapse.log"):
        yield url


def test_synapse(house: House, local: Group, synapse: str) -> None:
    """A chat program keeps its own tokens, which end when the member is removed."""
    house.expected.add(404)  # where the chat program would stand
    local.invite(GRACE)
    local.text(GRACE)
    grace = house.window().new_page()
    login = f"{synapse}/_matrix/client/v3/login"
    grace.goto(f"{login}/sso/redirect?redirectUrl={synapse}/chat")
    sign_up(grace, local.vonage.pin_of(GRACE))
    grace.wait_for_url(re.compile("loginToken="))
    given = parse_qs(urlsplit(grace.url).query)["loginToken"][0]
    answer = requests.post(login, json={"type": "m.login.token", "token": given}, timeout=20).json()
    assert answer["user_id"] == "@grace:localhost"

    def may_chat() -> bool:
        held = {"Authorization": f"Bearer {answer['access_token']}"}
        me = f"{synapse}/_matrix/client/v3/account/whoami"
        return requests.get(me, headers=held, timeout=20).status_code == 200

    assert may_chat()
    assert local.command("remove", "grace").exit_code == 0
    wait_for(lambda: not may_chat())


# A site that says who is there; run with its port, its database and its OpenID Connect app.
DJANGO = """
import json, sys
import django
from django.conf import settings

port, database, app = sys.argv[1:]
parts = ["", ".account", ".socialaccount", ".socialaccount.providers.openid_connect"]
settings.configure(
    ALLOWED_HOSTS=["localhost"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": database}},
    INSTALLED_APPS=[f"django.contrib.{n}" for n in ("auth", "contenttypes", "sessions", "messages")]
    + [f"allauth{part}" for part in parts],
    LOGIN_REDIRECT_URL="/",
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "allauth.account.middleware.AccountMiddleware",
    ],
    ROOT_URLCONF=__name__,
    SECRET_KEY="of a test, and of nothing else",
    SOCIALACCOUNT_LOGIN_ON_GET=True,
    SOCIALACCOUNT_PROVIDERS={"openid_connect": {"APPS": [json.loads(app)]}},
    TEMPLATES=[{
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }],
    USE_TZ=True,
)
django.setup()
from django.core.management import call_command
from django.http import HttpResponse
from django.urls import include, path

urlpatterns = [
    path("accounts/", include("allauth.urls")),
    path("", lambda request: HttpResponse(f"Hello {request.user.username or 'stranger'}")),
]
call_command("migrate", verbosity=0)
call_command("runserver", f"localhost:{port}", "--noreload")
"""


@pytest.fixture
def site_of_allauth(served: Served, local: Group, tmp_path: Path) -> Iterator[str]:
    """The address of a site with django-allauth. It sends neither PKCE nor a nonce, and would send
    an e-mail to an address that isn't verified."""
    python, port = ROOT / ".venv" / "allauth" / "bin" / "python", find_port()
    if not python.exists():
        require_executable("django-allauth")
    url = f"http://localhost:{port}"
    client = set_up(local, f"{url}/accounts/oidc/club/login/callback/", pkce="no", email="verified")
    about = {"provider_id": "club", "name": "Club", "client_id": client.id, "secret": client.secret}
    about_json = json.dumps(about | {"settings": {"server_url": served.url}})
    (tmp_path / "site.py").write_text(DJANGO)
    site = [str(tmp_path / "site.py"), str(port), str(tmp_path / "site.db"), about_json]
    with running([str(python), *site], port, tmp_path / "site.log"):
        yield url


def test_django_allauth(house: House, local: Group, site_of_allauth: str) -> None:
    """Its own session goes on when somebody is removed; nobody signs in again."""
    house.expected.add(404)
    local.invite(GRACE)
    local.text(GRACE)
    grace, sign_in = house.window().new_page(), f"{site_of_allauth}/accounts/oidc/club/login/"
    grace.goto(sign_in)
    sign_up(grace, local.vonage.pin_of(GRACE))
    grace.wait_for_url(f"{site_of_allauth}/")
    assert grace.locator("body").inner_text() == "Hello grace"

    assert local.command("remove", "grace").exit_code == 0
    grace.context.clear_cookies(name="sessionid")  # as when its session has ended
    grace.goto(sign_in)
    assert grace.url.startswith(f"{house.group}/signup")


def test_the_whole_way_in_a_browser(
    house: House, served: Served, local: Group, apache: str
) -> None:
    """From a page for members over the sign-up form to that page: no form leads to another site, so
    there is a page between. And out of it, when removed."""
    local.invite(GRACE)
    local.text(GRACE)
    grace = house.window().new_page()
    house.expected.add(404)  # Apache has no icon
    grace.goto(apache)
    sign_up(grace, local.vonage.pin_of(GRACE))
    grace.wait_for_url(f"{apache}/")
    assert grace.locator("body").inner_text() == "The club's page."

    assert local.command("remove", "grace").exit_code == 0

    def is_out() -> bool:
        grace.goto(apache)
        return "The club's page." not in grace.content()

    wait_for(is_out)
    assert grace.get_by_role("heading", level=1).inner_text() == "Sign in to go on to The club"


def test_its_pages(house: House, local: Group) -> None:
    set_up(local, "https://club.example.org/callback")
    ada = house.let_in(ADA, "ada")
    ada.goto(f"{house.group}/admin/programs/club")
    house.look(ada, "openid-app")
    with ada.expect_navigation():
        ada.get_by_role("link", name="OpenID Connect").click()
    house.look(ada, "openid-set-up")
    ada.get_by_label("Redirect URIs").fill("http://club.local/callback")
    press(ada, "Save")
    house.look(ada, "openid-wrong")
    ada.get_by_label("Names of my own network").check()
    press(ada, "Save")
    expect(ada.get_by_text(sentence("done-program-changed"))).to_be_visible()
    press(ada, "Make a new secret", "link")
    house.look(ada, "openid-new-secret")
    press(ada, "Make a new secret")
    house.look(ada, "openid-made")
    ada.goto(f"{house.group}/admin/programs/club/proxy?server=nginx")
    house.look(ada, "app-behind-a-proxy")
