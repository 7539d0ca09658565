"""`make translations`: brings every catalog up to date with what the program says. New sentences
are added without a translation, those that are gone are dropped."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

from foundation.storage.journal import EVENTS, WHOM
from foundation.vonage.texts import TEXTS
from foundation.web.feature import ADMIN_PAGES
from foundation.words.languages import FOLDER, LANGUAGES, locale_of, path_of
from foundation.words.sentences import HEADINGS, SENTENCES
from wsgi import FEATURES

KEYWORDS: dict[str, Any] = {
    "_": None, "gettext": None, "translate": None, "ngettext": (1, 2), "translate_count": (1, 2),
    "pgettext": ((1, "c"), 2), "translate_in": ((1, "c"), 2),
}  # fmt: skip
IN_TEMPLATES = {"**.html": {"trimmed": "true", "silent": "false"}}
HEADER = """\
# The sentences of Trusted Group in another language. docs/translating.md says how to work on them.
#"""
# Always this date, so that only sentences change a file.
BEGUN = datetime(2026, 11, 26, tzinfo=UTC)


def find_messages() -> Iterator[tuple[Any, str, str | None]]:
    """Each sentence (or a singular with its plural), where it is, or its name, and what it means
    there, where that has to be said."""
    root = str(FOLDER.parent)
    for room, methods in (
        ("templates", [("**.html", "jinja2")]),
        ("foundation", [("**.py", "python")]),
        ("features", [("**.py", "python")]),
    ):
        found = extract_from_dir(f"{root}/{room}", methods, IN_TEMPLATES, KEYWORDS)
        for file, _, message, _, context in sorted(found, key=lambda one: (one[0], one[1])):
            yield message, f"{room}/{file}", context
    yield from find_named("the text", TEXTS)
    yield from find_named("an error page", HEADINGS)
    yield from find_named("an admin page", ADMIN_PAGES)
    yield from find_named("a sentence", SENTENCES)
    yield from find_named("the journal", {**EVENTS, "after an event": WHOM})
    for feature in FEATURES:
        yield from find_named("a sentence", feature.sentences)
        yield from find_named("the journal", feature.events)
        yield from find_named("an admin page", feature.admin_pages)


def find_named(what: str, sentences: Mapping[str, str]) -> Iterator[tuple[str, str, None]]:
    return ((sentence, f"{what}: {name}", None) for name, sentence in sentences.items())


def gather_catalog() -> Catalog:
    """All of it, with no translation."""
    catalog = Catalog(creation_date=BEGUN)
    for message, place, context in find_messages():
        catalog.add(message, auto_comments=[place], context=context)
    return catalog


def read_catalog(language: str) -> Catalog:
    """As its file has it; empty, if there is none yet."""
    try:
        with path_of(language).open("rb") as file:
            return read_po(file)
    except FileNotFoundError:
        empty = Catalog(
            locale_of(language), header_comment=HEADER, project="Trusted Group",
            version="1", creation_date=BEGUN, revision_date=BEGUN, fuzzy=False,
        )  # fmt: skip
        empty.msgid_bugs_address = empty.last_translator = empty.language_team = ""
        return empty


def renew_catalog(language: str, wanted: Catalog) -> Catalog:
    """What translators wrote stays: translations, remarks, and marks of what needs work."""
    catalog = read_catalog(language)
    catalog.update(wanted, no_fuzzy_matching=True, update_creation_date=False)
    catalog.obsolete.clear()
    return catalog


def main() -> None:
    wanted = gather_catalog()
    for language in LANGUAGES:
        if language == "en":
            continue
        catalog, path = renew_catalog(language, wanted), path_of(language)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            write_po(file, catalog, width=0)
        missing = [message for message in catalog if message.id and not is_complete(message.string)]
        print(f"{language}: {len(catalog)} sentences, {len(missing)} without a translation")


def is_complete(string: Any) -> bool:
    return all(string) if isinstance(string, list | tuple) else bool(string)


if __name__ == "__main__":
    main()
