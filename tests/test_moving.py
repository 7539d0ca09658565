"""Copies, restoring one, and moving house: the lines of docs/running.md, run as they stand there.
Only sudo, systemctl, ssh and the service's own user stand for something else."""

import os
import re
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests
import time_machine
import yaml
from dotenv import dotenv_values

from foundation.words.clock import DAY
from simulator.vonage import Vonage
from wsgi import create_app

from .authenticator import Passkey
from .cast import (
    ADA,
    GRACE,
    MALLORY,
    ROOT,
    Browser,
    Group,
    Served,
    find_port,
    served_here,
    write_programs,
)
from .older_versions import read
from .passkeys import add, use
from .running_page import DOCKER, read_lines, read_row, type_line

FOURTH = "12025550104"


class Machine:
    """One on which the program is installed as a service, in a folder of ours."""

    def __init__(self, root: Path, systemctl: Callable[[str], None], other: Path) -> None:
        self.root, self.systemctl, self.other = root, systemctl, other
        for folder in ("srv/trusted-group", "var/lib/trusted-group/backups", "root"):
            (root / folder).mkdir(parents=True)

    @property
    def database(self) -> Path:
        return self.root / "var/lib/trusted-group/group.db"

    def run(self, lines: list[str]) -> None:
        here = self.root / "root"
        for line in lines:
            command = line.removeprefix("sudo ").removeprefix("-u trusted-group ")
            if command.startswith("cd "):
                here = self.root / command.removeprefix("cd /")
                continue
            if command.startswith("systemctl "):
                self.systemctl(command.split()[1])
                continue
            assert not command.startswith("sudo")
            command = re.sub("ssh new-machine '(.*)'", rf"(cd {self.other}/root && \1)", command)
            command = command.replace("tar -C / ", f"tar -C {self.root} ")
            command = command.replace(" -o trusted-group", "").replace(
                "trusted-group: ", f"{os.getuid()} "
            )
            command = re.sub(r" /(srv|var)/", rf" {self.root}/\1/", command)
            subprocess.run(["sh", "-ec", command], check=True, timeout=20, cwd=here)


@pytest.fixture
def drill(
    settings: dict[str, str], vonage: Vonage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Machine, Group]:
    """Ada and Grace are in (Grace with a passkey), Mallory is invited; then a copy is made."""
    told: list[str] = []
    machine = Machine(tmp_path / "machine", told.append, tmp_path)
    settings["DATABASE"] = str(machine.database)
    for path in (".venv", "wsgi.py"):
        (tmp_path / "machine" / "srv/trusted-group" / path).symlink_to(ROOT / path)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return machine, Group(create_app(settings), vonage)


def test_a_restore_drill(
    drill: tuple[Machine, Group], settings: dict[str, str], vonage: Vonage
) -> None:
    machine, before = drill
    ada, grace = before.join(ADA, "ada", bound=True), before.join(GRACE, "grace")
    passkey = Passkey()
    assert add(grace, passkey).status_code == 200
    before.invite(MALLORY)
    with time_machine.travel("2026-11-25", tick=True):
        folder = machine.database.parent / "backups"
        assert before.command("backup", "--daily", str(folder)).exit_code == 0
    before.join(FOURTH, "newcomer")
    assert before.command("remove", "grace").exit_code == 0

    machine.run(read_lines("Restoring a backup")[0])
    after = Group(create_app(settings), vonage)

    # Who is in: nobody's device, but who has a passkey.
    assert [Browser.username(reopened(after, one)) for one in (ada, grace)] == [None, None]
    phone = after.browser()
    phone.get("/signup")
    assert use(phone, passkey).status_code == 200
    assert phone.username() == "grace"  # and to be removed again
    # Who must be invited again: the others, for their username; and whose invite was open.
    assert after.rows("SELECT count(*) FROM whitelist") == [(0,)]
    assert after.join(ADA, "ada", bound=True).username() == "ada"
    assert after.join(MALLORY, "mallory").username() == "mallory"
    # What is gone for good: who joined since then.
    assert after.rows("SELECT 1 FROM authors WHERE username = 'newcomer'") == []
    assert machine.database.stat().st_mode & 0o777 == 0o600


def reopened(group: Group, browser: Browser) -> Browser:
    """The same browser, at the program that was started again."""
    again = group.browser()
    again.client.set_cookie("session", browser.cookie())
    return again


def test_everybody_stays_signed_in_on_another_machine(
    settings: dict[str, str], vonage: Vonage, tmp_path: Path
) -> None:
    settings["BASE_URL"] = f"http://localhost:{find_port()}"
    running: list[Served] = []

    def systemctl_of(machine: list[Machine]) -> Callable[[str], None]:
        def systemctl(word: str) -> None:
            if word == "disable":
                running.pop().stop()
                return
            assert word == "enable"
            env = {k: v or "" for k, v in dotenv_values(env_of(machine[0])).items()}
            env["DATABASE"] = str(machine[0].database)
            running.append(Served(env, vonage, tmp_path / "server.log"))
            assert running[0].command("init-db").returncode == 0
            running[0].start()

        return systemctl

    machines: list[list[Machine]] = [[], []]
    machines[1].append(Machine(tmp_path / "new", systemctl_of(machines[1]), tmp_path))
    machines[0].append(Machine(tmp_path / "old", systemctl_of(machines[0]), tmp_path / "new"))
    (old,), (new,) = machines
    env_of(old).write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    old.systemctl("enable")
    here = running[0]
    grace, url = sign_up(here, GRACE, "grace"), here.url
    here.command("invite", f"+{MALLORY}")
    assert here.text(MALLORY) == 204  # and has a PIN, which stays good

    leave, arrive = read_lines("Moving to another machine")
    old.run(leave)
    assert not here.is_up()
    new.run(arrive)

    assert "Hello, grace" in grace.get(url, timeout=30).text
    form = {"phone": f"+{MALLORY}", "username": "mallory", "pin": vonage.pin_of(MALLORY)}
    assert running[0].browser().post(f"{url}/login", data=form).url == f"{url}/welcome"
    running.pop().stop()


