"""`make bench`: how fast the served program is beside what Flask can do at best, how large, and how
its cost grows. Writes RESULTS.md beside this file. Needs wrk."""

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from .growth import measure_growth, measure_large
from .languages import measure_languages
from .servers import ROOT, Load, granian, running
from .world import World

HERE = Path(__file__).parent
RESULTS = HERE / "RESULTS.md"
BARE, CALLABLE = "bench.bare:create_flask", "bench.bare:create_callable"


class Line(NamedTuple):
    what: str
    per_second: str
    ratio: str
    p50: str
    p99: str


def compare(
    cases: dict[str, Callable[[], Load]], to: str, rounds: int
) -> Iterator[tuple[str, list[Load], float]]:
    """Each case in turn, round after round, so that what else the machine does meets all of them.
    The ratio is the median of the rounds'."""
    seen: dict[str, list[Load]] = {what: [] for what in cases}
    for _ in range(rounds):
        for what, measure in cases.items():
            seen[what].append(measure())
    for what, loads in seen.items():
        ratios = [
            ours.per_second / its.per_second for ours, its in zip(loads, seen[to], strict=True)
        ]
        yield what, loads, statistics.median(ratios)


def lines_of(cases: dict[str, Callable[[], Load]], to: str, rounds: int) -> Iterator[Line]:
    for what, loads, ratio in compare(cases, to, rounds):
        yield Line(
            what,
            f"{statistics.median(load.per_second for load in loads):,.0f}",
            f"{ratio:.2f}",
            f"{statistics.median(load.p50 for load in loads):.2f}",
            f"{statistics.median(load.p99 for load in loads):.2f}",
        )


def read_pages(world: World, seconds: float, rounds: int) -> Iterator[Line]:
    """Reading, against a bare Flask route on the same server."""
    cookie = ("-H", f"Cookie: {world.cookie}")
    with ExitStack() as stack:
        ours = stack.enter_context(world.served())
        bare = stack.enter_context(running(granian(BARE), {}))
        least = stack.enter_context(running(granian(CALLABLE), {}))
        cases: dict[str, Callable[[], Load]] = {
            "a bare WSGI callable": lambda: least.load("/", seconds=seconds),
            "a bare Flask route": lambda: bare.load("/", seconds=seconds),
            "`GET /auth`, signed in": lambda: ours.load("/auth", *cookie, seconds=seconds),
            "`GET /auth`, signed out": lambda: ours.load("/auth", seconds=seconds),
            "a page of one's own, signed in": lambda: ours.load(
                "/clubhouse", *cookie, seconds=seconds
            ),
            "`GET /`, signed in, ten members": lambda: ours.load("/", *cookie, seconds=seconds),
            "`GET /account`": lambda: ours.load("/account", *cookie, seconds=seconds),
            "`GET /`, signed out": lambda: ours.load("/", seconds=seconds),
        }
        yield from lines_of(cases, "a bare Flask route", rounds)


A_FORM = "a bare Flask route that reads a form"


def write_pages(world: World, seconds: float, rounds: int) -> Iterator[Line]:
    """What writes, and durably: each sign-up and each webhook is on the disk before its answer."""
    with ExitStack() as stack:
        ours = stack.enter_context(world.served())
        bare = stack.enter_context(running(granian(BARE), {}))
        refused = ("-s", str(HERE / "refused.lua"))
        texted = ("-s", str(HERE / "texted.lua"))
        yield from lines_of(
            {
                A_FORM: lambda: bare.load("/posted", *refused, seconds=seconds),
                "`POST /login`, refused before Vonage is asked": lambda: ours.load(
                    "/login", *refused, seconds=seconds
                ),
                "`POST /answer`, a text from a stranger": lambda: ours.load(
                    f"/answer/{world.token}", *texted, seconds=seconds
                ),
            },
            A_FORM,
            rounds,
        )
        ups = world.sign_up_many(ours, 200)
        yield Line(
            "whole sign-ups, an instant Vonage",
            f"{ups.per_second:,.0f}",
            "",
            f"{ups.p50:.2f}",
            f"{ups.p99:.2f}",
        )


