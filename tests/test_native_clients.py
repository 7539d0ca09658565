"""App passwords with the real things: a calendar (Radicale) with a CalDAV client, and git over
http, each behind the real nginx and Caddy with the files of deploy/."""

import os
import re
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar, NamedTuple

import caldav
import pytest
from caldav.lib.error import AuthorizationError, DAVError

from simulator.server import serving
from simulator.vonage import Vonage
from wsgi import create_app

from .app_passwords import make
from .cast import (
    GRACE,
    SIGNATURE_SECRET,
    Group,
    Served,
    base_settings,
    find_port,
    in_background,
    require_executable,
)
from .web_servers import GROUP, Another, read_body, running, start_caddy, start_nginx

CALENDAR = """[server]
hosts = 127.0.0.1:{port}
[auth]
type = http_x_remote_user
[storage]
filesystem_folder = {folder}
"""
EVENT = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//Trusted Group//tests//EN
BEGIN:VEVENT
UID:club-night
DTSTAMP:20261125T120000Z
DTSTART:20261201T190000Z
DTEND:20261201T210000Z
SUMMARY:Club night
END:VEVENT
END:VCALENDAR
"""
# The program wants its name in another header than the wiki does.
AS_X_REMOTE_USER = (
    (
        "proxy_set_header Remote-User $member;",
        "proxy_set_header Remote-User $member; proxy_set_header X-Remote-User $member;",
    ),
    ("copy_headers Remote-User", "copy_headers Remote-User>X-Remote-User"),
)


class Git(BaseHTTPRequestHandler):
    """`git http-backend`, which trusts its proxy."""

    folder: ClassVar[Path]

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = read_body(self)
        facts = {
            "GIT_PROJECT_ROOT": str(self.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": headers.get("content-type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": headers.get("content-encoding", ""),
            "REMOTE_USER": headers["remote-user"],
            "PATH": os.environ["PATH"],
        }
        done = subprocess.run(["git", "http-backend"], env=facts, input=body, capture_output=True)
        head, _, answer = done.stdout.partition(b"\r\n\r\n")
        lines = [line.split(": ", 1) for line in head.decode().split("\r\n")]
        said = dict(line for line in lines if len(line) == 2)
        self.send_response(int(said.pop("Status", "200").split()[0]))
        for name, value in said.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_GET

    def log_message(self, *args: object) -> None:
        pass


class House(NamedTuple):
    """A group with a calendar and a git server for chosen members, behind a proxy."""

    group: Group
    port: int  # of the proxy
    logs: list[Path]
    calendars: Path
    repositories: Path

    def password(self, program: str) -> str:
        """A new one of Grace's."""
        return make(self.group.join(GRACE, "grace", bound=True), program)

    def calendar(self, username: str, password: str) -> caldav.DAVClient:
        url = f"https://localhost:{self.port}/"
        return caldav.DAVClient(
            url=url, username=username, password=password, ssl_verify_cert=False
        )

    def git(self, *words: str, password: str) -> subprocess.CompletedProcess[str]:
        url = f"https://grace:{password}@git.localhost:{self.port}/club.git"
        quiet = {"GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_GLOBAL": "/dev/null", "HOME": "/nowhere"}
        command = ["git", "-c", "http.sslVerify=false", *(w.replace("URL", url) for w in words)]
        return subprocess.run(
            command, env=quiet | {"PATH": os.environ["PATH"]}, capture_output=True, text=True
        )


@pytest.fixture(scope="module")
def houses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, House]]:
    folder = tmp_path_factory.mktemp("house")
    vonage, port, radicale = Vonage(signature_secret=SIGNATURE_SECRET), find_port(), find_port()
    Git.folder = folder / "repositories"
    more = {"BASE_URL": GROUP, "COOKIE_DOMAIN": "example.org"}
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        server = stack.enter_context(serving(vonage, folder))
        patch.setenv("REQUESTS_CA_BUNDLE", str(server.certificate))
        settings = base_settings(vonage, server, folder / "group.db") | more
        served = Served(settings, vonage, folder / "server.log", f"http://127.0.0.1:{port}")
        # Members make their passwords without the proxy, at a program of another address.
        at_home = settings | {"BASE_URL": "http://localhost", "COOKIE_DOMAIN": ""}
        group = Group(create_app(at_home), vonage)
        for name, host in (("calendar", "localhost"), ("git", "git.localhost")):
            words = ("--chosen", name, name, f"https://{host}")
            assert group.command("program", "add", *words).exit_code == 0
        served.start()
        stack.callback(served.stop)
        git = stack.enter_context(in_background(ThreadingHTTPServer(("127.0.0.1", 0), Git)))
        (folder / "radicale").write_text(
            CALENDAR.format(port=radicale, folder=folder / "calendars")
        )
        command = [sys.executable, "-m", "radicale", "--config", str(folder / "radicale")]
        stack.enter_context(running(command, radicale, folder / "radicale.log"))
        others = [
            Another("calendar", "localhost", f"127.0.0.1:{radicale}", AS_X_REMOTE_USER),
            Another("git", "git.localhost", f"127.0.0.1:{git}"),
        ]
        addresses = {"127.0.0.1:8000": f"127.0.0.1:{port}", "127.0.0.1:8080": "127.0.0.1:9"}
        logs = [folder / "server.log", folder / "radicale.log"]
        yield {
            proxy.name: House(
                group, proxy.port, [*logs, *proxy.logs], folder / "calendars", Git.folder
            )
            for start in (start_nginx, start_caddy)
            if (proxy := start(stack, folder, addresses, others))
        }


