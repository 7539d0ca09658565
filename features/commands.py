"""The `flask` commands. A command's docstring is its help; the last line that it prints says what
is now true."""

import os
import re
import secrets
import sqlite3
import sys
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from dotenv import dotenv_values
from flask import Blueprint, Flask, current_app
from flask.cli import AppGroup, ScriptInfo

import app
from foundation.clock import DAY, now, say_date
from foundation.database import (
    database_path,
    fetch_row,
    get_db,
    require_current_database,
    transaction,
)
from foundation.forms import Mistake
from foundation.inbound import webhook_url
from foundation.migrations import (
    CORE,
    DatabaseInUse,
    MigrationFailed,
    find_versions,
    is_older,
    lock_database,
    locked_for_migration,
    migrate,
)
from foundation.phones import parse_phone
from foundation.sentences import say
from foundation.settings import SETTINGS, WrongSettings
from foundation.usernames import parse_username
from foundation.vonage import VonageError

commands = Blueprint("commands", __name__, cli_group=None)


class Command(click.Command):
    def invoke(self, context: click.Context) -> Any:
        try:
            program = context.ensure_object(ScriptInfo).load_app()
            if self.name != "init-db" and "parts" in program.extensions:
                with program.app_context():
                    require_current_database()
            return super().invoke(context)
        except sqlite3.OperationalError as error:
            raise click.ClickException(f"The database cannot be used: {error}.") from None


command = partial(commands.cli.command, cls=Command)


class NeedsSettings(AppGroup):
    """The commands of a program whose settings are wrong: all say so, but those that help."""

    def __init__(self, wrong: WrongSettings) -> None:
        super().__init__()
        self.wrong = wrong

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted(commands.cli.commands)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        known = commands.cli.commands.get(name)
        if known is None or name in ("setup", "doctor"):
            return known
        anything = {"ignore_unknown_options": True, "allow_extra_args": True}
        return click.Command(name, help=known.help, callback=self.refuse, context_settings=anything)

    def refuse(self) -> None:
        raise self.wrong


def offer_help(wrong: WrongSettings) -> Flask:
    """In place of the program, for the sake of `flask setup` and `flask doctor`."""
    helper = Flask("app")
    helper.cli = NeedsSettings(wrong)
    helper.extensions["wrong_settings"] = wrong
    return helper


# Setting up: flask setup, flask doctor -----------------------------------------------------------

QUESTIONS = {
    "GROUP_NAME": "The group's name, as it stands in every text",
    "BASE_URL": "The address at which friends and Vonage reach this program, https://...",
    "INVITE_CODE": "The word that an invited friend texts back",
    "ADMINS": "The usernames of those who may invite, with commas between them",
    "VONAGE_API_KEY": "Vonage's API key (it stands on the first page of the dashboard)",
    "VONAGE_API_SECRET": "Vonage's API secret (there, too; it is not shown here)",
    "VONAGE_NUMBER": "The number that you rent from Vonage",
}


@command("setup")
@click.option("--overwrite", is_flag=True, help="Write a new .env in place of the one there is.")
def setup_command(overwrite: bool) -> None:
    """Ask for what .env needs, and write it."""
    file = Path(".env").absolute()
    if file.exists() and not overwrite:
        raise click.ClickException(f"{file} exists already; --overwrite writes another one.")
    answers = {"SECRET_KEY": secrets.token_hex(32)}
    for name in QUESTIONS:
        answers[name] = ask(name)
    write_env_file(file, answers)
    click.echo(f"\n{file} is written, for its owner's eyes only. Next, type:\n\n    make serve")


def ask(name: str) -> str:
    """An answer that is right, asked for until it is."""
    setting = SETTINGS[name]

    def check(text: str) -> str:
        try:
            setting.parse(text.strip())
        except ValueError as error:
            raise click.UsageError(f"This {error}.") from None
        return text.strip()

    is_secret = name.endswith("SECRET") and sys.stdin.isatty()
    proposal = propose_invite_code() if name == "INVITE_CODE" else setting.default
    return str(click.prompt(QUESTIONS[name], proposal, is_secret, value_proc=check))


def propose_invite_code() -> str:
    """Eight letters that can be said aloud."""
    syllables = (secrets.choice("bdfgklmnprstv") + secrets.choice("aeiou") for _ in range(4))
    return "".join(syllables)


