"""Own words: what an invite without a number is answered with. The first phone that texts one is
the invite's from then on.

A word is derived from its invite under our key, so the database doesn't hold it. One text is one
guess: of 28^6 words, some dozens are open.
"""

import sqlite3

from foundation.storage.database import fetch_row, get_db, transaction
from foundation.storage.digests import digest_phone, keyed_digest
from foundation.typed.codes import is_code, spell
from foundation.typed.mistakes import Mistake
from foundation.typed.phones import parse_known_phone
from foundation.vonage.inbound import Inbound, is_the_word
from foundation.words.clock import now

WORD_LENGTH = 6


def derive_word(invite_id: int, created_at: int, counter: int) -> str:
    return spell(
        keyed_digest("own word", str(invite_id), str(created_at), str(counter)), WORD_LENGTH
    )


def digest_word(word: str) -> str:
    return keyed_digest("own word digest", word)


def give_word(invite_id: int, created_at: int) -> None:
    """The first that no other open invite has, and that isn't the group's."""
    for counter in range(MOST_TRIES):
        word = derive_word(invite_id, created_at, counter)
        sql = "UPDATE OR IGNORE whitelist SET word_digest = ? WHERE id = ?"
        values = (digest_word(word), invite_id)
        if not is_the_word(word.lower()) and get_db().execute(sql, values).rowcount:
            return
    raise RuntimeError("no word is free")


MOST_TRIES = 100


def word_of(invite: sqlite3.Row) -> str | None:
    """Its own word; None: it was made for a number."""
    if invite["word_digest"] is None:
        return None
    words = (derive_word(invite["id"], invite["created_at"], n) for n in range(MOST_TRIES))
    return next((word for word in words if digest_word(word) == invite["word_digest"]), None)


def find_candidate(message: Inbound) -> str | None:
    """The one guess that a text may be: its only group of signs that has the shape of a word, or
    all of it run together. Two are none, and so is a part of a text."""
    words = [word.upper() for word in message.words]
    shaped = [word for word in words if is_code(word, WORD_LENGTH)]
    if message.is_part or len(shaped) > 1:
        return None
    whole = "".join(words)
    return shaped[0] if shaped else whole if is_code(whole, WORD_LENGTH) else None


def find_meant_invite(message: Inbound) -> sqlite3.Row | None:
    """The open invite whose own word this text has."""
    candidate = find_candidate(message)
    if candidate is None:
        return None
    return fetch_row(
        "SELECT * FROM whitelist WHERE word_digest = ? AND expires_at > ?",
        (digest_word(candidate), now()),
    )


def may_be_bound(message: Inbound) -> bool:
    """Whether the invite form would take that number, and it has neither an invite nor the receipt
    of a sign-in."""
    try:
        parse_known_phone(f"+{message.phone}")
    except Mistake:
        return False
    digest = digest_phone(message.phone)
    sql = (
        "SELECT 1 FROM whitelist WHERE phone_digest = ?1 AND expires_at > ?2 UNION ALL"
        " SELECT 1 FROM pending_verifications WHERE phone_digest = ?1 AND expires_at > ?2"
    )
    return fetch_row(sql, (digest, now())) is None


def bind_phone(message: Inbound) -> None:
    """The first phone that texts an invite's own word is the one that is invited, in the
    transaction that counts its PIN. What that number has that is over makes way."""
    meant = find_meant_invite(message)
    if meant is None or meant["phone_digest"] or meant["stopped_at"] or message.is_late:
        return
    if not may_be_bound(message):
        return
    db, digest = get_db(), digest_phone(message.phone)
    for table in ("whitelist", "pending_verifications"):
        db.execute(f"DELETE FROM {table} WHERE phone_digest = ?", (digest,))
    db.execute(
        "UPDATE whitelist SET phone_digest = ?, phone_hint = ?, replied = NULL WHERE id = ?",
        (digest, message.phone[-2:], meant["id"]),
    )


@transaction()
def note_meant_invite(message: Inbound) -> None:
    """The word came too late, or from a second phone: that binds nothing, and the admin is told."""
    meant = find_meant_invite(message)
    if meant and not meant["phone_digest"]:
        note(meant, "replied-late")
    note_second_phone(message)


def note_second_phone(message: Inbound) -> None:
    """In the caller's transaction, also if the first one was only just faster."""
    meant = find_meant_invite(message)
    if meant and meant["phone_digest"] not in (None, digest_phone(message.phone)):
        note(meant, "replied-another")


def note(invite: sqlite3.Row, state: str) -> None:
    if not invite["stopped_at"]:
        get_db().execute("UPDATE whitelist SET replied = ? WHERE id = ?", (state, invite["id"]))
