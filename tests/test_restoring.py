"""Copies put in the database's place, as a file and through a pipe, and the way back from an
upgrade: what people find afterwards, and what is told of it."""

import fcntl
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from foundation.typed.settings import WrongSettings
from simulator.vonage import Vonage
from wsgi import create_app

from .authenticator import Passkey
from .cast import GRACE, MALLORY, ROOT, Browser, Group, run_flask
from .older_versions import ADAS_COOKIE, dump, read
from .passkeys import add


@pytest.fixture
def backup(group: Group, ada: Browser, tmp_path: Path) -> Path:
    """Of Ada, Grace (who has a passkey) and Mallory. Then Mallory is removed and another joins."""
    grace = group.join(GRACE, "grace")
    assert add(grace, Passkey()).status_code == 200
    group.join(MALLORY, "mallory")
    file = tmp_path / "copies" / "copy.db"
    file.parent.mkdir()
    assert group.command("backup", str(file)).exit_code == 0
    assert group.command("remove", "mallory").exit_code == 0
    group.join("12025550104", "hedy")
    return file


def test_a_restored_copy_says_what_it_means_for_whom(
    backup: Path, ada: Browser, settings: dict[str, str], vonage: Vonage, tmp_path: Path
) -> None:
    done = run_flask(tmp_path, "restore", str(backup), **settings)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "The copy is the database now. Everybody is signed out."
        " They sign in with a passkey: grace."
        " Invite them again, for their usernames: ada, mallory."
        " Members again, although they were removed or had left: mallory."
        " Gone, because they joined later: hedy."
        f" What it was just now is in {kept_of(settings)}.\n"
    )
    database = Path(settings["DATABASE"])
    assert len(read(kept_of(settings), "SELECT * FROM authors")) == 4
    assert database.stat().st_mode & 0o777 == 0o600
    group = Group(create_app(settings), vonage)
    again = group.browser()
    again.client.set_cookie("session", ada.cookie())
    assert again.username() is None
    assert group.rows("SELECT username FROM authors") == [("ada",), ("grace",), ("mallory",)]
    assert group.one("PRAGMA integrity_check") == "ok"


def kept_of(settings: dict[str, str]) -> Path:
    database = Path(settings["DATABASE"])
    (kept,) = database.parent.glob(f"{database.name}.replaced-*")
    return kept


def test_a_copy_goes_through_pipes(group: Group, settings: dict[str, str], tmp_path: Path) -> None:
    """As out of a container and into another, where no file can be put."""
    group.join(GRACE, "grace")
    flask = [sys.executable, "-m", "flask"]
    environment = {"PATH": os.environ["PATH"], "FLASK_APP": str(ROOT / "wsgi.py")} | settings
    made = subprocess.run(
        [*flask, "backup", "-"], cwd=tmp_path, env=environment, capture_output=True
    )
    assert made.stderr == b"Wrote - and checked it. Members: 1; no sessions, no open invites.\n"
    new = environment | {"DATABASE": str(tmp_path / "new" / "group.db")}

    put = subprocess.run(
        [*flask, "restore", "-"], cwd=tmp_path, env=new, input=made.stdout, capture_output=True
    )

    assert (put.returncode, put.stderr) == (0, b"")
    assert read(Path(new["DATABASE"]), "SELECT username FROM authors") == [("grace",)]
    assert b"Gone" not in put.stdout


@pytest.mark.parametrize("content", [b"", b"a letter", b"SQLite format 3\0" + b"x" * 5000, None])
def test_what_is_no_copy_changes_nothing(
    backup: Path, settings: dict[str, str], tmp_path: Path, content: bytes | None
) -> None:
    wrong = tmp_path / "wrong"
    if content is None:
        with closing(sqlite3.connect(wrong)) as db:
            db.execute("CREATE TABLE authors (id, username)")
    else:
        wrong.write_bytes(content)
    before = dump(Path(settings["DATABASE"]))

    done = run_flask(tmp_path, "restore", str(wrong), **settings)

    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("Error: Nothing has changed: this is no database of a group")
    assert dump(Path(settings["DATABASE"])) == before


