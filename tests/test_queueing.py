"""The queue of those who want to write: fair among threads and processes, and never in the way."""

import fcntl
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from foundation.running import running
from foundation.storage.database import transaction
from foundation.storage.journal import record
from foundation.storage.queueing import Queue, open_beside

from .cast import Group, Lock, wait_for


@contextmanager
def head_of_the_queue(group: Group) -> Iterator[None]:
    """Another process waits, or was stopped while it did."""
    file = os.open(f"{group.app.config['DATABASE']}.queue", os.O_RDWR)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(file)


def has_a_head(group: Group) -> bool:
    try:
        with head_of_the_queue(group):
            return False
    except BlockingIOError:
        return True


def write(group: Group, name: str) -> None:
    with group.app.app_context(), transaction():
        record("joined", name)


def written(group: Group) -> list[str]:
    return [name for (name,) in group.rows("SELECT actor FROM journal ORDER BY id")]


def test_nobody_overtakes_who_waits_at_the_head(group: Group) -> None:
    """While one waits, another process has to wait behind it, also for a database that's free."""
    lock = Lock(group.app.config["DATABASE"])
    waiting = threading.Thread(target=write, args=(group, "first"))
    waiting.start()
    with closing(sqlite3.connect(group.app.config["DATABASE"], isolation_level=None)) as db:
        wait_for(lambda: has_a_head(group))
        lock.release()
        Queue(Path(group.app.config["DATABASE"])).begin(db)
        assert written(group) == ["first"]
        db.execute("ROLLBACK")
    waiting.join()


def test_who_waits_behind_another_writes_after_it(group: Group) -> None:
    with head_of_the_queue(group):
        waiting = threading.Thread(target=write, args=(group, "second"))
        waiting.start()
        wait_for(running(group.app).queue.lock.locked)
        with closing(sqlite3.connect(group.app.config["DATABASE"])) as db:
            db.execute("INSERT INTO journal (at, event, actor) VALUES (0, 'joined', 'first')")
            db.commit()
    waiting.join()

    assert written(group) == ["first", "second"]


def test_who_crashes_has_left_the_queue(group: Group) -> None:
    file = f"{group.app.config['DATABASE']}.queue"
    hold = f"import fcntl, os; fcntl.flock(os.open({file!r}, 2), 2); print('held', flush=True)"
    crashing = subprocess.Popen(
        [sys.executable, "-c", f"{hold}; input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert crashing.stdout
    assert crashing.stdout.readline() == b"held\n"
    crashing.kill()
    crashing.communicate()

    write(group, "alone")
    assert written(group) == ["alone"]


def test_who_stands_still_at_the_head_stops_nobody(group: Group) -> None:
    group.lose_patience()
    with head_of_the_queue(group):
        write(group, "after the patience")

    assert written(group) == ["after the patience"]


def test_a_locked_database_is_given_up_and_the_queue_goes_on(group: Group) -> None:
    group.lose_patience()
    lock = Lock(group.app.config["DATABASE"])
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        write(group, "never")
    lock.release()

    write(group, "afterwards")
    assert written(group) == ["afterwards"]


def test_a_transaction_in_a_transaction_is_a_part_of_it(group: Group) -> None:
    def fail_after_writing() -> None:
        with group.app.app_context(), transaction():
            write(group, "undone")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_after_writing()

    assert written(group) == []


def test_many_behind_a_head_that_hangs_write_all_the_same(group: Group) -> None:
    """The database is free; only their turn doesn't come."""
    running(group.app).queue.patience = 3
    names = [f"m{number}" for number in range(20)]
    with head_of_the_queue(group), ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(partial(write, group), names))

    assert sorted(written(group)) == sorted(names)


@pytest.mark.parametrize("suffix", ["queue", "lock"])
def test_a_lock_file_is_no_link(group: Group, tmp_path: Path, suffix: str) -> None:
    """What root runs would hand the file at its end to the service's user."""
    precious = tmp_path / "precious"
    precious.write_text("root's")
    database = Path(group.app.config["DATABASE"])
    Path(f"{database}.{suffix}").unlink(missing_ok=True)
    Path(f"{database}.{suffix}").symlink_to(precious)
    owner = precious.stat()

    with pytest.raises(OSError, match="symbolic link"):
        open_beside(database, suffix)
    Path(f"{database}.{suffix}").unlink()
    if os.geteuid() == 0:
        os.link(precious, f"{database}.{suffix}")
        with pytest.raises(OSError, match="is not a file of its own"):
            open_beside(database, suffix)
    assert (precious.stat().st_uid, precious.read_text()) == (owner.st_uid, "root's")
