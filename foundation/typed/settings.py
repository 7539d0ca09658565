"""Settings, from the environment or `.env`. Each has a parser, from text to value or ValueError,
and its help text."""

import base64
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import click
import phonenumbers
from dotenv import dotenv_values, find_dotenv

from foundation.typed.hosts import is_loopback, is_within, parse_web_address
from foundation.typed.keywords import CARRIER_KEYWORDS
from foundation.typed.mistakes import Mistake
from foundation.typed.phones import region_of
from foundation.typed.usernames import parse_username
from foundation.words.languages import LANGUAGES, match_language


class WrongSettings(click.ClickException):
    """The program cannot start. Names every problem, one a line, and never shows a value."""

    exit_code = 2

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems

    def show(self, file: Any = None) -> None:
        for problem in self.problems:
            click.echo(f"Error: {problem}", file=file, err=True)


def parse_secret_key(text: str) -> str:
    if len(text) < 32 or len(set(text)) < 8 or text.startswith("replace-me"):
        raise ValueError("must be 32 or more random characters of your own (see .env.example)")
    return text


def parse_group_name(text: str) -> str:
    if not 1 <= len(text) <= 16 or not text.isprintable() or re.search(r"[\\/{}:$]", text):
        raise ValueError("must have 1 to 16 characters, and none of / \\ { } : $")
    return text


def parse_base_url(text: str) -> str:
    if not text.isascii():
        raise ValueError("must have its host in punycode (xn--...), as browsers send it")
    match = re.fullmatch(r"(https?)://([a-z0-9.-]*[a-z0-9])(:[0-9]{1,5})?/?", text.lower())
    if not match or (match[1] == "http" and not is_loopback(match[2])):
        raise ValueError("must be https://host or https://host:port (http:// only on this machine)")
    if match[3] and not 1 <= int(match[3][1:]) <= 65535:
        raise ValueError("has a port that does not exist")
    default_port = ":443" if match[1] == "https" else ":80"  # browsers leave it out of an Origin
    return f"{match[1]}://{match[2]}{'' if match[3] in (None, default_port) else match[3]}"


def parse_invite_code(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9]{4,20}", text):
        raise ValueError("must be one word of 4 to 20 letters and digits")
    if text.upper() in CARRIER_KEYWORDS:
        raise ValueError("must not be a word that phone carriers act on")
    return text


def parse_admins(text: str) -> frozenset[str]:
    try:
        return frozenset(parse_username(name) for name in text.split(","))
    except Mistake:
        raise ValueError("must be usernames, separated by commas") from None


def parse_word(text: str) -> str:
    if not re.fullmatch(r"[!-~]+", text):
        raise ValueError("must not contain spaces")
    return text


def parse_own_number(text: str) -> str:
    digits = text.removeprefix("+").replace(" ", "")
    if not re.fullmatch(r"[0-9]{7,15}", digits):
        raise ValueError("must be the number as the dashboard shows it, 7 to 15 digits")
    return digits


def parse_signature_method(text: str) -> str:
    if text.lower() not in ("sha256", "sha512"):
        raise ValueError(
            "must be sha256 or sha512: choose one in Vonage's dashboard, too, at API settings"
        )
    return text.lower()


