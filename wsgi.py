"""The program as it is served: the journey (app.py) and its features."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from flask import Flask

import app as journey
from foundation.cli.command import make_app_of_commands
from foundation.cli.ready import tell_systemd_when_ready
from foundation.storage.database import is_loading_a_command
from foundation.typed.settings import WrongSettings
from foundation.web.feature import Feature
from foundation.web.housekeeping import start_housekeeping
from foundation.words.templates import read_all_templates

FEATURES: tuple[Feature, ...] = tuple(
    import_module(f"features.{name}").feature
    for name in (
        "commands",
        "database",
        "doctor",
        "account",
        "devices",
        "another_device",
        "invite_links",
        "passkeys",
        "members",
        "programs",
        "app_passwords",
        "openid",
        "notify",
        "journal",
    )
)


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """See app.create_app. Raises WrongSettings. A server calls it without `config`, and gets
    housekeeping and templates that stay."""
    try:
        app = journey.create_app(config, FEATURES)
    except WrongSettings as wrong:
        if not is_loading_a_command():
            raise
        return make_app_of_commands((feature.blueprint for feature in FEATURES), wrong)
    if config is None and not is_loading_a_command():
        read_all_templates(app)
        start_housekeeping(app, journey.do_each_minute)
        tell_systemd_when_ready()
    return app
