"""`flask doctor`: is everything as it must be, from the settings to the webhook of the number? Each
check is a line, which says of what is wrong what to do about it."""

import sqlite3
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import urlsplit

import click
import requests
from dotenv import find_dotenv
from flask import current_app
from vonage_account import Account
from vonage_numbers import ListOwnedNumbersFilter, Numbers, OwnedNumber, UpdateNumberParams

from foundation.database import transaction
from foundation.inbound import webhook_url
from foundation.sentences import say
from foundation.vonage import VonageClient, VonageError, VonageRefused, asking_vonage, connect


class Trouble(Exception):
    """What is wrong, and what to do about it, in words."""


def examine(fix: bool) -> bool:
    """Make all checks, with a line for each. False: something is wrong. `fix` lets the number's
    webhook be set."""
    checks: list[Callable[[], str]] = [check_settings, check_database, check_base_url]
    checks += [check_account, lambda: check_number(fix)]
    results = [tell(check) for check in checks]
    return all(results)


def tell(check: Callable[[], str]) -> bool:
    try:
        click.echo(f"ok     {check()}")
        return True
    except Trouble as trouble:
        click.echo(f"wrong  {trouble}")
    except VonageError as error:
        click.echo(f"wrong  {say(error.reason)}")
    return False


def check_settings() -> str:
    """That they are right, the program's start has found out already."""
    env_file = find_dotenv(usecwd=True)
    if not env_file:
        return "The settings are right; they come from the environment."
    require_private([Path(env_file)])
    return f"The settings are right, and {env_file} is for its owner's eyes only."


def require_private(files: Iterable[Path]) -> None:
    for file in files:
        if file.exists() and file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise Trouble(f"Others on this machine can read {file}: chmod 600 {file}")


def check_database() -> str:
    path = Path(current_app.root_path, current_app.config["DATABASE"])
    require_private(Path(f"{path}{suffix}") for suffix in ("", "-wal", "-shm"))
    try:
        with transaction() as db:
            found = db.execute("PRAGMA quick_check").fetchone()[0]
    except sqlite3.Error as error:
        raise Trouble(
            f"The database {path} cannot be written ({error}): mend that first."
        ) from None
    if found != "ok":
        raise Trouble(f"The database {path} is damaged ({found}): restore a backup.")
    return f"The database {path} is sound, and for its owner's eyes only."


def check_base_url() -> str:
    url = current_app.config["BASE_URL"]
    try:
        answer = requests.get(f"{url}/healthz", timeout=5, allow_redirects=False)
    except requests.exceptions.SSLError:
        raise Trouble(f"The certificate of {url} is not trusted: look at the web server.") from None
    except requests.RequestException:
        raise Trouble(
            f"Nothing answers at {url}: start the program (make serve), and look at the name and at"
            " the web server in front."
        ) from None
    if answer.status_code != 200 or answer.text != "ok\n":
        raise Trouble(f"Something else answers at {url}: look at the web server in front.")
    return f"{url} answers."


def check_account() -> str:
    with asking_vonage("balance"):
        credit = Account(client()).get_balance().value
    if credit <= 0:
        raise Trouble(say("vonage-credit"))
    return f"Vonage accepts key and secret; the credit is {credit:.2f} EUR."


def client() -> VonageClient:
    return connect(current_app.config)


def check_number(fix: bool) -> str:
    number = find_number()
    require_texts(number)
    if number.mo_http_url == webhook_url():
        return "The number is this account's, can do SMS, and its inbound webhook points here."
    if not fix:
        raise Trouble(
            "The number's inbound webhook does not point here, so no reply would arrive:"
            " flask doctor --fix sets it."
        )
    set_webhook(number)
    return "The number is this account's, can do SMS, and its inbound webhook points here now."


def find_number() -> OwnedNumber:
    own = current_app.config["VONAGE_NUMBER"]
    wanted = ListOwnedNumbersFilter(pattern=own, search_pattern=1)
    with asking_vonage("numbers"):
        owned, _, _ = Numbers(client()).list_owned_numbers(wanted)
        found = [number for number in owned if number.msisdn == own]
    if not found:
        raise Trouble(
            "VONAGE_NUMBER is not a number of this account: check it, or buy one in the dashboard"
            " (Numbers > Buy numbers)."
        )
    return found[0]


def require_texts(number: OwnedNumber) -> None:
    if "SMS" not in (number.features or []):
        raise Trouble("The number cannot do SMS: buy one that can.")
    if number.messages_callback_type == "app":
        raise Trouble(
            "The number's texts go to an application of Vonage's: in the dashboard, Numbers > Your"
            " numbers > Edit, take the application out."
        )


def set_webhook(number: OwnedNumber) -> None:
    """What else is set at the number is sent along, so that it stays."""
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
            "Vonage did not take the address: it calls BASE_URL from the internet before it agrees."
        ) from None


def kept_voice(number: OwnedNumber) -> dict[str, str]:
    """Where calls go, in so far as the SDK can say it."""
    if number.voice_callback_type not in ("sip", "tel") or not number.voice_callback_value:
        return {}
    return {
        "voice_callback_type": number.voice_callback_type,
        "voice_callback_value": number.voice_callback_value,
    }


def hide_path(url: str | None) -> str:
    """The path of a webhook may be its secret."""
    parts = urlsplit(url or "")
    return f"{parts.scheme}://{parts.netloc}/..." if parts.netloc else "nothing"
