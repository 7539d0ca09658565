"""The systemd unit of deploy/."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ROOT

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
    served = re.search(r"granian (--interface .*)", makefile)
    unit = re.search(r"ExecStart=.*/granian (.*)", UNIT)
    assert served
    assert unit
    defaults = dict(re.findall(r"^([A-Z]+) \?= (.*)$", makefile, re.M))
    command = re.sub(r"\$\(([A-Z]+)\)", lambda name: defaults[name[1]], served[1])

    assert command.split() == unit[1].split()
