"""`flask doctor`: checks everything, from the settings to the number's webhook. Each check is a
line; if something is wrong, it says what to do."""

from __future__ import annotations

import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click
import requests
from dotenv import find_dotenv
from flask import Blueprint, current_app

from foundation.cli.command import command
from foundation.cli.source_files import serves_these_files
from foundation.running import hooks
from foundation.storage import journal
from foundation.storage.database import database_path, fetch_row, transaction
from foundation.storage.migrations import is_in_use
from foundation.typed.hosts import is_loopback
from foundation.typed.keywords import is_opt_out_word
from foundation.vonage.client import (
    VonageClient,
    VonageError,
    VonageRefused,
    asking_vonage,
    connect,
    count_parts,
)
from foundation.vonage.inbound import webhook_url
from foundation.vonage.texts import write_invite
from foundation.web.feature import Feature
from foundation.words.clock import DAY, now
from foundation.words.languages import LANGUAGES
from foundation.words.sentences import say

if TYPE_CHECKING:  # they are imported where they are used, so the server doesn't load them
    from vonage_numbers import OwnedNumber

doctor = Blueprint("doctor", __name__, cli_group=None)
feature = Feature(doctor)


class Trouble(Exception):
    """What is wrong, and what to do about it, in words."""


@command(doctor, "doctor")
@click.option("--fix", is_flag=True, help="Set the number's inbound webhook.")
@click.option("--quiet", is_flag=True, help="Say only what is wrong, as for cron.")
def doctor_command(fix: bool, quiet: bool) -> None:
    """Check everything that an invite, a reply and a PIN need, and say what to do."""
    wrong = [name for name, is_well, words in examine(fix) if not say_result(is_well, words, quiet)]
    for note in () if quiet else find_notes():
        click.echo(f"note   {note}")
    if wrong:
        click.echo(f"Wrong: {', '.join(dict.fromkeys(wrong))}.", err=True)
        raise click.exceptions.Exit(1)
    if not quiet:
        click.echo("All is well.")


def say_result(is_well: bool, words: str, quiet: bool) -> bool:
    if words and not (quiet and is_well):
        click.echo(f"{'ok    ' if is_well else 'wrong '} {words}")
    return is_well


def examine(fix: bool) -> Iterator[tuple[str, bool, str]]:
    """All checks: each one's name, whether all is well, and that in words. Some have no words for
    what is well. `fix` allows setting the number's webhook."""
    checks: dict[str, Callable[[], str]] = {
        "settings": check_settings,
        "database": check_database,
        "units": check_units,
        "server": check_files,
        "BASE_URL": check_base_url,
        "Vonage": check_account,
        "number": lambda: check_number(fix),
        "texts": check_texts,
        "backups": check_backups,
    }
    for name, check in checks.items():
        yield name, *result_of(check)
    for check_of_feature in hooks("check"):
        for is_well, words in check_of_feature():
            yield words.split()[0], is_well, words


def find_notes() -> Iterator[str]:
    """What is right, but may surprise."""
    language = current_app.config["LANGUAGE"]
    parts = count_parts(write_invite(None, language))
    if parts > 1:
        yield (
            f"An invite costs {parts} texts (in {LANGUAGES[language]}). Shorten GROUP_NAME,"
            " INVITE_CODE or BASE_URL to make it one."
        )
    if is_opt_out_word(current_app.config["INVITE_CODE"]):
        yield (
            "INVITE_CODE is also a word that people opt out with. Choose another one: those who"
            " text it get a PIN."
        )
    if got_text_by_get():
        yield (
            "Within a week, texts came by GET and were ignored. In Vonage's dashboard, at API"
            " settings > SMS settings, choose POST or POST-JSON."
        )
    region = current_app.config["DEFAULT_REGION"]
    if region in CLOSED_REGIONS:
        yield (
            f"Vonage's Verify is closed to numbers in {region} until its support opens it: invites"
            " would arrive there, but no PINs."
        )


def got_text_by_get() -> bool:
    sql = "SELECT 1 FROM journal WHERE event = 'webhook_by_get' AND at > ?"
    with suppress(sqlite3.Error):  # another check says what is wrong with the database
        return fetch_row(sql, (now() - 7 * DAY,)) is not None
    return False


# Some of a longer list, which Vonage's help centre has.
CLOSED_REGIONS = {"GH", "JM", "ME", "MK", "TN"}


