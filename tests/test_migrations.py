"""An older database is brought up to date by `flask init-db`, and by nothing else."""

import fcntl
import os
import re
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import time_machine
from click.testing import CliRunner, Result
from flask.cli import FlaskGroup

from foundation.storage.migrations import (
    MigrationFailed,
    Part,
    create_tables,
    find_versions,
    is_newer,
    is_older,
    migrate,
    read_part,
    read_parts,
    read_steps,
)
from foundation.typed.settings import WrongSettings
from foundation.words.clock import DAY
from simulator.vonage import Vonage
from wsgi import FEATURES, create_app

from .cast import ROOT, Group, run_flask, write_programs
from .older_versions import ADAS_COOKIE, describe, dump, git, read, use_these_packages

WRITTEN_AT = "2026-11-24 12:06"
GRACES_COOKIE = "899b62939e46803fb451185ae5e4e856974d4c5eefda2ad92b9d5c92b4746ded"


@pytest.fixture
def frozen() -> Iterator[None]:
    with time_machine.travel(WRITTEN_AT, tick=False):
        yield


def init_db(settings: dict[str, str], folder: Path) -> Result:
    """`flask init-db`, as the `flask` command runs it."""
    flask = FlaskGroup(create_app=lambda: create_app(settings), load_dotenv=False)
    return CliRunner().invoke(flask, ["init-db"])


def test_an_older_database_becomes_just_like_a_new_one(
    settings: dict[str, str], older: Path, tmp_path: Path
) -> None:
    result = init_db(settings, tmp_path)

    assert (result.exit_code, result.stderr) == (0, "")
    new = tmp_path / "new.db"
    create_app(settings | {"DATABASE": str(new)})
    with closing(sqlite3.connect(older)) as db, closing(sqlite3.connect(new)) as fresh:
        assert describe(db) == describe(fresh)
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert find_versions(db) == find_versions(fresh)


def test_what_the_group_had_is_still_there(
    settings: dict[str, str], older: Path, vonage: Vonage, frozen: None
) -> None:
    before = {
        table: read(older, f"SELECT count(*) FROM {table}") for table in ("authors", "sessions")
    }
    with closing(sqlite3.connect(older)) as db:
        migrate_with_program(db)
    group = Group(create_app(settings), vonage)

    after = {table: group.rows(f"SELECT count(*) FROM {table}") for table in before}
    assert after == before
    for name, cookie in {"ada": ADAS_COOKIE, "grace": GRACES_COOKIE}.items():
        browser = group.browser()
        browser.client.set_cookie("session", cookie)
        assert browser.username() == name
    assert group.one("SELECT data FROM sessions WHERE author_id = 1") == '{"count": 3}'
    public_ids = {id for (id,) in group.rows("SELECT public_id FROM authors")}
    assert len(public_ids) == 2
    assert all(re.fullmatch("[0-9a-f]{32}", str(id)) for id in public_ids)
    # The friend with an open invite gets in, as a member with an id that nobody had.
    assert group.text("12025550103") == 204
    hedy = group.browser()
    assert hedy.sign_up("12025550103", "hedy2", vonage.pin_of("12025550103")).status_code == 303
    assert group.rows("SELECT id FROM authors WHERE username = 'hedy2'") == [(5,)]
    group.invite("12025550105")
    assert group.one("SELECT max(id) FROM whitelist") == 8
    assert group.one("SELECT began FROM sessions WHERE author_id = 1") == "pin"


SYSTEMCTL = """#!/bin/sh
case "$1" in restart) cd "$PROGRAM" && .venv/bin/flask init-db ;; esac
"""  # `restart` as the unit does it, up to where it serves


def test_one_command_upgrades_a_group_of_the_first_version(
    settings: dict[str, str], older: Path, tmp_path: Path
) -> None:
    origin, program, stand_ins = (tmp_path / name for name in ("origin", "program", "bin"))
    git("clone", "--quiet", str(ROOT), str(origin))
    git("-C", str(origin), "checkout", "--quiet", "-B", "main")  # ROOT may be on no branch
    git("clone", "--quiet", str(origin), str(program))
    who = ["-c", "user.name=ada", "-c", "user.email=ada@example.org"]
    git("-C", str(origin), *who, "commit", "--quiet", "--allow-empty", "-m", "The next version")
    use_these_packages(program)
    stand_ins.mkdir()
    write_programs(stand_ins, systemctl=SYSTEMCTL)

    path = f"{stand_ins}:{os.environ['PATH']}"
    environment = settings | {"PATH": path, "PROGRAM": str(program), "HOME": str(tmp_path)}
    done = subprocess.run(
        ["make", "-C", str(program), "upgrade"], env=environment, capture_output=True, text=True
    )

    assert (done.returncode, "Restarted." in done.stdout) == (0, True), done
    newest, got = (git("-C", str(folder), "rev-parse", "HEAD") for folder in (origin, program))
    assert got == newest
    assert read(older, "PRAGMA user_version") == [(max(read_steps(ROOT / "migrations", "")),)]
    assert read(older, "SELECT username FROM authors ORDER BY id")[:2] == [("ada",), ("grace",)]


