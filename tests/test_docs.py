"""What is written about the program is true of it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from dotenv import dotenv_values

from foundation.typed.settings import SETTINGS
from tools.commands_docs import write_commands
from tools.settings_docs import write_example, write_settings_table

from .cast import GRACE, ROOT, Group, Served

DOCS = [ROOT / "README.md", ROOT / "SECURITY.md", *(ROOT / "docs").glob("*.md")]
PROSE = (".py", ".html", ".md", ".sql", ".conf", ".js", ".mjs", ".yaml", "Makefile", "Caddyfile")
COMMANDS = (ROOT / "docs" / "commands.md").read_text()


# How nobody talks. They gave the first version's prose away.
TELLTALES = (
    r"whoever|hears? of|bec[ao]mes? of|anew|lets? nobody|in the place of|for ever"
    r"|but for|finders of"
)


def test_the_prose_is_of_today() -> None:
    """Also in code and tests, where engineers read it. A translation isn't English."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    files = [ROOT / name for name in listed.stdout.split() if name.endswith(PROSE)]
    assert len(files) > 150
    found = [
        f"{file.relative_to(ROOT)}: {match[0]}"
        for file in files
        if file.name not in ("test_docs.py", "version_1.sql")
        for match in re.finditer(rf"\b({TELLTALES})\b", file.read_text(), re.I)
    ]

    assert found == []


def test_the_settings_are_written_from_their_help_texts() -> None:
    """After a change of a help text: `make docs`."""
    assert (ROOT / ".env.example").read_text() == write_example()
    assert (ROOT / "docs" / "settings.md").read_text() == write_settings_table()


def test_the_example_has_every_setting_with_its_default() -> None:
    example = dotenv_values(ROOT / ".env.example")

    assert list(example) == list(SETTINGS)
    for name, setting in SETTINGS.items():
        assert setting.help.endswith((".", "`"))
        if name != "SECRET_KEY":
            assert example[name] == (setting.default or "")


def test_the_commands_are_written_from_their_help_texts(group: Group) -> None:
    """After a change of one: `make docs`."""
    assert write_commands() == COMMANDS
    for name, command in group.app.cli.commands.items():
        assert f"`flask {name}" in COMMANDS
        assert command.help
    for target in re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M):
        assert f"`make {target}`" in COMMANDS


@pytest.mark.parametrize("file", DOCS, ids=lambda file: file.name)
def test_files_that_are_named_exist(file: Path) -> None:
    text = file.read_text()
    links = re.findall(r"\]\(((?!https?:)[^)#]+)\)", text)
    pictures = re.findall(r'src(?:set)?="([^"]+)"', text)

    assert len(pictures) == (2 if file.name == "README.md" else 0)
    for link in links + pictures:
        assert (file.parent / link).exists(), link


def test_every_page_of_the_docs_is_reached_from_the_readme() -> None:
    readme = DOCS[0].read_text()

    assert [file.name for file in DOCS[2:] if f"(docs/{file.name})" not in readme] == []


def test_the_example_in_the_docs_runs(served: Served, tmp_path: Path) -> None:
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "building.md").read_text(), re.S)
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