def result_of(check: Callable[[], str]) -> tuple[bool, str]:
    try:
        return True, check()
    except Trouble as trouble:
        return False, str(trouble)
    except VonageError as error:
        if isinstance(error.__cause__, requests.exceptions.SSLError):
            return False, (
                "This machine doesn't trust Vonage's certificate. Check its clock, and install"
                " ca-certificates."
            )
        return False, say(error.reason)


def check_settings() -> str:
    """They are right, or the program would not have started."""
    env_file = find_dotenv(usecwd=True)
    if not env_file:
        return "The settings are right; they come from the environment."
    require_private([Path(env_file)])
    return f"The settings are right, and only you can read {env_file}."


def require_private(files: Iterable[Path]) -> None:
    for file in files:
        if file.exists() and file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise Trouble(f"Others on this machine can read {file}: chmod 600 {file}")


def check_database() -> str:
    path = database_path(current_app)
    require_private(Path(f"{path}{suffix}") for suffix in ("", "-wal", "-shm"))
    free = shutil.disk_usage(path.parent).free
    if free < ROOM:
        raise Trouble(f"Only {free // 2**20} MB are free where {path} is. Make room.")
    try:
        with transaction() as db:
            found = db.execute("PRAGMA quick_check").fetchone()[0]
            mark = db.execute("PRAGMA application_id").fetchone()[0]
            db.execute(f"PRAGMA application_id = {mark:d}")  # writes what is there
    except sqlite3.Error as error:
        raise Trouble(f"The database {path} can't be written ({error}). Fix that first.") from None
    if found != "ok":
        raise Trouble(f"The database {path} is damaged ({found}): restore a backup.")
    return f"The database {path} is sound, and only you can read it."


UNITS = Path("/etc/systemd/system")
ROOM = 20 * 2**20  # bytes; what a year of a group takes


def check_units() -> str:
    """Changes of one's own have a place beside them: systemctl edit."""
    for ours in Path(current_app.root_path, "deploy").glob("*.service"):
        name = ours.name.replace("backup", "trusted-group-backup")
        unit = UNITS / name
        if unit.exists() and unit.read_bytes() != ours.read_bytes():
            raise Trouble(
                f"{unit} is of another version. Copy {ours} there, then `systemctl daemon-reload`;"
                f" `systemctl edit {name}` is for changes of your own."
            )
    return ""


def check_files() -> str:
    if not is_in_use(database_path(current_app)):
        return ""
    if not serves_these_files(database_path(current_app), Path(current_app.root_path)):
        raise Trouble("The server runs older files than these. Restart it.")
    return "The server runs these files."


def check_base_url() -> str:
    url = current_app.config["BASE_URL"]
    try:
        response = ask_ourselves(f"{url}/healthz")
    except requests.exceptions.SSLError:
        raise Trouble(f"The certificate of {url} isn't trusted. Check the web server.") from None
    except requests.RequestException:
        raise Trouble(
            f"Nothing answers at {url}. Start the program (make serve), and check the name and the"
            " web server in front."
        ) from None
    if response.status_code != 200 or response.text != "ok\n" or not knows_our_token():
        raise Trouble(f"Something else answers at {url}. Check the web server in front.")
    return f"{url} answers, and it is this program."


NO_PROXY = {"http": "", "https": "", "all": ""}


def ask_ourselves(url: str) -> requests.Response:
    """On this machine without HTTP_PROXY, which only leads away from it."""
    proxies = NO_PROXY if is_loopback(urlsplit(url).hostname or "") else None
    return requests.get(url, timeout=5, allow_redirects=False, proxies=proxies)


def knows_our_token() -> bool:
    """Our webhook's address answers as only this program can: 200 with the token, 401 without."""
    guess = webhook_url()[:-8] + "00000000"
    statuses = [ask_ourselves(address).status_code for address in (webhook_url(), guess)]
    return statuses == [200, 401]


def check_account() -> str:
    from vonage_account import Account

    asking = client()
    with asking_vonage("balance"):
        credit = Account(asking).get_balance().value
    if credit <= 0:
        raise Trouble(say("vonage-credit"))
    if credit < SIGN_UP_PRICE:
        raise Trouble(
            f"The credit at Vonage is {credit:.2f} EUR, less than one sign-up may cost. Add some in"
            " the dashboard."
        )
    require_right_clock(asking)
    return f"Vonage accepts key and secret; the credit is {credit:.2f} EUR."


SIGN_UP_PRICE = 0.2  # EUR: an invite and a PIN, where texts are dear
CLOCK_MAY_DIFFER = 60  # seconds


