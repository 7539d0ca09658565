"""The program in processes that are made to die. Each is forked off one that has imported it, as
that is most of what a start takes."""

import ctypes
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import flask.cli
import pytest
from flask import Flask, Response, g, request
from werkzeug.serving import make_server

import wsgi
from foundation.running import running
from foundation.storage.database import OPENED, Connections, database_path, get_db
from foundation.web.housekeeping import send_what_is_due

from .cast import ROOT, require_executable, wait_for

FORKING = multiprocessing.get_context("forkserver")
FORKING.set_forkserver_preload([__name__])
PR_SET_PTRACER, ANYBODY = 0x59616D61, ctypes.c_ulong(-1)  # Linux: linux/prctl.h


def fork(
    environment: dict[str, str], log: Path, act: Callable[..., None], *args: object
) -> ForkServerProcess:
    """To be started: a process that does one of the things below."""
    return FORKING.Process(target=begin, args=(environment, log, act, args))


def wait_for_end(process: ForkServerProcess) -> int:
    """Its exit code."""
    process.join(60)
    assert process.exitcode is not None, "it goes on and on"
    return process.exitcode


def run(process: ForkServerProcess) -> int:
    """Its exit code."""
    process.start()
    try:
        return wait_for_end(process)
    finally:
        process.kill()


def run_traced(process: ForkServerProcess, calls: str, inject: str) -> int:
    """Its exit code. What strace injects comes into the system calls that `calls` names."""
    command = [find_strace(), "-q", "-f", "-o", "/dev/null"]
    command += ["-e", f"trace={calls}", "-e", f"inject={inject}"]
    with ExitStack() as stack:
        process.start()
        stack.callback(process.kill)
        status = Path(f"/proc/{process.pid}/status")
        wait_for(lambda: "\nState:\tT" in status.read_text())
        stack.enter_context(subprocess.Popen([*command, "-p", str(process.pid)]))
        stack.callback(process.kill)  # strace ends when it does
        wait_for(lambda: "\nTracerPid:\t0" not in status.read_text())
        assert process.pid is not None
        os.kill(process.pid, signal.SIGCONT)
        return wait_for_end(process)


@cache
def find_strace() -> str:
    """Skip where there is none, or where it may not trace."""
    strace = require_executable("strace")
    probe = subprocess.run([strace, "-o", "/dev/null", "true"], capture_output=True, text=True)
    if probe.returncode:
        pytest.skip(f"strace cannot trace here: {probe.stderr.strip()}")
    return strace


# In the new process


def begin(
    environment: dict[str, str], log: Path, act: Callable[..., None], args: tuple[object, ...]
) -> None:
    os.setsid()  # so that all of it can be killed at once
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    with log.open("ab") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    act(*args)


def serve(port: int) -> None:
    """Kills all of itself, as a power cut would, at the point that the file CRASH_AT names, once:
    "PATH N" is before the N-th SQL statement of a request to that path, "PATH answer" when the
    answer is made and has not left."""
    make_server("localhost", port, create_app(), threaded=True).serve_forever()


def create_app() -> Flask:
    app = wsgi.create_app()
    app.before_request(watch)
    app.after_request(unwatch)
    return app


def watch() -> None:
    point = Path(os.environ["CRASH_AT"])
    path, where = point.read_text().split() if point.exists() else ("", "")
    g.where = where if request.path == path else None
    if g.where:
        numbers = itertools.count(1)
        get_db().set_trace_callback(lambda _: die() if str(next(numbers)) == where else None)


def unwatch(response: Response) -> Response:
    if g.where:
        get_db().set_trace_callback(None)
        if g.where == "answer":
            die()
    return response


def die() -> None:
    Path(os.environ["CRASH_AT"]).unlink()
    os.killpg(0, signal.SIGKILL)


def wait_for_strace() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PTRACER, ANYBODY, 0, 0, 0)
    signal.raise_signal(signal.SIGSTOP)


def sign_up(form: dict[str, str]) -> None:
    """For `run_traced`."""
    wait_for_strace()
    client = wsgi.create_app().test_client()
    client.environ_base["HTTP_SEC_FETCH_SITE"] = "same-origin"
    client.set_cookie("visitor", "v" * 43)
    print("begin", flush=True)
    print("status", client.post("/login", data=form).status_code, flush=True)


def command(*words: str) -> None:
    """One of `flask`, for `run_traced`."""
    wait_for_strace()
    try:
        flask.cli.cli.main(words, prog_name="flask")
    finally:  # as at the end of a process that wasn't forked
        for db in OPENED.values():
            db.close()


def send(point: int) -> None:
    """Sends what is due, and is killed before the SQL statement of that number."""
    # With its settings given, it starts no housekeeping, which would send, too.
    app, numbers = wsgi.create_app(dict(os.environ)), itertools.count(1)

    def look(_: str) -> None:
        if next(numbers) == point:
            os.killpg(0, signal.SIGKILL)

    class Traced(Connections):
        def __init__(self, path: Path) -> None:
            super().__init__(path)
            self.db.set_trace_callback(look)

    running(app).connections = Traced(database_path(app))
    send_what_is_due(app)
