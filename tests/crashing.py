"""The program, made to die. The server that serves `create_app` of this module kills all of
itself, as a power cut would, at the point that the environment variable CRASH names: "PATH N"
before the N-th SQL statement of a POST to that path, "PATH answer" when the answer is made and
has not left."""

import os
import signal

from flask import Flask, Response, request

import wsgi
from foundation.storage.database import get_db


def die() -> None:
    os.killpg(0, signal.SIGKILL)


def create_app() -> Flask:
    app = wsgi.create_app()
    path, where = os.environ["CRASH"].split()
    seen = 0

    def count(_: str) -> None:
        nonlocal seen
        seen += 1
        if str(seen) == where:
            die()

    @app.before_request
    def watch() -> None:
        if request.path == path:
            get_db().set_trace_callback(count)

    @app.after_request
    def unwatch(response: Response) -> Response:
        if request.path == path:
            get_db().set_trace_callback(None)
            if where == "answer":
                die()
        return response

    return app
