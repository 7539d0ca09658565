"""Languages: which one a page or a text is in, and what a sentence is in it.

Sentences are English in the code and the templates; translations/ has them in the others, as
catalogs of gettext. docs/translating.md says how to add a language.
"""

import functools
import io
from pathlib import Path

from babel.lists import format_list
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import Translations
from flask import current_app, g, has_request_context, request
from werkzeug.datastructures import LanguageAccept
from werkzeug.http import parse_accept_header

# By tag (BCP 47), as its speakers call it.
LANGUAGES = {
    "en": "English",
    "de": "Deutsch",
    "fr": "Français",
    "es": "Español",
    "pt-BR": "Português (Brasil)",
    "it": "Italiano",
    "nl": "Nederlands",
    "ar": "العربية",
    "ja": "日本語",
}
RIGHT_TO_LEFT = {"ar"}
# In which of ours Verify says its PINs when it's told to. Otherwise, also for English, it takes the
# language of the phone's country, and English where it has none.
LOCALES = {"de": "de-de", "fr": "fr-fr", "es": "es-es", "pt-BR": "pt-br", "it": "it-it"}

FOLDER = Path(__file__).parents[2] / "translations"


# Which language a visitor reads -------------------------------------------------------------------


def current_language() -> str:
    """The visitor's. Commands speak English."""
    if not has_request_context():
        return "en"
    language: str | None = getattr(g, "language", None)
    if language is None:
        language = g.language = choose_language()
    return language


def choose_language() -> str:
    """As chosen at the foot of a page, else as the browser asks, else as the group speaks."""
    config, environ = current_app.config, request.environ
    if f"{config['LANGUAGE_COOKIE_NAME']}=" in environ.get("HTTP_COOKIE", ""):
        chosen = request.cookies.get(config["LANGUAGE_COOKIE_NAME"])
        if chosen in LANGUAGES:
            return chosen
    asked = match_languages(environ.get("HTTP_ACCEPT_LANGUAGE", "")[:200])  # people's are shorter
    return asked or str(config["LANGUAGE"])


@functools.lru_cache(maxsize=500)
def match_languages(accepted: str) -> str | None:
    """The first that we have, of an Accept-Language header."""
    wanted = parse_accept_header(accepted, LanguageAccept)
    found = (match_language(tag) for tag, quality in wanted if quality > 0)
    return next((language for language in found if language), None)


def match_language(tag: str) -> str | None:
    """Else by prefix: Portuguese of Portugal is nearer to ours of Brazil than to English."""
    wanted = tag.replace("_", "-").lower()
    exact = (one for one in LANGUAGES if one.lower() == wanted)
    near = (one for one in LANGUAGES if one.partition("-")[0] == wanted.partition("-")[0])
    return next(exact, None) or next(near, None)


# What a sentence is in a language -----------------------------------------------------------------


def locale_of(language: str) -> str:
    """As Babel and gettext write it: pt_BR."""
    return language.replace("-", "_")


def path_of(language: str) -> Path:
    """Of its catalog."""
    return FOLDER / locale_of(language) / "LC_MESSAGES" / "messages.po"


def translate(sentence: str, language: str | None = None) -> str:
    """`language`: the visitor's, if none is given."""
    language = language or current_language()
    return sentence if language == "en" else find_catalog(language).gettext(sentence)


def translate_in(context: str, sentence: str) -> str:
    """Where the same English means two things: the one that is meant there."""
    return str(find_catalog(current_language()).pgettext(context, sentence))


def say_either(names: list[str]) -> str:
    """a, b or c"""
    return str(format_list(names, "or", locale=locale_of(current_language())))


def say_all(names: list[str]) -> str:
    """a, b and c"""
    return str(format_list(names, "standard", locale=locale_of(current_language())))


def translate_count(one: str, many: str, count: int, language: str | None = None) -> str:
    """The form that goes with that count."""
    return find_catalog(language or current_language()).ngettext(one, many, count)


@functools.cache
def find_catalog(language: str) -> Translations:
    """As `make install` compiled it. Where that wasn't run, such as in a checkout that somebody
    starts by hand, it is compiled here, which takes a moment at the first page. There is none for
    English: an empty catalog gives back what it's asked for."""
    source = path_of(language)
    compiled = source.with_suffix(".mo")
    if compiled.exists():
        with compiled.open("rb") as file:
            return Translations(file)
    if not source.exists():
        return Translations()
    with source.open("rb") as file:
        catalog = read_po(file)
    made = io.BytesIO()
    write_mo(made, catalog)
    made.seek(0)
    return Translations(made)
