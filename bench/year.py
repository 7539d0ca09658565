"""`python -m bench.year`: the soak over a year of twelve months, of a few minutes each. Between two
months the server is stopped and all that is in the database becomes 29 days older; every third
month brings an upgrade, and in every fourth the disk is full for a while. Afterwards nobody may be
lost. Needs root, for a small disk."""

import argparse
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from foundation.words.clock import DAY
from tests.cast import find_port

from .servers import Running
from .soak import UNDERSTOOD, Flaky, Soak, find_odd_lines, write_report
from .world import World

MONTHS, DAYS = 12, 29  # a device is signed out when it isn't used for 30
FULL_FOR = 20  # seconds
TIMES = re.compile(r"at|\w+_at|until|\w+_until|\w+_since")  # the columns that hold one
NOT_COPIED = shutil.ignore_patterns(".*", "node_modules", "__pycache__")
FULL = {
    "the disk was full": r"\S+ (ERROR|WARNING) .*(disk is full|disk I/O error|could not be stored"
    r"|cannot be used|cannot be written).*",
}


class Year(Soak):
    month = 0

    def watch(self, served: Running, seconds: float) -> None:
        """Everybody is seen once a month, or would rightly be out."""
        for _, cookie in [*self.seen.members.items()]:
            self.who_is(cookie)
        if self.month % 4 == 2:
            threading.Timer(seconds / 2, self.fill_disk).start()
        super().watch(served, seconds)

    def fill_disk(self) -> None:
        filler = self.world.folder / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(2**16))
        time.sleep(FULL_FOR)
        filler.unlink()
        self.seen.counts["full disks"] += 1

    def between_starts(self) -> None:
        self.month += 1
        self.grow_older()
        if self.month % 3 == 0:
            self.upgrade()

    def grow_older(self) -> None:
        with sqlite3.connect(self.world.settings["DATABASE"]) as db:
            columns = db.execute(
                "SELECT tables.name, columns.name FROM pragma_table_list AS tables"
                " JOIN pragma_table_info(tables.name) AS columns WHERE tables.type = 'table'"
            ).fetchall()
            for table, column in columns:
                if TIMES.fullmatch(column):
                    sql = f"UPDATE {table} SET {column} = {column} - ? WHERE {column} > 0"
                    db.execute(sql, (DAYS * DAY,))
        db.close()

    def upgrade(self) -> None:
        """To a version that has one table more."""
        newer = self.world.folder.parent / f"program-{self.month}"
        shutil.copytree(self.program, newer, ignore=NOT_COPIED)
        last = max((newer / "migrations").glob("[0-9]*.sql"))
        table = f"CREATE TABLE of_month_{self.month} (id INTEGER PRIMARY KEY) STRICT;\n"
        (newer / "migrations" / f"{int(last.stem) + 1:04d}.sql").write_text(table)
        subprocess.run(
            [sys.executable, "-m", "flask", "--app", "wsgi", "init-db"],
            cwd=newer,
            env={"PATH": os.environ["PATH"], **self.world.settings},
            check=True,
        )
        self.program = newer
        self.seen.counts["upgrades"] += 1


@contextmanager
def small_disk() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        disk = Path(folder, "disk")
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128m", "none", disk], check=True)
        try:
            yield disk
        finally:
            subprocess.run(["umount", "--lazy", disk], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.year", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5, help="of each month")
    minutes = parser.parse_args().minutes
    if os.geteuid() != 0:
        raise SystemExit("It needs root.")
    with small_disk() as folder, World.create(folder, Flaky()) as world:
        year = Year(world, find_port())
        log = folder.parent / "log"
        year.run(MONTHS * minutes, log, restart_after=minutes * 60)
        last = year.seen.counts["starts"]  # over the end of a month, an invite runs out
        year.seen.gave_up = [one for one in year.seen.gave_up if one[0] == last]
        lost = [*year.look_for_the_lost()]
        lines, odd = find_odd_lines(log, UNDERSTOOD | FULL)
    write_report("A year", year.seen, MONTHS * minutes, lost, lines, odd)


if __name__ == "__main__":
    main()
