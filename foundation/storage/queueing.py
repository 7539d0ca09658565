"""The queue of those who want to write.

SQLite lets one write at a time. Those that wait look again after growing pauses, up to 100 ms, so
later arrivals often overtake them: under load some wait half a second for what takes two
milliseconds. So here one thread of each process waits at a time, and one of all processes: it has
the queue's file locked and looks often. A process that crashes leaves the queue, because the system
drops its lock.

It only makes the waiting fair. That two never write at once is SQLite's doing.
"""

import fcntl
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 5  # seconds from the first look to giving up
PAUSE = 0.0001


class Queue:
    """One for each process: a lock on a file belongs to who opened it, and would be shared by a
    process that was forked afterwards."""

    def __init__(self, database: Path) -> None:
        self.file = open_beside(database, "queue")
        self.lock = threading.Lock()
        self.patience: float = PATIENCE

    def begin(self, db: sqlite3.Connection) -> None:
        """Begin a transaction that writes. Raises OperationalError: the database was locked all the
        time. The last fifth of the time is for those that go without a turn: behind a head that
        hangs, they are many, and each is as fast as the database."""
        ends_at = time.monotonic() + self.patience
        with self.turn(ends_at - self.patience / 5), self.without_waiting(db):
            while not begins(db, ends_at):
                time.sleep(PAUSE)

    def begin_at_once(self, db: sqlite3.Connection) -> None:
        """Raises OperationalError: the database is locked at this moment."""
        with self.turn(0), self.without_waiting(db):
            db.execute("BEGIN IMMEDIATE")

    @contextmanager
    def without_waiting(self, db: sqlite3.Connection) -> Iterator[None]:
        """Meanwhile SQLite says at once that the database is locked."""
        db.execute("PRAGMA busy_timeout = 0")
        try:
            yield
        finally:
            db.execute(f"PRAGMA busy_timeout = {self.patience * 1000:.0f}")

    @contextmanager
    def turn(self, ends_at: float) -> Iterator[None]:
        """The place at the head of the queue. Who waited until `ends_at` goes without: then nothing
        is held, and SQLite itself says whether it can be written."""
        is_ours = self.lock.acquire(timeout=max(0, ends_at - time.monotonic()))
        try:
            while time.monotonic() < ends_at and not self.lock_file():
                time.sleep(PAUSE)
            yield
        finally:
            if is_ours:
                fcntl.flock(self.file, fcntl.LOCK_UN)
                self.lock.release()

    def lock_file(self) -> bool:
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def open_beside(database: Path, suffix: str) -> int:
    """A lock file; its descriptor. Who runs a command as root leaves it to the database's owner, or
    the service couldn't open it; but never a file that the service's user has put a link to."""
    file = os.open(f"{database}.{suffix}", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    if os.geteuid() == 0:
        owner, found = database.stat(), os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            os.close(file)
            raise OSError(f"{database}.{suffix} is not a file of its own")
        os.fchown(file, owner.st_uid, owner.st_gid)
    return file


def begins(db: sqlite3.Connection, ends_at: float) -> bool:
    try:
        db.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
        if not is_busy or time.monotonic() >= ends_at:
            raise
        return False
    return True
