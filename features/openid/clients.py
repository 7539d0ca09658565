"""A program, as Authlib asks about it."""

import hmac
import sqlite3

from authlib.oauth2.rfc6749 import ClientMixin

from foundation.storage.database import fetch_row
from foundation.storage.digests import random_digest

SCOPES = ("openid", "profile", "email", "groups", "offline_access")


def know_scopes(scope: str) -> str:
    """Of what is asked for, what there is."""
    return " ".join(one for one in scope.split() if one in SCOPES)


class Client(ClientMixin):  # type: ignore[misc]
    """A program, as Authlib asks about it."""

    id_token_signed_response_alg = "RS256"

    def __init__(self, row: sqlite3.Row) -> None:
        self.row = row

    def get_client_id(self) -> str:
        return str(self.row["client_id"])

    def get_default_redirect_uri(self) -> None:
        return None

    def get_allowed_scope(self, scope: str | None) -> str:
        """Of what it asks for, what its page gives it."""
        refused = {"email"} if self.row["email"] == "none" else set()
        return " ".join(one for one in know_scopes(scope or "").split() if one not in refused)

    @property
    def client_metadata(self) -> dict[str, list[str]]:
        """Where a member may return to after signing out; a slash at the end makes no
        difference."""
        known = [self.row["address"], *self.row["redirects"].split("\n")]
        known += self.row["after_sign_out"].split("\n")
        bare = [address.rstrip("/") for address in known if address]
        return {"post_logout_redirect_uris": [*known, *bare, *(f"{one}/" for one in bare)]}

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri in self.row["redirects"].split("\n")

    def check_client_secret(self, client_secret: str) -> bool:
        return hmac.compare_digest(random_digest(client_secret), self.row["secret_digest"])

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method in ("client_secret_basic", "client_secret_post")

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in ("authorization_code", "refresh_token")


def find_client(client_id: str) -> Client | None:
    row = fetch_row(
        "SELECT * FROM openid_clients JOIN programs ON programs.id = program_id"
        " WHERE client_id = ?",
        (client_id,),
    )
    return Client(row) if row else None
