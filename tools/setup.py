"""`make setup`: asks for the settings and writes .env. Needs no settings and no database, so it is
no `flask` command: `python -m tools.setup`."""

import os
import re
import secrets
import sys
from pathlib import Path

import click
from dotenv import dotenv_values

from foundation.typed.keywords import is_opt_out_word
from foundation.typed.settings import SETTINGS

EXAMPLE = Path(__file__).parent.parent / ".env.example"
ASKED = ["GROUP_NAME", *(name for name, setting in SETTINGS.items() if setting.required)]
ASKED.remove("SECRET_KEY")  # made, not asked for


@click.command()
@click.option("--overwrite", is_flag=True, help="Replace the .env there is.")
def setup(overwrite: bool) -> None:
    """Ask for what .env needs, and write it."""
    file = Path(".env").absolute()
    if file.exists() and not overwrite:
        raise click.ClickException(
            f"{file} already exists. To replace it, run:"
            " .venv/bin/python -m tools.setup --overwrite"
        )
    if not os.access(file.parent, os.W_OK):
        raise click.ClickException(
            f"You can't write into {file.parent}. Run this as somebody who can; for the service,"
            " write the file elsewhere and install it as docs/running.md says."
        )
    answers = {"SECRET_KEY": secrets.token_hex(32)} | {name: ask(name) for name in ASKED}
    write_env_file(file, answers)
    click.echo(f"\n{file} is written, readable by its owner only. Next, type:\n\n    make serve")


def ask(name: str) -> str:
    """An answer that is right, asked for until it is."""
    setting = SETTINGS[name]

    def check(text: str) -> str:
        try:
            setting.parse(text.strip())
        except ValueError as error:
            raise click.UsageError(f"This {error}.") from None
        if name == "INVITE_CODE" and is_opt_out_word(text.strip()):
            raise click.UsageError("People opt out of texts with this word. Choose another one.")
        return text.strip()

    click.echo(f"\n{setting.help}")
    is_secret = name.endswith("SECRET") and sys.stdin.isatty()
    proposal = propose_word() if name == "INVITE_CODE" else setting.default
    return str(click.prompt(name, proposal, is_secret, value_proc=check))


def propose_word() -> str:
    """Eight letters that can be said aloud."""
    syllables = (secrets.choice("bdfgklmnprstv") + secrets.choice("aeiou") for _ in range(4))
    return "".join(syllables)


def write_env_file(file: Path, answers: dict[str, str]) -> None:
    """The example with the answers filled in, comments included."""
    text = EXAMPLE.read_text()
    for name, value in answers.items():
        quoted = "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
        line = f"{name}={value if re.fullmatch('[A-Za-z0-9:/.,_-]+', value) else quoted}"
        before, after = re.split(rf"^{name}=.*$", text, maxsplit=1, flags=re.M)
        text = before + line + after
    new = file.with_name(".env.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as written:
        written.write(text)
    read = dotenv_values(new)
    if any(read[name] != value for name, value in answers.items()):
        new.unlink()
        raise click.ClickException("An answer can't be written into .env. Use plainer characters.")
    new.rename(file)


if __name__ == "__main__":
    setup()