def parse_host(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?", text):
        raise ValueError("must be host or host:port")
    return text


def parse_region(text: str) -> str:
    if text.upper() not in phonenumbers.SUPPORTED_REGIONS:
        raise ValueError("must be a country's two letters, such as GB")
    return text.upper()


def parse_language(text: str) -> str:
    language = match_language(text)
    if language is None:
        raise ValueError(f"must be one of {', '.join(LANGUAGES)}")
    return language


def parse_domain(text: str) -> str:
    domain = text.lower().removeprefix(".")
    if not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", domain) or re.fullmatch(r"[0-9.]+", domain):
        raise ValueError("must be a domain such as example.org")
    return domain


def parse_contact(text: str) -> str:
    if not re.fullmatch(r"(mailto:[^@\s]+@|https://)[!-~]+", text):
        raise ValueError("must be a mailto: or https:// address")
    return text


def parse_receiver(text: str) -> str:
    try:
        return parse_web_address("", text, with_local_names=True)
    except Mistake:
        raise ValueError("must be an https:// address (http:// only at home)") from None


def parse_notify_url(text: str) -> str:
    asked = [value for name, value in parse_qsl(urlsplit(text).query, True) if name == "format"]
    if asked and (len(asked) > 1 or asked[0] not in ("ntfy", "gotify", "apprise")):
        raise ValueError("must say format=gotify or format=apprise, or nothing of that for ntfy")
    return parse_receiver(text)


def parse_hook_secret(text: str) -> str:
    if len(text) < 32 or len(set(text)) < 8:
        raise ValueError("must be 32 or more random characters")
    if text.startswith("whsec_"):
        try:
            size = len(base64.b64decode(text.removeprefix("whsec_"), validate=True))
        except ValueError:
            size = 0
        if not 24 <= size <= 64:
            raise ValueError("must have base64 of 24 to 64 bytes after whsec_")
    return text


def parse_count(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,6}", text) or not least <= int(text) <= most:
            raise ValueError(f"must be a whole number from {least} to {most}")
        return int(text)

    return parse


def parse_database(text: str) -> str:
    if "://" in text:
        raise ValueError("must be a file, not an address")
    return os.path.expanduser(text)


class Setting(NamedTuple):
    """`help` is what .env.example and docs/settings.md say about it."""

    parse: Callable[[str], Any]
    help: str
    default: str | None = None
    required: bool = False


SETTINGS = {
    "SECRET_KEY": Setting(
        parse_secret_key,
        "32 or more random characters that nobody else knows. This prints some:"
        ' `python3 -c "import secrets; print(secrets.token_hex(32))"`',
        required=True,
    ),
    "GROUP_NAME": Setting(
        parse_group_name,
        "The group's name, 1 to 16 characters. Every text has it.",
        "Trusted Group",
    ),
    "BASE_URL": Setting(
        parse_base_url,
        "The address where friends and Vonage reach this program: `https://host` or"
        " `https://host:port`.",
        required=True,
    ),
    "INVITE_CODE": Setting(
        parse_invite_code,
        "The word an invited friend texts back: 4 to 20 letters and digits.",
        required=True,
    ),
    "ADMINS": Setting(
        parse_admins, "The usernames of the admins, separated by commas.", required=True
    ),
    "VONAGE_API_KEY": Setting(
        parse_word,
        "The key of your Vonage account, from the first page of the dashboard.",
        required=True,
    ),
    "VONAGE_API_SECRET": Setting(
        parse_word, "The secret of your Vonage account, from the same page.", required=True
    ),
    "VONAGE_NUMBER": Setting(
        parse_own_number,
        "The number you rent from Vonage. Friends reply to it.",
        required=True,
    ),
    "VONAGE_SIGNATURE_SECRET": Setting(
        parse_word,
        "The signature secret from the dashboard. Only if Vonage signs your webhooks; its support"
        " turns that on.",
    ),
    "VONAGE_SIGNATURE_METHOD": Setting(
        parse_signature_method,
        "How it signs them: `sha256` or `sha512`.",
        "sha256",
    ),
    "VONAGE_API_HOST": Setting(
        parse_host, "Another host for Verify, as `host[:port]`. The simulator uses this."
    ),
    "VONAGE_REST_HOST": Setting(
        parse_host, "Another host for texts, as `host[:port]`. The simulator uses this."
    ),
    "DATABASE": Setting(
        parse_database,
        "The database file. A relative path starts in the program's folder. It is created readable"
        " by its owner only.",
        "instance/group.db",
    ),
    "DEFAULT_REGION": Setting(
        parse_region,
        "Two letters, such as `GB`: mobile numbers may be typed the way people write them in that"
        " country. Without it, the main country of `VONAGE_NUMBER`'s calling code.",
    ),
    "LANGUAGE": Setting(
        parse_language,
        "The language of texts, and of pages when the browser asks for a language we don't have:"
        f" `{'`, `'.join(LANGUAGES)}`. For this setting `.env` wins over the environment, because"
        " other programs use a variable of the same name.",
        "en",
    ),
    "SESSION_DAYS": Setting(
        parse_count(1, 400), "How many days a device stays signed in without being used.", "30"
    ),
    "SESSION_MAX_DAYS": Setting(
        parse_count(1, 4000), "How many days a device stays signed in at most.", "365"
    ),
    "INVITE_DAYS": Setting(parse_count(1, 60), "How many days an invite is good for.", "7"),
    "MEMBER_INVITES": Setting(
        parse_count(0, 100),
        "How many open invites a member may have. 0: only admins invite. Members can invite three"
        " friends a day, guests nobody, and admins as many as they like.",
        "0",
    ),
    "TEXTS_PER_DAY": Setting(
        parse_count(1, 100_000),
        "The most texts that may be sent in any 24 hours, invites and PINs together.",
        "100",
    ),
    "COOKIE_DOMAIN": Setting(
        parse_domain,
        "A domain above the host of `BASE_URL`, such as `example.org`: apps on its subdomains can"
        " then be guarded by this sign-in.",
    ),
    "NOTIFY_URL": Setting(
        parse_notify_url,
        "Where you want to be told what the group needs you for: an address of ntfy, or of Gotify"
        " or Apprise with `format=gotify` or `format=apprise` in its query. `flask notify --test`"
        " tries it.",
    ),
    "HOOK_URL": Setting(
        parse_receiver,
        "Where a program of yours wants to be told the same, as JSON, signed as Standard Webhooks"
        " says.",
    ),
    "HOOK_SECRET": Setting(
        parse_hook_secret,
        "What that is signed with: 32 or more random characters as they are; or, for the libraries"
        " of Standard Webhooks, `whsec_` and base64 of 24 to 64 bytes.",
    ),
    "SECURITY_CONTACT": Setting(
        parse_contact,
        "Where somebody who finds a hole can reach you, as `mailto:` or `https://` address. It is"
        " in `/.well-known/security.txt`. Without it, the file names the start page.",
    ),
}
GONE = {"TRUSTED_PROXIES": "nothing reads a visitor's address"}  # settings of older versions


def gather_settings(config: Mapping[str, Any] | None) -> dict[str, Any]:
    """What is set, as text: in `config`, else the environment, else (without `config`) the nearest
    .env file."""
    env_file = read_env_file(find_dotenv(usecwd=True)) if config is None else {}
    environment = dict(os.environ)
    if env_file or is_of_gettext(environment.get("LANGUAGE", "")):
        environment.pop("LANGUAGE", None)
    return {**env_file, **environment, **(config or {})}


def is_of_gettext(value: str) -> bool:
    """Systems set a variable of the same name for all programs, to locales such as "sv_SE:sv"; so
    where there is an .env, only that is asked."""
    return value == "C" or re.search(r"[:_.]", value) is not None


def read_env_file(path: str) -> dict[str, str | None]:
    """With or without a byte order mark. Raises WrongSettings."""
    try:
        return dotenv_values(path or None, encoding="utf-8-sig") if path else {}
    except UnicodeDecodeError:
        raise WrongSettings([f"{path} is not UTF-8 text: save it as UTF-8"]) from None
    except OSError as error:
        raise WrongSettings([f"{path} cannot be read: {error.strerror}"]) from None


def read_settings(source: Mapping[str, Any]) -> dict[str, Any]:
    """All settings as values. Raises WrongSettings, which names every problem at once."""
    settings: dict[str, Any] = {}
    problems: list[str] = []
    for name, setting in SETTINGS.items():
        try:
            text = read_given(source, name) or setting.default
            settings[name] = setting.parse(text) if text is not None else None
            if text is None and setting.required:
                raise ValueError("is missing (see .env.example)")
        except ValueError as error:
            problems.append(f"{name} {error}")
    problems += find_contradictions(settings)
    if problems:
        raise WrongSettings(problems)
    for name in GONE.keys() & {name for name, value in source.items() if value}:
        click.echo(f"{name} is ignored: {GONE[name]}. Take it out of .env.", err=True)
    settings["DEFAULT_REGION"] = settings["DEFAULT_REGION"] or region_of(settings["VONAGE_NUMBER"])
    return settings


def read_given(source: Mapping[str, Any], name: str) -> str:
    """What is given for that setting, or for its name with _FILE: a file that contains it, as
    containers have for secrets. Raises ValueError."""
    values = (source.get(name), source.get(f"{name}_FILE"))
    given, path = ("" if value is None else str(value).strip() for value in values)
    if not path:
        return given
    if given:
        raise ValueError(f"and {name}_FILE are both given: keep one")
    try:
        return Path(path).read_text(encoding="utf-8-sig").strip()
    except UnicodeDecodeError:
        raise ValueError("has a file that is not UTF-8 text") from None
    except OSError as error:
        raise ValueError(f"has a file that cannot be read ({error.strerror}): {path}") from None


def find_contradictions(settings: Mapping[str, Any]) -> Iterator[str]:
    """Settings that are right alone but contradict each other."""
    if settings.get("SESSION_MAX_DAYS", 4000) < settings.get("SESSION_DAYS", 1):
        yield "SESSION_MAX_DAYS must not be less than SESSION_DAYS"
    if settings.get("HOOK_URL") and not settings.get("HOOK_SECRET", True):
        yield "HOOK_SECRET is missing: what goes to HOOK_URL is signed with it"
    url, domain = urlsplit(settings.get("BASE_URL", "")), settings.get("COOKIE_DOMAIN")
    host = url.hostname
    if domain and host and not (url.scheme == "https" and is_within(host, domain)):
        yield "COOKIE_DOMAIN must be the https host of BASE_URL, or a domain above it"
