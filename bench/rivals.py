"""What we are measured against, on the same server: the least that Flask can do, and Flask-Session
as it comes."""

import os
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask, render_template, request, session
from flask_session import Session
from flask_sqlalchemy import SQLAlchemy


def create_callable() -> WSGIApplication:
    """What the server itself can do."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "3")])
        return [b"ok\n"]

    return answer


def create_bare() -> Flask:
    """One route that says ok: the limit of what Flask can answer on this server."""
    app = Flask(__name__)
    names = app.jinja_env.from_string(
        "<ul>{% for name in names %}<li>{{ name }}</li>{% endfor %}</ul>"
    )

    @app.get("/")
    def ok() -> str:
        return "ok\n"

    @app.get("/healthz")
    def healthz() -> str:
        return "ok\n"

    @app.post("/posted")
    def posted() -> str:
        return f"{len(request.form)} fields\n"

    @app.get("/rendered")
    def rendered() -> str:
        return render_template(names, names=[f"member-{n}" for n in range(10)])

    return app


def create_stock() -> Flask:
    """A member's name from Flask-Session's SQLAlchemy store, over SQLite."""
    app = create_bare()
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{os.environ['STOCK_DATABASE']}"
    app.config["SESSION_TYPE"] = "sqlalchemy"
    app.config["SESSION_SQLALCHEMY"] = SQLAlchemy(app)
    Session(app)  # type: ignore[no-untyped-call]

    @app.get("/sign-in")
    def sign_in() -> str:
        session["username"] = "grace"
        return "in\n"

    @app.get("/who")
    def who() -> tuple[str, int, dict[str, str]]:
        username = session.get("username")
        return "", 200 if username else 401, {"Remote-User": username or ""}

    return app
