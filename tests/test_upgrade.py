"""`make upgrade`: to the next version, or everything stays as it was."""

import os
import subprocess
from pathlib import Path

import pytest

from foundation.storage.migrations import read_steps

from .cast import ROOT, write_programs
from .older_versions import dump, git, read, use_these_packages
from .running_page import DOCKER, read_lines, read_row, type_line

pytestmark = pytest.mark.slow

# `start` as the unit does it, up to where it serves. It fails as often as a file has lines.
SYSTEMCTL = """#!/bin/sh
echo "$*" >> "$CALLED"
case "$1" in start | restart)
    cd "$PROGRAM" && .venv/bin/flask init-db || exit 1
    if grep -q . "$PROGRAM/../failures"; then sed -i 1d "$PROGRAM/../failures"; exit 1; fi ;;
esac
"""

SUDO = """#!/bin/sh
[ "$1" != -u ] || shift 2
exec "$@"
"""


class Box:
    """The program as docs/running.md installs it, where new versions come from, and systemd."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self.folder, self.settings = folder, settings
        self.origin, self.program, self.bin = (folder / n for n in ("origin", "program", "bin"))
        git("clone", "--quiet", str(ROOT), str(self.origin))
        self.at_origin("checkout", "--quiet", "-B", "main")  # ROOT may be on no branch
        self.at_origin("tag", "--force", "v9.0.0")
        git("clone", "--quiet", "--branch", "v9.0.0", str(self.origin), str(self.program))
        use_these_packages(self.program)
        self.bin.mkdir()
        write_programs(self.bin, systemctl=SYSTEMCTL, sudo=SUDO, docker=DOCKER)
        for name in ("failures", "called"):
            (folder / name).touch()

    def at_origin(self, *words: str) -> str:
        who = ["-c", "user.name=ada", "-c", "user.email=ada@example.org"]
        return git("-C", str(self.origin), *who, *words)

    def release(self, version: str, **changes: str) -> str:
        """A new version, with what is appended to those files; its commit."""
        for name, text in changes.items():
            path = self.origin / name.replace("_", ".")
            path.write_text(path.read_text() + text)
        self.at_origin("commit", "--quiet", "--allow-empty", "--all", "-m", "The next version")
        self.at_origin("tag", version)
        return self.at_origin("rev-parse", "HEAD")

    @property
    def commit(self) -> str:
        return git("-C", str(self.program), "rev-parse", "HEAD")

    def release_a_step(self, version: str) -> None:
        """A new version, whose database has one table more."""
        step = max(read_steps(ROOT / "migrations", "")) + 1
        (self.origin / "migrations" / f"{step:04d}.sql").write_text("CREATE TABLE later (x);\n")
        self.at_origin("add", "migrations")
        self.release(version)

    @property
    def environment(self) -> dict[str, str]:
        return self.settings | {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "PROGRAM": str(self.program),
            "CALLED": str(self.folder / "called"),
        }

    def type(self, *lines: str) -> list[str]:
        """In the program's folder; what systemctl or Docker was told by them."""
        (self.folder / "called").write_text("")
        typed = "\n".join(["set -e", *lines]).replace("/srv/trusted-group", str(self.program))
        type_line(typed, self.program, self.environment)
        return self.called()

    def called(self) -> list[str]:
        return (self.folder / "called").read_text().splitlines()

    def restarts(self) -> list[str]:
        return [call for call in self.called() if call.startswith("restart ")]

    def upgrade(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", "-C", str(self.program), "upgrade", *words],
            env=self.environment,
            capture_output=True,
            text=True,
        )

    def leftovers(self) -> list[str]:
        """What an upgrade makes on the way."""
        return [path.name for path in self.program.glob(".*") if path.name.startswith(LEFT)]


LEFT = (".upgrade", ".venv-")


def has_later(database: Path) -> bool:
    return read(database, "SELECT 1 FROM sqlite_schema WHERE name = 'later'") != []


@pytest.fixture
def box(tmp_path: Path, settings: dict[str, str], older: Path) -> Box:
    """Its database is one of version 1."""
    return Box(tmp_path, settings)


