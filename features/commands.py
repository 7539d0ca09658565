"""The commands of the program itself: serving it, and inviting."""

import errno
import os
import socket
import sys
from pathlib import Path

import click
from flask import Blueprint, current_app

from app import create_invite, prune, send_invite
from foundation import cli
from foundation.cli.command import ServingCommand, command
from foundation.cli.source_files import write_served
from foundation.storage.database import checkpoint, database_path, transaction
from foundation.storage.migrations import DatabaseInUse, lock_database
from foundation.storage.new_key import drop_invites_of_old_key
from foundation.typed.mistakes import Mistake
from foundation.typed.phones import parse_known_phone, parse_phone
from foundation.vonage.client import VonageError
from foundation.vonage.inbound import webhook_url
from foundation.web.feature import Feature
from foundation.web.invite_form import NewInvite, parse_new_username
from foundation.words.clock import DAY, now, say_date
from foundation.words.languages import LANGUAGES
from foundation.words.sentences import say

commands = Blueprint("commands", __name__, cli_group=None)
feature = Feature(commands)


@command(commands, "invite")
@click.argument("phone")
@click.option("--username", help="The only name the invite is good for. Admins need it.")
@click.option("--language", type=click.Choice([*LANGUAGES]), help="Of the texts.")
@click.option("--anyway", is_flag=True, help="Even if there may be no such number.")
def invite_command(phone: str, username: str | None, language: str | None, anyway: bool) -> None:
    """Invite PHONE, such as +12025550100. The first admin gets in this way."""
    try:
        digits = parse_phone(phone) if anyway else parse_known_phone(phone)
        if username is not None and not username.strip():
            raise Mistake("username", "username-missing")
        name = parse_new_username(username) if username is not None else None
        invite_id = create_invite(NewInvite(digits, name, language=language), None)
    except Mistake as mistake:
        wait = f" Wait {mistake.wait} seconds." if mistake.wait else ""
        raise click.ClickException(say(mistake.sentence) + wait) from None
    whom = f"The number ending in {digits[-2:]} is invited" + (f" as {name}" if name else "")
    try:
        send_invite(invite_id, digits, language=language)
    except VonageError as error:
        raise click.ClickException(f"{whom}, but: {say(error.reason)}") from None
    ends_at = now() + current_app.config["INVITE_DAYS"] * DAY
    click.echo(f"{whom} until {say_date(ends_at)}, and the text is on its way.")


@command(commands, "webhook-url")
def webhook_url_command() -> None:
    """Print the address for Vonage's inbound texts. Keep it secret: anybody who knows it
    can pose as Vonage."""
    click.echo(webhook_url())


@command(commands, "prune")
def prune_command() -> None:
    """Delete what has expired. The server does so itself at each invite, sign-in and renewal."""
    with transaction() as db:
        before = db.total_changes
        prune()
        deleted = db.total_changes - before
    checkpoint()
    click.echo(f"{deleted} expired rows are deleted.")


# Serving ------------------------------------------------------------------------------------------

LOG_CONFIG = Path(cli.__file__).with_name("log.json")  # one format for granian's lines and ours


@command(commands, "serve", ServingCommand)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True)
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes.")
@click.option("--threads", type=click.IntRange(1), default=16, show_default=True, help="In each.")
@click.argument("factory", default="wsgi:create_app")
def serve_command(host: str, port: int, workers: int, threads: int, factory: str) -> None:
    """Serve the program that FACTORY makes."""
    address = find_free_address(host, port)
    try:
        lock = lock_database(database_path(current_app), for_server=True)
    except DatabaseInUse:
        raise click.ClickException("Another server is using this database.") from None
    except OSError as error:
        raise click.ClickException(f"The lock file cannot be used: {error.strerror}.") from None
    drop_invites_of_old_key()
    write_served(lock, Path(current_app.root_path))
    os.set_inheritable(lock, True)  # granian holds it from here on
    os.environ.setdefault("MALLOC_ARENA_MAX", "1")  # or each thread keeps memory for itself
    os.environ["SERVED_AT"] = f"{address}:{port}"
    os.environ["PYTHONPATH"] = current_app.root_path  # the folder of .env may be another one
    granian = [sys.executable, "-m", "foundation.cli.serving"]
    granian += [str(database_path(current_app)), str(workers)]
    granian += ["--interface", "wsgi", "--factory"]
    granian += ["--no-ws", "--host", address, "--port", str(port), "--workers", str(workers)]
    # Threads wait for Vonage, not for the processor, so there are more of them than processors.
    granian += ["--blocking-threads", str(threads), "--workers-kill-timeout", "20"]
    granian += ["--respawn-failed-workers", "--respawn-interval", "1"]
    granian += ["--log-config", str(LOG_CONFIG), factory]
    os.execv(granian[0], granian)


def find_free_address(host: str, port: int) -> str:
    """The host's address, if the port is free there. granian itself would share the port with
    another server, and each would answer every other request."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # after a restart
            probe.bind(address)
    except socket.gaierror:
        raise click.ClickException(f"{host} is not an address of this machine.") from None
    except OSError as error:
        told = {errno.EADDRINUSE: "is taken: another program, or this one, uses it"}
        why = told.get(error.errno or 0, f"cannot be used: {error.strerror}")
        raise click.ClickException(f"Port {port} on {host} {why}.") from None
    return str(address[0])
