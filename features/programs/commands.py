"""Apps on the command line."""

import sqlite3

import click

from features.programs.pages import (
    COUNT_CHOSEN,
    NewProgram,
    add_program,
    delete_program,
    find_circles_of,
    parse_address,
    parse_program_name,
    parse_title,
)
from features.programs.room import bp
from features.programs.who import choose_member
from foundation.cli.command import command
from foundation.storage.database import fetch_row, fetch_rows
from foundation.typed.mistakes import Mistake
from foundation.typed.usernames import parse_username
from foundation.words.sentences import say


@command(bp, "add")
@click.argument("name")
@click.argument("title")
@click.argument("address")
@click.option("--chosen", is_flag=True, help="For chosen members only; see `flask program choose`.")
def add_command(name: str, title: str, address: str, chosen: bool) -> None:
    """Register an app: a short NAME, the TITLE that members see, the ADDRESS of its start page."""
    try:
        wanted = NewProgram(
            parse_program_name(name), parse_title(title), parse_address(address), not chosen
        )
        add_program(wanted, None)
    except Mistake as mistake:
        raise click.ClickException(say(mistake.sentence)) from None
    whom = "nobody yet: `flask program choose`" if chosen else "all members"
    click.echo(
        f"{wanted.title} is registered, for {whom}. Its proxy asks /auth?program={wanted.name}."
    )


@command(bp, "choose")
@click.argument("name")
@click.argument("username")
def choose_command(name: str, username: str) -> None:
    """Let a member use an app that is for chosen members."""
    try:
        wanted = parse_username(username)
    except Mistake:
        wanted = ""
    found = find_for_command(name)
    if not choose_member(found, wanted, None):
        raise click.ClickException("There is no member with that name.")
    click.echo(f"{wanted} may use {found['title']}.")


@command(bp, "list")
def list_command() -> None:
    """List the apps, each with who may use it."""
    for row in fetch_rows(f"SELECT *, {COUNT_CHOSEN} FROM programs ORDER BY name"):
        count = f"{row['chosen']} chosen member" + ("" if row["chosen"] == 1 else "s")
        if names := [one["name"] for one in find_circles_of(row["id"]) if one["may_use"]]:
            count += f" and the circle{'' if len(names) == 1 else 's'} {', '.join(names)}"
        whom = "all members" if row["for_all"] else count
        click.echo(f"{row['name']}: {row['title']}, {row['address']}, for {whom}")


@command(bp, "remove")
@click.argument("name")
def remove_program_command(name: str) -> None:
    """Remove an app. Its proxy then refuses everybody."""
    found = find_for_command(name)
    delete_program(found["name"], None)
    click.echo(f"{found['title']} is removed.")


def find_for_command(name: str) -> sqlite3.Row:
    found = fetch_row("SELECT * FROM programs WHERE name = ?", (name,))
    if found is None:
        raise click.ClickException("There is no app with that name (`flask program list`).")
    return found
