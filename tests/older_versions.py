"""Databases of older versions, and what stands in for where the program is installed."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from foundation.words.clock import DAY

from .cast import ROOT

VERSION_1 = (ROOT / "tests" / "version_1.sql").read_text()
ADAS_COOKIE = "03e9008cca2f52e53fc3efaad91de5417f1788dbef0b11323469ed306a8872fc"


@pytest.fixture
def older(settings: dict[str, str]) -> Path:
    """A filled database of version 1."""
    path = Path(settings["DATABASE"])
    with closing(sqlite3.connect(path)) as db:
        db.executescript(VERSION_1)
    return path


def describe(db: sqlite3.Connection) -> dict[str, object]:
    """Tables, columns, indexes and constraints, whatever their order and spelling."""
    tables = [row[0] for row in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    described: dict[str, object] = {}
    for table in tables:
        indexes = db.execute(f"PRAGMA index_list({table})").fetchall()
        described[table] = (
            {row[1]: row[2:] for row in db.execute(f"PRAGMA table_xinfo({table})")},
            {
                (row[2:], tuple(r[2:] for r in db.execute(f"PRAGMA index_xinfo({row[1]})")))
                if row[1].startswith("sqlite_")
                else (row[1:], tuple(r[2:] for r in db.execute(f"PRAGMA index_xinfo({row[1]})")))
                for row in indexes
            },
            {row[2:] for row in db.execute(f"PRAGMA foreign_key_list({table})")},
            db.execute(
                "SELECT strict, wr FROM pragma_table_list WHERE name = ? AND schema = 'main'",
                (table,),
            ).fetchall(),
            "AUTOINCREMENT"
            in db.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (table,)).fetchone()[0],
        )
    return described


def read(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(sql).fetchall()


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        return list(db.iterdump())


def git(*words: str) -> str:
    done = subprocess.run(["git", *words], check=True, capture_output=True, text=True)
    return done.stdout


def use_these_packages(program: Path) -> None:
    """Its environment has what any version of it needs: nothing is installed into it."""
    environment = program / ".venv"
    environment.mkdir()
    (environment / "bin").symlink_to(Path(sys.executable).parent)
    for name in (f"installed-3.{sys.version_info[1]}", "own-flask"):
        stamp = environment / name
        stamp.touch()
        os.utime(stamp, (stamp.stat().st_mtime + DAY,) * 2)
