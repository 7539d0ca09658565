"""The blueprint, and who we are to programs."""

from flask import Blueprint, current_app

openid = Blueprint("openid", __name__, cli_group="openid")
openid.cli.help = "The key that OpenID Connect signs with."


def issuer() -> str:
    return str(current_app.config["BASE_URL"])
