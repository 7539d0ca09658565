"""Fixtures of all tests; cast.py says who is who."""

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import pytest
from flask import Flask
from jinja2 import FileSystemBytecodeCache
from werkzeug.routing import Rule

from foundation.running import running
from foundation.typed.settings import SETTINGS
from foundation.vonage import client
from simulator.server import Server, make_certificate, serving
from simulator.vonage import Vonage
from wsgi import create_app

from .cast import (
    ADA,
    GRACE,
    SIGNATURE_SECRET,
    Browser,
    Group,
    Served,
    base_settings,
    find_port,
    watching_writes,
)
from .older_versions import older
from .windows import chromium, house, stage

# Each test has an app of its own, and all have the same routes and templates. To compile them again
# for each was half of the time.


class Route(Rule):
    """Werkzeug writes and compiles two functions for each: 30 of the 38 ms that an app takes."""

    compiled: ClassVar[dict[tuple[str, str], dict[str, object]]] = {}

    def compile(self) -> None:
        key, before = (self.rule, self.endpoint), dict(vars(self))
        if key not in self.compiled:
            super().compile()
            made = (one for one in vars(self).items() if before.get(one[0]) is not one[1])
            self.compiled[key] = dict(made)
        vars(self).update(self.compiled[key])


Flask.url_rule_class = Route


__all__ = ["chromium", "house", "older", "stage"]  # fixtures of other modules


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Coverage takes half as much time again, and what Chromium asks for is asked for elsewhere."""
    for item in items:
        if isinstance(item, pytest.Function) and "chromium" in item.fixturenames:
            item.add_marker(pytest.mark.no_cover)


@pytest.fixture(scope="session", autouse=True)
def compiled_templates(tmp_path_factory: pytest.TempPathFactory) -> None:
    cache = FileSystemBytecodeCache(str(tmp_path_factory.mktemp("templates")))
    Flask.jinja_options = Flask.jinja_options | {"bytecode_cache": cache}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of this machine reaches a test."""
    for name in (*SETTINGS, "FLASK_DEBUG", "FLASK_APP"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    make_certificate(folder)
    return folder


@pytest.fixture
def vonage() -> Vonage:
    return Vonage(signature_secret=SIGNATURE_SECRET)


@pytest.fixture
def vonage_server(
    vonage: Vonage, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Server]:
    with serving(vonage, certificates) as server:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server.certificate))
        yield server


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> float:
    """So many seconds are all that Vonage has. (One test waits the real 8.)"""
    monkeypatch.setattr(client, "VONAGE_SECONDS", 1.5)
    return 1.5


@pytest.fixture
def settings(vonage: Vonage, vonage_server: Server, tmp_path: Path) -> dict[str, str]:
    return base_settings(vonage, vonage_server, tmp_path / "group.db")


@pytest.fixture
def app(settings: dict[str, str]) -> Flask:
    return create_app(settings)


@pytest.fixture
def group(app: Flask, vonage: Vonage) -> Iterator[Group]:
    group = Group(app, vonage)
    with watching_writes(running(app).connections.db):
        yield group
    with suppress(sqlite3.OperationalError):  # some tests break the database
        events = {event for (event,) in group.rows("SELECT DISTINCT event FROM journal")}
        assert events <= running(app).events.keys(), "an event that nobody can word"


@pytest.fixture
def ada(group: Group) -> Browser:
    """The admin, signed in."""
    return group.join(ADA, "ada", bound=True)


@pytest.fixture
def grace_texted(group: Group) -> str:
    """Grace is invited and has texted back; her PIN."""
    group.invite(GRACE)
    assert group.text(GRACE) == 204
    return group.vonage.pin_of(GRACE)


@pytest.fixture
def workers() -> int:
    """Of the served program. A module whose tests need two has a fixture of its own."""
    return 1


@pytest.fixture
def served(
    settings: dict[str, str], vonage: Vonage, tmp_path: Path, workers: int
) -> Iterator[Served]:
    settings["BASE_URL"] = f"http://localhost:{find_port()}"
    served = Served(settings, vonage, tmp_path / "server.log")
    served.workers = workers
    create_app(settings)  # and with it the database
    served.start()
    try:
        yield served
    finally:
        served.stop()


@pytest.fixture
def local(served: Served, vonage: Vonage) -> Group:
    """The database of the served program, seen from this process."""
    return Group(create_app(served.settings), vonage)
