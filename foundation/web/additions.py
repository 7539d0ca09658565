"""What was added to a member's account: devices, passkeys, app passwords. Their other devices tell
of it for a week, until one of them says that it was them, or ends it."""

import sqlite3
from collections.abc import Callable, Sequence
from typing import NamedTuple

from foundation.running import hooks
from foundation.storage.database import fetch_rows, get_db
from foundation.storage.journal import record_sparingly
from foundation.web.sessions import Member, this_digest
from foundation.words.clock import DAY, now

ID_LENGTH = 16  # digits of a session's digest that name it to its owner, and to nobody else


class Addition(NamedTuple):
    """A kind of what can be added. Its sentences are "news-<kind>" and "not-mine-<kind>"; its table
    has author_id, created_at, added_by (the session of the device that added it) and is_known."""

    table: str
    end: Callable[[Member, list[str]], None]  # those with these ids, in the caller's transaction
    id: str = "id"  # columns, or what stands for them
    name: str = "name"
    is_known: str = "is_known"
    began: str = "''"  # how a device was signed in
    used_at: str = "used_at"
    ended: str = ""  # the event when its owner ends one; "": none

    def select(self, kind: str) -> str:
        return (
            f"SELECT '{kind}' AS kind, CAST({self.id} AS TEXT) AS id, {self.name} AS name,"
            f" created_at AS added_at, {self.used_at} AS used_at, added_by,"
            f" {self.is_known} AS is_known, {self.began} AS began"
            f" FROM {self.table} WHERE author_id = :member"
        )

    def know(self, row_id: str) -> None:
        """Its owner says that it's theirs."""
        get_db().execute(f"UPDATE {self.table} SET is_known = 1 WHERE {self.id} = ?", (row_id,))


def find_kinds() -> dict[str, Addition]:
    return {kind: addition for by_kind in hooks("additions") for kind, addition in by_kind.items()}


def find_additions(member: Member) -> list[sqlite3.Row]:
    """The newest first."""
    sql = " UNION ALL ".join(it.select(kind) for kind, it in find_kinds().items())
    values = {"member": member.id, "now": now()}
    return fetch_rows(f"{sql} ORDER BY added_at DESC", values) if sql else []


# What this device tells of ------------------------------------------------------------------------


def find_news(additions: Sequence[sqlite3.Row]) -> list[sqlite3.Row]:
    """It can't answer for itself, nor for what it was added by: a thief would. Of what came from
    it, it tells from the next day on."""
    line = find_line_of(this_digest(), additions)
    by_passkey = {device["added_by"] for device in line if device["began"] == "passkey"}
    return [
        one
        for one in additions
        if now() - one["added_at"] < 7 * DAY
        and not one["is_known"]
        and one not in line
        and not (one["kind"] == "passkey" and one["added_by"] in by_passkey)
        and (now() - one["added_at"] >= DAY or not comes_from(one, this_digest(), additions))
    ]


def may_vouch(one: sqlite3.Row, additions: Sequence[sqlite3.Row]) -> bool:
    """Whether this device may say "That was me": not while it's news itself, of what came from the
    same device as it."""
    line = find_line_of(this_digest(), additions)
    if not line or line[0]["is_known"] or now() - line[0]["added_at"] >= 7 * DAY:
        return True
    adders = {device["added_by"] for device in line if device["added_by"]}
    return not any(comes_from(one, adder, additions) for adder in adders)


def comes_from(one: sqlite3.Row, digest: str, additions: Sequence[sqlite3.Row]) -> bool:
    """Whether that device added it, or what it was added by, and so on."""
    adders = find_line_of(one["added_by"], additions)
    return digest == one["added_by"] or any(
        digest in (device["id"], device["added_by"]) for device in adders
    )


def find_line_of(digest: str | None, additions: Sequence[sqlite3.Row]) -> list[sqlite3.Row]:
    """A device, the one that it was added by, and so on."""
    devices = {one["id"]: one for one in additions if one["kind"] == "device"}
    line: list[sqlite3.Row] = []
    device = devices.get(digest or "")
    while device and device not in line:
        line.append(device)
        device = devices.get(device["added_by"])
    return line


# What ends with something -------------------------------------------------------------------------


def find_chain(device: str, additions: Sequence[sqlite3.Row]) -> set[str]:
    """The digests of what ends with a device. A thief may have added others from a stolen one, so
    they end with it; but never this one, or the old phone could not be signed out from the new one
    that was added from it."""
    chain = {device}
    others = [one for one in additions if one["kind"] == "device" and one["id"] != this_digest()]
    for _ in others:  # at most as long as that
        chain |= {one["id"] for one in others if one["added_by"] in chain}
    return chain


def find_ended_with(device: str, additions: Sequence[sqlite3.Row]) -> list[sqlite3.Row]:
    """What else ends with it: other devices, and what was added on any of them."""
    chain = find_chain(device, additions)
    return [
        one
        for one in additions
        if one["id"] != device
        and (one["id"] in chain if one["kind"] == "device" else one["added_by"] in chain)
    ]


def find_all_from(one: sqlite3.Row, additions: Sequence[sqlite3.Row]) -> list[sqlite3.Row]:
    """What else ends with something that was not its owner's: what was added from it, and between
    passkeys and the devices that they signed in, the other. Which of two passkeys that were added
    on one device it was, isn't kept."""
    mine = this_digest()
    ends = [one]
    ends += [other for other in additions if may_be_pair(one, other) and other["id"] != mine]
    for device in [row for row in ends if row["kind"] == "device"]:
        ends += find_ended_with(device["id"], additions)
    return [other for other in additions if other in ends and other != one]


def may_be_pair(one: sqlite3.Row, other: sqlite3.Row) -> bool:
    """A passkey, and a device that it may have signed in."""
    if one["added_by"] != other["added_by"]:
        return False
    if one["kind"] == "passkey":
        return bool(other["began"] == "passkey" and other["added_at"] >= one["added_at"])
    return bool(one["began"] == "passkey" and other["kind"] == "passkey")


def end_all(member: Member, ends: Sequence[sqlite3.Row]) -> None:
    """In the caller's transaction. The journal's lines are the caller's, too."""
    for kind, addition in find_kinds().items():
        if ids := [one["id"] for one in ends if one["kind"] == kind]:
            addition.end(member, ids)


def record_ends(member: Member, ends: Sequence[sqlite3.Row]) -> None:
    """Their owner has ended these."""
    kinds = {one["kind"] for one in ends}
    for event in sorted(it.ended for kind, it in find_kinds().items() if kind in kinds):
        if event:
            record_sparingly(event, member.username)
