"""A new SECRET_KEY: what was made under the old one can't be found any more."""

import click

from foundation.storage.database import get_db, is_database_older, transaction
from foundation.storage.digests import keyed_digest
from foundation.storage.journal import record
from foundation.storage.pin_ledger import settle_unsent


def drop_invites_of_old_key() -> None:
    """At each start. With a new SECRET_KEY, no phone digest can be found and the webhook has a new
    address: drop the open invites and say so. Sessions don't depend on the key.

    31 bits derived from the key tell them apart: that is what a PRAGMA's signed integer holds.
    """
    if is_database_older():
        return  # `flask init-db` does it, once the tables are there
    ours = int(keyed_digest("application id")[:8], 16) >> 1 or 1
    if get_db().execute("PRAGMA application_id").fetchone()[0] == ours:
        return
    with transaction() as db:
        theirs = db.execute("PRAGMA application_id").fetchone()[0]
        db.execute(f"PRAGMA application_id = {ours:d}")  # a PRAGMA takes no parameters
        if theirs in (0, ours):
            return
        settle_unsent("TRUE")
        db.execute("DELETE FROM whitelist")
        db.execute("DELETE FROM pending_verifications")
        record("key_changed")
    told = "SECRET_KEY is new, so open invites are dropped and the webhook has a new address. Run"
    click.echo(f"{told} `flask doctor --fix`, or `flask webhook-url` to see it.", err=True)
