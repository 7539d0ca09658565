"""The database: opening it, reading rows, transactions.

SQLite in WAL mode. Every thread has one connection and keeps it. What belongs together is written
in one `transaction()`, and Vonage is never called inside one.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from weakref import WeakValueDictionary

import click
from flask import Flask
from flask.cli import FlaskGroup

from foundation.running import running
from foundation.storage.copies import lies_on_old_wal
from foundation.storage.migrations import (
    all_or_nothing,
    create_tables,
    find_versions,
    is_newer,
    is_older,
)
from foundation.storage.queueing import PATIENCE, Queue
from foundation.typed.keywords import is_opt_out_word
from foundation.typed.settings import WrongSettings


class Connection(sqlite3.Connection):
    """One that can be referred to weakly."""

    def __del__(self) -> None:
        """Python 3.13 warns of one that is not closed; this one may not even have been opened."""
        with suppress(sqlite3.ProgrammingError):
            self.close()


# By the thread's number and the database. granian's threads end when they are idle for long, and
# what they had stays: after weeks of bursts, no file could be opened any more.
OPENED: WeakValueDictionary[tuple[int, Path], Connection] = WeakValueDictionary()
OPENED_LOCK = threading.Lock()  # it can't be read while another thread adds to it
THREADS = Path("/proc/self/task")  # only Linux has it


def close_those_of_ended_threads() -> None:
    """Each is looked up by itself: a list of all ends early at one that ends in that moment."""
    if THREADS.is_dir():
        this = threading.get_native_id()
        with OPENED_LOCK:
            opened = list(OPENED.items())
        for (thread, _), db in opened:
            if thread != this and not (THREADS / str(thread)).exists():
                db.close()


class Connections(threading.local):
    """One connection a thread, opened at first use and kept: opening one for every request would
    cost a third of the throughput."""

    def __init__(self, path: Path) -> None:
        # mode=rw: a database that vanished is an error, not a new, empty file that all can read.
        uri = f"{path.absolute().as_uri()}?mode=rw"
        self.db = sqlite3.connect(
            uri,
            uri=True,
            timeout=PATIENCE,
            isolation_level=None,
            check_same_thread=False,  # another thread closes it, when this one has ended
            factory=Connection,
        )
        close_those_of_ended_threads()
        with OPENED_LOCK:
            OPENED[(threading.get_native_id(), path)] = self.db
        self.db.row_factory = sqlite3.Row
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = FULL")
        self.db.execute("PRAGMA foreign_keys = ON")
        self.db.execute("PRAGMA secure_delete = ON")
        self.db.execute("PRAGMA mmap_size = 268435456")  # a fifth faster among a million sessions
        # KiB, as it's negative. By default each thread's cache grows to 2 MB, as the database does.
        self.db.execute("PRAGMA cache_size = -256")


def get_db() -> sqlite3.Connection:
    db: sqlite3.Connection = running().connections.db
    return db


Values = tuple[object, ...] | Mapping[str, object]


def fetch_row(sql: str, values: Values = ()) -> sqlite3.Row | None:
    row: sqlite3.Row | None = get_db().execute(sql, values).fetchone()
    return row


def fetch_rows(sql: str, values: Values = ()) -> list[sqlite3.Row]:
    return get_db().execute(sql, values).fetchall()


def insert_row(sql: str, values: Values) -> int:
    """Run an INSERT that ends in RETURNING id, and return the id."""
    return int(get_db().execute(sql, values).fetchone()["id"])


def count_rows(sql: str, values: Values) -> int:
    count: int = get_db().execute(sql, values).fetchone()[0]
    return count


@contextmanager
def transaction(waits: bool = True) -> Iterator[sqlite3.Connection]:
    """Commit the whole block or nothing. Every write goes through here, so that all wait fairly; or
    not at all, and then raises OperationalError where it had to. Inside another transaction, the
    block is a part of that."""
    db = get_db()
    if db.in_transaction:
        yield db
        return
    queue = running().queue
    with all_or_nothing(db, queue.begin if waits else queue.begin_at_once):
        yield db


def open_database(app: Flask) -> None:
    """Open the database, or create it. Raises WrongSettings. Does nothing where it is open."""
    path, here = database_path(app), running(app)
    if hasattr(here, "connections"):
        return
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        refuse_old_wal(path)
        here.connections, here.queue = Connections(path), Queue(path)
        with app.app_context():
            if not find_versions(get_db()):
                refuse_opt_out_word(app.config["INVITE_CODE"])
            create_tables(get_db(), here.parts)
    except PermissionError as error:
        hint = "start the service once, which makes its folder, or run this as the service's user"
        told = f"DATABASE {path} cannot be used ({error.strerror}): {hint}"
        raise WrongSettings([told]) from error
    except (OSError, sqlite3.DatabaseError) as error:
        raise WrongSettings([f"DATABASE {path} cannot be used: {error}"]) from error


def refuse_old_wal(path: Path) -> None:
    """Raises WrongSettings."""
    if lies_on_old_wal(path):
        told = f"DATABASE {path} is a copy, on what was written beside the one before it: remove"
        raise WrongSettings([f"{told} {path}-wal and {path}-shm"])


def refuse_opt_out_word(word: str) -> None:
    """In new databases only: a group that runs with such a word goes on. Raises WrongSettings."""
    if is_opt_out_word(word):
        raise WrongSettings(["INVITE_CODE must not be a word that people opt out of texts with"])


def checkpoint() -> None:
    """Take the WAL into the database and empty it, so that what was deleted is in no file. Not if
    that would keep somebody waiting: then the next one does."""
    db = get_db()
    with running().queue.without_waiting(db):
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def database_path(app: Flask) -> Path:
    return Path(app.root_path, app.config["DATABASE"])


def is_loading_a_command() -> bool:
    """Whether `flask` is looking up one of our commands. Each command opens the database itself:
    `flask init-db` has to run on an older one, `flask --help` without one, and one command may have
    another environment than the server's."""
    context = click.get_current_context(silent=True)
    return context is not None and isinstance(context.command, FlaskGroup)


def require_current_database() -> None:
    """Only `flask init-db` migrates: an automatic restart at night should not. Raises
    WrongSettings."""
    refuse_newer(get_db())
    if is_database_older():
        raise WrongSettings(
            ["DATABASE is from an older version: stop the server and run `flask init-db`"]
        )


def refuse_newer(db: sqlite3.Connection) -> None:
    """Raises WrongSettings."""
    if is_newer(db, running().parts):
        raise WrongSettings(["DATABASE was made by a newer version of this program"])


def is_database_older() -> bool:
    """Whether `flask init-db` has something to do."""
    return is_older(get_db(), running().parts)
