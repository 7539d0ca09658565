"""The `flask` commands, as the person who runs the box types them."""

import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import time_machine

from foundation.storage.digests import digest_session
from foundation.typed.settings import WrongSettings
from foundation.words.clock import DAY
from simulator.vonage import Answer, Vonage, answer_with
from wsgi import create_app

from .cast import (
    ADA,
    GRACE,
    ROOT,
    Browser,
    Group,
    Served,
    require_executable,
    run_flask,
    sentence,
)

COMMANDS = ["init-db", "invite", "remove", "sign-out", "backup", "prune", "webhook-url"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_what_it_is_for(group: Group, command: str) -> None:
    result = group.command(command, "--help")

    assert result.exit_code == 0
    assert len(result.output.splitlines()) > 3


@pytest.mark.parametrize("words", ["", "init-db", "invite", "restore", "openid rotate-key"])
def test_help_needs_no_settings_and_makes_no_database(tmp_path: Path, words: str) -> None:
    result = run_flask(tmp_path, *words.split(), "--help")

    assert (result.returncode, result.stderr) == (0, "")
    assert "backup" in result.stdout if words == "" else f"flask {words} " in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_first_admin_is_invited_by_command(group: Group) -> None:
    result = group.command("invite", "+1 202 555 0100", "--username", "Ada")

    assert result.exit_code == 0
    assert result.output.startswith("The number ending in 00 is invited as ada until ")
    assert result.output.endswith(", and the text is on its way.\n")
    assert group.rows("SELECT username, invited_by FROM whitelist") == [("ada", None)]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["5550100"], sentence("phone-no-country")),
        (["+1900555010"], sentence("phone-impossible")),
        (["+12025550100", "--username", "root"], sentence("username-reserved")),
        (["+12025550100", "--username", ""], sentence("username-missing")),
    ],
)
def test_a_wrong_invite_is_told_without_the_number(
    group: Group, words: list[str], sentence: str
) -> None:
    result = group.command("invite", *words)

    assert result.exit_code == 1
    assert sentence in result.output
    assert words[0] not in result.output
    assert group.vonage.requests == []


def test_a_text_that_could_not_be_sent_is_told_with_what_to_do(group: Group) -> None:
    group.vonage.fail("text", answer_with(Answer.of(401, {})))

    result = group.command("invite", f"+{ADA}", "--username", "ada")

    assert result.exit_code == 1
    assert "is invited as ada, but: Vonage doesn't accept the key and secret" in result.output
    assert group.command("invite", f"+{ADA}", "--username", "ada").exit_code == 0


def test_inviting_twice_within_a_minute_is_told(group: Group) -> None:
    group.invite(ADA, "ada")

    result = group.command("invite", f"+{ADA}", "--username", "ada")

    assert result.exit_code == 1
    assert sentence("invited-just-now") in result.output


def test_the_webhooks_address_is_the_same_at_every_start(settings: dict[str, str]) -> None:
    urls = {
        create_app(settings).test_cli_runner().invoke(args=["webhook-url"]).output for _ in range(2)
    }

    assert len(urls) == 1
    assert urls.pop().startswith("http://localhost:8000/answer/")


def test_a_new_secret_key_drops_invites_and_says_where_the_address_is(
    settings: dict[str, str], vonage: Vonage, capsys: pytest.CaptureFixture[str]
) -> None:
    group = Group(create_app(settings), vonage)
    ada = group.join(ADA, "ada", bound=True)
    group.invite(GRACE)
    group.text(GRACE)
    old = group.token()
    assert capsys.readouterr().err == ""

    new = Group(
        create_app(settings | {"SECRET_KEY": "another-key-of-more-than-32-characters"}), vonage
    )

    told = capsys.readouterr().err
    assert "SECRET_KEY is new, so open invites are dropped" in told
    assert "flask webhook-url" in told
    assert new.token() not in told  # a start's output ends up in logs
    assert new.token() != old
    assert new.rows("SELECT * FROM whitelist") == []
    assert new.rows("SELECT * FROM pending_verifications") == []
    assert new.one("SELECT event FROM journal ORDER BY id DESC") == "key_changed"
    same = new.browser()
    same.client.set_cookie("session", ada.cookie())
    assert same.username() == "ada"  # sessions live on
    create_app(settings | {"SECRET_KEY": "another-key-of-more-than-32-characters"})
    assert capsys.readouterr().err == ""


