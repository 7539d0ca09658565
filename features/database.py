"""The commands of the database: creating it, bringing it up to date, going back, copies."""

import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import click
from flask import Blueprint, current_app

from foundation.cli.command import DatabaseCommand, command
from foundation.running import hooks, running
from foundation.storage.copies import (
    NOT_IN_BACKUPS,
    Members,
    check_copy,
    keep_beside,
    make_copy,
    put_in_place,
    read_members,
    store,
)
from foundation.storage.database import (
    database_path,
    get_db,
    is_database_older,
    open_database,
    refuse_newer,
    refuse_old_wal,
    require_current_database,
)
from foundation.storage.migrations import (
    CORE,
    DatabaseInUse,
    MigrationFailed,
    find_versions,
    is_newer,
    lock_database,
    locked_for_migration,
    migrate,
)
from foundation.storage.new_key import drop_invites_of_old_key
from foundation.web.feature import Feature
from foundation.words.clock import DAY, now, say_iso

database = Blueprint("database", __name__, cli_group=None)
feature = Feature(database)

COPY_LIFETIME = 30 * DAY


@command(database, "init-db", DatabaseCommand)
@click.option("--back", is_flag=True, help="Undo the last upgrade of the database.")
@click.option(
    "--try",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Only try it, on a copy of the database of the program in FOLDER.",
    metavar="FOLDER",
)
def init_db_command(back: bool, folder: Path | None) -> None:
    """Check the settings, create the database, or bring an older one up to date."""
    path = database_path(current_app)
    if folder:
        try_on_copy(folder / current_app.config["DATABASE"])
    elif back:
        go_back(path)
    else:
        create_or_bring_up_to_date(path)


def create_or_bring_up_to_date(path: Path) -> None:
    open_database(current_app)
    if is_database_older():
        with explain_database_in_use(path), locked_for_migration(path):
            if is_database_older():
                bring_up_to_date(path)
    require_current_database()
    drop_invites_of_old_key()
    delete_old_copies(path.parent, f"{path.name}.before-*")
    delete_old_copies(path.parent, f"{path.name}.replaced-*")
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
    """Named for the version that the copy itself is not at yet."""
    file = path.with_name(f"{path.name}.before-{find_versions(get_db()).get(CORE, 0) + 1}")
    try:
        store(make_copy(get_db()), file, like=path)
        migrate(get_db(), running().parts)
    except (MigrationFailed, OSError, ValueError) as error:
        raise click.ClickException(
            f"The database could not be brought up to date ({error}). Nothing has changed: go back"
            " to the version of the program that you had, and report this."
        ) from None
    click.echo(
        f"The database is up to date. {file} is as it was, sessions and all;"
        " `flask init-db --back` goes back to that."
    )


def delete_old_copies(folder: Path, pattern: str) -> None:
    for copy in folder.glob(pattern):
        if now() - copy.stat().st_mtime > COPY_LIFETIME:
            copy.unlink()


def try_on_copy(path: Path) -> None:
    """The copy is in memory."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as copy:
        try:
            if path.exists():
                refuse_old_wal(path)
                with closing(sqlite3.connect(path)) as db:
                    db.backup(copy)
            refuse_newer(copy)
            if find_versions(copy):
                migrate(copy, running().parts)
        except (MigrationFailed, sqlite3.Error) as error:
            raise click.ClickException(
                f"The database can't be brought up to date ({error})."
            ) from None
    click.echo("The settings are right, and the database can be brought up to date.")


def go_back(path: Path) -> None:
    """For the older program, after an upgrade that changed the database: the newest copy may be of
    before another upgrade, weeks ago."""
    copies = path.parent.glob(f"{path.name}.before-*")
    newest = max(copies, key=lambda copy: copy.stat().st_mtime, default=None)
    if newest is None:
        raise click.ClickException(f"There is no {path.name}.before-... to go back to.")
    with replacing_database(path):
        with closing(sqlite3.connect(path)) as db:
            if not is_newer(db, running().parts):
                raise click.ClickException(
                    "This version can use the database as it is. Install the one that you had"
                    f" first, or say which copy you want: `flask restore {newest}`."
                )
        told = replace_database(path, newest.read_bytes())
    click.echo(f"The database is as it was before the upgrade.{told}")


# Copies -------------------------------------------------------------------------------------------

FILE = click.Path(dir_okay=False, allow_dash=True, path_type=Path)
STREAM = Path("-")


@command(database, "backup")
@click.argument("file", type=FILE, required=False)
@click.option(
    "--daily",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Write a copy named for the day, and delete those of more than 30 days ago.",
)
def backup_command(file: Path | None, daily: Path | None) -> None:
    """Copy the database to FILE (- is the output) while the server runs. Sessions, app passwords,
    tokens and open invites are left out, so somebody who finds a copy can't sign in with it."""
    if daily is not None and file is None:
        write_copy(daily / f"group-{say_iso(now())[:10]}.db")
        delete_old_copies(daily, "group-*.db")
    elif file is None or daily is not None:
        raise click.UsageError("Name a FILE, or --daily FOLDER.")
    elif file != STREAM and file.exists():
        raise click.ClickException(f"{file} already exists; nothing was written.")
    else:
        write_copy(file)


