"""Setting it up: `make setup` asks for what .env needs, `flask doctor` says what is wrong."""

import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import chdir
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from click.testing import CliRunner, Result
from dotenv import dotenv_values

from features import doctor
from foundation.typed.settings import read_settings
from foundation.words.clock import DAY
from simulator.vonage import Answer, Vonage, answer_with, drop
from tools.setup import setup
from wsgi import create_app

from .cast import GRACE, ROOT, Group, Served, in_background, run_flask, sentence, served_here


def run_setup(folder: Path, *words: str, answers: str = "") -> Result:
    """`make setup`, in a folder of its own."""
    with chdir(folder):
        return CliRunner().invoke(setup, list(words), input=answers)


ANSWERS = {
    "GROUP_NAME": "Friends of Ada",
    "BASE_URL": "https://group.example.org",
    "INVITE_CODE": "sunflower",
    "ADMINS": "ada, grace",
    "VONAGE_API_KEY": "abcd1234",
    "VONAGE_API_SECRET": "it's$ecret#\\1",
    "VONAGE_NUMBER": "+1 202 555 0199",
}


def test_setup_asks_and_writes_what_the_program_needs(tmp_path: Path) -> None:
    result = run_setup(tmp_path, answers="\n".join([*ANSWERS.values(), ""]))

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.rstrip().endswith("Next, type:\n\n    make serve")
    file = tmp_path / ".env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    written = dotenv_values(file)
    assert {name: written[name] for name in ANSWERS} == ANSWERS
    settings = read_settings(written)
    assert re.fullmatch("[0-9a-f]{64}", settings["SECRET_KEY"])
    assert settings["VONAGE_NUMBER"] == "12025550199"
    assert settings["ADMINS"] == {"ada", "grace"}
    assert file.read_text().count("#") >= (ROOT / ".env.example").read_text().count("#")
    assert settings["SECRET_KEY"] not in result.stdout
    assert os.listdir(tmp_path) == [".env"]


def test_two_setups_have_different_secrets_and_proposals(tmp_path: Path) -> None:
    codes, keys = set(), set()
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        answers = [value for key, value in ANSWERS.items() if key != "GROUP_NAME"]
        answers[1] = ""  # the proposal
        result = run_setup(folder, answers="\n".join(["", *answers, ""]))
        assert result.exit_code == 0
        written = dotenv_values(folder / ".env")
        assert written["GROUP_NAME"] == "Trusted Group"
        assert f"[{written['INVITE_CODE']}]" in result.stdout
        codes.add(written["INVITE_CODE"])
        keys.add(written["SECRET_KEY"])

    assert len(codes) == len(keys) == 2
    assert all(re.fullmatch("([a-z][aeiou]){4}", str(code)) for code in codes)


def test_a_wrong_answer_is_asked_for_again_with_the_reason(tmp_path: Path) -> None:
    wrong = ["{Friends}", "Friends", "http://group.example.org", "https://group.example.org"]
    wrong += [
        "STOP",
        "Basta",
        "sunflower",
        "root",
        "ada",
        "a b",
        "key",
        "secret",
        "12",
        "12025550199",
    ]

    result = run_setup(tmp_path, answers="\n".join([*wrong, ""]))

    assert result.exit_code == 0
    for reason in (
        "This must have 1 to 16 characters",
        "This must be https://host",
        "This must not be a word that phone carriers act on",
        "People opt out of texts with this word",
        "This must be usernames",
        "This must not contain spaces",
        "This must be the number as the dashboard shows it",
    ):
        assert f"Error: {reason}" in result.stdout + result.stderr
    assert dotenv_values(tmp_path / ".env")["GROUP_NAME"] == "Friends"


