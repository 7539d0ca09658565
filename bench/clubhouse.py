"""Our program with a page of somebody's own, as README.md shows it."""

from flask import Flask

import app as trusted_group


def create_clubhouse() -> Flask:
    app = trusted_group.create_app()

    @app.get("/clubhouse")
    def clubhouse() -> str:
        return f"Welcome, {trusted_group.require_member().username}!"

    return app
