"""The device is the password: what a session is, and that it ends when it should."""

import hashlib
import pickle
import sqlite3
import threading
import time
from typing import Any

import pytest
import time_machine
from flask import Flask, session
from flask.typing import ResponseReturnValue

from foundation.storage.database import get_db
from foundation.words.clock import DAY
from wsgi import create_app

from .cast import ADA, GRACE, Browser, Group, shown, wait_for


@pytest.fixture
def grace(group: Group) -> Browser:
    return group.join(GRACE, "grace")


@pytest.fixture
def app(settings: dict[str, str]) -> Flask:
    """The program with a page of somebody's own that uses the session."""
    app = create_app(settings)
    app.add_url_rule("/count", view_func=count)
    app.add_url_rule("/forget", view_func=forget, methods=["POST"])
    return app


def count() -> ResponseReturnValue:
    session["count"] = session.get("count", 0) + 1
    return str(session["count"])


def forget() -> ResponseReturnValue:
    session.clear()
    return ""


def test_a_page_that_clears_the_session_signs_out(group: Group, grace: Browser) -> None:
    """Through the one door, so that programs are told."""
    cookie = grace.cookie()
    gone = grace.post("/forget").headers["Set-Cookie"]
    assert "session=;" in gone
    assert group.rows("SELECT 1 FROM sessions") == []
    grace.client.set_cookie("session", cookie)
    assert grace.username() is None


def test_the_database_keeps_the_digest_of_a_cookie_only(group: Group, grace: Browser) -> None:
    digest = hashlib.sha256(grace.cookie().encode()).hexdigest()

    assert group.rows("SELECT id_digest, author_id FROM sessions") == [(digest, 1)]
    assert len(grace.cookie()) == 64


@pytest.mark.parametrize(
    "cookie", ["", "x", "0" * 64, "../../etc", "%00", "a" * 4000, "ſ", '"quoted"', "session:1"]
)
def test_a_cookie_that_was_never_given_signs_nobody_in(
    group: Group, grace: Browser, cookie: str
) -> None:
    mallory = group.browser()
    mallory.client.set_cookie("session", cookie)

    assert mallory.username() is None


