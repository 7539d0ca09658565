"""Recipes of docs/programs.md for what has no browser, run as they stand there."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent

import pytest

from .app_passwords import make
from .cast import (
    GRACE,
    ROOT,
    Group,
    Served,
    find_port,
    require_executable,
    wait_for,
    write_programs,
)

RADIUS = """
name = radiusd
run_dir = {folder}
libdir = /usr/lib/freeradius
correct_escapes = true
modules {{
    always reject {{
        rcode = reject
    }}
{module}
}}
server default {{
    listen {{
        type = auth
        ipaddr = 127.0.0.1
        port = {port}
    }}
    client local {{
        ipaddr = 127.0.0.1
        secret = testing123
    }}
    authorize {{
{authorize}
    }}
    authenticate {{
{authenticate}
    }}
}}
"""


def read_blocks(heading: str) -> list[str]:
    """The blocks to copy, below a heading that begins like that; blank lines divide them."""
    text = (ROOT / "docs" / "programs.md").read_text()
    section = re.split(rf"^## {heading}", text, flags=re.M)[1].split("\n## ")[0]
    return [dedent(block) for block in re.findall(r"(?:^ {4}.*\n)+", section, re.M)]


class Radius:
    """FreeRADIUS, as an access point asks it."""

    def __init__(self, port: int) -> None:
        self.port = port

    def lets_in(self, username: str, password: str) -> bool:
        asked = f'User-Name="{username}",User-Password="{password}"'
        command = [
            "radclient",
            "-t",
            "10",
            "-r",
            "1",
            f"127.0.0.1:{self.port}",
            "auth",
            "testing123",
        ]
        told = subprocess.run(command, input=asked, capture_output=True, text=True)
        assert "Received Access-" in told.stdout, told.stdout + told.stderr
        return "Access-Accept" in told.stdout


@pytest.fixture
def radius(served: Served, tmp_path: Path) -> Iterator[Radius]:
    freeradius, port = require_executable("freeradius"), find_port()
    module, authorize, authenticate = read_blocks("Wi-Fi")
    module = module.replace("http://127.0.0.1:8000", served.url)
    names = {"module": module, "authorize": authorize, "authenticate": authenticate}
    config = RADIUS.format(folder=tmp_path, port=port, **names)
    (tmp_path / "radiusd.conf").write_text(config)
    command = [freeradius, "-f", "-l", "stdout", "-d", str(tmp_path), "-n", "radiusd", "-x"]
    log = tmp_path / "radius.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            wait_for(lambda: "Ready to process" in log.read_text() or process.poll() is not None)
            assert process.poll() is None, log.read_text()
            yield Radius(port)
        finally:
            process.terminate()
            process.wait(timeout=20)


def test_radius_lets_members_in_by_app_password(
    served: Served, local: Group, radius: Radius
) -> None:
    local.command("program", "add", "wifi", "Wi-Fi", "https://wifi.example.org")
    grace = local.join(GRACE, "grace")
    password = make(grace, "wifi", "phone")
    assert radius.lets_in("grace", password)
    others = (
        ("ada", password),
        ("", password),
        (" Grace ", password),
        ("%{User-Password}", password),
    )
    for username, wrong in (("grace", "aaaa"), ("grace", ""), *others):
        assert not radius.lets_in(username, wrong), username
    assert local.command("remove", "grace").exit_code == 0
    assert not radius.lets_in("grace", password)


def test_chat_lets_members_in_by_app_password(served: Served, local: Group, tmp_path: Path) -> None:
    """ejabberd says before each question how long it is, in two bytes; 0, 2, 0, 1 is yes."""
    script = tmp_path / "ask-trusted-group"
    program = read_blocks("Chat: ejabberd")[1:]
    script.write_text("\n".join(program).replace("http://127.0.0.1:8000", served.url))
    local.command("program", "add", "chat", "Chat", "https://chat.example.org")
    grace = local.join(GRACE, "grace")
    password = make(grace, "chat", "phone")

    def answers(*questions: str) -> list[int]:
        every = [question.encode(errors="surrogateescape") for question in questions]
        asked = b"".join(len(one).to_bytes(2, "big") + one for one in every)
        told = subprocess.run([sys.executable, script], input=asked, capture_output=True)
        assert len(told.stdout) == 4 * len(questions), told.stderr
        return [*told.stdout[3::4]]

    host = "chat.example.org"
    right, wrong = f"auth:grace:{host}:{password}", f"auth:grace:{host}:a:b"
    others = (f"isuser:grace:{host}", f"auth:ada:{host}:{password}")
    assert answers(right, wrong, *others) == [1, 0, 1, 0]
    assert answers("auth:grace:h", "auth", "auth:grace:h:\udcff", right) == [0, 0, 0, 1]
    assert local.command("remove", "grace").exit_code == 0
    assert answers(right) == [0]


def test_wireguard_forgets_who_is_out(served: Served, local: Group, tmp_path: Path) -> None:
    local.join(GRACE, "grace")
    tools, members, told = tmp_path / "bin", tmp_path / "members", tmp_path / "told"
    last = members / ".last"
    for folder in (tools, members):
        folder.mkdir()
    (members / "grace").write_text("gracekey=")
    (members / "ada").write_text("adakey=")
    (tmp_path / "follow").write_text(read_blocks("WireGuard")[0])
    flask = f'#!/bin/sh\nexec {sys.executable} -m flask "$@"\n'
    write_programs(tools, flask=flask, wg=f'#!/bin/sh\necho "$*" >> {told}\n')
    environment = served.environment() | {"PATH": f"{tools}:{os.environ['PATH']}"}
    command = ["sh", str(tmp_path / "follow"), "wg0", str(members)]

    @contextmanager
    def following() -> Iterator[None]:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
        try:
            wait_for(lambda: last.exists() and last.read_text())
            yield
        finally:
            os.killpg(process.pid, 15)
            process.wait(timeout=20)

    with following():
        assert local.command("remove", "grace").exit_code == 0
        newest = json.loads(local.command("journal", "--json").output.splitlines()[-1])["id"]
        wait_for(lambda: last.read_text().strip() == str(newest))
    assert not (members / "grace").exists()
    local.join(GRACE, "grace", bound=True)  # back again, with a new key
    (members / "grace").write_text("newkey=")
    for _ in range(60):
        local.command("program", "add", "x", "x", "https://x.example.org")
        local.command("program", "remove", "x")
    local.join("12025550177", "zoe")
    (members / "zoe").write_text("zoekey=")
    local.command("remove", "zoe")  # while nobody follows
    with following():
        wait_for(lambda: not (members / "zoe").exists())
    assert told.read_text() == "set wg0 peer gracekey= remove\nset wg0 peer zoekey= remove\n"
    assert (members / "grace").read_text() == "newkey="
