"""The systemd unit of deploy/."""

import logging
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
import requests
from click.testing import Result

from foundation.cli.source_files import FILES, FOLDERS
from simulator.vonage import Vonage
from wsgi import create_app

from .cast import GRACE, MALLORY, ROOT, Browser, Group, Served, find_port, run_flask, wait_for

UNIT = (ROOT / "deploy" / "trusted-group.service").read_text()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
@pytest.mark.parametrize("unit", sorted((ROOT / "deploy").glob("*.service")), ids=lambda u: u.name)
def test_systemd_understands_every_line(tmp_path: Path, unit: Path) -> None:
    here = Path(sys.executable).parent
    file = tmp_path / unit.name.replace("@", "@choir").replace("backup", "trusted-group-backup")
    file.write_text(unit.read_text().replace("/srv/trusted-group/.venv/bin", str(here)))

    found = subprocess.run(
        ["systemd-analyze", "verify", file], capture_output=True, text=True, timeout=60
    )

    about_us = [line for line in found.stderr.splitlines() if "trusted-group" in line]
    assert (found.returncode, about_us) == (0, [])


def test_it_serves_as_make_serve_does() -> None:
    """Except the variables of make, whose defaults are in the unit."""
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    served = re.search(r"flask serve (.*)", makefile)
    unit = re.search(r"ExecStart=.*/flask serve (.*)", UNIT)
    assert served
    assert unit
    defaults = dict(re.findall(r"^([A-Z]+) \??= (.*)$", makefile, re.M))
    command = re.sub(r"\$\(([A-Z]+)\)", lambda name: defaults[name[1]], served[1])

    assert command.split() == unit[1].split()


@pytest.fixture
def serving(settings: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """The address of the program as `flask serve` serves it."""
    port = find_port()
    settings["BASE_URL"] = f"http://localhost:{port}"
    environment = Served(settings, None, tmp_path).environment()  # type: ignore[arg-type]
    with (tmp_path / "server.log").open("wb") as log:
        command = [sys.executable, "-m", "flask", "serve", "--port", str(port)]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    wait_for(lambda: answers(settings["BASE_URL"]), seconds=60)
    yield settings["BASE_URL"]
    process.terminate()
    process.wait(timeout=30)


def test_the_other_units_are_as_strict() -> None:
    """What they may do, from the capabilities on. A copy needs no network."""
    strict, of_instance, of_backup, of_its_backup = (
        set(re.findall(r"^[A-Z]\w+=.*$", (ROOT / "deploy" / name).read_text(), re.M))
        for name in (
            "trusted-group.service", "trusted-group@.service", "backup.service", "backup@.service",
        )
    )  # fmt: skip
    rights = {line for line in strict if re.match(STRICT, line)}
    assert len(rights) > 20
    assert rights - of_instance == set()
    assert rights - of_backup == {"RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX"}
    assert {"RestrictAddressFamilies=AF_UNIX", "PrivateNetwork=yes"} <= of_backup
    assert of_backup - of_its_backup == {
        "Description=Trusted Group: copy the database",
        "User=trusted-group",
        "WorkingDirectory=/srv/trusted-group",
        "StateDirectory=trusted-group trusted-group/backups",
        f"{BACKUP}/var/lib/trusted-group/backups",
    }
    assert f"{BACKUP}/var/lib/trusted-group-%i/backups" in of_its_backup


BACKUP = "ExecStart=/srv/trusted-group/.venv/bin/flask backup --daily "
STRICT = "Capability|Lock|Memory|NoNew|Private|Pro|RemoveIPC|Restrict|SystemCall|UMask"


def test_two_groups_run_on_one_machine(
    settings: dict[str, str], vonage: Vonage, tmp_path: Path
) -> None:
    """As trusted-group@.service starts them: one program, and a folder with .env for each."""
    processes, urls = [], []
    for name in ("choir", "family"):
        folder, port = tmp_path / name, find_port()
        folder.mkdir()
        urls.append(f"http://localhost:{port}")
        own = {"BASE_URL": urls[-1], "GROUP_NAME": name, "DATABASE": str(folder / "group.db")}
        env_file = "".join(f"{key}={value}\n" for key, value in (settings | own).items())
        (folder / ".env").write_text(env_file)
        environment = {"PATH": os.environ["PATH"], "FLASK_APP": str(ROOT / "wsgi.py")}
        environment["FLASK_SERVE_PORT"] = str(port)
        command = [sys.executable, "-m", "flask", "serve"]
        with (folder / "log").open("wb") as log:
            processes.append(subprocess.Popen(command, cwd=folder, env=environment, stderr=log))
    try:
        for url, name in zip(urls, ("choir", "family"), strict=True):
            wait_for(partial(answers, url), seconds=60)
            assert name in requests.get(url, timeout=20).text
    finally:
        for process in processes:
            process.terminate()
            process.wait(timeout=60)


def answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/healthz", timeout=2).ok
    except requests.RequestException:
        return False


def test_no_second_server_starts_on_the_same_database(
    serving: str, settings: dict[str, str], tmp_path: Path
) -> None:
    second = serve(settings, "--port", str(find_port()))

    assert (second.exit_code, second.stdout) == (1, "")
    assert second.stderr == "Error: Another server is using this database.\n"
    assert answers(serving)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_no_second_server_starts_on_the_same_port(
    serving: str, settings: dict[str, str], tmp_path: Path, host: str
) -> None:
    """granian would share it, and each server would answer every other request."""
    port = serving.rsplit(":", 1)[1]
    settings["DATABASE"] = str(tmp_path / "another.db")

    second = serve(settings, "--host", host, "--port", port)

    told = f"Port {port} on {host} is taken: another program, or this one, uses it."
    assert (second.exit_code, second.stdout, second.stderr) == (1, "", f"Error: {told}\n")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--host", "nowhere.invalid"], "nowhere.invalid is not an address of this machine."),
        (["--host", "192.0.2.1"], "Port 8000 on 192.0.2.1 cannot be used"),
    ],
)
def test_an_address_that_is_not_ours_is_one_clear_line(
    settings: dict[str, str], tmp_path: Path, words: list[str], told: str
) -> None:
    result = serve(settings, *words)

    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {told}")
    assert result.stderr.count("\n") == 1


