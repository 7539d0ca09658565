"""What we are measured against, on the same server."""

from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask, request


def create_callable() -> WSGIApplication:
    """What the server itself can do."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "3")])
        return [b"ok\n"]

    return answer


def create_flask() -> Flask:
    """One route that says ok: the limit of what Flask can answer on this server."""
    app = Flask(__name__)

    @app.get("/")
    def ok() -> str:
        return "ok\n"

    @app.get("/healthz")
    def healthz() -> str:
        return "ok\n"

    @app.post("/posted")
    def posted() -> str:
        return f"{len(request.form)} fields\n"

    return app
