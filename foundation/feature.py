"""A feature: an optional part of the program, switched on by one line in wsgi.py.

It lives in `features/<name>.py`, with `templates/<name>/`, its test and, where it needs tables,
`features/<name>.sql`. A view that programs call is marked with `for_machines`; a view whose form
leads to another site calls `allow_form_action`.
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from flask import Blueprint, Flask

from foundation.journal import EVENTS, word_event
from foundation.sentences import SENTENCES, is_sentence, say
from foundation.settings import SETTINGS, Setting

NOTHING: Mapping[str, Any] = MappingProxyType({})


class Feature(NamedTuple):
    """What a feature adds. Its name is the blueprint's."""

    blueprint: Blueprint  # its routes and commands
    settings: Mapping[str, Setting] = NOTHING
    sentences: Mapping[str, str] = NOTHING  # by name, see foundation/sentences.py
    events: Mapping[str, str] = NOTHING  # the words of its journal lines, see foundation/journal.py
    navigation: Mapping[str, str] = NOTHING  # links for members, by address
    slots: Mapping[str, str] = NOTHING  # by place ("admin"), a template to show there
    prune: Callable[[], None] | None = None  # delete what has expired, in the caller's transaction
    forget: Callable[[int], None] | None = None  # the same for the member with that author_id

    @property
    def name(self) -> str:
        return self.blueprint.name


def known_settings(features: Iterable[Feature]) -> dict[str, Setting]:
    known = dict(SETTINGS)
    for feature in features:
        known |= feature.settings
    return known


def add_features(app: Flask, features: tuple[Feature, ...]) -> None:
    app.extensions["features"] = features
    app.extensions["sentences"] = dict(SENTENCES)
    app.extensions["events"] = dict(EVENTS)
    for feature in features:
        app.register_blueprint(feature.blueprint)
        app.extensions["sentences"] |= feature.sentences
        app.extensions["events"] |= feature.events


def gather_for_templates(features: tuple[Feature, ...]) -> dict[str, Any]:
    """What templates know of features, and how they look up what those bring."""
    navigation: list[tuple[str, str]] = []
    slots: dict[str, list[str]] = {}
    for feature in features:
        navigation += feature.navigation.items()
        for place, template in feature.slots.items():
            slots.setdefault(place, []).append(template)
    lookups = {"say": say, "is_sentence": is_sentence, "word_event": word_event}
    return {"navigation": navigation, "slots": slots, **lookups}
