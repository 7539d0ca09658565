"""Logs that hold no secret."""

import logging
import re

from flask import Flask


def silence_secrets(app: Flask) -> None:
    """The SDK logs PINs, phone numbers and credentials; Flask, the address of whatever it serves,
    and so the webhook's token."""
    logging.getLogger("vonage").addFilter(say_nothing)
    logging.getLogger("werkzeug").addFilter(hide_token)
    app.logger.addFilter(hide_token)


def say_nothing(record: logging.LogRecord) -> bool:
    return False


def hide_token(record: logging.LogRecord) -> bool:
    record.msg = re.sub(r"/(answer|delivery)[/?]\S+", r"/\1/...", record.getMessage())
    record.args = ()
    return True
