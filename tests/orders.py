"""Every order of the steps of two requests, on the real program.

A request passes through two doors: the queue of those who write, and the client of Vonage. Here
both make it wait, so that one thread runs at a time, from door to door, and a schedule says which.
A third one is before what is read outside of a transaction, when the request has been through one
of the others.
"""

import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from copy import deepcopy
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

from flask import Flask

from foundation.running import running
from foundation.storage.database import Connections
from foundation.storage.queueing import Queue

PATIENCE = 20  # seconds; a request that reaches no door by then waits for the other one

Act = Callable[[], Any]


class Stuck(AssertionError):
    """A request neither ended nor came to a door while the other one stood at its own."""


class Walker:
    """A thread that does one thing after the other, and waits at each door until it's let on."""

    def __init__(self) -> None:
        self.work: SimpleQueue[Act | None] = SimpleQueue()
        self.may_go, self.has_stopped = threading.Semaphore(0), threading.Semaphore(0)
        self.is_done, self.door = True, ""
        self.outcome: Any = None
        self.thread = threading.Thread(target=self.walk, daemon=True)
        self.thread.start()

    def walk(self) -> None:
        while (act := self.work.get()) is not None:
            self.may_go.acquire()
            try:
                self.outcome = act()
            except BaseException as error:
                self.outcome = error
            self.is_done = True
            self.has_stopped.release()

    def begin(self, act: Act) -> None:
        self.is_done, self.outcome, self.door = False, None, "begin"
        self.work.put(act)

    def wait_at_door(self, door: str) -> None:
        self.door = door
        self.has_stopped.release()
        self.may_go.acquire()

    def go_on(self) -> None:
        """Until it comes to the next door, or ends."""
        self.may_go.release()
        if not self.has_stopped.acquire(timeout=PATIENCE):
            raise Stuck


class Doors:
    """What the program passes through. Who isn't one of the two walkers passes at once."""

    def __init__(self) -> None:
        self.walkers = (Walker(), Walker())

    def wait(self, door: str) -> None:
        for walker in self.walkers:
            if threading.current_thread() is walker.thread:
                walker.wait_at_door(door)

    def wait_to_read(self) -> None:
        """Once after each of the other doors: what is read in a row is one step."""
        for walker in self.walkers:
            is_here = threading.current_thread() is walker.thread
            if is_here and walker.door in ("database", "vonage"):
                walker.wait_at_door("read")

    def close(self) -> None:
        for walker in self.walkers:
            walker.work.put(None)

    def walk(self, acts: tuple[Act, Act], schedule: "Schedule") -> list[Any] | None:
        """Their outcomes, in the order that the schedule says. None: the order needs no walk."""
        for walker, act in zip(self.walkers, acts, strict=True):
            walker.begin(act)
        before, before_door = self.walkers[0], ""
        needed = True
        while going := [walker for walker in self.walkers if not walker.is_done]:
            walker = going[schedule.choose(len(going)) if needed else 0]
            door = walker.door
            if before is self.walkers[1] and walker is self.walkers[0]:
                needed = needed and not commute(before_door, door)
            walker.go_on()
            before, before_door = walker, door
        return [walker.outcome for walker in self.walkers] if needed else None


def commute(one: str, other: str) -> bool:
    """Whether two steps that follow each other could change places, and nothing would be different:
    of such orders, one is walked. What is read before the first door is a step, too."""
    reading = {"begin", "read"}
    return {one, other} <= reading or (one != other and "vonage" in (one, other))


class QueueWithDoor(Queue):
    def __init__(self, database: Path, doors: Doors) -> None:
        super().__init__(database)
        self.doors = doors

    def begin(self, db: sqlite3.Connection) -> None:
        self.doors.wait("database")
        super().begin(db)

    def begin_at_once(self, db: sqlite3.Connection) -> None:
        self.doors.wait("database")
        super().begin_at_once(db)


class ConnectionsWithDoor(Connections):
    def __init__(self, path: Path, doors: Doors) -> None:
        super().__init__(path)
        self.doors = doors
        self.db.set_trace_callback(self.look)

    def look(self, sql: str) -> None:
        """SQLite calls it before it begins with a statement."""
        if not self.db.in_transaction and sql.startswith("SELECT"):
            self.doors.wait_to_read()


class WithDoor:
    """A part of Vonage's SDK, with a door before each call."""

    def __init__(self, real: Any, doors: Doors) -> None:
        self.real, self.doors = real, doors

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any) -> Any:
            self.doors.wait("vonage")
            return getattr(self.real, name)(*args)

        return call


class VonageWithDoors:
    def __init__(self, real: Any, doors: Doors) -> None:
        self.sms, self.verify = WithDoor(real.sms, doors), WithDoor(real.verify, doors)


class Schedule:
    """Who goes on, each time that more than one can."""

    def __init__(self, planned: list[int]) -> None:
        self.planned, self.made = planned, list[tuple[int, int]]()

    def choose(self, count: int) -> int:
        place = len(self.made)
        chosen = self.planned[place] if place < len(self.planned) else 0
        self.made.append((chosen, count))
        return chosen

    def next(self) -> "Schedule | None":
        """The one that differs in the last choice that could be another."""
        made = self.made
        while made and made[-1][0] + 1 == made[-1][1]:
            made = made[:-1]
        return Schedule([chosen for chosen, _ in made[:-1]] + [made[-1][0] + 1]) if made else None


def all_schedules() -> Iterator[Schedule]:
    """Depth first. Each is walked before the next one is asked for."""
    schedule: Schedule | None = Schedule([])
    while schedule:
        yield schedule
        schedule = schedule.next()


class Kept(NamedTuple):
    """What both begin with each time: the database, and what Vonage knows."""

    database: Path
    vonage: dict[str, Any]


REMEMBERED = ("texts", "requests", "verifications", "checked")


class Stage:
    """An app whose database and Vonage can be put back."""

    def __init__(self, app: Flask, vonage: Any, folder: Path) -> None:
        self.app, self.vonage, self.folder = app, vonage, folder
        self.doors = Doors()
        here = running(app)
        here.vonage = VonageWithDoors(here.vonage, self.doors)  # type: ignore[assignment]

    def keep(self) -> Kept:
        self.vonage.checked.clear()
        kept = self.folder / "kept.db"
        with closing(sqlite3.connect(self.app.config["DATABASE"])) as db:
            db.execute("VACUUM INTO ?", (str(kept),))
        return Kept(kept, {name: deepcopy(getattr(self.vonage, name)) for name in REMEMBERED})

    def put_back(self, kept: Kept) -> None:
        here, path = running(self.app), self.folder / "group.db"
        os.close(here.queue.file)
        for suffix in ("", "-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        shutil.copyfile(kept.database, path)
        self.app.config["DATABASE"] = str(path)
        here.connections = ConnectionsWithDoor(path, self.doors)
        here.queue = QueueWithDoor(path, self.doors)
        here.tallies.clear()
        here.told_at.clear()
        here.kept_forms.clear()
        here.waiting.clear()
        for name, value in kept.vonage.items():
            setattr(self.vonage, name, deepcopy(value))