def require_right_clock(asked: VonageClient) -> None:
    if asked.answered_at is None:
        return
    difference = abs(now() - asked.answered_at)
    if difference > CLOCK_MAY_DIFFER:
        raise Trouble(
            f"This machine's clock and Vonage's differ by {difference} seconds. Set it right:"
            " `timedatectl set-ntp true`."
        )


def check_texts() -> str:
    spent, allowed = journal.count_texts_of_today(), current_app.config["TEXTS_PER_DAY"]
    if spent >= allowed:
        raise Trouble(
            f"All {allowed} texts of 24 hours are spent, so no invite and no PIN goes out. Look at"
            " the journal; TEXTS_PER_DAY allows more."
        )
    return ""


def check_backups() -> str:
    """Of those who have them made daily, as docs/running.md says."""
    folder = database_path(current_app).parent / "backups"
    if not folder.is_dir():
        return ""
    newest = max((file.stat().st_mtime for file in folder.glob("group-*.db")), default=0)
    if now() - newest > 2 * DAY:
        raise Trouble(
            f"The newest copy in {folder} is older than two days. See `systemctl status"
            " trusted-group-backup`."
        )
    return ""


def client() -> VonageClient:
    return connect(current_app.config)


def check_number(fix: bool) -> str:
    number = find_number()
    require_texts(number)
    if number.mo_http_url == webhook_url():
        return (
            f"The number is this account's, can do SMS, and its inbound webhook points here.{dlc()}"
        )
    if not fix:
        raise Trouble(
            "The number's inbound webhook doesn't point here, so no reply would arrive."
            " `flask doctor --fix` sets it."
        )
    set_webhook(number)
    return (
        f"The number is this account's, can do SMS, and its inbound webhook points here now.{dlc()}"
    )


def dlc() -> str:
    """Only texts that go out have to be registered in North America."""
    if not current_app.config["VONAGE_NUMBER"].startswith("1"):
        return ""
    return " (Texting from it takes a 10DLC registration; sending the invites yourself takes none.)"


def find_number() -> OwnedNumber:
    from vonage_numbers import ListOwnedNumbersFilter, Numbers

    own = current_app.config["VONAGE_NUMBER"]
    wanted = ListOwnedNumbersFilter(pattern=own, search_pattern=1)
    with asking_vonage("numbers"):
        owned, _, _ = Numbers(client()).list_owned_numbers(wanted)
        found = [number for number in owned if number.msisdn == own]
    if not found:
        raise Trouble(
            "VONAGE_NUMBER isn't a number of this account. Check it, or buy one in the dashboard"
            " (Numbers > Buy numbers)."
        )
    return found[0]


def require_texts(number: OwnedNumber) -> None:
    if "SMS" not in (number.features or []):
        raise Trouble("The number can't do SMS. Buy one that can.")
    if number.messages_callback_type == "app":
        raise Trouble(
            "The number's texts go to a Vonage application. Remove the application in the dashboard"
            " (Numbers > Your numbers > Edit)."
        )


def set_webhook(number: OwnedNumber) -> None:
    """Sends the number's other settings along, so they stay as they are."""
    from vonage_numbers import Numbers, UpdateNumberParams

    click.echo("fixing The number's inbound webhook")
    click.echo(f"       from {hide_path(number.mo_http_url)}")
    click.echo(f"       to   {hide_path(webhook_url())} (`flask webhook-url` prints it whole)")
    changes = UpdateNumberParams(
        country=number.country,
        msisdn=number.msisdn,
        mo_http_url=webhook_url(),
        app_id=number.app_id,
        **kept_voice(number),
    )
    try:
        with asking_vonage("numbers"):
            Numbers(client()).update_number(changes)
    except VonageRefused:
        raise Trouble(
            "Vonage didn't accept the address. It first calls BASE_URL from the internet."
        ) from None


def kept_voice(number: OwnedNumber) -> dict[str, str]:
    """Where voice calls go, as far as the SDK can express it."""
    if number.voice_callback_type not in ("sip", "tel") or not number.voice_callback_value:
        return {}
    return {
        "voice_callback_type": number.voice_callback_type,
        "voice_callback_value": number.voice_callback_value,
    }


def hide_path(url: str | None) -> str:
    """The path of a webhook may be a secret."""
    parts = urlsplit(url or "")
    return f"{parts.scheme}://{parts.netloc}/..." if parts.netloc else "nothing"
