"""What one process of the program holds in memory, settings apart. It lies below all floors, and
knows what they put in by its type only."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flask import Flask, current_app

if TYPE_CHECKING:
    from foundation.storage.database import Connections
    from foundation.storage.migrations import Part
    from foundation.storage.queueing import Queue
    from foundation.vonage.client import Vonage
    from foundation.web.feature import Feature


@dataclass
class Running:
    vonage: Vonage
    features: tuple[Feature, ...]
    parts: list[Part]  # of the database
    connections: Connections = field(init=False)
    queue: Queue = field(init=False)
    sentences: dict[str, str] = field(default_factory=dict)  # by name
    events: dict[str, str] = field(default_factory=dict)  # the words of the journal's lines
    quotes: list[str] = field(default_factory=list)  # what a text of ours is known by
    tallies: Counter[str] = field(default_factory=Counter)  # what strangers did, by event
    told_at: dict[str, int] = field(default_factory=dict)  # by event
    kept_forms: dict[object, list[str]] = field(default_factory=dict)
    waiting: set[str] = field(default_factory=set)  # sign-ins whose second press waits

    def is_due(self, event: str, at: int) -> bool:
        """Whether it was told last a minute or more before `at`, which is now."""
        is_due = abs(at - self.told_at.get(event, 0)) >= 60
        if is_due:
            self.told_at[event] = at
        return is_due


def running(app: Flask | None = None) -> Running:
    """Takes the app outside of its contexts."""
    found: Running = (app or current_app).extensions["trusted_group"]
    return found


def hooks(name: str) -> list[Any]:
    """What the features have for a hook, such as "prune"."""
    found = (getattr(feature, name) for feature in running().features)
    return [one for one in found if one]