def test_the_ledger_goes_on_and_the_message_ids_are_gone(
    settings: dict[str, str], older: Path, vonage: Vonage, frozen: None
) -> None:
    sent = read(older, "SELECT count(*) FROM journal WHERE event IN ('text_sent', 'pin_sent')")
    ids = [id for (id,) in read(older, "SELECT detail FROM journal WHERE event = 'pin_sent'")]
    assert len(ids) == 5
    with closing(sqlite3.connect(older)) as db:
        migrate_with_program(db)
    group = Group(create_app(settings), vonage)

    assert group.rows("SELECT sum(parts) FROM journal") == sent
    journal = str(group.rows("SELECT * FROM journal"))
    assert not [id for id in ids if str(id) in journal]
    message_ids = group.one("SELECT message_ids FROM whitelist WHERE id = 5")
    assert message_ids == '{"f5a34fdc-1fc4-4173-96d1-3b2dcc145793":null}'
    receipt = {"messageId": "f5a34fdc-1fc4-4173-96d1-3b2dcc145793", "status": "delivered"}
    assert (
        group.app.test_client().post(f"/delivery/{group.token()}", data=receipt).status_code == 204
    )
    assert group.one("SELECT delivery FROM whitelist WHERE id = 5") == "delivered"


def migrate_with_program(db: sqlite3.Connection) -> None:
    db.isolation_level = None
    migrate(db, read_parts(ROOT, [feature.name for feature in FEATURES]))


@pytest.mark.parametrize("command", [["webhook-url"], ["doctor"], ["prune"], ["serve"], ["run"]])
def test_any_other_start_on_an_older_database_says_so(
    settings: dict[str, str], older: Path, tmp_path: Path, command: list[str]
) -> None:
    before = dump(older)

    result = run_flask(tmp_path, *command, **settings)

    assert result.returncode == 2
    told = "Error: DATABASE is from an older version: stop the server and run `flask init-db`\n"
    assert result.stderr.endswith(told)
    assert read(older, "PRAGMA user_version") == [(1,)]
    assert dump(older) == before
    with pytest.raises(WrongSettings, match="older version"):
        create_app(settings)


def test_a_whole_copy_from_before_lies_beside_it(
    settings: dict[str, str], older: Path, tmp_path: Path
) -> None:
    before = dump(older)

    result = init_db(settings, tmp_path)

    copy = older.with_name("group.db.before-2")
    assert str(copy) in result.stdout
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert dump(copy) == before


def test_copies_are_deleted_after_thirty_days(
    settings: dict[str, str], older: Path, tmp_path: Path
) -> None:
    assert init_db(settings, tmp_path).exit_code == 0
    copy = older.with_name("group.db.before-2")
    age = copy.stat().st_mtime - 29 * DAY
    os.utime(copy, (age, age))
    assert init_db(settings, tmp_path).exit_code == 0
    assert copy.exists()

    os.utime(copy, (age - 2 * DAY, age - 2 * DAY))
    assert init_db(settings, tmp_path).exit_code == 0

    assert not copy.exists()


def test_nothing_is_migrated_under_a_running_server(
    settings: dict[str, str], older: Path, tmp_path: Path
) -> None:
    with open(f"{older}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as a server that was started by `flask serve` holds it
        result = init_db(settings, tmp_path)

    assert result.exit_code == 1
    assert "A server is using" in result.stderr
    assert read(older, "PRAGMA user_version") == [(1,)]


def test_several_at_once_migrate_it_once(
    settings: dict[str, str], older: Path, tmp_path: Path
) -> None:
    environment = {"PATH": os.environ["PATH"], "FLASK_APP": str(ROOT / "wsgi.py")} | settings
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "flask", "init-db"],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(5)
    ]

    told = [process.communicate(timeout=60)[0] for process in running]

    assert [process.returncode for process in running] == [0] * 5, told
    assert read(older, "SELECT count(*) FROM authors") == [(2,)]
    copy = older.with_name("group.db.before-2")
    assert [file.name for file in tmp_path.glob("group.db.before*")] == [copy.name]
    assert read(copy, "PRAGMA user_version") == [(1,)]