def test_a_command_with_another_key_drops_nothing(
    group: Group, settings: dict[str, str], tmp_path: Path
) -> None:
    """It may have run in a shell with another environment than the server's."""
    group.invite(GRACE)
    other = settings | {"SECRET_KEY": "another-key-of-more-than-32-characters"}
    assert run_flask(tmp_path, "--help", **other).returncode == 0
    for words in (["doctor"], ["webhook-url"], ["prune"]):
        assert "isn't the one that this group had" in run_flask(tmp_path, *words, **other).stderr
    assert group.one("SELECT count(*) FROM whitelist") == 1

    done = run_flask(tmp_path, "init-db", **other)

    assert (done.returncode, "open invites are dropped" in done.stderr) == (0, True)
    assert group.one("SELECT count(*) FROM whitelist") == 0
    assert run_flask(tmp_path, "webhook-url", **other).returncode == 0


def test_a_database_of_a_newer_version_is_left_alone(settings: dict[str, str]) -> None:
    create_app(settings)
    with sqlite3.connect(settings["DATABASE"]) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()

    with pytest.raises(WrongSettings, match="newer version"):
        create_app(settings)


def test_what_is_no_database_is_told_in_one_line(settings: dict[str, str]) -> None:
    Path(settings["DATABASE"]).write_text("This is not a database, but somebody's letter." * 100)

    with pytest.raises(WrongSettings, match=r"DATABASE .* cannot be used: file is not a database"):
        create_app(settings)


def test_a_relative_database_is_in_the_programs_folder_and_its_parents_are_made(
    settings: dict[str, str], tmp_path: Path
) -> None:
    create_app(settings | {"DATABASE": str(tmp_path / "a" / "b" / "group.db")})

    assert (tmp_path / "a" / "b" / "group.db").exists()


def test_commands_work_on_a_running_server(served: Served) -> None:
    ready = served.command("init-db")
    assert (ready.returncode, ready.stderr) == (0, "")
    assert ready.stdout.endswith("is ready.\n")
    invited = served.command("invite", f"+{GRACE}")
    assert (invited.returncode, invited.stderr) == (0, "")
    assert "number ending in 01" in invited.stdout
    routes = served.command("routes")
    assert "/answer/<token>" in routes.stdout


def test_a_member_is_removed_by_command(group: Group, ada: Browser) -> None:
    grace = group.join(GRACE, "grace")

    result = group.command("remove", " Grace ")

    assert (result.exit_code, result.output) == (
        0,
        "grace is removed, and signed out everywhere.\n",
    )
    assert (grace.username(), ada.username()) == (None, "ada")
    assert "grace was removed from the command line" in ada.get("/admin/journal").text


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["remove", "nobody"], "There is no member with that name."),
        (["remove", "ada"], sentence("admin-stays")),
        (["remove", ""], "There is no member with that name."),
        (["remove", "\udcff"], "There is no member with that name."),
        (["sign-out", "nobody"], "There is no member with that name."),
    ],
)
def test_who_cannot_be_taken_out_stays(
    group: Group, ada: Browser, words: list[str], sentence: str
) -> None:
    result = group.command(*words)

    assert result.exit_code == 1
    assert sentence in result.output
    assert ada.username() == "ada"


def test_members_are_signed_out_by_command(group: Group, ada: Browser) -> None:
    devices = [group.join(GRACE, "grace"), group.join(GRACE, "grace", bound=True)]

    assert group.command("sign-out", "grace").output == "grace is signed out everywhere.\n"

    assert [device.username() for device in devices] == [None, None]
    assert ada.username() == "ada"
    assert "grace was signed out everywhere from the command line" in ada.get("/admin/journal").text


def test_everybody_is_signed_out_by_command(group: Group, ada: Browser) -> None:
    grace = group.join(GRACE, "grace")

    result = group.command("sign-out", "--all")

    assert result.output == "Everybody is signed out; 2 sessions have ended.\n"
    assert (ada.username(), grace.username()) == (None, None)
    assert group.rows("SELECT username FROM authors") == [("ada",), ("grace",)]
    assert (
        "Everybody was signed out from the command line"
        in group.join(ADA, "ada", bound=True).get("/admin/journal").text
    )


@pytest.mark.parametrize("words", [[], ["ada", "--all"]])
def test_signing_out_needs_to_know_whom(group: Group, ada: Browser, words: list[str]) -> None:
    result = group.command("sign-out", *words)

    assert result.exit_code == 2
    assert "Name a member, or say --all." in result.output
    assert ada.username() == "ada"


def test_what_has_expired_is_dropped_by_command(group: Group) -> None:
    with time_machine.travel("2026-01-01", tick=False) as clock:
        group.join(GRACE, "grace")
        group.invite(ADA, "ada")
        clock.shift(30 * DAY)

        # The session, the receipt, Ada's invite and cooldown, and the message acted on.
        assert group.command("prune").output == "5 expired rows are deleted.\n"

        assert group.command("prune").output == "0 expired rows are deleted.\n"
    assert group.rows("SELECT * FROM sessions") == group.rows("SELECT * FROM whitelist") == []


