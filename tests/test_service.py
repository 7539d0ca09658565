"""The systemd unit of deploy/."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from .conftest import ROOT, Served, find_port, wait_for

UNIT = (ROOT / "deploy" / "trusted-group.service").read_text()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
def test_systemd_understands_every_line(tmp_path: Path) -> None:
    here = Path(sys.executable).parent
    file = tmp_path / "trusted-group.service"
    file.write_text(UNIT.replace("/srv/trusted-group/.venv/bin", str(here)))

    found = subprocess.run(
        ["systemd-analyze", "verify", file], capture_output=True, text=True, timeout=60
    )

    about_us = [line for line in found.stderr.splitlines() if "trusted-group" in line]
    assert (found.returncode, about_us) == (0, [])


def test_it_serves_as_make_serve_does() -> None:
    """But for the variables of make, whose defaults stand in the unit."""
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    served = re.search(r"flask serve (.*)", makefile)
    unit = re.search(r"ExecStart=.*/flask serve (.*)", UNIT)
    assert served
    assert unit
    defaults = dict(re.findall(r"^([A-Z]+) \?= (.*)$", makefile, re.M))
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


def answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/healthz", timeout=2).ok
    except requests.RequestException:
        return False


def test_no_second_server_starts_on_the_same_database(
    serving: str, settings: dict[str, str], tmp_path: Path
) -> None:
    environment = Served(settings, None, tmp_path).environment()  # type: ignore[arg-type]

    second = subprocess.run(
        [sys.executable, "-m", "flask", "serve", "--port", str(find_port())],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (second.returncode, second.stdout) == (1, "")
    assert second.stderr == "Error: Another server is using this database.\n"
    assert answers(serving)