def env_of(machine: Machine) -> Path:
    return machine.root / "srv/trusted-group/.env"


def sign_up(served: Served, phone: str, username: str) -> requests.Session:
    served.command("invite", f"+{phone}")
    assert served.text(phone) == 204
    browser = served.browser()
    form = {"phone": f"+{phone}", "username": username, "pin": served.vonage.pin_of(phone)}
    assert browser.post(f"{served.url}/login", data=form).url == f"{served.url}/welcome"
    return browser


def test_daily_copies_are_named_for_the_day_and_kept_for_thirty(
    group: Group, tmp_path: Path
) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    for name, days in (("group-2026-10-25.db", 31), ("group-2026-10-27.db", 29), ("notes", 99)):
        (folder / name).touch()
        os.utime(folder / name, (time.time() - days * DAY,) * 2)

    today = f"group-{datetime.now(UTC):%Y-%m-%d}.db"
    for _ in range(2):  # once more on the same day replaces the copy
        assert group.command("backup", "--daily", str(folder)).exit_code == 0

    assert {path.name for path in folder.iterdir()} == {"group-2026-10-27.db", "notes", today}
    assert (folder / today).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("words", [[], ["copy.db", "--daily", "."], ["--daily", "nowhere"]])
def test_a_backup_needs_one_place(group: Group, words: list[str]) -> None:
    assert group.command("backup", *words).exit_code == 2


@pytest.fixture
def beside_docker(settings: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The environment of a shell."""
    write_programs(tmp_path, docker=DOCKER)
    more = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PROGRAM": str(ROOT)}
    more |= {"REQUESTS_CA_BUNDLE": os.environ["REQUESTS_CA_BUNDLE"]}
    return settings | more | {"FLASK_APP": str(ROOT / "wsgi.py")}


def test_a_container_is_connected_and_the_first_admin_invited(
    settings: dict[str, str], vonage: Vonage, tmp_path: Path, beside_docker: dict[str, str]
) -> None:
    with served_here(settings, vonage) as group:
        for line in read_lines("In containers")[0]:
            type_line(line, tmp_path, beside_docker | settings)

        assert vonage.webhook == f"{settings['BASE_URL']}/answer/{group.token()}"
        assert group.text(ADA) == 204
        form = ADA, "ada", vonage.pin_of(ADA)
        assert group.browser().sign_up(*form).status_code == 303


def test_what_docker_does_alone_is_of_our_container(
    tmp_path: Path, beside_docker: dict[str, str]
) -> None:
    """It shows our log, and takes all that we keep."""
    called = tmp_path / "called"
    for name in ("logs", "uninstall"):
        for line in read_row(name):
            type_line(line, tmp_path, beside_docker | {"CALLED": str(called)})
    assert called.read_text() == "compose logs group\ncompose down --volumes\n"
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    ours = compose["services"]["group"]
    assert ours["environment"]["DATABASE"].startswith("/data/")
    assert ours["volumes"] == ["group:/data"]
    assert "group" in compose["volumes"]


def test_copies_go_out_of_a_container_and_back(
    settings: dict[str, str], vonage: Vonage, tmp_path: Path, beside_docker: dict[str, str]
) -> None:
    group = Group(create_app(settings), vonage)
    ada = group.join(ADA, "ada", bound=True)

    for line in read_row("backup"):
        type_line(line, tmp_path, beside_docker)
    group.join(GRACE, "grace")
    told = "".join(type_line(line, tmp_path, beside_docker) for line in read_row("restore"))

    assert "Gone, because they joined later: grace." in told
    after = Group(create_app(settings), vonage)
    assert after.rows("SELECT username FROM authors") == [("ada",)]
    assert reopened(after, ada).username() is None


def test_a_daily_copy_and_a_failed_one(
    settings: dict[str, str], vonage: Vonage, tmp_path: Path, beside_docker: dict[str, str]
) -> None:
    Group(create_app(settings), vonage).join(ADA, "ada", bound=True)
    _, line = read_row("backup every day")
    schedule = "17 3 * * * cd /srv/trusted-group && "
    assert line.startswith(schedule)
    assert not re.search(r"(?<!\\)%", line)  # where cron would cut it
    line = line.removeprefix(schedule).replace("\\%", "%")

    type_line(line, tmp_path, beside_docker)
    (copy,) = (tmp_path / "backups").iterdir()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d\.db", copy.name)
    assert copy.stat().st_mode & 0o777 == 0o600
    assert read(copy, "SELECT username FROM authors") == [("ada",)]

    with pytest.raises(AssertionError, match="No such command"):
        type_line(line.replace("flask backup", "flask bakcup"), tmp_path, beside_docker)
    assert read(copy, "SELECT username FROM authors") == [("ada",)]

    old = copy.with_name("2026-01-01.db")
    old.touch()
    os.utime(old, (time.time() - 32 * DAY,) * 2)
    type_line(line, tmp_path, beside_docker)
    assert not old.exists()