@contextmanager
def filled(sessions: int, members: int) -> Iterator[World]:
    with tempfile.TemporaryDirectory() as folder, World.create(Path(folder)) as world:
        world.fill(sessions, members)
        yield world


def table(lines: list[Line]) -> str:
    rows = [Line("", "a second", "ratio", "p50, ms", "p99, ms"), Line("---", *["---:"] * 4), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def hold_slow_checks(world: World) -> str:
    with world.served() as ours:
        quiet = world.auth(ours, seconds=4)
        with world.slow_checks(ours, 8):
            busy = world.auth(ours, seconds=4)
    return (
        f"p99 of `/auth` {quiet.p99:.2f} ms in quiet, {busy.p99:.2f} ms while 8 PIN checks hang for"
        f" 5 s: {busy.p99 / quiet.p99:.2f} times."
    )


def measure_size() -> list[str]:
    """Of a group of ten, and not of the thousands of messages that other measurements leave: SQLite
    maps the database into the process."""
    with filled(10, 10) as world, world.served() as ours:
        cookie = ("-H", f"Cookie: {world.cookie}")
        for path in ("/auth", "/", "/account", "/admin"):
            ours.load(path, *cookie, seconds=3)
        world.sign_up_many(ours, 200)
        facts = [f"Start until both workers answer: {ours.started_in:.2f} s."]
        facts += [f"The largest process, after load: {ours.largest():.0f} MiB."]
    with filled(10, 10) as world, world.served() as ours:
        world.sign_up_many(ours, 1)
        ours.load("/", "-H", f"Cookie: {world.cookie}", seconds=1)
        facts += [f"All processes together, after one journey: {ours.whole():.0f} MiB."]
    imports = [
        float(
            subprocess.run(
                [sys.executable, "-c", IMPORT], cwd=ROOT, capture_output=True, text=True
            ).stdout
        )
        for _ in range(5)
    ]
    return [*facts, f"`import app`: {statistics.median(imports):.2f} s (median of 5)."]


IMPORT = "import time; t = time.perf_counter(); import app; print(time.perf_counter() - t)"


LOADED = "Two workers of 8 threads; wrk on the same cores, 8 connections."


def describe_machine(served: str = LOADED) -> str:
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True
    )
    cpu = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    cores = len(os.sched_getaffinity(0))
    return (
        f"{datetime.now(UTC):%-d %B %Y}, commit {commit.stdout.strip()}, {cores} cores of {cpu},"
        f" Python {platform.python_version()}. {served}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a second each, and no growth")
    quick = parser.parse_args().quick
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is missing: apt-get install wrk")
    seconds, rounds = (1, 1) if quick else (3, 5)
    parts = [f"# How fast\n\n{describe_machine()}"]
    with filled(10, 10) as world:
        parts += ["## Reading", table([*read_pages(world, seconds, rounds)])]
        parts += ["## Writing", table([*write_pages(world, seconds, rounds)])]
        parts += ["## In other languages", measure_languages(world)]
        parts += ["## Waiting, size, start", hold_slow_checks(world), *measure_size()]
    parts += ["## A large group", measure_large(filled, seconds)]
    if not quick:
        parts += ["## How the cost grows", measure_growth(filled)]
    text = "\n\n".join(parts) + "\n"
    print(text)
    if not quick:
        RESULTS.write_text(text + "".join(map(find_section, OF_OTHERS)))


OF_OTHERS = ("Soak", "A year", "Proof")  # sections of RESULTS.md that come from elsewhere


def find_section(title: str) -> str:
    """ "" if there is none."""
    _, mark, section = RESULTS.read_text().partition(f"\n## {title}\n")
    return mark + section.partition("\n## ")[0]


def write_section(title: str, text: str) -> None:
    """At the end of RESULTS.md, replacing an older one."""
    rest = RESULTS.read_text().replace(find_section(title), "").rstrip()
    RESULTS.write_text(f"{rest}\n\n## {title}\n\n{text}\n")


if __name__ == "__main__":
    main()
