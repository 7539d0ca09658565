"""Our program with a page of somebody's own, as README.md shows it."""

from flask import Flask

import wsgi
from app import require_member


def create_clubhouse() -> Flask:
    app = wsgi.create_app()

    @app.get("/clubhouse")
    def clubhouse() -> str:
        return f"Welcome, {require_member().username}!"

    return app
