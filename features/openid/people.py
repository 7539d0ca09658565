"""Who signs in to a program, and what it is told about them."""

import sqlite3
from contextlib import suppress
from typing import Any, NamedTuple

from foundation.storage.database import fetch_row, transaction
from foundation.web.sessions import (
    IS_MEMBER,
    Member,
    is_admin,
    is_renewal_due,
    session_table,
)
from foundation.words.clock import now


class Person(NamedTuple):
    """A member whose device is signed in, and who may use the program."""

    author_id: int
    username: str
    public_id: str
    email: str  # what the program is told: none, unverified or verified
    is_chosen: bool
    ends_at: int | None  # a guest's last second

    def shorten(self, seconds: int) -> int:
        """No token promises a guest more than their stay."""
        return min(seconds, (self.ends_at or now() + seconds) - now())


def find_person(session_digest: str, program_id: int) -> Person | None:
    """Asked at each use of a code or a token, so somebody who is out is out at once."""
    row = fetch_row(
        "SELECT authors.id, username, public_id, email, EXISTS (SELECT 1 FROM program_members"
        " AS chosen WHERE chosen.program_id = ?3 AND chosen.author_id = authors.id),"
        " ends_at, seen_at"
        " FROM sessions JOIN authors ON authors.id = sessions.author_id"
        " JOIN may_use ON may_use.author_id = authors.id AND may_use.program_id = ?3"
        " JOIN openid_clients ON openid_clients.program_id = ?3"
        f" WHERE id_digest = ?2 AND sessions.expires_at > ?1 AND {IS_MEMBER}",
        (now(), session_digest, program_id),
    )
    if row is None:
        return None
    if is_renewal_due(row) and not renew_used_device(session_digest):
        return None
    return Person(*row[:6])


def renew_used_device(session_digest: str) -> bool:
    """Some devices use programs only. If the database is locked, it can wait for the next use.
    False: the session has ended."""
    with suppress(sqlite3.OperationalError), transaction():
        return session_table().renew(session_digest)
    return True


def describe_person(person: Person, scope: str) -> dict[str, Any]:
    """The claims. Nobody here has an e-mail address; some programs insist on one, so
    they get one that reaches nobody."""
    groups = ["members"] + (["admins"] if is_admin(Member(*person[:2])) else [])
    groups += ["chosen"] if person.is_chosen else []
    claims: dict[str, Any] = {
        "sub": person.public_id,
        "preferred_username": person.username,
        "name": person.username,
        "groups": groups,
    }
    if person.email != "none" and "email" in scope.split():
        claims["email"] = f"{person.public_id}@members.invalid"
        claims["email_verified"] = person.email == "verified"
    return claims
