"""The cast: Ada is the admin, Grace is invited, Mallory should get in nowhere. Vonage is the
simulator, over real HTTPS, through the real SDK."""

import itertools
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient
from markupsafe import escape
from werkzeug.serving import make_server
from werkzeug.test import TestResponse

from app import do_each_minute
from foundation.running import running
from foundation.vonage.client import Vonage as Client
from foundation.words.sentences import SENTENCES
from simulator.server import Server
from simulator.vonage import Vonage
from wsgi import FEATURES, create_app

ROOT = Path(__file__).parent.parent
ADA, GRACE, MALLORY = "12025550100", "12025550101", "12025550166"
CODE = "sunflower"
SIGNATURE_SECRET = "a-signature-secret-for-tests"


ALL_SENTENCES = dict(SENTENCES)
for _feature in FEATURES:
    ALL_SENTENCES |= _feature.sentences


def sentence(name: str) -> str:
    """What people are told, by its name: tests quote no sentence."""
    return ALL_SENTENCES[name].replace("{example}", "+1 202 555 0100")


def shown(name: str) -> str:
    """The same as it stands in HTML."""
    return str(escape(sentence(name)))


def once_of(page: str) -> str:
    """The value by which a form is known when it is sent again."""
    return page.split('name="once" value="')[1].split('"')[0]


NPM_PROGRAMS = ROOT / "tests" / "node_modules" / ".bin"


def find_executable(name: str) -> str | None:
    """Where it is: first of all, in this environment."""
    found = shutil.which(name, path=Path(sys.executable).parent) or shutil.which(name)
    return found or shutil.which(name, path=NPM_PROGRAMS)


def require_executable(name: str) -> str:
    """Where it is. Skip without it; where all tests must run, fail."""
    found = find_executable(name)
    if found is None:
        give_up = pytest.fail if "ALL_TESTS_MUST_RUN" in os.environ else pytest.skip
        give_up(f"{name} is not installed")
    return str(found)


def require_chromium() -> str:
    """Without a window it needs half the time if it is made for that."""
    return find_executable("chromium-headless-shell") or require_executable("chromium")


# Below those that systems give to connections (from 32,768 on), or one of ours could be taken while
# a server starts; and from another place on in each process.
PORTS = itertools.cycle(range(10_000 + os.getpid() % 200 * 100, 10_100 + os.getpid() % 200 * 100))


def find_port() -> int:
    for port in itertools.islice(PORTS, 100):
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free")


def base_settings(vonage: Vonage, server: Server, database: Path) -> dict[str, str]:
    return {
        "SECRET_KEY": "a-secret-key-of-more-than-32-characters",
        "BASE_URL": "http://localhost:8000",
        "INVITE_CODE": CODE,
        "ADMINS": "ada",
        "VONAGE_API_KEY": vonage.api_key,
        "VONAGE_API_SECRET": vonage.api_secret,
        "VONAGE_NUMBER": vonage.number,
        "VONAGE_SIGNATURE_SECRET": SIGNATURE_SECRET,
        "VONAGE_API_HOST": server.host,
        "VONAGE_REST_HOST": server.host,
        "DATABASE": str(database),
    }


def run_flask(
    folder: Path, *words: str, answers: str = "", **settings: str
) -> subprocess.CompletedProcess[str]:
    """A command in a process and a folder of its own, with no other settings than these."""
    environment = {"PATH": os.environ["PATH"], "FLASK_APP": str(ROOT / "wsgi.py")} | settings
    return subprocess.run(
        [sys.executable, "-m", "flask", *words],
        cwd=folder,
        env=environment,
        input=answers,
        capture_output=True,
        text=True,
        timeout=60,
    )


def pass_a_minute(database: str) -> None:
    """So that numbers may be texted again."""
    with sqlite3.connect(database, timeout=20) as db:
        db.execute("DELETE FROM cooldowns")
    db.close()


class Browser:
    """A friend's browser: it keeps cookies and says where its POSTs come from."""

    def __init__(self, app: Flask) -> None:
        self.client: FlaskClient = app.test_client()
        self.client.environ_base["HTTP_SEC_FETCH_SITE"] = "same-origin"

    def get(self, path: str, **more: Any) -> TestResponse:
        return self.client.get(path, **more)

    def post(self, path: str, **fields: str) -> TestResponse:
        return self.client.post(path, data=fields)

    def sign_up(self, phone: str, username: str, pin: str, **more: str) -> TestResponse:
        self.get("/signup")
        return self.post("/login", phone=f"+{phone}", username=username, pin=pin, **more)

    def username(self) -> str | None:
        """Who the home page says is signed in."""
        heading = self.get("/").text.split("<h1>")[1].split("</h1>")[0]
        return heading.removeprefix("Hello, ") if "Hello, " in heading else None

    def cookie(self, name: str = "session") -> str:
        found = self.client.get_cookie(name)
        assert found is not None
        return found.value


