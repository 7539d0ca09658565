"""From every version of the database that was ever landed to the newest, and back."""

import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from foundation.storage.migrations import find_versions
from wsgi import create_app

from .cast import ROOT, run_flask
from .older_versions import describe, dump, git, read

pytestmark = pytest.mark.slow

# The newest commit of each, oldest first. Those between two landings may be of no use.
LANDED = [
    "997e013",
    "c69d7c0",
    "9fc3af5",
    "a10e101",
    "bf6bd3c",
    "10cc810",
    "26e7590",
    "3450cee",
    "5906440",
    "a9ddbe6",
    "e4b2f72",
    "4171be0",
    "adbd5cb",
    "f985e9c",
    "a2b01dd",
]


class Version:
    """The SQL of a commit."""

    def __init__(self, commit: str) -> None:
        self.commit = commit
        listed = git("-C", str(ROOT), "ls-tree", "-r", "--name-only", commit, "--", ".").split()
        self.files = [Path(name) for name in listed if name.endswith(".sql")]

    def read(self, name: str) -> str:
        return git("-C", str(ROOT), "show", f"{self.commit}:{name}")

    @property
    def core(self) -> int:
        steps = [int(file.stem) for file in self.files if file.parent.name == "migrations"]
        return max(steps, default=1)

    def parts(self) -> Iterator[tuple[str, int]]:
        """Of the features: name and version."""
        rooms = [file.name for file in self.files if file.parent.name == "features"]
        for name in (room.removesuffix(".sql") for room in rooms if room.count(".") == 1):
            steps = [int(room.split(".")[1]) for room in rooms if room.startswith(f"{name}.0")]
            yield name, max(steps, default=1)

    def create(self, path: Path) -> None:
        """A database as it was then, with somebody who is signed in."""
        with closing(sqlite3.connect(path)) as db:
            db.executescript(self.read("schema.sql"))
            db.execute(f"PRAGMA user_version = {self.core}")
            for name, version in self.parts():
                db.executescript(self.read(f"features/{name}.sql"))
                db.execute("INSERT INTO parts VALUES (?, ?)", (name, version))
            insert(db, "authors", id=1, username="ada", joined_at=1)
            insert(db, "sessions", id_digest="0" * 64, author_id=1)
            db.commit()


def insert(db: sqlite3.Connection, table: str, **values: object) -> None:
    """With something in each column that needs a value."""
    for column in db.execute(f"PRAGMA table_xinfo({table})").fetchall():
        name, kind, must, default = column[1:5]
        if must and default is None and name not in values:
            values[name] = {"INTEGER": 1}.get(kind, "{}" if name == "data" else "x")
    names = ", ".join(values)
    db.execute(f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(values))})",
               list(values.values()))  # fmt: skip


@pytest.mark.parametrize("commit", LANDED)
def test_to_the_newest_and_back(commit: str, settings: dict[str, str], tmp_path: Path) -> None:
    if subprocess.run(["git", "-C", str(ROOT), "cat-file", "-e", commit]).returncode:
        pytest.skip("this clone has no history")
    database, version = Path(settings["DATABASE"]), Version(commit)
    version.create(database)
    before = dump(database)

    up = run_flask(tmp_path, "init-db", **settings)

    assert (up.returncode, up.stderr) == (0, "")
    create_app(settings | {"DATABASE": str(tmp_path / "new.db")})
    with closing(sqlite3.connect(database)) as db, closing(
        sqlite3.connect(tmp_path / "new.db")
    ) as new:  # fmt: skip
        assert describe(db) == describe(new)
        assert find_versions(db) == find_versions(new)
    assert read(database, "SELECT id_digest, author_id FROM sessions") == [("0" * 64, 1)]
    if "up to date" not in up.stdout:
        assert dump(database) == before  # it is of this version
        return
    (copy,) = database.parent.glob("group.db.before-*")
    back = run_flask(tmp_path, "restore", str(copy), **settings)
    assert (back.returncode, dump(database)) == (0, before)
