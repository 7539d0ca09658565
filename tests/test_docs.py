"""What is written about the program is true of it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from dotenv import dotenv_values

from foundation.settings import SETTINGS

from .conftest import GRACE, ROOT, Group, Served

README = (ROOT / "README.md").read_text()


def test_settings_example_and_readme_are_equal() -> None:
    example = dotenv_values(ROOT / ".env.example")
    rows = re.findall(r"^\| `([A-Z_]+)` \| (.*?) \|", README, re.M)

    assert list(example) == list(SETTINGS) == [name for name, _ in rows]
    for name, told in rows:
        default = SETTINGS[name].default
        if SETTINGS[name].required:
            assert told == "required"
        else:
            assert told == (f"`{default}`" if default else told)
            assert bool(default) == told.startswith("`")
        if name != "SECRET_KEY":
            assert example[name] == (default or "")


def test_every_setting_has_a_comment_in_the_example() -> None:
    blocks = (ROOT / ".env.example").read_text().strip().split("\n\n")[1:]

    assert all(block.startswith("# ") for block in blocks)


def test_every_command_stands_in_the_readme(group: Group) -> None:
    for name, command in group.app.cli.commands.items():
        assert f"`flask {name}" in README
        assert command.help
    for target in re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M):
        assert f"`make {target}" in README or target == "install"


def test_files_that_are_named_exist() -> None:
    links = re.findall(r"\]\(((?!https?:)[^)]+)\)", README)
    pictures = re.findall(r'src(?:set)?="([^"]+)"', README)
    assert len(pictures) == 2
    for link in links + pictures:
        assert (ROOT / link).exists(), link


def test_the_example_of_the_readme_runs(served: Served, tmp_path: Path) -> None:
    code = re.search(r"```python\n(.*?)```", README, re.S)
    assert code is not None
    (tmp_path / "clubhouse.py").write_text(code[1])
    served.command("invite", f"+{GRACE}")
    served.text(GRACE)
    grace = served.browser()
    form = {"phone": f"+{GRACE}", "username": "grace", "pin": served.vonage.pin_of(GRACE)}
    grace.post(f"{served.url}/login", data=form)
    visit = (
        "from clubhouse import create_app; client = create_app().test_client(); "
        "answer = client.get('/clubhouse'); print(answer.status_code, answer.location); "
        f"client.set_cookie('session', '{grace.cookies['session']}'); "
        "print(client.get('/clubhouse').text)"
    )
    environment = served.environment() | {"PYTHONPATH": f"{ROOT}:{tmp_path}"}
    result = subprocess.run(
        [sys.executable, "-c", visit], env=environment, capture_output=True, text=True
    )

    assert result.stdout == "303 /signup?next=/clubhouse\nWelcome, grace!\n", result.stderr


@pytest.mark.parametrize("file", ["requirements.txt", "tests/requirements.txt"])
def test_dependencies_are_pinned(file: str) -> None:
    lines = [line for line in (ROOT / file).read_text().splitlines() if line[:1] not in ("", "#")]

    assert lines
    assert all(re.fullmatch(r"[\w-]+==[\w.]+", line) for line in lines)
