"""Every setting, missing and wrong: told at once, one line each, and never shown."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from foundation.typed.settings import (
    SETTINGS,
    WrongSettings,
    gather_settings,
    read_env_file,
    read_settings,
)
from wsgi import create_app

from .cast import ROOT, run_flask

REQUIRED = [name for name, setting in SETTINGS.items() if setting.required]

WRONG = {
    "SECRET_KEY": [
        "short",
        "x" * 31,
        "x" * 32,
        "abcdefg" * 9,
        "replace-me-with-the-output-of-the-command-above",
    ],
    "GROUP_NAME": [
        "Seventeen letters",
        "a/b",
        "a{b",
        "a}b",
        "a:b",
        "a$b",
        "a\\b",
        "a\nb",
        "a\x00b",
    ],
    "BASE_URL": [
        "group.example.org",
        "http://group.example.org",
        "https://group.example.org/path",
        "https://ada@group.example.org",
        "https://group.example.org?x",
        "https://group.example.org:0",
        "https://group.example.org:99999",
        "https:///",
        "ftp://localhost",
        "https://gröup.example.org",
        "http://localhost.example.org",
        "https://group.example.org\nX: y",
    ],
    "INVITE_CODE": ["abc", "two words", "x" * 21, "STOP", "help", "Start", "süß1", "a-b-c"],
    "ADMINS": [",", "ada,", "ada,,grace", "ada grace", "admin", "-ada", "a" * 31, "\u0430da"],
    "VONAGE_API_KEY": ["two words", "a\tb"],
    "VONAGE_API_SECRET": ["two words", "a\nb"],
    "VONAGE_NUMBER": ["123456", "1" * 16, "a phone", "+1 202 555 01OO", "++12025550100"],
    "VONAGE_SIGNATURE_SECRET": ["two words"],
    "VONAGE_SIGNATURE_METHOD": ["sha3", "none", "md5hash", "md5", "sha1"],
    "VONAGE_API_HOST": ["https://localhost", "localhost/path", "a b", "localhost:port"],
    "VONAGE_REST_HOST": ["https://localhost", "localhost/path", "user@localhost"],
    "DATABASE": ["sqlite:///group.db", "file://group.db"],
    "DEFAULT_REGION": ["XX", "England", "G"],
    "SESSION_DAYS": ["0", "-1", "1.5", "many", "401", "³"],
    "SESSION_MAX_DAYS": ["0", "x", "4001", "1e3"],
    "INVITE_DAYS": ["0", "61", "week"],
    "TEXTS_PER_DAY": ["0", "-5", "100001"],
    "COOKIE_DOMAIN": ["org", "example.org/", "127.0.0.1", "*.example.org", "a b.c"],
}


@pytest.fixture
def source() -> dict[str, str]:
    return {
        "SECRET_KEY": "a-secret-key-of-more-than-32-characters",
        "BASE_URL": "https://group.example.org",
        "INVITE_CODE": "sunflower",
        "ADMINS": "ada",
        "VONAGE_API_KEY": "abcd1234",
        "VONAGE_API_SECRET": "a-vonage-secret",
        "VONAGE_NUMBER": "12025550199",
    }


def test_the_required_settings_are_enough(source: dict[str, str]) -> None:
    settings = read_settings(source)

    assert settings["GROUP_NAME"] == "Trusted Group"
    assert settings["ADMINS"] == {"ada"}
    assert (settings["SESSION_DAYS"], settings["SESSION_MAX_DAYS"]) == (30, 365)
    assert (settings["INVITE_DAYS"], settings["TEXTS_PER_DAY"]) == (7, 100)
    assert settings["VONAGE_SIGNATURE_SECRET"] is None


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("value", [None, "", "   "])
def test_a_required_setting_that_is_missing_or_empty_is_named(
    source: dict[str, str], name: str, value: str | None
) -> None:
    source.pop(name)
    if value is not None:
        source[name] = value

    with pytest.raises(WrongSettings) as wrong:
        read_settings(source)

    assert wrong.value.problems == [f"{name} is missing (see .env.example)"]


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values]
)
def test_a_wrong_setting_is_named_and_its_value_is_not_shown(
    source: dict[str, str], name: str, value: str
) -> None:
    with pytest.raises(WrongSettings) as wrong:
        read_settings(source | {name: value})

    assert [problem.split()[0] for problem in wrong.value.problems] == [name]
    assert len(value) < 4 or value not in wrong.value.problems[0].removeprefix(name)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("BASE_URL", "https://Group.Example.org/", "https://group.example.org"),
        ("BASE_URL", "https://group.example.org:443", "https://group.example.org"),
        ("BASE_URL", "https://group.example.org:4430", "https://group.example.org:4430"),
        ("BASE_URL", "http://localhost:8000", "http://localhost:8000"),
        ("BASE_URL", "http://127.0.0.1:80", "http://127.0.0.1"),
        ("VONAGE_NUMBER", "+1 202 555 0199", "12025550199"),
        ("ADMINS", " Ada , grace ", {"ada", "grace"}),
        ("VONAGE_SIGNATURE_METHOD", "SHA512", "sha512"),
        ("DEFAULT_REGION", "gb", "GB"),
        ("COOKIE_DOMAIN", ".example.org", "example.org"),
        ("COOKIE_DOMAIN", "group.example.org", "group.example.org"),
        ("GROUP_NAME", "Freunde & Söhne", "Freunde & Söhne"),
    ],
)
def test_what_people_write_is_understood(
    source: dict[str, str], name: str, value: str, expected: object
) -> None:
    assert read_settings(source | {name: value})[name] == expected


def test_a_number_in_the_factorys_config_is_as_good_as_its_text(source: dict[str, Any]) -> None:
    assert read_settings(source | {"TEXTS_PER_DAY": 5})["TEXTS_PER_DAY"] == 5
    with pytest.raises(WrongSettings, match="TEXTS_PER_DAY must be"):
        read_settings(source | {"TEXTS_PER_DAY": 0})


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"SESSION_DAYS": "31", "SESSION_MAX_DAYS": "30"}, "SESSION_MAX_DAYS"),
        ({"COOKIE_DOMAIN": "example.com"}, "COOKIE_DOMAIN"),
        ({"COOKIE_DOMAIN": "ample.org"}, "COOKIE_DOMAIN"),
        ({"COOKIE_DOMAIN": "example.org", "BASE_URL": "http://localhost"}, "COOKIE_DOMAIN"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    source: dict[str, str], changes: dict[str, str], name: str
) -> None:
    with pytest.raises(WrongSettings) as wrong:
        read_settings(source | changes)

    assert [problem.split()[0] for problem in wrong.value.problems] == [name]


def test_a_contradiction_is_told_together_with_what_is_missing(source: dict[str, str]) -> None:
    del source["INVITE_CODE"]

    with pytest.raises(WrongSettings) as wrong:
        read_settings(source | {"SESSION_DAYS": "31", "SESSION_MAX_DAYS": "30"})

    assert len(wrong.value.problems) == 2


def test_all_problems_are_told_at_once_with_exit_code_2(tmp_path: Path) -> None:
    result = run_flask(tmp_path, "init-db", SECRET_KEY="hunter2-hunter2", INVITE_DAYS="soon")

    assert result.returncode == 2
    names = [line.removeprefix("Error: ").split()[0] for line in result.stderr.splitlines()]
    assert names == [*REQUIRED, "INVITE_DAYS"]
    assert "hunter2" not in result.stdout + result.stderr


def test_the_example_is_not_good_enough_to_start_with(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text((ROOT / ".env.example").read_text())

    result = run_flask(tmp_path, "init-db")

    assert result.returncode == 2
    assert {line.split()[1] for line in result.stderr.splitlines()} == set(REQUIRED)


def test_settings_are_read_from_the_env_file_and_the_environment_wins(
    tmp_path: Path, source: dict[str, str]
) -> None:
    lines = source | {"DATABASE": str(tmp_path / "from-file.db"), "BASE_URL": "https://file.test"}
    (tmp_path / ".env").write_text("".join(f"{k}={v}\n" for k, v in lines.items()))

    result = run_flask(tmp_path, "webhook-url", BASE_URL="https://environment.test")

    assert result.stdout.startswith("https://environment.test/answer/")
    assert (tmp_path / "from-file.db").exists()


def test_a_database_that_cannot_be_written_is_one_clear_line(
    tmp_path: Path, source: dict[str, str]
) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(WrongSettings) as wrong:
        create_app(source | {"DATABASE": str(tmp_path / "file" / "group.db")})

    assert len(wrong.value.problems) == 1
    assert wrong.value.problems[0].startswith("DATABASE")


def test_a_home_folder_is_one(source: dict[str, str], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    assert read_settings(source | {"DATABASE": "~/group.db"})["DATABASE"] == f"{tmp_path}/group.db"


def test_a_name_beyond_ascii_is_asked_for_in_punycode(source: dict[str, str]) -> None:
    with pytest.raises(WrongSettings, match="punycode"):
        read_settings(source | {"BASE_URL": "https://gr\xfcppe.example.org"})


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-16-be", "latin-1"])
def test_an_env_file_that_is_not_utf_8_is_one_clear_line(
    tmp_path: Path, source: dict[str, str], encoding: str
) -> None:
    lines = source | {"GROUP_NAME": "S\xf6hne & T\xf6chter"}
    text = "".join(f"{name}={value}\n" for name, value in lines.items())
    (tmp_path / ".env").write_bytes(text.encode(encoding))

    result = run_flask(tmp_path, "init-db")

    assert result.returncode == 2
    assert result.stderr == f"Error: {tmp_path}/.env is not UTF-8 text: save it as UTF-8\n"


def test_an_env_file_may_have_a_byte_order_mark(tmp_path: Path, source: dict[str, str]) -> None:
    lines = {"BASE_URL": "https://file.test"} | source | {"DATABASE": str(tmp_path / "group.db")}
    text = "".join(f"{name}={value}\n" for name, value in lines.items())
    (tmp_path / ".env").write_bytes(text.encode("utf-8-sig"))

    assert run_flask(tmp_path, "init-db").returncode == 0


def test_a_setting_that_is_gone_is_ignored_and_said(
    source: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    read_settings(source | {"TRUSTED_PROXIES": ""})
    assert capsys.readouterr().err == ""
    assert "TRUSTED_PROXIES" not in read_settings(source | {"TRUSTED_PROXIES": "1"})
    assert capsys.readouterr().err.startswith("TRUSTED_PROXIES is ignored: ")


def test_a_setting_can_come_from_a_file(source: dict[str, str], tmp_path: Path) -> None:
    """As containers have for secrets."""
    key = tmp_path / "key"
    key.write_text(source.pop("SECRET_KEY") + "\n")

    settings = read_settings(source | {"SECRET_KEY": "", "SECRET_KEY_FILE": str(key)})

    assert settings["SECRET_KEY"] == "a-secret-key-of-more-than-32-characters"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "SECRET_KEY has a file that cannot be read (No such file or directory): "),
        (b"\xff" * 40, "SECRET_KEY has a file that is not UTF-8 text"),
        (b"short", "SECRET_KEY "),
        (b"", "SECRET_KEY is missing"),
    ],
)
def test_a_wrong_file_of_a_setting_is_named(
    source: dict[str, str], tmp_path: Path, content: bytes | None, told: str
) -> None:
    key = tmp_path / "key"
    if content is not None:
        key.write_bytes(content)
    del source["SECRET_KEY"]

    with pytest.raises(WrongSettings) as wrong:
        read_settings(source | {"SECRET_KEY_FILE": str(key)})

    assert len(wrong.value.problems) == 1
    assert wrong.value.problems[0].startswith(told)


def test_a_setting_and_its_file_contradict_each_other(source: dict[str, str]) -> None:
    with pytest.raises(WrongSettings) as wrong:
        read_settings(source | {"SECRET_KEY_FILE": "/dev/null"})

    assert wrong.value.problems == ["SECRET_KEY and SECRET_KEY_FILE are both given: keep one"]


def test_an_env_file_that_cannot_be_read_is_one_line() -> None:
    with TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        env_file = Path(folder, ".env")
        env_file.write_text("SECRET_KEY=x")
        env_file.chmod(0)
        with as_somebody_else(), pytest.raises(WrongSettings) as wrong:
            read_env_file(str(env_file))

    assert wrong.value.problems == [f"{env_file} cannot be read: Permission denied"]


@contextmanager
def as_somebody_else() -> Iterator[None]:
    """Root may read everything."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


def test_the_language_of_a_shell_changes_nothing(
    source: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LANGUAGE", "de")
    assert gather_settings(None)["LANGUAGE"] == "de"  # a container's, which has no .env

    (tmp_path / ".env").write_text("GROUP_NAME=Us")

    assert "LANGUAGE" not in gather_settings(None)
