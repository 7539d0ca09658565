"""The program as it is served: the journey (app.py) and its features."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from flask import Flask

import app as journey
from foundation.web.feature import Feature

FEATURES: tuple[Feature, ...] = tuple(
    import_module(f"features.{name}").feature
    for name in (
        "commands",
        "doctor",
        "devices",
        "another_device",
        "passkeys",
        "programs",
        "app_passwords",
        "openid",
        "members",
        "journal",
    )
)


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """See app.create_app. Raises WrongSettings."""
    return journey.create_app(config, FEATURES)
