"""Who signs in to a program, and what it is told about them."""

import sqlite3
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from features.openid.room import issuer
from foundation.running import hooks
from foundation.storage.database import fetch_row, fetch_rows, get_db, transaction
from foundation.typed.hosts import is_loopback, read_ip
from foundation.web.groups import ADMINS, find_groups
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
    program: str  # its name
    email: str  # what it is told: none, unverified or verified
    is_email_old: bool  # see openid.sql
    claim: str  # the name of one more; may be empty
    claim_outside: str
    claim_inside: str
    claim_circle: str
    ends_at: int | None  # a guest's last second

    def shorten(self, seconds: int) -> int:
        """No token promises a guest more than their stay."""
        return min(seconds, (self.ends_at or now() + seconds) - now())


def find_person(session_digest: str, program_id: int) -> Person | None:
    """Asked at each use of a code or a token, so somebody who is out is out at once."""
    row = fetch_row(
        "SELECT authors.id, username, public_id, programs.name, email, is_email_old, claim,"
        " claim_outside, claim_inside, claim_circle, ends_at, seen_at"
        " FROM sessions JOIN authors ON authors.id = sessions.author_id"
        " JOIN programs ON programs.id = ?3"
        " JOIN may_use ON may_use.author_id = authors.id AND may_use.program_id = ?3"
        " JOIN openid_clients ON openid_clients.program_id = ?3"
        f" WHERE id_digest = ?2 AND sessions.expires_at > ?1 AND {IS_MEMBER}",
        (now(), session_digest, program_id),
    )
    if row is None:
        return None
    if is_renewal_due(row) and not renew_used_device(session_digest):
        return None
    return Person(*row[:11])


def renew_used_device(session_digest: str) -> bool:
    """Some devices use programs only. If the database is locked, it can wait for the next use.
    False: the session has ended."""
    with suppress(sqlite3.OperationalError), transaction():
        return session_table().renew(session_digest)
    return True


def describe_person(person: Person, scope: str) -> dict[str, Any]:
    """The claims."""
    is_of_admins = is_admin(Member(*person[:2]))
    facts = (person.author_id, is_of_admins, person.program, hooks("find_groups"))
    claims: dict[str, Any] = {
        "sub": person.public_id,
        "preferred_username": person.username,
        "name": person.username,
        "groups": find_groups(get_db(), *facts),
    }
    if person.claim:
        is_inside = is_of_admins if person.claim_circle == ADMINS else is_in_circle(person)
        claims[person.claim] = (is_inside and person.claim_inside) or person.claim_outside
    if person.email != "none" and "email" in scope.split():
        claims["email"] = make_email(person.username, person.public_id, person.is_email_old)
        claims["email_verified"] = person.email == "verified"
    return claims


def is_in_circle(person: Person) -> bool:
    """In the one that the program's claim is about. The program need not be told of it."""
    sql = (
        "SELECT 1 FROM circle_members JOIN circles ON circles.id = circle_id"
        " WHERE name = ? AND author_id = ? AND removed_at IS NULL"
    )
    return fetch_row(sql, (person.claim_circle, person.author_id)) is not None


def find_claimed_circles() -> list[tuple[int, int]]:
    """What a program is told of by its claim, it is told of when that changes, too."""
    rows = fetch_rows(
        "SELECT program_id, circles.id AS circle_id FROM openid_clients"
        " JOIN circles ON name = claim_circle WHERE claim != ''"
    )
    return [(row["program_id"], row["circle_id"]) for row in rows]


def make_email(username: str, public_id: str, is_old: bool) -> str:
    """Nobody here has an address. Some programs insist on one, so they get one that reaches nobody;
    names are never used twice, so it stays the member's. Many programs refuse `.invalid`."""
    host = urlsplit(issuer()).hostname or ""
    if is_old or is_loopback(host) or read_ip(host):
        return f"{public_id}@members.invalid"
    return f"{username}@members.{host}"


def find_public_id(member: Member) -> str:
    row = fetch_row("SELECT public_id FROM authors WHERE id = ?", (member.id,))
    return str(row["public_id"]) if row else ""