def test_setup_overwrites_nothing_unasked(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("SECRET_KEY=precious\n")

    result = run_setup(tmp_path, answers="\n".join([*ANSWERS.values(), ""]))

    assert result.exit_code == 1
    assert "already exists" in result.stderr
    assert file.read_text() == "SECRET_KEY=precious\n"
    result = run_setup(tmp_path, "--overwrite", answers="\n".join([*ANSWERS.values(), ""]))
    assert result.exit_code == 0
    assert "precious" not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_setup_that_is_given_up_writes_nothing(tmp_path: Path) -> None:
    result = run_setup(tmp_path, answers="Friends\n")

    assert result.exit_code == 1
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "command", [["init-db"], ["doctor"], ["serve"], ["invite", "+12025550100", "--username", "ada"]]
)
def test_without_settings_every_command_say_what_is_missing(
    tmp_path: Path, command: list[str]
) -> None:
    result = run_flask(tmp_path, *command)

    assert (result.returncode, result.stdout) == (2, "")
    lines = result.stderr.splitlines()
    assert lines[0] == "Error: SECRET_KEY is missing (see .env.example)"
    assert sum(line.startswith("Error: ") for line in lines) == 7


def test_without_settings_there_is_no_server(tmp_path: Path) -> None:
    assert run_flask(tmp_path, "nonsense").returncode == 2
    served = run_flask(tmp_path, "run", "--port", "1")
    assert served.returncode != 0
    assert "SECRET_KEY is missing" in served.stderr
    with pytest.raises(Exception, match="SECRET_KEY is missing"):
        create_app({})