def test_nothing_is_restored_under_a_running_server(
    backup: Path, settings: dict[str, str], tmp_path: Path
) -> None:
    with open(f"{settings['DATABASE']}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = run_flask(tmp_path, "restore", str(backup), **settings)

    assert (done.returncode, "A server is using" in done.stderr) == (1, True)


def test_a_damaged_database_can_be_restored(
    backup: Path, settings: dict[str, str], tmp_path: Path
) -> None:
    settings["DATABASE"] = str(tmp_path / "damaged.db")
    Path(settings["DATABASE"]).write_bytes(b"a letter" * 1000)
    assert run_flask(tmp_path, "prune", **settings).returncode == 2

    assert run_flask(tmp_path, "restore", str(backup), **settings).returncode == 0

    assert run_flask(tmp_path, "prune", **settings).returncode == 0


def test_a_copy_that_was_put_onto_an_old_wal_says_which_files_to_remove(
    backup: Path, settings: dict[str, str], tmp_path: Path
) -> None:
    """SQLite itself would write the old one's last changes into it."""
    database = tmp_path / "other.db"
    shutil.copy(f"{settings['DATABASE']}-wal", f"{database}-wal")
    assert Path(f"{database}-wal").stat().st_size > 0
    shutil.copy(backup, database)
    settings["DATABASE"] = str(database)

    with pytest.raises(WrongSettings) as wrong:
        create_app(settings)

    assert wrong.value.problems[0].endswith(f"remove {database}-wal and {database}-shm")
    Path(f"{database}-wal").unlink()
    create_app(settings)


# Back from an upgrade -----------------------------------------------------------------------------


@pytest.fixture
def upgraded(settings: dict[str, str], older: Path, tmp_path: Path) -> list[str]:
    """What the database was before it became one that this version doesn't know."""
    before = dump(older)
    done = run_flask(tmp_path, "init-db", **settings)
    assert "`flask init-db --back` goes back to that." in done.stdout
    assert older.with_name("group.db.before-2").stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(older)) as db:
        db.execute("PRAGMA user_version = 99")
    return before


def test_back_from_an_upgrade(
    settings: dict[str, str],
    older: Path,
    upgraded: list[str],
    tmp_path: Path,
) -> None:
    """The older program finds its database, and everybody signed in."""
    back = run_flask(tmp_path, "init-db", "--back", **settings)

    assert (back.returncode, back.stderr) == (0, "")
    assert "signed in then are signed in again" in back.stdout
    assert dump(older) == upgraded
    assert read(kept_of(settings), "PRAGMA user_version") == [(99,)]
    # And forward again, with nobody signed out.
    assert run_flask(tmp_path, "init-db", **settings).returncode == 0
    ada = create_app(settings).test_client()
    ada.set_cookie("session", ADAS_COOKIE)
    assert "Hello, ada" in ada.get("/").text


def test_back_is_only_for_who_cannot_use_the_database(
    settings: dict[str, str],
    older: Path,
    upgraded: list[str],
    tmp_path: Path,
) -> None:
    """The copy may be of weeks ago, and a second time it would be gone what was kept."""
    assert run_flask(tmp_path, "init-db", "--back", **settings).returncode == 0

    again = run_flask(tmp_path, "init-db", "--back", **settings)

    assert (again.returncode, again.stderr.count("\n")) == (1, 1)
    assert f"`flask restore {older}.before-2`" in again.stderr
    assert dump(older) == upgraded
    assert read(kept_of(settings), "PRAGMA user_version") == [(99,)]


def test_there_may_be_nothing_to_go_back_to(settings: dict[str, str], tmp_path: Path) -> None:
    create_app(settings)

    done = run_flask(tmp_path, "init-db", "--back", **settings)

    assert done.returncode == 1
    assert done.stderr == "Error: There is no group.db.before-... to go back to.\n"


def test_a_copy_of_a_newer_version_is_not_taken(
    backup: Path, settings: dict[str, str], tmp_path: Path
) -> None:
    with closing(sqlite3.connect(backup)) as db:
        db.execute("PRAGMA user_version = 99")
    before = dump(Path(settings["DATABASE"]))

    done = run_flask(tmp_path, "restore", str(backup), **settings)

    told = "Error: Nothing has changed: it was made by a newer version of this program\n"
    assert (done.returncode, done.stderr) == (1, told)
    assert dump(Path(settings["DATABASE"])) == before


def test_what_is_only_tried_says_what_is_wrong_in_one_line(
    backup: Path, settings: dict[str, str], tmp_path: Path
) -> None:
    """And takes in no WAL that isn't the database's."""
    settings["DATABASE"] = "other.db"
    (tmp_path / "other.db").write_bytes(backup.read_bytes())
    (tmp_path / "other.db-wal").write_bytes(b"of another")
    old_wal = run_flask(tmp_path, "init-db", "--try", str(tmp_path), **settings)
    assert (old_wal.returncode, old_wal.stderr.count("\n")) == (2, 1)
    assert (tmp_path / "other.db-wal").read_bytes() == b"of another"

    (tmp_path / "other.db-wal").unlink()
    assert run_flask(tmp_path, "init-db", "--try", str(tmp_path), **settings).returncode == 0
    (tmp_path / "other.db").write_bytes(b"a letter" * 1000)
    damaged = run_flask(tmp_path, "init-db", "--try", str(tmp_path), **settings)
    assert (damaged.returncode, damaged.stderr.count("\n")) == (1, 1)
