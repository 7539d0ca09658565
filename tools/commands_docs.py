"""`make docs`: writes docs/commands.md from the commands' own help and the makefile's head."""

import re
from collections.abc import Iterator
from pathlib import Path

import click

from wsgi import FEATURES

ROOT = Path(__file__).parent.parent
HEAD = """\
# Commands

`make docs` writes this page. `flask` is `.venv/bin/flask`, in the program's folder. Commands also
work while the server runs.

"""


def write_commands() -> str:
    """What docs/commands.md should contain."""
    return (
        HEAD + write_commands_table(find_commands()) + "\n" + write_commands_table(find_targets())
    )


def write_commands_table(rows: Iterator[tuple[str, str]]) -> str:
    lines = "".join(f"| `{command}` | {does} |\n" for command, does in rows)
    return f"| command | does |\n|---|---|\n{lines}"


def find_commands() -> Iterator[tuple[str, str]]:
    for feature in FEATURES:
        group = feature.blueprint.cli
        first = f"flask {feature.blueprint.cli_group or ''}".split()
        for name, command in sorted(group.commands.items()):
            usage = [*first, name, *(say_usage(one) for one in command.params)]
            yield " ".join(usage), " ".join(say_help(command).split())


def say_usage(parameter: click.Parameter) -> str:
    """Such as "PHONE" or "[--username NAME]"."""
    if isinstance(parameter, click.Option):
        value = "" if parameter.is_flag else f" {parameter.metavar or str(parameter.name).upper()}"
        return f"[{parameter.opts[0]}{value}]"
    name = str(parameter.name).upper()
    return name if parameter.required else f"[{name}]"


def say_help(command: click.Command) -> str:
    options = [one for one in command.params if isinstance(one, click.Option) and one.help]
    said = " ".join(f"`{one.opts[0]}`: {one.help}" for one in options)
    return f"{command.help} {said}"


def find_targets() -> Iterator[tuple[str, str]]:
    """The makefile begins with a line for each."""
    head = (ROOT / "Makefile").read_text().split("\n\n")[0]
    for target, does in re.findall(r"^# (make [a-z-]+) +(.*)$", head, re.M):
        yield target, f"{does[0].upper()}{does[1:]}."


if __name__ == "__main__":
    (ROOT / "docs" / "commands.md").write_text(write_commands())
