"""Logs without secrets."""

import logging
import re

from flask import Flask


def keep_secrets_out_of_logs(app: Flask) -> None:
    """The SDK logs PINs, phone numbers and credentials. Flask logs the address it serves, and the
    webhook's address contains its token."""
    logging.getLogger("vonage").addFilter(drop_record)
    logging.getLogger("authlib").setLevel(logging.WARNING)  # below that, it logs tokens
    logging.getLogger("werkzeug").addFilter(hide_token)
    app.logger.addFilter(hide_token)


def drop_record(record: logging.LogRecord) -> bool:
    return False


def hide_token(record: logging.LogRecord) -> bool:
    record.msg = re.sub(r"/(answer|delivery)[/?]\S+", r"/\1/...", record.getMessage())
    record.args = ()
    return True
