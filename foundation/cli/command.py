"""`flask` commands: what all of them do. A command's docstring is its help, and the last line it
prints says what is now true."""

import sqlite3
from collections.abc import Callable
from functools import partial
from typing import Any

import click
from flask import Blueprint
from flask.cli import ScriptInfo

from foundation.storage.database import require_current_database
from foundation.storage.new_key import warn_of_new_key


class Command(click.Command):
    """Refuses to run on an older database, and says in one line when the database can't be used."""

    needs_current_database = True
    takes_new_key = False

    def invoke(self, context: click.Context) -> Any:
        try:
            if self.needs_current_database:
                with context.ensure_object(ScriptInfo).load_app().app_context():
                    require_current_database()
                    if not self.takes_new_key:
                        warn_of_new_key()
            return super().invoke(context)
        except sqlite3.OperationalError as error:
            raise click.ClickException(f"The database cannot be used: {error}.") from None


class ServingCommand(Command):
    takes_new_key = True


class MigratingCommand(Command):
    needs_current_database = False


def command(blueprint: Blueprint, name: str, cls: type[Command] = Command) -> Callable[..., Any]:
    """Decorator: a command of that blueprint."""
    register: Callable[..., Any] = partial(blueprint.cli.command, cls=cls)
    return register(name)  # type: ignore[no-any-return]