def test_a_backup_has_everything_but_what_lets_somebody_in(
    group: Group, ada: Browser, tmp_path: Path, settings: dict[str, str]
) -> None:
    group.invite(GRACE)
    group.text(GRACE)
    file = tmp_path / "backup.db"

    result = group.command("backup", str(file))

    assert result.exit_code == 0
    told = "and checked it. Members: 1; no sessions, no open invites."
    assert result.output == f"Wrote {file} {told}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.glob("*backup*")] == ["backup.db"]
    digest = digest_session(ada.cookie())
    assert digest.encode() not in file.read_bytes()
    restored = Group(create_app(settings | {"DATABASE": str(file)}), group.vonage)
    for table in ("authors", "journal"):
        every = f"SELECT * FROM {table}"
        assert restored.rows(every) == group.rows(every) != []
    for table in (
        "sessions",
        "whitelist",
        "pending_verifications",
        "cooldowns",
        "inbound_messages",
    ):
        assert restored.rows(f"SELECT * FROM {table}") == []
    again = restored.browser()
    again.client.set_cookie("session", ada.cookie())
    assert (again.username(), ada.username()) == (None, "ada")
    restored.invite(GRACE)
    assert restored.text(GRACE) == 204
    assert again.sign_up(GRACE, "grace", group.vonage.pin_of(GRACE)).status_code == 303


def test_a_backup_is_taken_while_the_server_writes(served: Served, local: Group) -> None:
    writing = True

    def write() -> None:
        while writing:
            local.rows("SELECT 1")
            served.text(GRACE)

    local.invite(GRACE)
    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(3):
            file = Path(served.settings["DATABASE"]).with_name(f"{number}.db")
            result = served.command("backup", str(file))
            assert (result.returncode, result.stderr) == (0, "")
    finally:
        writing = False
        writer.join()


def test_a_backup_overwrites_nothing(group: Group, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("a letter")

    for file in (precious, tmp_path / "no" / "folder"):
        result = group.command("backup", str(file))
        assert result.exit_code == 1
        assert result.output.startswith("Error: ")
        assert result.output.count("\n") == 1

    assert precious.read_text() == "a letter"
    assert group.command("backup", str(tmp_path)).exit_code == 2


def test_a_backup_that_does_not_fit_leaves_nothing(served: Served, local: Group) -> None:
    with sqlite3.connect(served.settings["DATABASE"]) as db:
        lines = [(int(time.time()), "joined", "x" * 1000)] * 1000
        db.executemany("INSERT INTO journal (at, event, actor) VALUES (?, ?, ?)", lines)
    db.close()
    file = Path(served.settings["DATABASE"]).with_name("backup.db")

    result = subprocess.run(
        ["bash", "-c", f"ulimit -f 256; exec '{sys.executable}' -m flask backup '{file}'"],
        cwd=ROOT,
        env=served.environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert result.returncode == 1
    assert result.stderr.startswith("Error: No backup was written: ")
    assert result.stderr.count("\n") == 1
    assert not list(file.parent.glob("*backup*"))


@pytest.mark.parametrize("call", ["fsync", "linkat"])
def test_a_backup_that_is_killed_leaves_nothing(
    group: Group, settings: dict[str, str], tmp_path: Path, call: str
) -> None:
    strace = require_executable("strace")
    folder = tmp_path / "copies"
    folder.mkdir()
    file = folder / "copy.db"
    if subprocess.run([strace, "-o", "/dev/null", "true"], capture_output=True).returncode:
        pytest.skip("strace cannot trace here")
    traced = [strace, "-f", "-o", "/dev/null", "-e", f"inject={call}:signal=SIGKILL"]
    killed = subprocess.run(
        [*traced, sys.executable, "-m", "flask", "backup", str(file)],
        cwd=ROOT,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
    )
    assert killed.returncode != 0
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("command", ["prune", "sign-out --all", "remove grace", f"invite +{ADA}"])
def test_a_locked_database_is_told_in_one_line(group: Group, command: str) -> None:
    group.join(GRACE, "grace")
    locker = sqlite3.connect(group.app.config["DATABASE"], isolation_level=None)
    group.lose_patience()
    locker.execute("BEGIN IMMEDIATE")

    result = group.command(*command.split())

    assert result.exit_code == 1
    assert result.output == "Error: The database cannot be used: database is locked.\n"
    locker.execute("ROLLBACK")
    locker.close()
