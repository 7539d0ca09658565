"""Templates: Jinja's, with the sentences of any language in them.

`{% trans %}` and `_()` call what `describe_language` finds once for each page. In a template that
another one imports there is no page: there they look the language up each time.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from flask import Flask
from jinja2 import DictLoader

from foundation.words.clock import TIMES
from foundation.words.languages import (
    LANGUAGES,
    RIGHT_TO_LEFT,
    current_language,
    find_catalog,
    translate,
    translate_count,
    translate_in,
)


def add_words(app: Flask) -> None:
    """What templates say, and how they say times: `{{ (now - line.at)|ago }}`."""
    jinja = app.jinja_env
    jinja.add_extension("jinja2.ext.i18n")
    jinja.policies["ext.i18n.trimmed"] = True
    jinja.install_gettext_callables(  # type: ignore[attr-defined]
        translate, translate_count, pgettext=translate_in
    )
    jinja.globals |= {"_": partial(say_filled, translate), "languages": LANGUAGES}
    jinja.filters |= TIMES
    app.context_processor(describe_language)


def read_all_templates(app: Flask) -> None:
    """For a server: it goes on with its own while an upgrade puts others there."""
    jinja = app.jinja_env
    assert jinja.loader
    names = jinja.list_templates()
    jinja.loader = DictLoader({name: jinja.loader.get_source(jinja, name)[0] for name in names})


def describe_language() -> dict[str, Any]:
    language = current_language()
    catalog = find_catalog(language)
    return {
        "language": language,
        "direction": "rtl" if language in RIGHT_TO_LEFT else "ltr",
        "gettext": catalog.gettext,
        "ngettext": catalog.ngettext,
        "pgettext": catalog.pgettext,
        "_": partial(say_filled, catalog.gettext),
    }


def say_filled(find: Callable[[str], str], sentence: str, **gaps: Any) -> str:
    """`_()`: unlike what `{% trans %}` says, this has no tags, so Jinja escapes it."""
    return find(sentence) % gaps if gaps else find(sentence)