@pytest.fixture(params=["nginx", "caddy"])
def house(request: pytest.FixtureRequest, houses: dict[str, House]) -> House:
    require_executable(request.param)
    found = houses[request.param]
    bare = found.repositories / "club.git"
    own = found.calendars / "collection-root" / "grace"
    subprocess.run(["rm", "-rf", bare, own], check=True)
    subprocess.run(["git", "init", "--quiet", "--bare", bare], check=True)
    for name in ("calendar", "git"):  # Grace may use both
        found.group.join(GRACE, "grace", bound=True)
        assert found.group.command("program", "choose", name, "grace").exit_code == 0
    return found


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_a_calendar_on_a_phone(house: House) -> None:
    password = house.password("calendar")
    with house.calendar("grace", password) as client:
        calendar = client.principal().make_calendar(name="Club")  # type: ignore[no-untyped-call]
        calendar.save_event(EVENT)
        (event,) = calendar.events()
        assert "SUMMARY:Club night" in event.data
    assert (house.calendars / "collection-root" / "grace").is_dir()

    kept, used = files_of(house.calendars), house.group.rows("SELECT * FROM app_passwords")
    for username, wrong in (
        ("grace", "aaaa-aaaa"),
        ("ada", password),
        ("grace", house.password("git")),
    ):
        assert is_out(house, username, wrong)
    after = house.group.rows("SELECT * FROM app_passwords")
    assert [row for row in after if row in used] == used
    assert house.group.command("remove", "grace").exit_code == 0
    assert is_out(house, "grace", password)
    assert files_of(house.calendars) == kept
    assert not said_in(house.logs, "grace", password)


def is_out(house: House, username: str, password: str) -> bool:
    with house.calendar(username, password) as client:
        try:
            client.principal().make_calendar(name="Another")  # type: ignore[no-untyped-call]
        except (AuthorizationError, DAVError) as error:
            return "nauthorized" in str(error) or isinstance(error, AuthorizationError)
    return False


def test_git_over_http(house: House, tmp_path: Path) -> None:
    password, here = house.password("git"), tmp_path / "club"
    assert house.git("clone", "--quiet", "URL", str(here), password=password).returncode == 0
    who = ["-c", "user.name=grace", "-c", "user.email=grace@example.org"]
    (here / "photo").write_bytes(os.urandom(2_000_000))  # which git sends in chunks
    subprocess.run(["git", "-C", here, "add", "photo"], check=True)
    subprocess.run(["git", "-C", here, *who, "commit", "-qm", "Hello"], check=True)
    push = ("-C", str(here), "push", "--quiet", "URL", "HEAD:refs/heads/main")
    pushed = house.git(*push, password=password)
    assert pushed.returncode == 0, pushed.stderr

    kept = files_of(house.repositories)
    subprocess.run(["git", "-C", here, *who, "commit", "-qm", "Again", "--allow-empty"], check=True)
    for wrong in ("aaaa-aaaa", house.password("calendar")):
        assert refused(house.git(*push, password=wrong))
    row = house.group.one("SELECT max(id) FROM app_passwords")
    house.group.rows("DELETE FROM app_passwords WHERE id < ?", row)  # as *End* does
    assert refused(house.git(*push, password=password))
    assert refused(house.git("ls-remote", "URL", password=password))
    assert files_of(house.repositories) == kept
    assert not said_in(house.logs, "grace", password)


def refused(done: subprocess.CompletedProcess[str]) -> bool:
    return (
        done.returncode == 128 and re.search("401|Authentication failed", done.stderr) is not None
    )


def said_in(logs: list[Path], username: str, password: str) -> bool:
    encoded = b64encode(f"{username}:{password}".encode()).decode()
    text = "".join(log.read_text(errors="replace") for log in logs if log.exists())
    return password in text or encoded in text
