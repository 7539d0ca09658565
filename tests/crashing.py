"""The program, made to die. `python -m tests.crashing PORT` serves it, and kills all of itself, as
a power cut would, at the point that the file CRASH_AT names, once: "PATH N" is before the N-th SQL
statement of a request to that path, "PATH answer" when the answer is made and has not left."""

import itertools
import os
import signal
import sys
from pathlib import Path

from flask import Flask, Response, g, request
from werkzeug.serving import make_server

import wsgi
from foundation.storage.database import get_db

POINT = Path(os.environ["CRASH_AT"])


def die() -> None:
    POINT.unlink()
    os.killpg(0, signal.SIGKILL)


def watch() -> None:
    path, where = POINT.read_text().split() if POINT.exists() else ("", "")
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


def create_app() -> Flask:
    app = wsgi.create_app()
    app.before_request(watch)
    app.after_request(unwatch)
    return app


if __name__ == "__main__":
    make_server("localhost", int(sys.argv[1]), create_app(), threaded=True).serve_forever()
