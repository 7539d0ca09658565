"""Copies of the database: whole ones, which lie beside it, and backups, with which
nobody can sign in."""

import os
import sqlite3
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from foundation.storage.migrations import Part, find_versions, is_newer

NOT_IN_BACKUPS = {
    "sessions", "pending_verifications", "whitelist", "sent_forms", "cooldowns",
    "inbound_messages", "outbox", "receivers",
}  # fmt: skip


def make_copy(db: sqlite3.Connection, without: Iterable[str] = ()) -> bytes:
    """The file of a database like that, with those tables empty. It is made in memory, so no page
    of it ever held what it is without."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as copy:
        db.backup(copy)
        if without:
            empty_tables(copy, without)
        return without_wal(copy.serialize())


def without_wal(content: bytes) -> bytes:
    """So that a reader needs no files beside it (File Format, 1.3)."""
    return content[:18] + b"\1\1" + content[20:]


def empty_tables(copy: sqlite3.Connection, names: Iterable[str]) -> None:
    tables = copy.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    for table in {name for (name,) in tables} & set(names):
        copy.execute(f"DELETE FROM {table}")
    # Version 1 kept Vonage's message ids there; since then they are digests, of 64 letters.
    sql = "UPDATE journal SET detail = NULL WHERE event = 'pin_sent' AND length(detail) < 64"
    copy.execute(sql)
    copy.execute("VACUUM")


class Members(NamedTuple):
    """By their usernames, in a database of any version."""

    all: set[str]
    with_passkey: set[str]
    signed_in: set[str]


def check_copy(content: bytes, parts: Iterable[Part]) -> Members:
    """Open it, as somebody will who restores it. Raises ValueError with what is wrong."""
    try:
        with closing(sqlite3.connect(":memory:")) as copy:
            copy.deserialize(without_wal(content))
            if copy.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
                raise ValueError("the copy is damaged")
            if not find_versions(copy):
                raise ValueError("this is no database of a group")
            if is_newer(copy, parts):
                raise ValueError("it was made by a newer version of this program")
            return read_members(copy)
    except sqlite3.Error as error:
        raise ValueError(f"this is no database of a group ({error})") from None


def read_members(db: sqlite3.Connection) -> Members:
    everybody = {str(name) for (name,) in db.execute("SELECT username FROM authors")}
    with suppress(sqlite3.OperationalError):  # version 1 kept no row of who was removed
        gone = db.execute("SELECT username FROM authors WHERE removed_at IS NOT NULL")
        everybody -= {str(name) for (name,) in gone}
    having = {}
    for table in ("passkeys", "sessions"):
        sql = f"SELECT username FROM authors WHERE id IN (SELECT author_id FROM {table})"
        with suppress(sqlite3.OperationalError):  # the feature came later
            having[table] = {str(name) for (name,) in db.execute(sql)} & everybody
    return Members(everybody, having.get("passkeys", set()), having.get("sessions", set()))


def store(content: bytes, file: Path, like: Path | None = None) -> None:
    """It appears complete and read back, or not at all: until then the file has no name, so nothing
    is left of a backup that is killed. Where a file system can't do that (FAT, NFS), it has a
    hidden one. What root writes beside a database is for that one's owner: `like`. Raises OSError,
    ValueError."""
    hidden = file.with_name(f".{file.name}.new")
    hidden.unlink(missing_ok=True)
    try:
        opened = os.open(file.parent, os.O_TMPFILE | os.O_RDWR, 0o600)
    except OSError:
        opened = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(opened, "w+b") as written:
            written.write(content)
            written.flush()
            if like and os.geteuid() == 0:
                owner = like.stat()
                os.fchown(opened, owner.st_uid, owner.st_gid)
            os.fsync(opened)
            written.seek(0)
            if written.read() != content:
                raise ValueError("what was written can't be read back")
            if not hidden.exists():
                give_name(opened, hidden if file.exists() else file)
        if hidden.exists():
            hidden.rename(file)
    finally:
        hidden.unlink(missing_ok=True)


def give_name(opened: int, file: Path) -> None:
    """See open(2), O_TMPFILE. Only with a folder's descriptor, which an absolute path doesn't need,
    does Python ask the system to follow the link in /proc."""
    os.link(f"/proc/self/fd/{opened}", file, src_dir_fd=opened, follow_symlinks=True)


def keep_beside(database: Path, name: str) -> Path:
    """A whole copy of it, also of one that is damaged. Returns its path."""
    kept = database.with_name(f"{database.name}.{name}")
    try:
        with closing(sqlite3.connect(database)) as db:
            content = make_copy(db)
    except sqlite3.DatabaseError:
        content = database.read_bytes()
    store(content, kept, like=database)
    return kept


def put_in_place(content: bytes, database: Path) -> None:
    """Make that the database. What lies beside the old one is taken in or goes first: SQLite would
    take it for the new one's. Nobody may be using it. Raises OSError, ValueError."""
    with suppress(sqlite3.DatabaseError), closing(sqlite3.connect(database)) as db:
        # It may be what stays, if we are killed now.
        is_busy = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if is_busy:
            raise OSError(f"another program uses {database}")
    for suffix in ("-wal", "-shm"):
        Path(f"{database}{suffix}").unlink(missing_ok=True)
    store(without_wal(content), database, like=database)


def lies_on_old_wal(database: Path) -> bool:
    """Whether a copy of ours was put where a database was whose WAL is still there. SQLite
    would write that into it, without a word. Its header says that it has none (`without_wal`)."""
    wal = Path(f"{database}-wal")
    with database.open("rb") as file:
        header = file.read(20)
    return header[18:20] == b"\1\1" and wal.exists() and wal.stat().st_size > 0
