"""Programs under load: started as `make serve` starts ours, watched from outside."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import requests

from tests.cast import find_port

ROOT = Path(__file__).parent.parent
THREADS = "8"  # of each worker


class Load(NamedTuple):
    """What wrk saw."""

    per_second: float
    p50: float  # milliseconds
    p99: float
    failed: int  # answers that were no 2xx or 3xx


class Running(NamedTuple):
    url: str
    process: subprocess.Popen[bytes]
    started_in: float  # seconds until every worker answered

    def load(self, path: str, *words: str, seconds: float, script: Sequence[object] = ()) -> Load:
        command = ["wrk", "-c8", "-t2", f"-d{seconds}s", "--latency", *words, f"{self.url}{path}"]
        command += ["--", *map(str, script)] if script else []
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return Load(
            float(find(r"Requests/sec: +([\d.]+)", told)),
            milliseconds(find(r"50% +(\S+)", told)),
            milliseconds(find(r"99% +(\S+)", told)),
            failed=int(find(r"Non-2xx or 3xx responses: (\d+)|$", told) or 0),
        )

    def processes(self) -> list[Path]:
        """Their folders in /proc."""
        group = ["pgrep", "-g", str(self.process.pid)]
        pids = subprocess.run(group, capture_output=True, text=True).stdout.split()
        return [Path("/proc", pid) for pid in pids]

    def largest(self) -> float:
        """Resident memory of the largest process at its largest, in MiB."""
        told = [(process / "status").read_text() for process in self.processes()]
        return max(int(find(r"VmHWM:\s+(\d+)", status)) for status in told) / 1024

    def whole(self, kind: str = "Pss") -> float:
        """Of all processes together, now, in MiB: what several share is divided among them.
        "Pss_Anon" is without mapped files."""
        told = [(process / "smaps_rollup").read_text() for process in self.processes()]
        return sum(int(find(rf"\n{kind}:\s+(\d+)", rollup)) for rollup in told) / 1024


def find(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match, text
    return match[1] or ""


def milliseconds(text: str) -> float:
    """What wrk writes as 850.00us, 1.20ms, 2.00s or 1.00m."""
    units = {"us": 0.001, "ms": 1, "s": 1000, "m": 60_000}
    return float(text.rstrip("usm")) * units[text.lstrip("0123456789.")]


TWO_WORKERS = ("--workers", "2", "--threads", THREADS)


def ours(factory: str, *words: str) -> list[str]:
    """As `make serve` starts it, with those words more."""
    command = [sys.executable, "-m", "flask", "--app", "wsgi", "serve", "--port", "{port}"]
    return [*command, *words, factory]


def granian(factory: str) -> list[str]:
    command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--no-ws", "--factory"]
    command += ["--workers", "2", "--blocking-threads", THREADS, "--log-level", "error"]
    return [*command, "--workers-kill-timeout", "5", "--port", "{port}", factory]


@contextmanager
def running(
    command: list[str],
    settings: dict[str, str],
    port: int = 0,
    log: IO[bytes] | None = None,
    program: Path = ROOT,
) -> Iterator[Running]:
    port = port or find_port()
    started = time.perf_counter()
    process = subprocess.Popen(
        [word.format(port=port) for word in command],
        cwd=program,
        env={"PATH": os.environ["PATH"], "REQUESTS_CA_BUNDLE": "", **settings},
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        url = f"http://localhost:{port}"
        wait_until_up(process, url)
        yield Running(url, process, time.perf_counter() - started)
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def wait_until_up(process: subprocess.Popen[bytes], url: str) -> None:
    """Ten answers in a row, so that both workers are there."""
    in_a_row = 0
    while in_a_row < 10:
        if process.poll() is not None:
            raise SystemExit("A program under load did not start; its message is above.")
        try:
            in_a_row = in_a_row + 1 if requests.get(f"{url}/healthz", timeout=2).ok else 0
        except requests.RequestException:
            in_a_row = 0
            time.sleep(0.02)
