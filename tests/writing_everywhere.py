"""`python -m tests.writing_everywhere DATABASE`: the threads of a server write to every part of a
database of 12 MB. Prints by how many KiB that made the process grow."""

import random
import re
import sys
import threading
from pathlib import Path

from foundation.storage.database import Connections

ROWS = 12_000
FILL = f"""WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {ROWS})
    INSERT INTO lines SELECT i, hex(zeroblob(500)) FROM n"""


def find_memory() -> int:
    found = re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return int(found[1])


def write(path: Path, turn: threading.Lock, done: threading.Barrier) -> None:
    db = Connections(path).db
    for _ in range(4):
        with turn:
            db.execute("BEGIN IMMEDIATE")
            for row in random.sample(range(1, ROWS + 1), 200):
                db.execute("UPDATE lines SET text = text WHERE id = ?", (row,))
            db.execute("COMMIT")
    done.wait()  # for all connections to be open at once


def main() -> None:
    path = Path(sys.argv[1])
    path.touch()
    db = Connections(path).db
    db.execute("CREATE TABLE lines (id INTEGER PRIMARY KEY, text TEXT)")
    db.execute(FILL)
    before, turn = find_memory(), threading.Lock()
    grown: list[int] = []
    done = threading.Barrier(16, lambda: grown.append(find_memory() - before), timeout=60)
    threads = [threading.Thread(target=write, args=(path, turn, done)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(grown[0])


if __name__ == "__main__":
    main()