def write_copy(file: Path) -> None:
    try:
        content = make_copy(get_db(), NOT_IN_BACKUPS.union(*hooks("not_in_backups")))
        members = check_copy(content, running().parts).all
        if file == STREAM:
            write_to_output(content)
        else:
            store(content, file)
    except (OSError, sqlite3.Error, ValueError) as error:
        raise click.ClickException(f"No backup was written: {error}") from None
    told = f"Members: {len(members)}; no sessions, no open invites."
    click.echo(f"Wrote {file} and checked it. {told}", err=file == STREAM)


def write_to_output(content: bytes) -> None:
    if sys.stdout.isatty():
        raise ValueError("the output is a terminal: add > and a file")
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


@command(database, "restore", DatabaseCommand)
@click.argument("file", type=FILE)
def restore_command(file: Path) -> None:
    """Put the copy FILE (- is the input) in the database's place. Stop the server first."""
    path = database_path(current_app)
    with replacing_database(path):
        content = sys.stdin.buffer.read() if file == STREAM else file.read_bytes()
        told = replace_database(path, content)
    click.echo(f"The copy is the database now.{told}")


@contextmanager
def replacing_database(path: Path) -> Iterator[None]:
    """No server can start meanwhile."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        lock = lock_database(path, for_server=True)
        try:
            yield
        finally:
            os.close(lock)
    except DatabaseInUse:
        raise click.ClickException(f"A server is using {path}. Stop it first.") from None
    except (OSError, sqlite3.Error, ValueError) as error:
        raise click.ClickException(f"Nothing has changed: {error}") from None


def replace_database(path: Path, content: bytes) -> str:
    """Returns what that means for people. Raises OSError, ValueError."""
    now_in, then_in = None, check_copy(content, running().parts)
    with suppress(sqlite3.Error), closing(sqlite3.connect(path)) as db:
        now_in = read_members(db)  # unless it is damaged, or empty
    told = [*tell_what_changed(now_in, then_in)]
    if path.stat().st_size:
        at = say_iso(now())[:19].replace(":", "")
        told.append(f"What it was just now is in {keep_beside(path, f'replaced-{at}')}.")
    put_in_place(content, path)
    return "".join(f" {line}" for line in told)


def tell_what_changed(now_in: Members | None, then_in: Members) -> Iterator[str]:
    if then_in.signed_in:
        yield "Devices that were signed in then are signed in again, whatever happened since."
    else:
        yield "Everybody is signed out."
        if then_in.with_passkey:
            yield f"They sign in with a passkey: {say_names(then_in.with_passkey)}."
        if others := then_in.all - then_in.with_passkey:
            yield f"Invite them again, for their usernames: {say_names(others)}."
    if now_in and (back := then_in.all - now_in.all):
        yield f"Members again, although they were removed or had left: {say_names(back)}."
    if now_in and (gone := now_in.all - then_in.all):
        yield f"Gone, because they joined later: {say_names(gone)}."


def say_names(names: set[str]) -> str:
    return ", ".join(sorted(names))