class Group:
    """The app in this process, with all that the cast does to it."""

    def __init__(self, app: Flask, vonage: Vonage) -> None:
        self.app, self.vonage = app, vonage

    def command(self, *words: str) -> Any:
        return self.app.test_cli_runner().invoke(args=list(words))

    def pass_a_minute(self) -> None:
        pass_a_minute(self.app.config["DATABASE"])

    def keep_house(self) -> None:
        """What the server does each minute."""
        with self.app.app_context():
            do_each_minute()

    def lose_patience(self) -> None:
        """Who meets a locked database gives up after 50 ms."""
        running(self.app).queue.patience = 0.05
        running(self.app).connections.db.execute("PRAGMA busy_timeout = 50")

    def invite(self, phone: str, username: str | None = None) -> None:
        self.pass_a_minute()
        result = self.command(
            "invite", f"+{phone}", *(["--username", username] if username else [])
        )
        assert result.exit_code == 0, result.output

    def deliver(self, fields: dict[str, Any], token: str = "", as_json: bool = False) -> int:
        """One webhook, as Vonage calls it; the status of the answer."""
        path = f"/answer/{token}" if token else "/answer"
        body: dict[str, Any] = {"json": fields} if as_json else {"data": fields}
        return self.app.test_client().post(path, **body).status_code

    def text(self, phone: str, text: str = CODE) -> int:
        return self.deliver(self.vonage.inbound(phone, text))

    def browser(self) -> Browser:
        return Browser(self.app)

    def join(self, phone: str, username: str, bound: bool = False) -> Browser:
        """From invite to signed in."""
        self.invite(phone, username if bound else None)
        assert self.text(phone) == 204
        browser = self.browser()
        answer = browser.sign_up(phone, username, self.vonage.pin_of(phone))
        assert answer.status_code == 303, answer.text
        return browser

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        with sqlite3.connect(self.app.config["DATABASE"]) as db:
            found = db.execute(sql, values).fetchall()
        db.close()
        return found

    def one(self, sql: str, *values: object) -> Any:
        return self.rows(sql, *values)[0][0]

    def token(self) -> str:
        return str(self.command("webhook-url").output.strip().rsplit("/", 1)[1])


def member_id(group: Group, name: str) -> int:
    return int(group.one("SELECT id FROM authors WHERE username = ?", name))


def point(app: Flask, host: str) -> None:
    """From now on, Vonage is there."""
    app.config["VONAGE_API_HOST"] = host
    running(app).vonage = Client(app.config)


@contextmanager
def watching_writes(db: sqlite3.Connection) -> Iterator[None]:
    """A write outside of `transaction()` waits unfairly, see foundation/storage/queueing.py."""
    outside: list[str] = []

    def look(sql: str) -> None:
        if not db.in_transaction and sql.startswith(("INSERT", "UPDATE", "DELETE")):
            outside.append(sql.split("VALUES")[0])

    db.set_trace_callback(look)
    yield
    assert outside == [], "writes outside of a transaction"


@contextmanager
def in_background(server: HTTPServer) -> Iterator[int]:
    """It answers while the block runs; its port."""
    thread = threading.Thread(target=server.serve_forever, args=(0.005,), daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def answering(app: Flask, port: int = 0, **more: Any) -> AbstractContextManager[int]:
    """The app, served in this process; its port."""
    return in_background(make_server("127.0.0.1", port, app, threaded=True, **more))


@contextmanager
def served_here(settings: dict[str, str], vonage: Vonage) -> Iterator[Group]:
    """A group that answers in this process, as another takes seconds to start. Sets BASE_URL."""
    port = find_port()
    settings["BASE_URL"] = f"http://localhost:{port}"
    group = Group(create_app(settings), vonage)
    with answering(group.app, port):
        yield group


@contextmanager
def listening_with(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address of another program, which messages go to."""
    with in_background(ThreadingHTTPServer(("127.0.0.1", 0), handler)) as port:
        yield f"http://127.0.0.1:{port}"


def write_programs(folder: Path, **scripts: str) -> None:
    """What stands for other programs, to be found there."""
    for name, script in scripts.items():
        (folder / name).write_text(script)
        (folder / name).chmod(0o700)


class Lock:
    """Another program that has the database locked."""

    def __init__(self, database: str) -> None:
        self.db = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
        self.db.execute("BEGIN IMMEDIATE")

    def release(self) -> None:
        self.db.execute("ROLLBACK")
        self.db.close()


def wait_for(is_true: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


class Served:
    """The program as `make serve` runs it, with one worker or more."""

    workers = 1

    def __init__(
        self, settings: dict[str, str], vonage: Vonage, log: Path, url: str | None = None
    ) -> None:
        self.settings, self.vonage, self.log = settings, vonage, log
        self.url = url or settings["BASE_URL"]

    def pass_a_minute(self) -> None:
        pass_a_minute(self.settings["DATABASE"])

    def environment(self) -> dict[str, str]:
        keep = {k: os.environ[k] for k in ("PATH", "HOME", "REQUESTS_CA_BUNDLE") if k in os.environ}
        return keep | self.settings | {"COVERAGE_FILE": "/dev/null"}

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        if words[0] == "invite":
            self.pass_a_minute()
        return subprocess.run(
            [sys.executable, "-m", "flask", *words],
            cwd=ROOT,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=60,
        )

    def browser(self) -> requests.Session:
        """Like a friend's, it has looked at the sign-up page."""
        session = requests.Session()
        session.trust_env = False
        session.headers["Sec-Fetch-Site"] = "same-origin"
        session.get(f"{self.url}/signup", timeout=30)
        return session

    def text(self, phone: str, text: str = CODE) -> int:
        return self.vonage.deliver(f"{self.url}/answer", self.vonage.inbound(phone, text))

    def is_up(self) -> bool:
        try:
            return requests.get(f"{self.url}/healthz", timeout=2).ok
        except requests.RequestException:
            return False

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def launch(self) -> None:
        command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--factory"]
        command += ["--workers", str(self.workers), "--blocking-threads", "8"]
        # A worker that is told to stop while it starts does not hear it (granian 2.8).
        command += ["--port", str(self.port), "--workers-kill-timeout", "3", "wsgi:create_app"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self.environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that all of it can be killed at once
            )

    def start(self) -> None:
        self.launch()
        try:
            wait_for(lambda: all(self.is_up() for _ in range(5 * self.workers)), seconds=60)
        except BaseException:
            self.kill()
            raise

    def start_again(self) -> None:
        self.kill()  # what is left of it
        self.start()

    def kill(self) -> None:
        """As a power cut would."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=20)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=20)
