"""The `flask` commands. A command's docstring is its help; its last line says what is now true."""

import click
from flask import Blueprint, current_app

import app
from vonage_client import VonageError

commands = Blueprint("commands", __name__, cli_group=None)


@commands.cli.command("init-db")
def init_db() -> None:
    """Check the settings and create the database if there is none."""
    # The factory has done both by now, as at every start.
    database = current_app.config["DATABASE"]
    click.echo(f"The settings are right and the database {database} is ready.")


@commands.cli.command("invite")
@click.argument("phone")
@click.option("--username", help="The only name that the invite is good for; an admin's needs it.")
def invite(phone: str, username: str | None) -> None:
    """Invite PHONE, such as +12025550100. This is the way in for the first admin."""
    try:
        digits = app.parse_phone(phone)
        name = app.parse_username(username) if username is not None else None
        invite_id = app.create_invite(digits, name, None)
    except app.Mistake as mistake:
        raise click.ClickException(app.say(mistake.sentence)) from None
    whom = f"The number ending in {digits[-2:]} is invited" + (f" as {name}" if name else "")
    try:
        app.send_invite(invite_id, digits)
    except VonageError as error:
        raise click.ClickException(f"{whom}, but: {app.say(error.reason)}") from None
    ends_at = app.now() + current_app.config["INVITE_DAYS"] * app.DAY
    click.echo(f"{whom} until {app.say_date(ends_at)}, and the text is on its way.")


@commands.cli.command("webhook-url")
def webhook_url() -> None:
    """Print the address for Vonage's inbound texts. Whoever knows it can speak as Vonage."""
    click.echo(app.webhook_url())