@pytest.fixture
def others_folder() -> Iterator[Path]:
    """One that everybody may read, and only root may write."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def run_as_nobody(
    folder: Path, call: str, *words: str, **settings: str
) -> subprocess.CompletedProcess[str]:
    """A command that gives up root's rights once it has loaded (its own files are root's alone)."""
    code = (
        f"import os, sys; sys.path.insert(0, {str(ROOT)!r});"
        "import flask.cli, tools.setup, wsgi;"
        f"os.setgroups([]); os.setgid(65534); os.setuid(65534); {call}"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "FLASK_APP": "wsgi"} | settings,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.skipif(os.getuid() != 0, reason="it takes root to become another user")
def test_setup_where_one_may_not_write_says_so(others_folder: Path) -> None:
    told = run_as_nobody(others_folder, "tools.setup.setup()")

    assert told.returncode == 1
    assert told.stderr.startswith(f"Error: You can't write into {others_folder}.")
    assert told.stderr.count("\n") == 1


@pytest.mark.skipif(os.getuid() != 0, reason="it takes root to become another user")
def test_before_the_services_first_start_its_folder_is_missing(
    settings: dict[str, str], others_folder: Path
) -> None:
    settings["DATABASE"] = str(others_folder / "state" / "group.db")

    told = run_as_nobody(others_folder, "flask.cli.main()", "doctor", **settings)

    assert told.returncode == 2
    assert "start the service once" in told.stderr
    assert told.stderr.count("\n") == 1


# flask doctor


def told(output: str) -> list[tuple[str, str]]:
    """Each line: ok or wrong, and the rest."""
    return [(line[:6].strip(), line[7:]) for line in output.splitlines() if line[:5] != "     "]


def test_the_doctor_finds_all_well_once_the_webhook_is_set(served: Served, local: Group) -> None:
    found = served.command("doctor")

    assert found.returncode == 1
    assert [state for state, _ in told(found.stdout)] == ["ok", "ok", "ok", "ok", "wrong"]
    assert "inbound webhook doesn't point here" in found.stdout
    assert "flask doctor --fix" in found.stdout

    fixed = served.command("doctor", "--fix")

    assert (fixed.returncode, fixed.stderr) == (0, "")
    assert "from nothing" in fixed.stdout
    assert f"to   {served.url}/..." in fixed.stdout
    assert fixed.stdout.endswith("All is well.\n")
    assert served.vonage.webhook == f"{served.url}/answer/{local.token()}"
    again = served.command("doctor")
    assert (again.returncode, again.stderr) == (0, "")
    assert {state for state, _ in told(again.stdout)[:-1]} == {"ok"}
    quiet = served.command("doctor", "--quiet")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    assert local.token() not in found.stdout + fixed.stdout + again.stdout
    assert served.settings["VONAGE_API_SECRET"] not in found.stdout + fixed.stdout
    local.invite(GRACE)
    fields = served.vonage.inbound(GRACE, "sunflower")
    assert served.vonage.deliver(served.vonage.webhook, fields) == 204


@pytest.fixture
def here(settings: dict[str, str], vonage: Vonage) -> Iterator[Group]:
    with served_here(settings, vonage) as group:
        yield group


def test_fixing_keeps_what_else_is_set_at_the_number(here: Group) -> None:
    here.vonage.webhook = "https://elsewhere.example/secret-path"
    here.vonage.more_of_number |= {
        "voiceCallbackType": "tel",
        "voiceCallbackValue": "12025550150",
    }
    here.vonage.more_of_number |= {"app_id": "aaaaaaaa-bbbb-cccc-dddd-0123456789ab"}

    fixed = here.command("doctor", "--fix")

    assert fixed.exit_code == 0
    assert "from https://elsewhere.example/..." in fixed.output
    assert "secret-path" not in fixed.output
    sent = here.vonage.calls("update")[0].body.decode()
    assert "voiceCallbackType=tel" in sent
    assert "voiceCallbackValue=12025550150" in sent
    assert "app_id=aaaaaaaa" in sent


def lock_out(group: Group) -> None:
    group.vonage.api_secret = "another"


def spend_all(group: Group) -> None:
    group.vonage.balance = -0.2


def give_back_number(group: Group) -> None:
    group.vonage.number = "12025550155"


def take_texts(group: Group) -> None:
    group.vonage.features = ["VOICE"]


def link_application(group: Group) -> None:
    group.vonage.more_of_number |= {"messagesCallbackType": "app", "messagesCallbackValue": "x"}


def break_account(group: Group) -> None:
    group.vonage.fail("balance", answer_with(Answer(500, b"<h1>No</h1>", "text/html")))


def drop_numbers(group: Group) -> None:
    group.vonage.fail("numbers", drop)


def refuse_update(group: Group) -> None:
    group.vonage.fail("update", answer_with(Answer.of(420, {"error-code": "420"})))


def open_env_file(group: Group) -> None:
    Path(group.app.config["DATABASE"]).chmod(0o644)


def spend_nearly_all(group: Group) -> None:
    group.vonage.balance = 0.19


def turn_clock(group: Group) -> None:
    group.vonage.clock_ahead = -90


def spend_texts(group: Group) -> None:
    group.rows("INSERT INTO journal (at, event, parts) VALUES (unixepoch(), 'text_sent', 100)")


def stop_backups(group: Group) -> None:
    folder = Path(group.app.config["DATABASE"]).with_name("backups")
    folder.mkdir()
    copy = folder / "group-2026-01-01.db"
    copy.touch()
    os.utime(copy, (time.time() - 2.1 * DAY,) * 2)


def fill_disk(group: Group) -> None:
    doctor.ROOM *= 2**40


def leave_old_unit(group: Group) -> None:
    doctor.UNITS = Path(group.app.config["DATABASE"]).parent
    unit = doctor.UNITS / "trusted-group.service"
    unit.write_text("ExecStart=/srv/trusted-group/.venv/bin/flask serve")


def test_a_quiet_doctor_says_only_what_is_wrong(group: Group) -> None:
    group.vonage.balance = 0.1

    quiet = group.command("doctor", "--quiet")

    assert quiet.exit_code == 1
    assert set(re.findall(r"^\w+", quiet.output, re.M)) == {"wrong", "Wrong"}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the doctor knows of it is as it was, afterwards."""
    for name in ("ROOM", "UNITS"):
        monkeypatch.setattr(doctor, name, getattr(doctor, name))


@pytest.mark.parametrize(
    ("spoil", "told_so"),
    [
        (lock_out, sentence("vonage-credentials")),
        (spend_all, sentence("vonage-credit")),
        (give_back_number, "VONAGE_NUMBER isn't a number of this account"),
        (take_texts, "The number can't do SMS"),
        (link_application, "texts go to a Vonage application"),
        (break_account, sentence("vonage-unavailable")),
        (drop_numbers, sentence("vonage-unavailable")),
        (refuse_update, "Vonage didn't accept the address"),
        (open_env_file, "can read"),
        (spend_nearly_all, "The credit at Vonage is 0.19 EUR, less than one sign-up may cost"),
        (turn_clock, "clock and Vonage's differ by "),
        (spend_texts, "All 100 texts of 24 hours are spent"),
        (stop_backups, "is older than two days"),
        (fill_disk, "MB are free where"),
        (leave_old_unit, "is of another version. Copy "),
    ],
)
def test_the_doctor_says_what_to_do(here: Group, machine: None, spoil: Any, told_so: str) -> None:
    spoil(here)

    found = here.command("doctor", "--fix")

    assert found.exit_code == 1
    wrong = [line for state, line in told(found.output) if state == "wrong"]
    assert any(told_so in line for line in wrong), found.output
    assert "All is well" not in found.output


