"""`flask` commands: what all of them do. A command's docstring is its help, and the last line it
prints says what is now true."""

import sqlite3
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import click
from flask import Blueprint, Flask
from flask.cli import ScriptInfo

from foundation.storage.database import open_database, require_current_database
from foundation.storage.new_key import warn_of_new_key
from foundation.typed.settings import WrongSettings

WRONG = "trusted_group.wrong_settings"


class Command(click.Command):
    """Refuses to run with wrong settings or on an older database, and says in one line when the
    database can't be used. Its help needs neither."""

    needs_database = True
    takes_new_key = False

    def invoke(self, context: click.Context) -> Any:
        app = context.ensure_object(ScriptInfo).load_app()
        if WRONG in app.extensions:
            raise app.extensions[WRONG]
        try:
            if self.needs_database:
                with app.app_context():
                    self.use_database(app)
            return super().invoke(context)
        except sqlite3.OperationalError as error:
            raise click.ClickException(f"The database cannot be used: {error}.") from None

    def use_database(self, app: Flask) -> None:
        open_database(app)
        require_current_database()
        if not self.takes_new_key:
            warn_of_new_key()


class ServingCommand(Command):
    takes_new_key = True


class DatabaseCommand(Command):
    """For a database that may be missing, damaged, or of another version."""

    needs_database = False


def command(blueprint: Blueprint, name: str, cls: type[Command] = Command) -> Callable[..., Any]:
    """Decorator: a command of that blueprint."""
    register: Callable[..., Any] = partial(blueprint.cli.command, cls=cls)
    return register(name)  # type: ignore[no-any-return]


def make_app_of_commands(blueprints: Iterable[Blueprint], wrong: WrongSettings) -> Flask:
    """What `flask --help` lists while the settings are wrong. Each command says so when it runs."""
    app = Flask("wsgi")
    app.extensions[WRONG] = wrong
    for blueprint in blueprints:
        app.register_blueprint(blueprint)
    return app
