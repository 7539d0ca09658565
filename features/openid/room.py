"""The blueprint, and who we are to programs."""

from flask import Blueprint, current_app

bp = Blueprint("openid", __name__, cli_group="openid")
bp.cli.help = "The key that OpenID Connect signs with."


def issuer() -> str:
    return str(current_app.config["BASE_URL"])