def write_env_file(file: Path, answers: dict[str, str]) -> None:
    """The example with the answers in it, and its comments."""
    text = Path(current_app.root_path, ".env.example").read_text()
    for name, value in answers.items():
        quoted = "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
        line = f"{name}={value if re.fullmatch('[A-Za-z0-9:/.,_-]+', value) else quoted}"
        before, after = re.split(rf"^{name}=.*$", text, maxsplit=1, flags=re.M)
        text = before + line + after
    new = file.with_name(".env.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as written:
        written.write(text)
    read = dotenv_values(new)
    if any(read[name] != value for name, value in answers.items()):
        new.unlink()
        raise click.ClickException("An answer cannot be written into .env: use plainer characters.")
    new.rename(file)


@command("doctor")
@click.option("--fix", is_flag=True, help="Set the inbound webhook of the number.")
def doctor_command(fix: bool) -> None:
    """Check everything, from the settings to the number's webhook, and say what to do."""
    from features.doctor import examine  # only here are Vonage's account and its numbers asked

    wrong = current_app.extensions.get("wrong_settings")
    for problem in wrong.problems if wrong else []:
        click.echo(f"wrong  {problem}")
    if wrong or not examine(fix):
        raise click.exceptions.Exit(1)
    click.echo("All is well.")


# The group ---------------------------------------------------------------------------------------


COPY_LIFETIME = 30 * DAY


@command("init-db")
def init_db_command() -> None:
    """Check the settings, create the database, or bring an older one up to date."""
    path = database_path(current_app)
    if is_older(get_db(), current_app.extensions["parts"]):
        try:
            with locked_for_migration(path):
                bring_up_to_date(path)
        except DatabaseInUse:
            raise click.ClickException(
                f"A server is using {path}, which is from an older version: stop it first."
            ) from None
        app.notice_new_key()
    require_current_database()
    delete_old_copies(path)
    click.echo(f"The settings are right and the database {path} is ready.")


def bring_up_to_date(path: Path) -> None:
    copy = write_copy_before_migration(path)
    try:
        migrate(get_db(), current_app.extensions["parts"])
    except MigrationFailed as error:
        raise click.ClickException(
            f"The database could not be brought up to date ({error}). Nothing has changed: go back"
            f" to the version of the program that you had, and report this. {copy} is a copy"
            " from before; it has no sessions and no open invites."
        ) from None
    click.echo(f"The database is up to date. A copy from before, without sessions: {copy}.")


def write_copy_before_migration(path: Path) -> Path:
    """Beside the database; named for the version that the copy itself is not at yet, so another
    `init-db` that migrates at the same moment cannot replace it by a newer one."""
    with TemporaryDirectory(prefix=".copy-", dir=path.parent) as folder:
        copy = Path(folder, "copy.db")
        write_backup(copy)
        with closing(sqlite3.connect(copy)) as written:
            version = find_versions(written).get(CORE, 0) + 1
        return copy.rename(path.with_name(f"{path.name}.before-{version}"))


def delete_old_copies(path: Path) -> None:
    for copy in path.parent.glob(f"{path.name}.before-*"):
        if now() - copy.stat().st_mtime > COPY_LIFETIME:
            copy.unlink()


@command("serve")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True)
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True, help="Processes.")
@click.option("--threads", type=click.IntRange(1), default=8, show_default=True, help="In each.")
@click.argument("factory", default="app:create_app")
def serve_command(host: str, port: int, workers: int, threads: int, factory: str) -> None:
    """Serve the program. FACTORY makes it."""
    try:
        lock = lock_database(database_path(current_app), for_server=True)
    except DatabaseInUse:
        raise click.ClickException("Another server is using this database.") from None
    os.set_inheritable(lock, True)  # granian holds it from here on
    command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--no-ws", "--factory"]
    command += ["--host", host, "--port", str(port), "--workers", str(workers)]
    # Threads wait for Vonage and not for the processor, so there are more of them than processors.
    command += ["--blocking-threads", str(threads), "--workers-kill-timeout", "20", factory]
    os.execv(command[0], command)