def test_a_step_that_fails_changes_nothing_and_says_what_to_do(
    settings: dict[str, str], older: Path, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(older)) as db:
        db.execute("CREATE TABLE cooldowns (x)")  # the step wants to create it
        before = list(db.iterdump())

    result = init_db(settings, tmp_path)

    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    for words in ("core 2: table cooldowns already exists", "Nothing has changed", "go back to"):
        assert words in result.stderr
    with closing(sqlite3.connect(older)) as db:
        assert list(db.iterdump()) == before
        assert db.execute("PRAGMA user_version").fetchone() == (1,)


def test_the_last_step_that_fails_takes_back_the_first(
    settings: dict[str, str], older: Path, tmp_path: Path
) -> None:
    """Neither program could use a database between two versions."""
    with closing(sqlite3.connect(older)) as db:
        db.execute("CREATE TABLE told_until (x)")  # as the last part wants to create it
        before = list(db.iterdump())

    result = init_db(settings, tmp_path)

    assert result.exit_code == 1
    assert "notify 1: table told_until already exists" in result.stderr
    with closing(sqlite3.connect(older)) as db:
        assert list(db.iterdump()) == before
        assert db.execute("PRAGMA user_version").fetchone() == (1,)


# Parts of features


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.execute("PRAGMA foreign_keys = ON")
        yield db


CORE_PART = read_parts(ROOT, [])[0]
NOTES_1 = Part("notes", "CREATE TABLE notes (id INTEGER PRIMARY KEY);", {})
NOTES_2 = Part(
    "notes",
    "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT);",
    {2: "ALTER TABLE notes ADD COLUMN text TEXT;"},
)


def test_a_new_or_changed_feature_makes_the_database_older(
    db: sqlite3.Connection,
) -> None:
    create_tables(db, [CORE_PART])
    assert not is_older(db, [CORE_PART])
    assert is_older(db, [CORE_PART, NOTES_1])

    migrate(db, [CORE_PART, NOTES_1])

    assert find_versions(db) == {"core": CORE_PART.version, "notes": 1}
    assert is_older(db, [CORE_PART, NOTES_2])
    migrate(db, [CORE_PART, NOTES_2])
    assert find_versions(db)["notes"] == 2
    assert not is_older(db, [CORE_PART, NOTES_2])
    assert is_newer(db, [CORE_PART, NOTES_1])
    assert not is_older(db, [CORE_PART])  # without the feature, its tables are left alone
    db.execute("INSERT INTO notes (text) VALUES ('kept')")


def test_a_new_database_has_the_parts_of_all_features(db: sqlite3.Connection) -> None:
    create_tables(db, [CORE_PART, NOTES_2])

    assert find_versions(db) == {"core": CORE_PART.version, "notes": 2}
    assert not is_older(db, [CORE_PART, NOTES_2])


def test_a_step_that_leaves_orphans_is_rolled_back(
    db: sqlite3.Connection,
) -> None:
    create_tables(db, [CORE_PART, NOTES_1])
    db.execute("INSERT INTO authors (username, joined_at) VALUES ('ada', 1)")
    values = ("x", 1, "", "{}", 1, 1, 1, "pin", None, 0)
    db.execute(f"INSERT INTO sessions VALUES ({', '.join('?' * 10)})", values)
    bad = NOTES_1._replace(steps={2: "CREATE TABLE more (x);\nDELETE FROM authors;"})

    with pytest.raises(MigrationFailed, match="rows of sessions refer to none of authors"):
        migrate(db, [CORE_PART, bad])

    assert db.execute("SELECT count(*) FROM authors").fetchone() == (1,)
    assert db.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'more'").fetchone() == (0,)
    assert db.execute("PRAGMA foreign_keys").fetchone() == (1,)
    assert find_versions(db)["notes"] == 1


def test_a_features_tables_are_files_in_its_room(tmp_path: Path) -> None:
    (tmp_path / "notes.sql").write_text("new")
    (tmp_path / "notes.0002.sql").write_text("second")
    (tmp_path / "notes.0003.sql").write_text("third")

    part = read_part(tmp_path, "notes")

    assert part == Part("notes", "new", {2: "second", 3: "third"})
    assert part.version == 3
    assert read_part(tmp_path, "devices") is None
