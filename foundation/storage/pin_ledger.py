"""PINs in the ledger. Each is counted before Vonage is asked for it, in the journal's line and in
the invite. One that Vonage certainly didn't take costs nothing, and is counted again when it's
asked again; until then its line claims nothing."""

import sqlite3

from foundation.storage.database import count_rows, fetch_row, get_db
from foundation.storage.journal import log_event, record
from foundation.words.clock import now

PIN_UNSENT = "pin-unsent"  # what the invite says of its newest one, while Vonage doesn't answer


def find_line(invite_id: int, message_digest: str, lately: int) -> sqlite3.Row | None:
    """Of this message's PIN, within the last so many seconds: its id, when it was counted, what it
    costs, and whether it is the last one of the invite."""
    return fetch_row(
        "SELECT id, at, parts, id = (SELECT max(id) FROM journal WHERE event = 'pin_sent'"
        " AND invite_id = ?1) AS is_newest FROM journal WHERE event = 'pin_sent'"
        " AND invite_id = ?1 AND detail = ?2 AND at > ?3 ORDER BY id DESC",
        (invite_id, message_digest, now() - lately),
    )


def count(invite: sqlite3.Row, message_digest: str, line: sqlite3.Row | None) -> int:
    """Count it once, in its line if it has one; returns that line's id."""
    if line and line["parts"]:
        return int(line["id"])
    sql = "UPDATE whitelist SET pins_sent = pins_sent + 1 WHERE id = ?"
    get_db().execute(sql, (invite["id"],))
    if line:
        sql = "UPDATE journal SET at = ?, parts = 1 WHERE id = ?"
        get_db().execute(sql, (now(), line["id"]))
        return int(line["id"])
    record("pin_sent", None, invite["username"], invite["id"], message_digest, parts=1)
    return count_rows("SELECT last_insert_rowid()", ())


def uncount(invite_id: int, line_id: int) -> None:
    """Vonage certainly didn't take it."""
    get_db().execute("UPDATE journal SET parts = 0 WHERE id = ?", (line_id,))
    sql = "UPDATE whitelist SET pins_sent = pins_sent - 1 WHERE id = ?"
    get_db().execute(sql, (invite_id,))


def refuse(invite_id: int, line_id: int, reason: str) -> None:
    """Vonage won't send it: it costs nothing, and its line says why."""
    uncount(invite_id, line_id)
    sql = "UPDATE journal SET event = 'pin_refused', detail = ? WHERE id = ?"
    get_db().execute(sql, (reason, line_id))
    log_event("pin_refused")
    forget_unsent(invite_id)


def note_unsent(invite_id: int, line_id: int) -> None:
    """Unless a newer one has been asked for meanwhile."""
    get_db().execute(
        "UPDATE whitelist SET replied = ?1 WHERE id = ?2 AND ?3 ="
        " (SELECT max(id) FROM journal WHERE event = 'pin_sent' AND invite_id = ?2)",
        (PIN_UNSENT, invite_id, line_id),
    )


def forget_unsent(invite_id: int) -> None:
    sql = "UPDATE whitelist SET replied = NULL WHERE id = ? AND replied = ?"
    get_db().execute(sql, (invite_id, PIN_UNSENT))


def settle_unsent(which: str, *values: object) -> None:
    """Before invites go: where the newest PIN was never seen to be sent, its line says so."""
    settled = get_db().execute(
        "UPDATE journal SET event = 'pin_refused', detail = 'vonage-unavailable' WHERE id IN"
        " (SELECT max(id) FROM journal WHERE event = 'pin_sent' AND invite_id IN"
        f" (SELECT id FROM whitelist WHERE replied = '{PIN_UNSENT}' AND ({which}))"
        " GROUP BY invite_id)",
        values,
    )
    for _ in range(settled.rowcount):
        log_event("pin_refused")


def count_lately(invite_id: int, seconds: int) -> int:
    return count_rows(
        "SELECT count(*) FROM journal"
        " WHERE event = 'pin_sent' AND parts > 0 AND invite_id = ? AND abs(at - ?) < ?",
        (invite_id, now(), seconds),
    )


def has_sent_since(invite: sqlite3.Row, at: int) -> bool:
    sql = (
        "SELECT 1 FROM journal WHERE invite_id = ? AND event = 'pin_sent' AND parts > 0 AND at >= ?"
    )
    return invite["replied"] != PIN_UNSENT and fetch_row(sql, (invite["id"], at)) is not None
