"""The key that tokens are signed with, and its predecessors."""

import base64
import functools
import json
import sqlite3
from typing import Any

import click
from cryptography.fernet import Fernet, InvalidToken
from flask import current_app
from joserfc import jwe, jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, OctKey, RSAKey

from features.openid.room import bp
from foundation.cli.command import command
from foundation.storage.database import fetch_row, fetch_rows, get_db, transaction
from foundation.storage.digests import derive_key
from foundation.words.clock import DAY, now

KEY_STAYS = DAY  # after the next one came, so that programs can still check what it signed


def seal(key: RSAKey) -> str:
    """Its private half, as the database keeps it: an encrypted JWK (RFC 7517, 7)."""
    vault = OctKey.import_key(derive_key(current_app.config["SECRET_KEY"], "openid jwk"))
    private = json.dumps(key.as_dict(private=True))
    return jwe.encrypt_compact({"alg": "dir", "enc": "A256GCM"}, private, vault)


@functools.lru_cache(maxsize=4)
def read_key(private: str, secret: str) -> RSAKey:
    """Kept, because reading one costs as much as a hundred pages."""
    if private.startswith(OF_FERNET):
        vault = Fernet(base64.urlsafe_b64encode(derive_key(secret, "openid keys")))
        return RSAKey.import_key(json.loads(vault.decrypt(private.encode())))
    key = OctKey.import_key(derive_key(secret, "openid jwk"))
    return RSAKey.import_key(json.loads(jwe.decrypt_compact(private, key).plaintext or b""))


OF_FERNET = "gAAAA"  # keys of 1.0.0 begin with it


def seal_old_keys() -> None:
    with transaction() as db:
        for row in fetch_rows("SELECT * FROM openid_keys WHERE private GLOB ?", (f"{OF_FERNET}*",)):
            key = read_key(row["private"], current_app.config["SECRET_KEY"])
            db.execute("UPDATE openid_keys SET private = ? WHERE id = ?", (seal(key), row["id"]))


def find_signing_key() -> RSAKey:
    """The newest. The first is made when it's first needed; one that can't be read (another process
    still has another SECRET_KEY) is a temporary fault, and no token ends by it."""
    newest = find_newest_key()
    if newest is not None:
        if newest["private"].startswith(OF_FERNET):
            seal_old_keys()
        return read_key(newest["private"], current_app.config["SECRET_KEY"])
    made, private = make_key()
    with transaction():
        if find_newest_key() is None:  # nobody else was faster
            store_key(made, private)
    return find_signing_key()


def drop_keys_of_old_secret() -> None:
    """Nobody can read them any more, so all codes and tokens end."""
    for table in ("openid_keys", "openid_codes", "openid_tokens"):
        get_db().execute(f"DELETE FROM {table}")


def find_newest_key() -> sqlite3.Row | None:
    return fetch_row("SELECT * FROM openid_keys ORDER BY id DESC LIMIT 1")


BITS = 3072  # as strong as 128 bits (NIST SP 800-57, part 1, table 2)


def make_key() -> tuple[RSAKey, str]:
    """With its private half as the database keeps it."""
    made = RSAKey.generate_key(BITS, {"use": "sig", "alg": "RS256"}, auto_kid=True)
    return made, seal(made)


def store_key(made: RSAKey, private: str) -> None:
    get_db().execute(
        "INSERT INTO openid_keys (public, private, created_at) VALUES (?, ?, ?)",
        (json.dumps(made.as_dict(private=False)), private, now()),
    )


def find_public_keys() -> list[dict[str, Any]]:
    """The newest, and those that were the newest a short while ago."""
    rows = fetch_rows(
        "SELECT public FROM openid_keys AS key WHERE NOT EXISTS (SELECT 1 FROM openid_keys"
        " WHERE id > key.id AND created_at <= ?) ORDER BY id DESC",
        (now() - KEY_STAYS,),
    )
    return [json.loads(row["public"]) for row in rows]


def find_key_set() -> KeySet:
    """The same, to check with."""
    return KeySet.import_key_set({"keys": find_public_keys()})


# What reading a token may raise: joserfc takes a header for what it should be.
BAD_TOKEN = (JoseError, ValueError, TypeError, LookupError, AttributeError)


def read_id_token(text: str) -> dict[str, Any]:
    """The claims of one of ours, even an expired one; of anything else none."""
    try:
        return dict(jwt.decode(text, find_key_set(), algorithms=["RS256"]).claims)
    except BAD_TOKEN:
        return {}


@command(bp, "rotate-key")
def rotate_key_command() -> None:
    """Sign with a new key from now on. Nobody is signed out."""
    try:
        find_signing_key()
    except (JoseError, InvalidToken):
        told = "The key in use can't be read with this SECRET_KEY. Nothing has changed."
        raise click.ClickException(told) from None
    made, private = make_key()
    with transaction():
        store_key(made, private)
    click.echo(f"Tokens are signed with the key {made.kid} now. The old one is known for a day.")
