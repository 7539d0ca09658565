"""An upgrade of the database that is killed at any write, or finds the disk full: afterwards it is
the older version's database or the newer's, with everybody signed in."""

import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from foundation.storage.migrations import find_versions, read_parts
from wsgi import FEATURES

from . import crashing
from .cast import ROOT, run_flask
from .older_versions import VERSION_1, dump, read

pytestmark = pytest.mark.slow

OTHER_WRITES = ("fdatasync", "fsync", "ftruncate", "linkat", "rename", "unlink")
EVERY = 40  # of some 900 pwrite64, one in so many is tried
SIZES = 20
NEWEST = {part.name: part.version for part in read_parts(ROOT, [one.name for one in FEATURES])}
WHO = "SELECT id_digest, author_id FROM sessions ORDER BY id_digest"


class Box:
    """A place for tries, each with a new database of version 1 in it."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self.database = folder / "group.db"
        self.settings = settings | {"DATABASE": str(self.database)}
        with closing(sqlite3.connect(self.database)) as db:
            db.executescript(VERSION_1)
            lines = [(1, "joined", "x" * 1000)] * 300
            db.executemany("INSERT INTO journal (at, event, actor) VALUES (?, ?, ?)", lines)
            db.commit()
        self.content = self.database.read_bytes()
        self.was, self.sessions = dump(self.database), read(self.database, WHO)

    def renew(self) -> None:
        for file in self.database.parent.glob("*group.db*"):
            file.unlink()
        self.database.write_bytes(self.content)

    def upgrade(self) -> subprocess.CompletedProcess[str]:
        self.renew()
        return run_flask(ROOT, "init-db", **self.settings)

    def upgrade_until(self, call: str, number: int) -> bool:
        """Whether it ended before that many of these system calls."""
        self.renew()
        log = self.database.with_suffix(".log")
        process = crashing.fork(self.settings, log, crashing.command, "init-db")
        inject = f"{call}:signal=SIGKILL:when={number}"
        code = crashing.run_traced(process, call, inject)
        assert code in (0, -signal.SIGKILL), log.read_text()
        return code == 0

    def is_new(self) -> bool:
        """Whether it is the newer version's database; it must be one of the two. And no try leaves
        half a copy."""
        for copy in self.database.parent.glob("*.before-*"):
            assert dump(copy) == self.was
        assert read(self.database, WHO) == self.sessions
        assert read(self.database, "PRAGMA integrity_check") == [("ok",)]
        assert read(self.database, "PRAGMA foreign_key_check") == []
        with closing(sqlite3.connect(self.database)) as db:
            versions = find_versions(db)
        if versions == NEWEST:
            return True
        assert dump(self.database) == self.was
        return False


def test_killed_at_any_write(tmp_path: Path, settings: dict[str, str]) -> None:
    """strace counts each system call by itself, so each has a sweep of its own."""
    box, was_new = Box(tmp_path, settings), []
    for call, every in [*((call, 1) for call in OTHER_WRITES), ("pwrite64", EVERY)]:
        for number in range(1, 1000, every):
            ended = box.upgrade_until(call, number)
            was_new.append(box.is_new())
            if ended:
                break
    print(f"\nan upgrade: stopped {len(was_new)} times, {was_new.count(True)} when it was done")
    assert was_new.count(False) > 20


def test_a_disk_that_is_full_at_any_size(tmp_path: Path, settings: dict[str, str]) -> None:
    """From one that holds the database and nothing else to one on which there is room for all."""
    small = tmp_path / "small"
    small.mkdir()
    failed = 0
    for number in range(SIZES + 1):
        with small_disk(small, 450 + number * 150):
            box = Box(small, settings)
            done = box.upgrade()
            assert box.is_new() is (done.returncode == 0), done
            if done.returncode:
                failed += 1
                assert done.stderr.count("\n") == 1
                assert "Traceback" not in done.stderr
    assert 5 < failed < SIZES


@contextmanager
def small_disk(place: Path, size: int) -> Iterator[None]:
    """Of so many KiB."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
