"""The commands of the program itself: its database, serving it, inviting, backups."""

import errno
import os
import socket
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import click
from flask import Blueprint, current_app

from app import create_invite, prune, send_invite
from foundation.cli.command import MigratingCommand, ServingCommand, command
from foundation.cli.source_files import write_served
from foundation.running import hooks, running
from foundation.storage.database import (
    checkpoint,
    database_path,
    get_db,
    is_database_older,
    require_current_database,
    transaction,
)
from foundation.storage.migrations import (
    CORE,
    DatabaseInUse,
    MigrationFailed,
    find_versions,
    lock_database,
    locked_for_migration,
    migrate,
)
from foundation.storage.new_key import drop_invites_of_old_key
from foundation.typed.mistakes import Mistake
from foundation.typed.phones import parse_known_phone, parse_phone
from foundation.vonage.client import VonageError
from foundation.vonage.inbound import webhook_url
from foundation.web.feature import Feature
from foundation.web.invite_form import NewInvite, parse_new_username
from foundation.words.clock import DAY, now, say_date, say_iso
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


@command(commands, "serve", ServingCommand)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True)
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True, help="Processes.")
@click.option("--threads", type=click.IntRange(1), default=8, show_default=True, help="In each.")
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
    granian = [sys.executable, "-m", "foundation.cli.serving", str(database_path(current_app))]
    granian += ["--interface", "wsgi", "--factory"]
    granian += ["--no-ws", "--host", address, "--port", str(port), "--workers", str(workers)]
    # Threads wait for Vonage, not for the processor, so there are more of them than processors.
    granian += ["--blocking-threads", str(threads), "--workers-kill-timeout", "20", factory]
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


# The database: creating, migrating, backups -------------------------------------------------------

COPY_LIFETIME = 30 * DAY


@command(commands, "init-db", MigratingCommand)
def init_db_command() -> None:
    """Check the settings, create the database, or bring an older one up to date."""
    path = database_path(current_app)
    if is_database_older():
        with explain_database_in_use(path), locked_for_migration(path):
            if is_database_older():
                bring_up_to_date(path)
    require_current_database()
    drop_invites_of_old_key()
    delete_old_copies(path.parent, f"{path.name}.before-*")
    click.echo(f"The settings are right and the database {path} is ready.")


@contextmanager
def explain_database_in_use(path: Path) -> Iterator[None]:
    try:
        yield
    except DatabaseInUse:
        raise click.ClickException(
            f"A server is using {path}, which is from an older version. Stop it first."
        ) from None


def bring_up_to_date(path: Path) -> None:
    copy = write_copy_before_migration(path)
    try:
        migrate(get_db(), running().parts)
    except MigrationFailed as error:
        raise click.ClickException(
            f"The database could not be brought up to date ({error}). Nothing has changed: go back"
            f" to the version of the program that you had, and report this. {copy} is a copy"
            " from before; it has no sessions and no open invites."
        ) from None
    click.echo(f"The database is up to date. A copy from before, without sessions: {copy}.")


def write_copy_before_migration(path: Path) -> Path:
    """Beside the database. Named for the version that the copy itself is not at yet, so another
    `init-db` that migrates at the same moment can't replace it with a newer one."""
    content = make_backup()
    with closing(sqlite3.connect(":memory:")) as copy:
        copy.deserialize(content)
        version = find_versions(copy).get(CORE, 0) + 1
    file = path.with_name(f"{path.name}.before-{version}")
    store(content, file)
    return file


def delete_old_copies(folder: Path, pattern: str) -> None:
    for copy in folder.glob(pattern):
        if now() - copy.stat().st_mtime > COPY_LIFETIME:
            copy.unlink()


@command(commands, "backup")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), required=False)
@click.option(
    "--daily",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Write a copy named for the day, and delete those of more than 30 days ago.",
)
def backup_command(file: Path | None, daily: Path | None) -> None:
    """Copy the database to FILE while the server runs. Sessions, app passwords, tokens and open
    invites are left out, so somebody who finds a copy can't sign in with it."""
    if daily is not None and file is None:
        write_copy(daily / f"group-{say_iso(now())[:10]}.db")
        delete_old_copies(daily, "group-*.db")
    elif file is None or daily is not None:
        raise click.UsageError("Name a FILE, or --daily FOLDER.")
    elif file.exists():
        raise click.ClickException(f"{file} already exists; nothing was written.")
    else:
        write_copy(file)


def write_copy(file: Path) -> None:
    try:
        content = make_backup()
        members = check_backup(content)
        store(content, file)
    except (OSError, sqlite3.Error, ValueError) as error:
        raise click.ClickException(f"No backup was written: {error}") from None
    click.echo(f"Wrote {file} and checked it. Members: {members}; no sessions, no open invites.")


NOT_IN_BACKUPS = {
    "sessions", "pending_verifications", "whitelist", "sent_forms", "cooldowns",
    "inbound_messages", "outbox", "receivers",
}  # fmt: skip


def make_backup() -> bytes:
    """The database file. It is made in memory, so no page of it ever held a session."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as copy:
        get_db().backup(copy)
        tables = copy.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
        not_in_backups = NOT_IN_BACKUPS.union(*hooks("not_in_backups"))
        for table in {name for (name,) in tables} & not_in_backups:
            copy.execute(f"DELETE FROM {table}")
        # Version 1 kept Vonage's message ids there; since then they are digests, of 64 letters.
        sql = "UPDATE journal SET detail = NULL WHERE event = 'pin_sent' AND length(detail) < 64"
        copy.execute(sql)
        copy.execute("VACUUM")
        content = bytearray(copy.serialize())
    content[18:20] = b"\1\1"  # no WAL, so a reader needs no files beside it (File Format, 1.3)
    return bytes(content)


def store(content: bytes, file: Path) -> None:
    """It appears complete and read back, or not at all: until then the file has no name, so nothing
    is left of a backup that is killed. Where a file system can't do that (FAT, NFS), it has a
    hidden one. Raises ValueError."""
    hidden = file.with_name(f".{file.name}.new")
    hidden.unlink(missing_ok=True)
    try:
        opened = os.open(file.parent, os.O_TMPFILE | os.O_RDWR, 0o600)
    except OSError:
        opened = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(opened, "w+b") as written:
            written.write(content)
            written.flush()
            os.fsync(opened)
            written.seek(0)
            if written.read() != content:
                raise ValueError("what was written can't be read back")
            if not hidden.exists():
                give_name(opened, hidden if file.exists() else file)
        if hidden.exists():
            hidden.rename(file)
    finally:
        hidden.unlink(missing_ok=True)


def give_name(opened: int, file: Path) -> None:
    """See open(2), O_TMPFILE. Only with a folder's descriptor, which an absolute path doesn't need,
    does Python ask the system to follow the link in /proc."""
    os.link(f"/proc/self/fd/{opened}", file, src_dir_fd=opened, follow_symlinks=True)


def check_backup(content: bytes) -> int:
    """Open it, as somebody will who restores it; returns how many members there are. Raises
    ValueError."""
    with closing(sqlite3.connect(":memory:")) as copy:
        copy.deserialize(content)
        if copy.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
            raise ValueError("the copy is damaged")
        return int(copy.execute("SELECT count(*) FROM authors").fetchone()[0])
