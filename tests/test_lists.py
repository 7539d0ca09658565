"""Lists stay readable and quick in a large group: one statement a list, none a row."""

import sqlite3

import pytest

from foundation.storage.database import get_db

from .cast import Browser, Group

MEMBERS, LINES, INVITES, DEVICES = 1000, 5000, 200, 50


@pytest.fixture
def crowd(group: Group, ada: Browser) -> Browser:
    """Ada, in a group far larger than any that this is made for."""
    far = 4_000_000_000
    with sqlite3.connect(group.app.config["DATABASE"]) as db:
        db.executemany(
            "INSERT INTO authors (username, invited_by, joined_at) VALUES (?, ?, ?)",
            ((f"member-{n}", max(1, n // 3), n) for n in range(MEMBERS)),
        )
        db.executemany(
            "INSERT INTO sessions"
            " (id_digest, author_id, device, data, created_at, seen_at, expires_at)"
            " VALUES (?, ?, 'Firefox on Android', '{}', ?, ?, ?)",
            ((f"{n:064x}", 1 + n % (MEMBERS // 2), n, n, far) for n in range(MEMBERS * 2)),
        )
        db.executemany(
            "INSERT INTO sessions"
            " (id_digest, author_id, device, data, created_at, seen_at, expires_at)"
            " VALUES (?, 1, 'Safari on iPhone', '{}', ?, ?, ?)",
            ((f"f{n:063x}", n, n, far) for n in range(DEVICES)),
        )
        db.executemany(
            "INSERT INTO whitelist (phone_digest, phone_hint, created_at, expires_at)"
            " VALUES (?, '00', 1, ?)",
            ((f"{n:064x}", far) for n in range(INVITES)),
        )
        db.executemany(
            "INSERT INTO journal (at, event, actor, invite_id) VALUES (?, 'pin_wrong', ?, ?)",
            ((n, f"member-{n % MEMBERS}", n % INVITES) for n in range(LINES)),
        )
    db.close()
    return ada


@pytest.mark.parametrize(
    ("path", "asked", "shown"),
    [
        ("/", 9, {"<span>member-": 8}),
        ("/admin", 6, {"<strong>Number ending": 50}),
        ("/admin?page=4", 6, {"<strong>Number ending": 50}),
        ("/admin/members", 5, {"<strong>": 50}),
        ("/admin/members?page=21", 5, {"<strong>member-": 1}),
        ("/admin/members?q=member-99", 5, {"<strong>member-": 11}),
        ("/admin/members?q=nobody&page=x", 5, {"<strong>member-": 0}),
        ("/admin/journal", 3, {"<time": 50}),
        ("/admin/journal?before=2000", 3, {"<time": 50}),
        ("/account", 11, {"<strong>Safari on iPhone": DEVICES}),
    ],
)
def test_every_list_is_one_statement(
    group: Group, crowd: Browser, path: str, asked: int, shown: dict[str, int]
) -> None:
    statements: list[str] = []
    with group.app.app_context():
        get_db().set_trace_callback(statements.append)

    page = crowd.get(path)

    with group.app.app_context():
        get_db().set_trace_callback(None)
    assert page.status_code == 200
    assert len(statements) == asked  # who is asking, and one for each list and count
    assert statements[0].startswith("SELECT author_id, username, data, seen_at FROM sessions")
    assert {text: page.text.count(text) for text in shown} == shown
    assert len(page.data) < 100_000


def test_no_list_reads_a_whole_table_a_row(group: Group, crowd: Browser) -> None:
    """SQLite's own account of how it would go about it: no table is scanned inside another."""
    statements: list[str] = []
    with group.app.app_context():
        get_db().set_trace_callback(statements.append)
        for path in ("/", "/admin", "/admin/members?q=9", "/admin/journal", "/account"):
            crowd.get(path)
        get_db().set_trace_callback(None)
        for sql in statements:
            plan = [row["detail"] for row in get_db().execute(f"EXPLAIN QUERY PLAN {sql}")]
            assert sum(step.startswith("SCAN") for step in plan) <= 1, (sql, plan)
