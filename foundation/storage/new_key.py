"""A new SECRET_KEY: what was made under the old one can't be found any more."""

import click

from foundation.running import hooks
from foundation.storage.database import get_db, is_database_older, transaction
from foundation.storage.digests import keyed_digest
from foundation.storage.journal import record
from foundation.storage.pin_ledger import settle_unsent


def is_key_new() -> bool:
    """Whether the database was used with another one. 31 bits derived from the key tell them apart:
    that is what a PRAGMA's signed integer holds."""
    return read_mark() not in (0, derive_mark())


def read_mark() -> int:
    return int(get_db().execute("PRAGMA application_id").fetchone()[0])


def derive_mark() -> int:
    return int(keyed_digest("application id")[:8], 16) >> 1 or 1


def warn_of_new_key() -> None:
    """For commands: some are run with another environment than the server's."""
    if is_key_new():
        click.echo(
            "SECRET_KEY isn't the one that this group had. If it's a new one, start the server or"
            " run `flask init-db` first: that drops all open invites.",
            err=True,
        )


def drop_invites_of_old_key() -> None:
    """When a server starts, and at `flask init-db`. With a new SECRET_KEY, no phone digest can be
    found and the webhook has a new address: drop the open invites and say so, and what features
    have of the old one. Sessions don't depend on the key."""
    if is_database_older():
        return  # `flask init-db` does it, once the tables are there
    if read_mark() == derive_mark():
        return
    with transaction() as db:
        theirs = read_mark()
        db.execute(f"PRAGMA application_id = {derive_mark():d}")  # a PRAGMA takes no parameters
        if theirs in (0, derive_mark()):
            return
        settle_unsent("TRUE")
        db.execute("DELETE FROM whitelist")
        db.execute("DELETE FROM pending_verifications")
        for key_changed in hooks("key_changed"):
            key_changed()
        record("key_changed")
    told = "SECRET_KEY is new, so open invites are dropped and the webhook has a new address. Run"
    click.echo(f"{told} `flask doctor --fix`, or `flask webhook-url` to see it.", err=True)
