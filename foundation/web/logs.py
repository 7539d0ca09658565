"""Logs without secrets."""

import logging
import re

from flask import Flask, current_app

from foundation.running import running
from foundation.words.clock import now


def keep_secrets_out_of_logs(app: Flask) -> None:
    """The SDK logs PINs, phone numbers and credentials, Authlib tokens (each of its modules has a
    logger of its own). Flask logs the address it serves, and some contain a token or a word."""
    of_authlib = [name for name in logging.root.manager.loggerDict if name.startswith("authlib.")]
    for name in ("vonage", *of_authlib):
        logging.getLogger(name).addFilter(drop_record)
    logging.getLogger("urllib3.connectionpool").addFilter(drop_details)
    logging.getLogger("werkzeug").addFilter(hide_token)
    app.logger.addFilter(hide_token)


def warn_sparingly(event: str, app: Flask | None = None) -> None:
    """Once a minute in each process: what can happen at each picture of a page, or by a script that
    guesses, must not fill the log. Takes the app outside of its contexts."""
    if running(app).is_due(event, now()):
        (app or current_app).logger.warning(event)


def drop_details(record: logging.LogRecord) -> bool:
    """What `requests` says of each call has the address in it."""
    return record.levelno >= logging.WARNING


def drop_record(record: logging.LogRecord) -> bool:
    return False


def hide_token(record: logging.LogRecord) -> bool:
    record.msg = re.sub(r"/(answer|delivery|i|join)[/?]\S+", r"/\1/...", record.getMessage())
    record.args = ()
    return True
