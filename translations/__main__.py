"""`make translations`: brings every catalog up to date with what the program says. New sentences
are added without a translation, those that are gone are dropped."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

from foundation.feature import ADMIN_PAGES
from foundation.journal import EVENTS, WHOM
from foundation.languages import FOLDER, LANGUAGES
from foundation.sentences import HEADINGS, SENTENCES
from foundation.texts import TEXTS
from wsgi import FEATURES

KEYWORDS: dict[str, Any] = {"_": None, "gettext": None, "ngettext": (1, 2)}
KEYWORDS |= {"translate": None, "translate_count": (1, 2)}
IN_TEMPLATES = {"**.html": {"trimmed": "true", "silent": "false"}}
HEADER = """\
# The sentences of Trusted Group in another language. docs/translating.md says how to work on them.
#"""


def find_messages() -> Iterator[tuple[Any, str]]:
    """Each sentence (or a singular with its plural), and where it is, or its name."""
    root = str(FOLDER.parent)
    for room, methods in (
        ("templates", [("**.html", "jinja2")]),
        ("foundation", [("**.py", "python")]),
        ("features", [("**.py", "python")]),
    ):
        found = extract_from_dir(f"{root}/{room}", methods, IN_TEMPLATES, KEYWORDS)
        for file, _, message, _, _ in sorted(found, key=lambda one: (one[0], one[1])):
            yield message, f"{room}/{file}"
    yield from ((text, f"the text: {name}") for name, text in TEXTS.items())
    named: list[Mapping[str, str]] = [
        SENTENCES,
        EVENTS,
        {"after an event": WHOM},
        HEADINGS,
        ADMIN_PAGES,
    ]
    for feature in FEATURES:
        named += [feature.sentences, feature.events, feature.navigation, feature.admin_pages]
    for sentences in named:
        yield from ((sentence, name) for name, sentence in sentences.items())


def gather() -> Catalog:
    """All of it, with no translation."""
    catalog = Catalog(creation_date=datetime(2026, 11, 26, tzinfo=UTC))
    for message, place in find_messages():
        catalog.add(message, auto_comments=[place])
    return catalog


def read_catalog(language: str) -> Catalog:
    """As its file has it; empty, if there is none yet."""
    try:
        with path_of(language).open("rb") as file:
            return read_po(file)
    except FileNotFoundError:
        return Catalog()


def path_of(language: str) -> Path:
    return FOLDER / language.replace("-", "_") / "LC_MESSAGES" / "messages.po"


def renew(language: str, wanted: Catalog) -> Catalog:
    """What is wanted, with the translations that there are."""
    known = read_catalog(language)
    catalog = Catalog(
        locale=language.replace("-", "_"),
        creation_date=wanted.creation_date,
        revision_date=wanted.creation_date,
        header_comment=HEADER,
        project="Trusted Group",
        version="1",
        fuzzy=False,
    )
    catalog.msgid_bugs_address = catalog.last_translator = catalog.language_team = ""
    for message in wanted:
        if message.id:
            found = known.get(message.id)
            text = found.string if found and not found.fuzzy else ""
            catalog.add(message.id, text, auto_comments=message.auto_comments)
    return catalog


def main() -> None:
    wanted = gather()
    for language in LANGUAGES:
        if language == "en":
            continue
        catalog, path = renew(language, wanted), path_of(language)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            write_po(file, catalog, width=0)
        missing = [message for message in catalog if message.id and not is_complete(message.string)]
        print(f"{language}: {len(catalog)} sentences, {len(missing)} without a translation")


def is_complete(string: Any) -> bool:
    return all(string) if isinstance(string, list | tuple) else bool(string)


if __name__ == "__main__":
    main()
