"""What docs/running.md tells people to type."""

import re
import subprocess
from pathlib import Path

from .cast import ROOT

PAGE = (ROOT / "docs" / "running.md").read_text()
# What stands for Docker: the container is this machine, where `flask` is the one of PROGRAM and has
# the group's settings. Says in the file CALLED what it was told.
DOCKER = """#!/bin/sh
echo "$*" >> "${CALLED:-/dev/null}"
case "$*" in
"compose exec group flask "*) shift 3 ;;
"compose exec -T group flask "*) shift 4 ;;
"compose run --rm -T group flask "*) shift 5 ;;
"compose run --rm group flask "*) shift 4 ;;
"compose up --detach" | "compose up --detach --build") set -- flask init-db ;;
"compose stop group" | "compose build group" | "compose pull caddy") exit 0 ;;
"compose build --pull --no-cache group" | "compose logs group" | "compose down --volumes") exit 0 ;;
*) exit 99 ;;
esac
PATH="$PROGRAM/.venv/bin:$PATH"
exec "$@"
"""


def read_lines(heading: str) -> list[list[str]]:
    """The blocks of commands below a heading."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"(?:^    \S.*\n)+", section, re.M)
    assert blocks, heading
    return [block.strip().split("\n    ") for block in blocks]


def read_row(name: str) -> list[str]:
    """The commands in a row of the table of containers."""
    (row,) = re.findall(rf"^\| {name} \| (.*) \|$", PAGE, re.M)
    return re.findall(r"`([^`]+)`", row)


def type_line(line: str, folder: Path, environment: dict[str, str]) -> str:
    """What it prints. Run as cron does, too."""
    done = subprocess.run(
        ["sh", "-c", line], env=environment, cwd=folder, capture_output=True, text=True
    )
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), (line, done.stderr)
    return done.stdout
