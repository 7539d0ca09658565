"""The blueprints; and how a program is found, and who may use it."""

import re
import sqlite3
from urllib.parse import urlsplit

from flask import Blueprint, abort

from app import require_admin
from foundation.storage.database import fetch_row

bp = Blueprint("programs", __name__, cli_group="program")
bp.cli.help = "Register apps, and say who may use them."
admin_bp = Blueprint("admin_programs", __name__)
admin_bp.before_request(require_admin)


def require_program(name: str) -> sqlite3.Row:
    row = fetch_row("SELECT * FROM programs WHERE name = ?", (name,))
    if row is None:
        abort(404)
    return row


def host_of(address: str) -> str:
    return (urlsplit(address).hostname or "").rstrip(".")


def bare_host(named: str) -> str:
    """As a proxy names it, without a port."""
    return re.sub(r":[0-9]*$", "", named.strip().lower()).rstrip(".")


MAY_USE = (
    "SELECT 1 FROM programs JOIN may_use ON program_id = programs.id"
    " WHERE name = ? AND author_id = ?"
)


def may_use(name: str, author_id: int) -> bool:
    return fetch_row(MAY_USE, (name, author_id)) is not None
