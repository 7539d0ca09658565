"""Creating the database, and bringing an older one up to date, all at once or not at all.

`schema.sql` describes a new database; `migrations/0002.sql` and its successors lead there from an
older one. A feature with tables has the same in its own room: `features/<name>.sql`, and later
`features/<name>.0002.sql`.
"""

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from foundation.storage.queueing import open_beside

CORE = "core"


class Part(NamedTuple):
    """Tables that have a version of their own: app.py's, or a feature's."""

    name: str
    schema: str  # SQL that creates them as they are now
    steps: Mapping[int, str]  # by the version that a step leads to, the SQL that leads there

    @property
    def version(self) -> int:
        return max(self.steps, default=1)


class MigrationFailed(Exception):
    """The database is as it was. Says which step did not work, and why."""


def read_parts(root: Path, features: Iterable[str]) -> list[Part]:
    """The core, and those features that have tables."""
    core = Part(CORE, (root / "schema.sql").read_text(), read_steps(root / "migrations", ""))
    return [core, *(part for name in features if (part := read_part(root / "features", name)))]


def read_part(room: Path, name: str) -> Part | None:
    schema = room / f"{name}.sql"
    if not schema.exists():
        return None
    return Part(name, schema.read_text(), read_steps(room, f"{name}."))


def read_steps(folder: Path, prefix: str) -> dict[int, str]:
    files = folder.glob(f"{prefix}[0-9][0-9][0-9][0-9].sql")
    return {int(file.stem.removeprefix(prefix)): file.read_text() for file in files}


def find_versions(db: sqlite3.Connection) -> dict[str, int]:
    """By part; empty for a database that was just created."""
    core = int(db.execute("PRAGMA user_version").fetchone()[0])
    if core < 2:  # `parts` came with version 2
        return {CORE: core} if core else {}
    return {CORE: core, **dict(db.execute("SELECT name, version FROM parts").fetchall())}


def is_older(db: sqlite3.Connection, parts: Iterable[Part]) -> bool:
    versions = find_versions(db)
    return any(versions.get(part.name, 0) < part.version for part in parts)


def is_newer(db: sqlite3.Connection, parts: Iterable[Part]) -> bool:
    """It was made by a newer version of the program, which is the one to use it with."""
    versions = find_versions(db)
    return any(versions.get(part.name, 0) > part.version for part in parts)


def create_tables(db: sqlite3.Connection, parts: Iterable[Part]) -> None:
    """Fill a new database. Does nothing to one that has tables."""
    if find_versions(db):
        return
    with all_or_nothing(db):
        if find_versions(db):
            return  # another process was faster
        for part in parts:
            run_script(db, part.schema)
            write_version(db, part.name, part.version)


def migrate(db: sqlite3.Connection, parts: Iterable[Part]) -> None:
    """Take every step that is missing, all of them or none: a database between two versions is one
    that neither program can use. Raises MigrationFailed."""
    # Off, because dropping a table to rebuild it would delete what refers to it. Inside a
    # transaction this PRAGMA does nothing.
    db.execute("PRAGMA foreign_keys = OFF")
    try:
        with all_or_nothing(db):
            for part in parts:
                bring_part_up_to_date(db, part)
            if broken := db.execute("PRAGMA foreign_key_check").fetchone():
                raise MigrationFailed(f"rows of {broken[0]} refer to none of {broken[2]}")
    except sqlite3.Error as error:
        raise MigrationFailed(str(error)) from error
    finally:
        db.execute("PRAGMA foreign_keys = ON")


def bring_part_up_to_date(db: sqlite3.Connection, part: Part) -> None:
    if part.name not in find_versions(db):
        take_step(db, part, part.version, part.schema)  # a feature that was added
    for version in sorted(part.steps):
        take_step(db, part, version, part.steps[version])


def take_step(db: sqlite3.Connection, part: Part, version: int, script: str) -> None:
    if find_versions(db).get(part.name, 0) >= version:
        return  # done before
    try:
        run_script(db, script)
    except sqlite3.Error as error:
        raise MigrationFailed(f"{part.name} {version}: {error}") from error
    write_version(db, part.name, version)


def write_version(db: sqlite3.Connection, part: str, version: int) -> None:
    if part == CORE:
        db.execute(f"PRAGMA user_version = {version:d}")  # a PRAGMA takes no parameters
    else:
        db.execute("INSERT OR REPLACE INTO parts VALUES (?, ?)", (part, version))


def begin_immediate(db: sqlite3.Connection) -> None:
    """IMMEDIATE, because a deferred transaction that reads before it writes fails under load
    (SQLITE_BUSY_SNAPSHOT), and the busy timeout does not help."""
    db.execute("BEGIN IMMEDIATE")


@contextmanager
def all_or_nothing(
    db: sqlite3.Connection, begin: Callable[[sqlite3.Connection], None] = begin_immediate
) -> Iterator[None]:
    """Commit the whole block or nothing."""
    begin(db)
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def run_script(db: sqlite3.Connection, script: str) -> None:
    """One statement at a time: `executescript` would commit the open transaction first."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            db.execute(statement)
            statement = ""


# Who uses the database: one server, or any number of `flask init-db` ------------------------------


class DatabaseInUse(Exception):
    """A server runs on this database, or it is being migrated."""


def lock_database(path: Path, for_server: bool) -> int:
    """Hold the lock file beside the database until this process ends, and the one it becomes by
    exec; return its descriptor. A server shares it with nobody; those who migrate share it with
    each other, and take turns. Raises DatabaseInUse."""
    lock = open_beside(path, "lock")
    try:
        fcntl.flock(lock, (fcntl.LOCK_EX if for_server else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise DatabaseInUse from error
    return lock


def is_in_use(path: Path) -> bool:
    """Whether a server runs on this database."""
    try:
        os.close(lock_database(path, for_server=False))
    except DatabaseInUse:
        return True
    return False


@contextmanager
def locked_for_migration(path: Path) -> Iterator[None]:
    """One after the other: the second finds nothing left to do, and writes no copy of a database
    that is half way. Raises DatabaseInUse."""
    lock, turn = lock_database(path, for_server=False), os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield
    finally:
        os.close(turn)
        os.close(lock)
