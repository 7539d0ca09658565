"""The one door out: each way of being signed out goes through it once, and says why."""

import re
from collections.abc import Collection, Iterator

import pytest
import time_machine
from flask import Blueprint

import app
from foundation.storage.digests import digest_session
from foundation.web.feature import Feature, Why
from foundation.words.clock import DAY
from simulator.vonage import Vonage
from wsgi import FEATURES

from .cast import ADA, GRACE, Browser, Group
from .new_devices import add
from .openid_client import Program
from .registering import register

Seen = list[tuple[str, int, int]]  # why, how many members, how many sessions


@pytest.fixture
def seen() -> Seen:
    return []


@pytest.fixture
def group(settings: dict[str, str], vonage: Vonage, seen: Seen) -> Iterator[Group]:
    """With a feature that sees who goes out."""

    def ended(author_ids: Collection[int], sessions: Collection[str], why: Why) -> None:
        seen.append((why, len(author_ids), len(sessions)))

    watch = Feature(Blueprint("watch", __name__), ended=ended)
    with time_machine.travel("2026-11-28", tick=False):
        yield Group(app.create_app(settings, (*FEATURES, watch)), vonage)


@pytest.fixture
def ada(group: Group) -> Browser:
    return group.join(ADA, "ada", bound=True)


@pytest.fixture
def grace(group: Group) -> Browser:
    """On two devices; this is the second."""
    group.join(GRACE, "grace")
    return group.join(GRACE, "grace", bound=True)


def test_signing_out(grace: Browser, seen: Seen) -> None:
    grace.post("/logout")
    assert seen == [("signed-out", 1, 1)]


def test_ending_another_device(grace: Browser, seen: Seen) -> None:
    (other,) = re.findall(r'action="/devices/(\w+)/end"', grace.get("/account").text)
    grace.post(f"/devices/{other}/end")
    assert seen == [("ended", 1, 1)]


def test_ending_all_others(grace: Browser, seen: Seen) -> None:
    grace.post("/devices/end-others")
    assert seen == [("others", 1, 1)]


@pytest.mark.parametrize("what", ["sign-out", "remove"])
def test_an_admin_ends_all(
    group: Group, ada: Browser, grace: Browser, seen: Seen, what: str
) -> None:
    row = group.one("SELECT id FROM authors WHERE username = 'grace'")
    ada.post(f"/members/{row}/{what}")
    assert seen == [({"sign-out": "everywhere", "remove": "removed"}[what], 1, 2)]
    assert grace.username() is None


def test_everybody_is_signed_out(group: Group, ada: Browser, grace: Browser, seen: Seen) -> None:
    assert "3 sessions" in group.command("sign-out", "--all").output
    assert seen == [("everywhere", 2, 3)]


def test_leaving(grace: Browser, seen: Seen) -> None:
    grace.post("/leave")
    assert seen == [("removed", 1, 2)]


def test_a_member_without_a_device_is_removed(group: Group, grace: Browser, seen: Seen) -> None:
    grace.post("/devices/end-others")
    grace.post("/logout")
    seen.clear()
    group.command("remove", "grace")
    assert seen == [("removed", 1, 0)]


def test_another_sign_in_on_the_same_browser(group: Group, grace: Browser, seen: Seen) -> None:
    group.invite(ADA, "ada")
    group.text(ADA)
    assert grace.sign_up(ADA, "ada", group.vonage.pin_of(ADA)).status_code == 303
    assert seen == [("replaced", 1, 1)]


HANGING = [
    ("sessions", "added_by"),
    ("app_passwords", "added_by"),
    ("passkeys", "added_by"),
    ("offers", "session_digest"),
    ("openid_codes", "session_digest"),
    ("openid_tokens", "session_digest"),
    ("openid_sessions", "session_digest"),
]


def test_the_same_member_signs_in_again_on_the_same_browser(
    group: Group, ada: Browser, grace: Browser, seen: Seen
) -> None:
    """What hangs on the device stays, and goes on hanging on it."""
    phone, laptop, old = grace, group.browser(), digest_session(grace.cookie())
    add(phone, laptop)
    register(ada, "photos")
    photos = Program(group, ada)
    phone.post("/app-passwords", program="photos", name="My phone")
    tokens, code = photos.tokens(phone), photos.code(phone)
    phone.post("/devices/add")
    group.rows(
        "INSERT INTO passkeys VALUES (1, 2, 'id', x'00', 0, 'host', 'name', 0, '', ?, 0, 0, 0)", old
    )
    assert all(group.rows(f"SELECT 1 FROM {t} WHERE {c} = ?", old) for t, c in HANGING)
    seen.clear()

    group.invite(GRACE, "grace")
    group.text(GRACE)
    assert phone.sign_up(GRACE, "grace", group.vonage.pin_of(GRACE)).status_code == 303

    assert seen == []
    assert [user.username() for user in (phone, laptop)] == ["grace", "grace"]
    new = digest_session(phone.cookie())
    for table, column in HANGING:
        found = group.rows(f"SELECT DISTINCT {column} FROM {table} WHERE {column} NOT NULL")
        assert found == [(new,)], table
    assert group.rows("SELECT 1 FROM sessions WHERE id_digest = ?", old) == []
    assert photos.refresh(tokens).status_code == 200
    assert photos.exchange(code).status_code == 200


@pytest.mark.parametrize("bound", [False, True])
def test_a_removed_member_comes_back(group: Group, seen: Seen, bound: bool) -> None:
    group.join(GRACE, "grace")
    group.command("remove", "grace")
    seen.clear()
    group.join(GRACE, "grace" if bound else "grace2", bound=bound)
    assert seen == ([("returned", 1, 0)] if bound else [])


def test_time_runs_out(group: Group, grace: Browser, seen: Seen) -> None:
    oldest = "SELECT max(id_digest) FROM sessions"
    group.rows(
        f"UPDATE sessions SET created_at = expires_at - ? WHERE id_digest = ({oldest})", 365 * DAY
    )
    with time_machine.travel("2026-12-29", tick=False):
        assert group.command("prune").exit_code == 0
    assert sorted(seen) == [("over", 1, 1), ("unused", 1, 1)]
    assert group.rows("SELECT 1 FROM sessions") == []