def test_no_column_of_a_stolen_database_is_a_cookie(group: Group, grace: Browser) -> None:
    tables = [name for (name,) in group.rows("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    values = {
        str(v) for table in tables for row in group.rows(f"SELECT * FROM {table}") for v in row
    }

    for value in values:
        mallory = group.browser()
        mallory.client.set_cookie("session", value)
        assert mallory.username() is None


def test_a_planted_session_is_not_adopted_at_sign_in(group: Group, grace_texted: str) -> None:
    """Session fixation: Mallory gives Grace a cookie that he knows, even one of his own session."""
    mallory = group.join("12025550166", "mallory")
    planted = mallory.cookie()
    grace = group.browser()
    grace.client.set_cookie("session", planted)

    grace.sign_up(GRACE, "grace", grace_texted)

    assert grace.username() == "grace"
    assert grace.cookie() != planted
    assert mallory.username() is None  # the session that was in Grace's browser is over
    assert group.one("SELECT count(*) FROM sessions") == 1


def test_a_planted_visitor_mark_does_not_foretell_the_session(
    group: Group, grace_texted: str
) -> None:
    grace = group.browser()
    grace.client.set_cookie("visitor", "A" * 43)
    grace.sign_up(GRACE, "grace", grace_texted)

    mallory = group.browser()
    mallory.client.set_cookie("visitor", "A" * 43)
    assert mallory.sign_up(GRACE, "grace", "000000").status_code == 422
    assert mallory.username() is None


def end_session(group: Group) -> None:
    with sqlite3.connect(group.app.config["DATABASE"]) as db:
        db.execute("DELETE FROM sessions")
    db.close()


@pytest.mark.parametrize("writes", [True, False])
def test_a_request_in_flight_does_not_bring_an_ended_session_back(
    group: Group, grace: Browser, writes: bool
) -> None:
    """A store that upserts would: the request began before the session was ended, and saves
    after."""
    started, ended = threading.Event(), threading.Event()

    def slow() -> ResponseReturnValue:
        session.get("author_id")
        if writes:
            session["count"] = 1
        started.set()
        ended.wait(5)
        return "done"

    group.app.view_functions["count"] = slow
    request = threading.Thread(target=grace.get, args=("/count",))
    request.start()
    assert started.wait(5)
    end_session(group)
    ended.set()
    request.join()

    assert group.rows("SELECT * FROM sessions") == []
    assert grace.username() is None


def test_what_a_page_keeps_in_the_session_is_json(group: Group, grace: Browser) -> None:
    assert [grace.get("/count").text for _ in range(3)] == ["1", "2", "3"]
    assert group.one("SELECT data FROM sessions") == '{"count": 3}'


def test_a_pickle_in_the_database_is_not_opened(group: Group, grace: Browser) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (pytest.fail, ("the pickle was opened",))

    with sqlite3.connect(group.app.config["DATABASE"]) as db:
        db.execute("UPDATE sessions SET data = ?", (pickle.dumps(Trap(), 0).decode(),))
    db.close()

    assert grace.get("/").status_code == 500


def test_nothing_is_kept_for_somebody_who_is_not_signed_in(group: Group) -> None:
    mallory = group.browser()

    assert [mallory.get("/count").text for _ in range(2)] == ["1", "1"]
    assert mallory.client.get_cookie("session") is None
    assert group.rows("SELECT * FROM sessions") == []


def test_an_anonymous_page_view_writes_no_row_and_one_cookie(group: Group) -> None:
    database = group.app.config["DATABASE"]
    with sqlite3.connect(database) as db:
        before = list(db.iterdump())
        for path in ("/", "/signup", "/admin", "/healthz", "/nothing", "/static/style.css"):
            mallory = group.browser()
            mallory.client.set_cookie("session", "x" * 64)
            answer = mallory.get(path)
            answer.close()
            cookies = answer.headers.getlist("Set-Cookie")
            assert [c.split("=")[0] for c in cookies] == (["visitor"] if path == "/signup" else [])
        assert list(db.iterdump()) == before
    db.close()
    second = mallory.get("/signup")
    assert mallory.get("/signup").headers.getlist("Set-Cookie") == []
    assert "HttpOnly; Path=/; SameSite=Lax" in second.headers["Set-Cookie"]


def test_who_is_asking_costs_one_select_and_a_page_view_writes_nothing(
    group: Group, grace: Browser
) -> None:
    statements: list[str] = []
    with group.app.app_context():
        get_db().set_trace_callback(statements.append)

    assert grace.username() == "grace"

    with group.app.app_context():
        get_db().set_trace_callback(None)
    begins = (
        "SELECT author_id, username, data, seen_at FROM sessions JOIN",
        "SELECT username FROM authors",  # friends: none, so they aren't counted
        "SELECT 'device' AS kind",  # what was added lately
        "SELECT authors.ends_at",  # a guest?
        "SELECT * FROM (SELECT author_id, 'device'",  # ways in
        "SELECT max(created_at)",  # until when
        "SELECT name, title, address FROM programs",
    )
    assert len(statements) == len(begins)
    assert all(sql.startswith(begin) for sql, begin in zip(statements, begins, strict=True))


def test_a_session_is_renewed_at_most_once_a_day(group: Group) -> None:
    with time_machine.travel("2026-11-23", tick=False) as clock:
        grace = group.join(GRACE, "grace")
        end = group.one("SELECT expires_at FROM sessions")
        assert end == time.time() + 30 * DAY

        clock.shift(DAY - 1)
        assert "Set-Cookie" not in grace.get("/").headers
        assert group.one("SELECT expires_at FROM sessions") == end

        clock.shift(1)
        renewed = grace.get("/")
        assert "Wed, 24 Nov 2027" in renewed.headers["Set-Cookie"]
        assert group.one("SELECT expires_at FROM sessions") == end + DAY
        assert "Set-Cookie" not in grace.get("/").headers


def test_the_cookie_lives_as_long_as_a_session_can(group: Group) -> None:
    """How long it may lie unused, the table decides: only our own pages can renew a cookie, and a
    member may visit nothing but guarded programs."""
    with time_machine.travel("2026-11-23 12:00", tick=False):
        group.invite(GRACE)
        group.text(GRACE)
        signed_in = group.browser().sign_up(GRACE, "grace", group.vonage.pin_of(GRACE))

        assert "Expires=Tue, 23 Nov 2027 12:00:00 GMT" in signed_in.headers["Set-Cookie"]


def test_a_session_ends_when_it_is_not_used(group: Group) -> None:
    with time_machine.travel("2026-11-23", tick=False) as clock:
        grace = group.join(GRACE, "grace")
        clock.shift(30 * DAY - 1)
        assert grace.username() == "grace"
        clock.shift(30 * DAY)
        assert grace.username() is None


def test_a_session_ends_after_its_longest_life_however_much_it_is_used(group: Group) -> None:
    with time_machine.travel("2026-01-01", tick=False) as clock:
        grace = group.join(GRACE, "grace")
        for _ in range(18):
            clock.shift(20 * DAY)
            assert grace.username() == "grace"
        clock.shift(5 * DAY)
        assert grace.username() is None


def test_signing_out_ends_the_session_at_once(group: Group, grace: Browser) -> None:
    cookie = grace.cookie()

    answer = grace.post("/logout")

    assert (answer.status_code, answer.location) == (303, "/")
    assert group.rows("SELECT * FROM sessions") == []
    assert grace.client.get_cookie("session") is None
    grace.client.set_cookie("session", cookie)
    assert grace.username() is None
    assert group.one("SELECT event FROM journal ORDER BY id DESC") == "signed_out"
    assert grace.post("/logout").location == "/signup"


def test_a_session_ends_with_its_member_and_not_with_a_namesake(group: Group) -> None:
    grace = group.join(GRACE, "grace")
    with sqlite3.connect(group.app.config["DATABASE"]) as db:
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("DELETE FROM authors")
    db.close()
    group.join("12025550166", "grace")

    assert grace.username() is None
    assert group.rows("SELECT id FROM authors") == [(2,)]


def test_who_is_an_admin_is_asked_at_every_request(group: Group, settings: dict[str, str]) -> None:
    ada = group.join(ADA, "ada", bound=True)
    assert ada.get("/admin").status_code == 200

    group.app.config["ADMINS"] = frozenset({"grace"})

    assert ada.get("/admin").status_code == 403


@pytest.mark.parametrize(
    ("changes", "name", "attributes"),
    [
        (
            {"BASE_URL": "https://group.example.org"},
            "__Host-session",
            {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"},
        ),
        (
            {"BASE_URL": "https://group.example.org", "COOKIE_DOMAIN": "example.org"},
            "__Secure-session",
            {"Domain=example.org", "Secure", "HttpOnly", "Path=/", "SameSite=Lax"},
        ),
        ({}, "session", {"HttpOnly", "Path=/", "SameSite=Lax"}),
    ],
)
def test_the_cookie_is_as_strict_as_the_address_allows(
    settings: dict[str, str],
    vonage: Any,
    changes: dict[str, str],
    name: str,
    attributes: set[str],
) -> None:
    group = Group(create_app(settings | changes), vonage)
    group.invite(GRACE)
    base: Any = {"base_url": (settings | changes)["BASE_URL"]}
    fields = vonage.inbound(GRACE, "sunflower")
    assert group.app.test_client().post("/answer", data=fields, **base).status_code == 204
    client = group.app.test_client()
    client.environ_base["HTTP_SEC_FETCH_SITE"] = "same-origin"
    form = {"phone": f"+{GRACE}", "username": "grace", "pin": vonage.pin_of(GRACE)}

    visitor = client.get("/signup", **base).headers["Set-Cookie"]
    signed_in = client.post("/login", data=form, **base).headers.getlist("Set-Cookie")[-1]

    assert signed_in.startswith(f"{name}=")
    assert {part for part in signed_in.split("; ")[1:] if "Expires" not in part} == attributes
    assert visitor.split("=")[0] == ("__Host-visitor" if changes else "visitor")
    assert "Domain" not in visitor
    assert "Hello, " in client.get("/", **base).text
    out = client.post("/logout", **base).headers.getlist("Set-Cookie")[-1]
    assert out.startswith(f"{name}=;")  # and a browser obeys: the attributes are the same
    gone = {part for part in out.split("; ")[1:] if not part.startswith(("Expires", "Max-Age"))}
    assert gone == attributes


def test_a_locked_database_is_told_and_signs_nobody_out(group: Group, grace: Browser) -> None:
    """A page that would renew the session is shown all the same; one that must write says so."""
    with time_machine.travel(time.time() + DAY + 1, tick=True):
        locker = sqlite3.connect(group.app.config["DATABASE"], isolation_level=None)
        group.lose_patience()
        locker.execute("BEGIN IMMEDIATE")

        assert grace.username() == "grace"
        answer = grace.post("/logout")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert shown("error-503") in answer.text

        locker.execute("ROLLBACK")
        locker.close()
        assert grace.username() == "grace"


def test_a_database_that_cannot_be_read_lets_nobody_in(group: Group, grace: Browser) -> None:
    group.lose_patience()
    with group.app.app_context():
        get_db().execute("PRAGMA journal_mode = DELETE")
    locker = sqlite3.connect(group.app.config["DATABASE"], isolation_level=None)
    locker.execute("BEGIN EXCLUSIVE")

    assert grace.get("/").status_code == 503
    assert grace.get("/admin").status_code == 503
    assert grace.get("/healthz").status_code == 503

    locker.execute("ROLLBACK")
    locker.close()
    wait_for(lambda: grace.get("/healthz").status_code == 200)
    assert grace.username() == "grace"
