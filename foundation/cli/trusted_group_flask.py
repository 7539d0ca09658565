"""What `.venv/bin/flask` runs: Flask's own command line, but `--version` says the program's.

`make install` and the image run this file, which copies it to where the packages are: `flask` runs
in any folder, so this can need nothing else of the program.
"""

import platform
import shutil
import sys
from pathlib import Path
from sysconfig import get_path

import click
from flask.cli import FlaskGroup
from flask.cli import cli as flasks_cli

VERSION = "1.1.0"  # the newest of CHANGELOG.md

cli = click.version_option(
    VERSION,
    prog_name="Trusted Group",
    message=f"%(prog)s %(version)s, on Python {platform.python_version()}",
)(FlaskGroup(name="flask", help=flasks_cli.help, add_version_option=False))


def install() -> None:
    """Into the environment whose Python runs this. What is there already isn't written again."""
    here = Path(__file__)
    write(Path(get_path("purelib"), here.name), here.read_text())
    script = Path(sys.executable).with_name("flask")
    flasks, ours = "from flask.cli import main", f"from {here.stem} import cli as main"
    write(script, script.read_text().replace(flasks, ours))


def write(path: Path, text: str) -> None:
    """Whole or not at all: the service may start while the disk is full."""
    if path.exists() and path.read_text() == text:
        return
    new = path.with_name(f"{path.name}.new")
    new.write_text(text)
    if path.exists():
        shutil.copymode(path, new)
    new.replace(path)


if __name__ == "__main__":
    install()
