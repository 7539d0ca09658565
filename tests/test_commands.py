"""The `flask` commands, as the person who runs the box types them."""

import sqlite3
from pathlib import Path

import pytest

from app import WrongSettings, create_app
from simulator.vonage import Answer, Vonage, answer_with

from .conftest import ADA, GRACE, Group, Served


@pytest.mark.parametrize("command", ["init-db", "invite", "webhook-url"])
def test_every_command_says_what_it_is_for(group: Group, command: str) -> None:
    result = group.command(command, "--help")

    assert result.exit_code == 0
    assert len(result.output.splitlines()) > 3


def test_the_first_admin_is_invited_by_command(group: Group) -> None:
    result = group.command("invite", "+1 202 555 0100", "--username", "Ada")

    assert result.exit_code == 0
    assert result.output.startswith("The number ending in 00 is invited as ada until ")
    assert result.output.endswith(", and the text is on its way.\n")
    assert group.rows("SELECT username, invited_by FROM whitelist") == [("ada", None)]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["12025550100"], "Begin with + and the country code"),
        (["+1900555010"], "There is no such number"),
        (["+12025550100", "--username", "root"], "That name is reserved"),
        (["+12025550100", "--username", ""], "Choose a username"),
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
    assert "is invited as ada, but: Vonage does not accept the key and secret" in result.output
    assert group.command("invite", f"+{ADA}", "--username", "ada").exit_code == 0


def test_inviting_twice_within_a_minute_is_told(group: Group) -> None:
    group.invite(ADA, "ada")

    result = group.command("invite", f"+{ADA}", "--username", "ada")

    assert result.exit_code == 1
    assert "less than a minute ago" in result.output


def test_the_webhooks_address_is_the_same_at_every_start(settings: dict[str, str]) -> None:
    urls = {
        create_app(settings).test_cli_runner().invoke(args=["webhook-url"]).output for _ in range(2)
    }

    assert len(urls) == 1
    assert urls.pop().startswith("http://localhost:8000/answer/")


def test_a_new_secret_key_drops_invites_and_says_the_new_address(
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
    assert "SECRET_KEY is new: open invites are dropped." in told
    assert f"/answer/{new.token()}" in told
    assert new.token() != old
    assert new.rows("SELECT * FROM whitelist") == []
    assert new.rows("SELECT * FROM pending_verifications") == []
    assert new.one("SELECT event FROM journal ORDER BY id DESC") == "key_changed"
    same = new.browser()
    same.client.set_cookie("session", ada.cookie())
    assert same.username() == "ada"  # sessions live on
    create_app(settings | {"SECRET_KEY": "another-key-of-more-than-32-characters"})
    assert capsys.readouterr().err == ""


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