@command("invite")
@click.argument("phone")
@click.option("--username", help="The only name that the invite is good for; an admin's needs it.")
def invite_command(phone: str, username: str | None) -> None:
    """Invite PHONE, such as +12025550100. This is the way in for the first admin."""
    try:
        digits = parse_phone(phone)
        name = parse_username(username) if username is not None else None
        invite_id = app.create_invite(digits, name, None)
    except Mistake as mistake:
        wait = f" Wait {mistake.wait} seconds." if mistake.wait else ""
        raise click.ClickException(say(mistake.sentence) + wait) from None
    whom = f"The number ending in {digits[-2:]} is invited" + (f" as {name}" if name else "")
    try:
        app.send_invite(invite_id, digits)
    except VonageError as error:
        raise click.ClickException(f"{whom}, but: {say(error.reason)}") from None
    ends_at = now() + current_app.config["INVITE_DAYS"] * DAY
    click.echo(f"{whom} until {say_date(ends_at)}, and the text is on its way.")


@command("webhook-url")
def webhook_url_command() -> None:
    """Print the address for Vonage's inbound texts. Whoever knows it can speak as Vonage."""
    click.echo(webhook_url())


@command("remove")
@click.argument("username")
def remove_command(username: str) -> None:
    """Take a member out: every session ends at once, and every invite for that name."""
    author_id, name = find_member(username)
    if name in current_app.config["ADMINS"]:
        raise click.ClickException(say("admin-stays"))
    app.remove_member(author_id, None)
    click.echo(f"{name} is removed, and signed out everywhere.")


@command("sign-out")
@click.argument("username", required=False)
@click.option("--all", "everybody", is_flag=True, help="All members, on all their devices.")
def sign_out_command(username: str | None, everybody: bool) -> None:
    """End every session of a member, or of all. Each then has to be invited again."""
    if everybody == (username is not None):
        raise click.UsageError("Name a member, or say --all.")
    if username is not None:
        author_id, name = find_member(username)
        app.sign_out_everywhere(author_id, name, None)
        click.echo(f"{name} is signed out everywhere.")
        return
    click.echo(f"Everybody is signed out; {app.sign_out_everybody()} sessions have ended.")


def find_member(username: str) -> tuple[int, str]:
    with suppress(Mistake):
        name = parse_username(username)
        row = fetch_row("SELECT id FROM authors WHERE username = ?", (name,))
        if row is not None:
            return row["id"], name
    raise click.ClickException("There is no member of that name.")


@command("prune")
def prune_command() -> None:
    """Drop what has expired. The server does so by itself at each invite, sign-in and renewal."""
    with transaction() as db:
        before = db.total_changes
        app.prune()
        dropped = db.total_changes - before
    get_db().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    click.echo(f"{dropped} expired rows are dropped.")


@command("backup")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def backup_command(file: Path) -> None:
    """Copy the database to FILE, also while the server runs, without sessions and open invites: a
    copy that is found lets nobody in."""
    if file.exists():
        raise click.ClickException(f"{file} exists already; nothing was written.")
    try:
        with TemporaryDirectory(prefix=".backup-", dir=file.parent) as folder:
            copy = Path(folder, "copy.db")
            members = write_backup(copy)
            copy.rename(file)  # it is there as a whole or not at all
    except (OSError, sqlite3.Error, ValueError) as error:
        raise click.ClickException(
            f"There is no backup, and nothing is left of it: {error}"
        ) from None
    click.echo(
        f"{file} is written, and was read back. Members in it: {members}; sessions and open"
        " invites: none."
    )


LEFT_OUT = {"sessions", "pending_verifications", "whitelist", "cooldowns"}


def write_backup(file: Path) -> int:
    """By way of memory, so that no page of the file ever held a session. Returns how many members
    there are."""
    os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as copy:
        get_db().backup(copy)
        for (table,) in copy.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table'"
        ).fetchall():
            if table in LEFT_OUT:
                copy.execute(f"DELETE FROM {table}")
        copy.execute("VACUUM")
        with closing(sqlite3.connect(file)) as written:
            copy.backup(written)
            written.execute("PRAGMA journal_mode = DELETE")
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as read:
            is_sound = read.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
            if not is_sound or list(read.iterdump()) != list(copy.iterdump()):
                raise ValueError("what was written cannot be read back")
            return int(read.execute("SELECT count(*) FROM authors").fetchone()[0])