IN_PARTS = "An invite costs 2 texts (in"


@pytest.mark.parametrize(
    ("more", "told_so"),
    [
        ({}, []),
        ({"INVITE_CODE": "W" * 20, "GROUP_NAME": "G" * 16}, []),
        ({"BASE_URL": f"http://{'a' * 50}.localhost"}, [f"{IN_PARTS} English)"]),
        ({"LANGUAGE": "ja"}, [f"{IN_PARTS} 日本語)"]),
        ({"DEFAULT_REGION": "TN"}, ["Vonage's Verify is closed to numbers in TN"]),
    ],
)  # fmt: skip
def test_the_doctor_notes_what_may_surprise(
    settings: dict[str, str], more: dict[str, str], told_so: list[str]
) -> None:
    told = create_app(settings | more).test_cli_runner().invoke(args=["doctor"]).output
    notes = re.findall(r"^note   (.*)$", told, re.M)
    assert len(notes) == len(told_so)
    assert [note[: len(start)] for note, start in zip(notes, told_so, strict=True)] == told_so


def test_the_doctor_notes_that_texts_come_by_get(group: Group, vonage: Vonage) -> None:
    group.browser().get(f"/answer/{group.token()}?msisdn=1&text=x")
    assert "note   Within a week, texts came by GET" in group.command("doctor").output
    group.rows("UPDATE journal SET at = at - 7 * 86400")
    assert "by GET" not in group.command("doctor").output


def test_the_doctor_sees_that_nothing_answers(settings: dict[str, str], vonage: Vonage) -> None:
    settings["BASE_URL"] = "http://localhost:9"
    found = Group(create_app(settings), vonage).command("doctor")

    assert "Nothing answers at http://localhost:9. Start the program" in found.output


def test_the_doctor_sees_that_something_else_answers(
    settings: dict[str, str], vonage: Vonage, vonage_server: Any
) -> None:
    settings["BASE_URL"] = f"https://{vonage_server.host}"
    found = Group(create_app(settings), vonage).command("doctor")

    assert f"Something else answers at https://{vonage_server.host}" in found.output


def test_the_doctor_sees_an_untrusted_certificate(
    settings: dict[str, str], vonage: Vonage, vonage_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings["BASE_URL"] = f"https://{vonage_server.host}"
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    found = Group(create_app(settings), vonage).command("doctor")

    assert "The certificate of https://" in found.output
    assert "This machine doesn't trust Vonage's certificate." in found.output
    assert found.output.endswith("Wrong: BASE_URL, Vonage, number.\n")


def test_vonage_finds_the_webhook_active_before_it_takes_it(here: Group) -> None:
    url = here.app.config["BASE_URL"]
    address = f"{url}/answer/{here.token()}"

    assert requests.get(address, timeout=5).status_code == 200
    assert requests.get(f"{url}/answer/{'0' * 32}", timeout=5).status_code == 401
    assert requests.get(f"{url}/answer", timeout=5).status_code == 405
    assert requests.get(f"{address}?msisdn=1&text=sunflower", timeout=5).status_code == 405


class AgreesToAll(BaseHTTPRequestHandler):
    """A program of somebody else's that says ok to everything."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"ok\n")

    def log_message(self, *args: object) -> None:
        pass


def test_the_doctor_knows_this_program_from_others(
    settings: dict[str, str], vonage: Vonage
) -> None:
    with in_background(ThreadingHTTPServer(("127.0.0.1", 0), AgreesToAll)) as port:
        settings["BASE_URL"] = f"http://localhost:{port}"
        told = Group(create_app(settings), vonage).command("doctor").output

    assert f"Something else answers at {settings['BASE_URL']}" in told