def test_from_tag_to_tag(box: Box, older: Path) -> None:
    newest = [box.release("v9.1.0"), box.release("v9.10.0")][1]
    box.at_origin("commit", "--quiet", "--allow-empty", "-m", "Not released yet")

    done = box.upgrade()

    assert (done.returncode, box.commit) == (0, newest), done
    assert "Restarted." in done.stdout
    assert read(older, "PRAGMA user_version") == [(max(read_steps(ROOT / "migrations", "")),)]
    assert box.leftovers() == []
    assert "This is the newest version." in box.upgrade().stdout


def test_to_a_version_that_is_named(box: Box) -> None:
    wanted, _ = box.release("v9.1.0"), box.release("v9.2.0")

    assert box.upgrade("TO=v9.1.0").returncode == 0

    assert box.commit == wanted


IMPOSSIBLE = "\nflask==99.0 --hash=sha256:" + "0" * 64 + "\n"


@pytest.mark.parametrize(
    "changes",
    [
        {"app_py": "\nraise RuntimeError('a bug')\n"},
        {"requirements_txt": IMPOSSIBLE},
        {"wsgi_py": "\ndel create_app\n"},
        {"Makefile": "\ninstall: broken\nbroken:\n\tfalse\n"},
    ],
)
def test_a_version_that_does_not_start_changes_nothing(
    box: Box,
    older: Path,
    changes: dict[str, str],
) -> None:
    was, before = box.commit, dump(older)
    box.release("v9.1.0", **changes)

    done = box.upgrade()

    assert done.returncode != 0
    assert "Nothing has changed, and what ran still runs." in done.stderr
    assert (box.commit, dump(older)) == (was, before)
    assert (box.leftovers(), box.restarts()) == ([], [])
    assert not (box.program / ".venv").is_symlink()


def test_local_changes_are_named(box: Box) -> None:
    box.release("v9.1.0")
    was = box.commit
    mine = box.program / "deploy" / "Caddyfile.container"
    mine.write_text("mine")

    done = box.upgrade()

    assert done.returncode != 0
    assert "  deploy/Caddyfile.container\n" in done.stderr
    assert (box.commit, mine.read_text()) == (was, "mine")


def test_a_server_that_does_not_come_back_is_the_old_one_again(
    box: Box,
    older: Path,
) -> None:
    was, before = box.commit, read(older, "SELECT id_digest FROM sessions")
    box.release_a_step("v9.1.0")
    (box.folder / "failures").write_text("once\n")

    done = box.upgrade()

    assert done.returncode != 0
    assert "The version from before is back, with its database." in done.stderr
    assert len(box.restarts()) == 2
    assert box.commit == was
    assert read(older, "SELECT id_digest FROM sessions") == before
    assert not has_later(older)


def test_a_new_list_gets_an_environment_of_its_own(box: Box) -> None:
    """With the packages that are installed here: what is tried is the way there."""
    newest = box.release("v9.1.0", requirements_txt="# Another list.\n")

    done = box.upgrade()

    assert (done.returncode, box.commit) == (0, newest), done
    environment = (box.program / ".venv").resolve()
    assert environment.name.startswith(".venv-")
    assert (environment / "bin" / "flask").exists()
    assert (box.program / ".venv-before" / "bin").is_symlink()
    shebang = (environment / "bin" / "flask").read_text().splitlines()[0]
    assert str(environment) in shebang


def test_an_upgrade_is_undone_as_the_docs_say(box: Box, older: Path) -> None:
    was = box.commit
    box.type(".venv/bin/flask init-db")
    before = dump(older)
    box.release_a_step("v9.1.0")
    upgrade, undo = read_lines("Upgrading")
    box.type(*upgrade)
    assert has_later(older)
    assert box.commit != was

    told = box.type(*undo)

    assert told == ["stop trusted-group", "start trusted-group"]
    assert (box.commit, dump(older)) == (was, before)


def test_an_upgrade_in_a_container_is_undone(box: Box, older: Path) -> None:
    was = box.commit
    git("-C", str(box.program), "checkout", "--quiet", "-B", "main", "--track", "origin/main")
    box.type(".venv/bin/flask init-db")
    before = dump(older)
    box.release_a_step("v9.1.0")
    box.type(*read_row("upgrade"))
    assert has_later(older)

    told = box.type(*read_row("undo an upgrade"))

    assert (told[0], told[-1]) == ("compose stop group", "compose up --detach")
    assert (box.commit, dump(older)) == (was, before)