def test_another_programs_port_is_one_clear_line(settings: dict[str, str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        result = serve(settings, "--port", port)

    assert result.stderr.startswith(f"Error: Port {port} on 127.0.0.1 is taken")


def serve(settings: dict[str, str], *words: str) -> Result:
    """`flask serve` up to where it would become the server."""
    return create_app(settings).test_cli_runner().invoke(args=["serve", *words])


@pytest.fixture
def installed(settings: dict[str, str], tmp_path: Path) -> Iterator[Path]:
    """A copy of the program that is served; its folder."""
    folder, port = tmp_path / "program", find_port()
    for name in FILES:
        folder.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    for name in FOLDERS:
        leave_out = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=leave_out)
    settings["BASE_URL"] = f"http://localhost:{port}"
    command = [sys.executable, "-m", "flask", "serve", "--port", str(port)]
    environment = Served(settings, None, tmp_path).environment()  # type: ignore[arg-type]
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    wait_for(lambda: answers(settings["BASE_URL"]), seconds=60)
    yield folder
    process.terminate()
    process.wait(timeout=30)


def test_the_doctor_says_that_the_server_runs_older_files(
    installed: Path, settings: dict[str, str]
) -> None:
    def doctor() -> str:
        return run_flask(installed, "doctor", **settings, FLASK_APP="wsgi.py").stdout

    for name in ("app.py", "templates/landing.html", "features/devices.py", "requirements.txt"):
        file = installed / name
        text = file.read_text()
        file.write_text(text + "\n")
        assert "wrong  The server runs older files than these. Restart it." in doctor(), name
        file.write_text(text)
    added = installed / "features" / "added.py"
    added.touch()
    assert "wrong  The server runs older files than these. Restart it." in doctor()
    added.unlink()
    assert "ok     The server runs these files." in doctor()


def test_a_running_server_goes_on_with_its_own_templates(
    installed: Path, settings: dict[str, str]
) -> None:
    """An upgrade puts others there before it restarts the server."""
    for file in (installed / "templates").rglob("*.html"):
        file.write_text("{% of another version")

    for path in ("/", "/signup", "/join", "/nothing"):
        assert requests.get(f"{settings['BASE_URL']}{path}", timeout=10).status_code in (200, 404)


def test_the_doctor_asks_no_server_that_does_not_run(
    settings: dict[str, str], tmp_path: Path
) -> None:
    told = create_app(settings).test_cli_runner().invoke(args=["doctor"]).output
    assert "files" not in told


def test_condas_host_does_not_reach_the_server() -> None:
    told = subprocess.run(
        ["make", "-n", "serve"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOST": "x86_64-conda-linux-gnu"},
        capture_output=True,
        text=True,
    )

    assert "--host 127.0.0.1 " in told.stdout


def test_an_old_python_is_said_before_anything_is_installed(tmp_path: Path) -> None:
    old = tmp_path / "python3.10"
    old.write_text(f"#!/bin/sh\nexec {sys.executable} -c \"import sys; sys.version_info = (3, 10);"
                   " exec(sys.argv[1])\" \"$2\"\n")  # fmt: skip
    old.chmod(0o755)
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    (tmp_path / "requirements.txt").touch()

    result = subprocess.run(
        ["make", "install", f"PYTHON={old}"], cwd=tmp_path, capture_output=True, text=True
    )

    assert result.returncode != 0
    assert f"Python 3.11 or later is needed; {old} is 3.10." in result.stderr
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize("signal_", [signal.SIGTERM, signal.SIGINT])
def test_when_the_server_ends_the_database_is_one_file(
    settings: dict[str, str], tmp_path: Path, signal_: signal.Signals
) -> None:
    port = find_port()
    settings["BASE_URL"] = f"http://localhost:{port}"
    environment = Served(settings, None, tmp_path).environment()  # type: ignore[arg-type]
    command = [sys.executable, "-m", "flask", "serve", "--port", str(port)]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )  # fmt: skip
    wait_for(lambda: answers(settings["BASE_URL"]), seconds=60)
    token = Group(create_app(settings), Vonage()).token()
    requests.post(f"{settings['BASE_URL']}/answer/{token[:-1]}x", timeout=10)  # is written
    database = Path(settings["DATABASE"])
    assert Path(f"{database}-wal").stat().st_size > 0

    process.send_signal(signal_)
    process.wait(timeout=60)

    assert not Path(f"{database}-wal").exists() or Path(f"{database}-wal").stat().st_size == 0
    alone = tmp_path / "alone.db"
    shutil.copy(database, alone)
    with closing(sqlite3.connect(alone)) as db:
        assert db.execute("SELECT event FROM journal").fetchall() == [("webhook_refused",)]


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(60)
        yield listening


def test_systemd_is_told_when_it_answers_and_a_killed_worker_comes_back(
    settings: dict[str, str], tmp_path: Path, systemd: socket.socket
) -> None:
    """Its log has one format, with the time and the priority."""
    settings["BASE_URL"] = f"http://localhost:{find_port()}"
    environment = Served(settings, None, tmp_path).environment()  # type: ignore[arg-type]
    command = [sys.executable, "-m", "flask", "serve", "--port", settings["BASE_URL"][-5:]]
    told = environment | {"NOTIFY_SOCKET": str(tmp_path / "notify")}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=told, stderr=log)
    try:
        assert systemd.recv(100) == b"READY=1"
        assert requests.get(f"{settings['BASE_URL']}/healthz", timeout=20).ok

        worker = subprocess.check_output(["pgrep", "-P", str(process.pid)], text=True)
        os.kill(int(worker), signal.SIGKILL)
        wait_for(lambda: answers(settings["BASE_URL"]), seconds=60)
    finally:
        process.terminate()
        process.wait(timeout=60)
    lines = (tmp_path / "log").read_text().splitlines()
    assert any("worker" in line for line in lines)
    assert [line for line in lines if not re.match(LOG_LINE, line)] == []


LOG_LINE = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} (INFO|WARNING|ERROR) \S"


def test_the_log_says_who_joined_and_went_and_what_went_wrong(
    group: Group, ada: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    group.join(GRACE, "grace")
    caplog.set_level(logging.INFO)
    caplog.clear()
    ada.post("/members/2/remove")
    group.join(MALLORY, "mallory").post("/leave")
    group.app.config["TEXTS_PER_DAY"] = 1
    ada.post("/invite", phone=f"+{GRACE}")

    assert [(one.levelname, one.getMessage()) for one in caplog.records] == [
        ("INFO", "grace was removed by ada"),
        ("INFO", "An invited friend texted back"),
        ("INFO", "A PIN was sent to an invited friend"),
        ("INFO", "mallory joined"),
        ("INFO", "mallory left"),
        ("WARNING", "All texts of 24 hours are spent (TEXTS_PER_DAY)"),
    ]
