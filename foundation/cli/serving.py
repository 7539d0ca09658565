"""What `flask serve` becomes: granian. Where there are several workers, the program's modules are
loaded before they are forked, and they share most of that memory. When it has ended, the database
is one file."""

import gc
import os
import signal
import sqlite3
import sys
from contextlib import closing, suppress
from importlib import import_module
from pathlib import Path

from granian.cli import entrypoint


def serve(database: Path, workers: int) -> None:
    if workers > 1:  # the one who starts them has no use for it
        import_module(sys.argv[-1].partition(":")[0])  # the factory's; no app, so no connection
        gc.collect()
        gc.freeze()  # or each worker's hunt for garbage would write to all of it, and so copy it
    os.register_at_fork(after_in_child=leave_interrupts_to_parent)
    try:
        entrypoint()  # type: ignore[no-untyped-call]
    finally:
        take_in_wal(database)


def leave_interrupts_to_parent() -> None:
    """A terminal's Ctrl-C reaches all processes, and granian then ends its workers by a second
    signal. One that gets both at once hangs (granian 2.8)."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def take_in_wal(database: Path) -> None:
    """The workers end without closing their connections, and would leave what they wrote last
    beside the database. The last to close it takes that in."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(database)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


if __name__ == "__main__":
    serve(Path(sys.argv.pop(1)), int(sys.argv.pop(1)))
