"""Out means out: programs are told of every way out, whatever they answer and however long they
are down."""

import gzip
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import time_machine

from foundation.storage.database import transaction
from foundation.storage.migrations import run_script
from foundation.storage.outbox import OUTBOX_LIFETIME, put_in_outbox
from foundation.web.housekeeping import send_what_is_due, tell
from foundation.words.clock import DAY, HOUR, MINUTE
from wsgi import create_app

from . import crashing
from .cast import ADA, GRACE, MALLORY, ROOT, Browser, Group, Served, listening_with, wait_for
from .new_devices import add
from .openid_client import BACK, Program
from .registering import choose, register
from .sign_outs import Listener

WAITING = "SELECT count(*) FROM outbox"


@pytest.fixture
def listening() -> Iterator[str]:
    Listener.heard.clear()
    Listener.status, Listener.refuses = 200, ""
    Listener.is_down = staticmethod(lambda: False)
    with listening_with(Listener) as url:
        yield url


@pytest.fixture
def photos(group: Group, ada: Browser, listening: str) -> Program:
    register(ada, "photos")
    return Program(group, ada, logout=f"{listening}/photos")


@pytest.fixture
def wiki(group: Group, ada: Browser, listening: str) -> Program:
    """One that Grace never used, unless a test lets her."""
    register(ada, "wiki")
    return Program(group, ada, "wiki", logout=f"{listening}/wiki")


def sign_in(group: Group, program: Program, phone: str, name: str) -> str:
    """A new member, who uses the program; what it knows them by."""
    return str(program.read_id(program.tokens(group.join(phone, name)))["sub"])


def read_heard(*programs: Program) -> list[dict[str, Any]]:
    """The claims of what was heard, in order."""
    return [one.read_id({"id_token": token}) for one in programs for path, token in Listener.heard]


def send(group: Group) -> list[str]:
    """What the server's housekeeping does every two seconds; the paths that were told."""
    before = len(Listener.heard)
    send_what_is_due(group.app)
    return [path for path, _ in Listener.heard[before:]]


# Every way out ------------------------------------------------------------------------------------

Way = Callable[[Group, Browser, Browser, Browser], object]  # group, ada, the phone, the laptop


def end_from_the_other(group: Group, ada: Browser, phone: Browser, laptop: Browser) -> None:
    (other,) = re.findall(r'action="/devices/(\w+)/end"', laptop.get("/account").text)
    laptop.post(f"/devices/{other}/end")


def sign_in_as_mallory(group: Group, ada: Browser, phone: Browser, laptop: Browser) -> None:
    group.invite(MALLORY)
    group.text(MALLORY)
    assert phone.sign_up(MALLORY, "mallory", group.vonage.pin_of(MALLORY)).status_code == 303


def let_a_year_pass(group: Group, ada: Browser, phone: Browser, laptop: Browser) -> None:
    sql = "UPDATE sessions SET created_at = unixepoch() - ?1, expires_at = unixepoch()"
    group.rows(sql, 365 * DAY)
    assert group.command("prune").exit_code == 0


def let_the_last_day_end(group: Group, ada: Browser, phone: Browser, laptop: Browser) -> None:
    group.rows("UPDATE authors SET ends_at = unixepoch() - 1 WHERE username = 'grace'")
    assert group.command("prune").exit_code == 0


def choose_only_ada(group: Group, ada: Browser, phone: Browser, laptop: Browser) -> None:
    choose(ada, "photos", "ada")
    form = {"title": "x", "address": "https://photos.example.org", "who": "chosen"}
    ada.post("/admin/programs/photos", **form)


WAYS: dict[str, Way] = {
    "signed out": lambda group, ada, phone, laptop: phone.post("/logout"),
    "ended from another device": end_from_the_other,
    "all others": lambda group, ada, phone, laptop: laptop.post("/devices/end-others"),
    "everywhere, by an admin": lambda group, ada, phone, laptop: ada.post("/members/2/sign-out"),
    "everywhere, by command": lambda group, ada, phone, laptop: group.command("sign-out", "grace"),
    "everybody": lambda group, ada, phone, laptop: group.command("sign-out", "--all"),
    "removed": lambda group, ada, phone, laptop: ada.post("/members/2/remove"),
    "left": lambda group, ada, phone, laptop: laptop.post("/leave"),
    "another member on this browser": sign_in_as_mallory,
    "after a year": let_a_year_pass,
    "a guest's last day": let_the_last_day_end,
    "no longer chosen": choose_only_ada,
}


@pytest.mark.parametrize("way", WAYS)
def test_each_way_out_is_told(
    group: Group, ada: Browser, photos: Program, wiki: Program, way: str
) -> None:
    """Once, of this device, and only to the program that it signed in to."""
    phone, laptop = group.join(GRACE, "grace"), group.browser()
    add(phone, laptop)
    known = photos.read_id(photos.tokens(phone))

    WAYS[way](group, ada, phone, laptop)

    assert send(group) == ["/photos"]
    (claims,) = read_heard(photos)
    assert (claims["sub"], claims["sid"]) == (known["sub"], known["sid"])
    assert claims["events"] == {"http://schemas.openid.net/event/backchannel-logout": {}}
    assert (claims["iss"], claims["aud"]) == ("http://localhost:8000", photos.id)
    assert "nonce" not in claims
    assert claims["jti"]
    assert claims["exp"] - claims["iat"] == 2 * MINUTE
    assert (group.one(WAITING), group.one("SELECT count(*) FROM receivers")) == (0, 0)


def test_a_device_that_just_was_not_used_is_told_with_the_member(
    group: Group, ada: Browser, photos: Program
) -> None:
    known = photos.read_id(photos.tokens(group.join(GRACE, "grace")))
    group.rows("UPDATE sessions SET expires_at = unixepoch() WHERE author_id = 2")
    group.command("prune")
    assert (group.one("SELECT count(*) FROM sessions"), send(group)) == (1, [])

    group.command("remove", "grace")

    assert send(group) == ["/photos"]
    assert [one["sid"] for one in read_heard(photos)] == [known["sid"]]


def test_signing_out_all_others_tells_of_those_that_just_were_not_used(
    group: Group, ada: Browser, photos: Program
) -> None:
    """And not of the device in the hand, nor when that one signs out."""
    phone, laptop = group.join(GRACE, "grace"), group.browser()
    add(phone, laptop)
    unused, _ = (photos.read_id(photos.tokens(one))["sid"] for one in (phone, laptop))
    sql = "UPDATE sessions SET expires_at = unixepoch() WHERE author_id = 2 AND began = 'pin'"
    group.rows(sql)
    group.command("prune")
    tablet = group.browser()
    add(laptop, tablet)
    tablet.post("/logout")
    assert send(group) == []

    laptop.post("/devices/end-others")

    assert send(group) == ["/photos"]
    assert [one["sid"] for one in read_heard(photos)] == [unused]


@pytest.mark.parametrize("way", ["removed", "everywhere, by an admin", "a guest's last day"])
def test_where_no_device_is_known_it_is_told_of_the_member(
    group: Group, ada: Browser, photos: Program, wiki: Program, way: str
) -> None:
    """Where they once signed in. A second time, nobody is told."""
    phone = group.join(GRACE, "grace")
    known = photos.read_id(photos.tokens(phone))
    phone.post("/logout")
    assert send(group) == ["/photos"]

    for _ in range(2):
        WAYS[way](group, ada, phone, phone)

    assert send(group) == ["/photos"]
    claims = read_heard(photos)[-1]
    assert (claims["sub"], "sid" in claims) == (known["sub"], False)


def test_tokens_do_not_come_back_with_the_access(
    group: Group, ada: Browser, photos: Program
) -> None:
    grace = group.join(GRACE, "grace")
    tokens, code = photos.tokens(grace), photos.code(grace)
    choose_only_ada(group, ada, grace, grace)
    choose(ada, "photos", "grace")

    assert photos.refresh(tokens).status_code == 400
    assert photos.userinfo(tokens).status_code == 401
    assert photos.exchange(code).status_code == 400


def test_using_a_program_is_using_the_device(group: Group, ada: Browser, photos: Program) -> None:
    """For a year, a day at a time, and not longer than SESSION_MAX_DAYS."""
    with time_machine.travel("2026-11-28", tick=False) as at:
        grace = group.join(GRACE, "grace")
        tokens = photos.tokens(grace)
        for _ in range(12):
            at.shift(29 * DAY)
            renewed = photos.refresh(tokens)
            assert photos.userinfo(renewed.get_json()).status_code == 200
        assert grace.username() == "grace"
        at.shift(29 * DAY)
        assert photos.refresh(tokens).status_code == 400
        assert grace.username() is None


# However long it is down --------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0, 5 * MINUTE, HOUR, DAY, 6 * DAY])
def test_a_program_that_was_down_is_told_within_a_minute(
    group: Group, photos: Program, wiki: Program, seconds: int
) -> None:
    """Of all, in order; and meanwhile the other program is told everything at once."""
    with time_machine.travel("2026-11-28", tick=False) as at:
        up_at = time.time() + seconds
        Listener.is_down = staticmethod(lambda: time.time() < up_at)
        names = {"one": "12025550171", "two": "12025550172", "three": "12025550173"}
        subs = [sign_in(group, photos, phone, name) for name, phone in names.items()]
        for name in names:
            group.command("remove", name)
            send(group)
            at.shift(20)
        while time.time() < up_at - 2 * MINUTE:  # once a minute would take an hour here
            send(group)
            at.shift(max(MINUTE, (up_at - time.time()) / 2))
        while time.time() < up_at + MINUTE:
            send(group)
            at.shift(10)

        assert [one["sub"] for one in read_heard(photos)] == subs
        assert group.one(WAITING) == 0


def test_who_gives_no_answer_for_a_week_is_given_up(
    group: Group, ada: Browser, photos: Program
) -> None:
    with time_machine.travel("2026-11-28", tick=False) as at:
        photos.tokens(group.join(GRACE, "grace"))
        Listener.is_down = staticmethod(lambda: True)
        group.command("remove", "grace")
        at.shift(OUTBOX_LIFETIME - 1)
        send(group)
        assert group.one(WAITING) == 1
        assert "Sign-outs that Our photos doesn't know of yet: 1" in look(ada)
        at.shift(MINUTE)
        send(group)
        assert group.one(WAITING) == 0
        assert "We couldn&#39;t tell photos about a sign-out" in ada.get("/admin/journal").text
        assert "Our photos didn't take a sign-out, and we gave up just now." in look(ada)


@pytest.mark.parametrize("what", ["the program", "its address"])
def test_what_waits_for_a_program_that_is_gone_is_sent_nowhere(
    group: Group, ada: Browser, photos: Program, what: str
) -> None:
    photos.tokens(group.join(GRACE, "grace"))
    group.command("remove", "grace")
    if what == "the program":
        ada.post("/admin/programs/photos/remove")
    else:
        ada.post("/admin/programs/photos/openid", redirects=photos.back, logout="")
    assert send(group) == []
    assert group.one(WAITING) == 0


def look(ada: Browser) -> str:
    return " ".join(unescape(ada.get("/admin/programs/photos/openid").text).split())


def test_who_refuses_the_message_is_given_up_after_a_day(group: Group, photos: Program) -> None:
    with time_machine.travel("2026-11-28", tick=False) as at:
        photos.tokens(group.join(GRACE, "grace"))
        Listener.status = 400
        group.command("remove", "grace")
        for waiting in (1, 0):
            at.shift(DAY - MINUTE)
            send(group)
            assert group.one(WAITING) == waiting
            at.shift(MINUTE)


def test_what_waits_behind_a_refused_message_gets_its_own_try(
    group: Group, photos: Program
) -> None:
    """The program no longer knows the first device, and says 400 of it, and only of that."""
    phone, laptop = group.join(GRACE, "grace"), group.browser()
    add(phone, laptop)
    sids = sorted(photos.read_id(photos.tokens(one))["sid"] for one in (phone, laptop))
    with time_machine.travel(time.time(), tick=False) as at:
        group.command("remove", "grace")
        Listener.refuses = f'"sid":"{sids[0]}"'
        send(group)
        at.shift(DAY + 1)
        send(group)
    assert group.one(WAITING) == 0
    assert [one["sid"] for one in read_heard(photos)][-1] == sids[1]


def test_a_member_of_years_is_told_where_they_once_signed_in(group: Group, photos: Program) -> None:
    with time_machine.travel("2026-11-28", tick=False) as at:
        known = photos.read_id(photos.tokens(group.join(GRACE, "grace")))
        for _ in range(3):
            at.shift(400 * DAY)
            group.keep_house()
        group.command("remove", "grace")
        assert send(group) == ["/photos"]
        (claims,) = read_heard(photos)
        assert (claims["sub"], "sid" in claims) == (known["sub"], False)


def test_a_sender_that_cannot_start_is_a_failure_like_others(
    group: Group, ada: Browser, photos: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos.tokens(group.join(GRACE, "grace"))
    group.command("remove", "grace")
    with monkeypatch.context() as machine:
        machine.setattr(sys, "executable", "/bin/false")
        assert send(group) == []
    assert "(last answer: not started)" in look(ada)


def test_a_new_secret_key_signs_what_waits(
    group: Group, photos: Program, settings: dict[str, str]
) -> None:
    photos.tokens(group.join(GRACE, "grace"))
    group.command("remove", "grace")

    app = create_app(settings | {"SECRET_KEY": "another-secret-key-of-32-characters-or-more"})
    send_what_is_due(app)

    later = Group(app, group.vonage)
    photos.group = later
    assert len(read_heard(photos)) == 1


def test_what_waited_in_version_1_comes_along() -> None:
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.execute(
        "CREATE TABLE openid_logouts (id INTEGER PRIMARY KEY, program_id INTEGER NOT NULL,"
        " public_id TEXT NOT NULL, created_at INTEGER NOT NULL, next_at INTEGER NOT NULL DEFAULT 0,"
        " tries INTEGER NOT NULL DEFAULT 0, sid TEXT NOT NULL DEFAULT '')"
    )
    db.execute("CREATE TABLE authors (ends_at INTEGER)")
    db.execute("CREATE TABLE openid_sessions (session_digest TEXT)")
    rows = [(2, 3, "b", 6, "sid"), (1, 3, "a", 5, ""), (3, 4, "a", 7, "")]
    sql = "INSERT INTO openid_logouts (id, program_id, public_id, created_at, sid) VALUES"
    db.executemany(f"{sql} (?, ?, ?, ?, ?)", rows)

    run_script(db, (ROOT / "migrations" / "0007.sql").read_text())
    run_script(db, (ROOT / "features" / "openid.0004.sql").read_text())

    found = db.execute("SELECT receiver, event, ids, created_at FROM outbox ORDER BY id").fetchall()
    assert [(*row[:2], json.loads(row[2]), row[3]) for row in found] == [
        ("openid 3", "signed-out", {"sub": "a", "sid": ""}, 5),
        ("openid 3", "signed-out", {"sub": "b", "sid": "sid"}, 6),
        ("openid 4", "signed-out", {"sub": "a", "sid": ""}, 7),
    ]
    assert db.execute("SELECT name FROM receivers").fetchall() == [("openid 3",), ("openid 4",)]
    db.close()


# Whatever it answers ------------------------------------------------------------------------------

BOMB = gzip.compress(bytes(10_000_000))
Answer = Callable[[socket.socket], None]


def drip(connection: socket.socket) -> None:
    for letter in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 600:
        connection.sendall(bytes([letter]))
        time.sleep(0.1)


ANSWERS: dict[str, Answer] = {
    "a redirect with a bomb": lambda connection: connection.sendall(
        b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Encoding: gzip\r\n"
        + f"Content-Length: {len(BOMB)}\r\n\r\n".encode()
        + BOMB
    ),
    "a body that no decoder takes": lambda connection: connection.sendall(
        b"HTTP/1.1 500 Oh\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd"
    ),
    "a drip": drip,
    "no answer": lambda connection: time.sleep(30),
    "no HTTP": lambda connection: connection.sendall(b"\x00\xff" * 1000),
    "endless headers": lambda connection: connection.sendall(
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"x" * 1_000_000
    ),
    "a closed door": lambda connection: None,
}


@pytest.fixture
def odd(request: pytest.FixtureRequest) -> Iterator[str]:
    """A program that answers like that, each time."""
    door = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        with suppress(OSError):
            while True:
                connection, _ = door.accept()
                with closing(connection), suppress(OSError):
                    connection.recv(65536)
                    ANSWERS[request.param](connection)

    threading.Thread(target=answer, daemon=True).start()
    yield f"http://127.0.0.1:{door.getsockname()[1]}/?secret=in-a-query"
    door.close()


@pytest.mark.parametrize("odd", ANSWERS, indirect=True)
def test_an_odd_answer_keeps_nobody_else_from_hearing(
    group: Group, ada: Browser, wiki: Program, odd: str, caplog: pytest.LogCaptureFixture
) -> None:
    """And no thread and no process stays behind."""
    register(ada, "photos")
    photos = Program(group, ada, logout=odd)
    grace = group.join(GRACE, "grace")
    for one in (photos, wiki):
        one.tokens(grace)
    threads = set(threading.enumerate())
    with caplog.at_level("DEBUG"):
        group.command("remove", "grace")
        assert send(group) == ["/wiki"]

    assert set(threading.enumerate()) <= threads
    assert find_senders() == []
    assert group.one("SELECT count(*) FROM receivers WHERE next_at > unixepoch()") == 1
    failure = group.one("SELECT failure FROM receivers")
    assert failure
    assert "secret" not in failure + caplog.text


def find_senders() -> list[str]:
    """The processes that send, of this one."""
    listed = subprocess.run(
        ["ps", "--ppid", str(os.getpid()), "-o", "args="], capture_output=True, text=True
    )
    return [line for line in listed.stdout.splitlines() if "foundation.web.sending" in line]


# Nothing is lost ----------------------------------------------------------------------------------


def test_killed_at_each_statement_nothing_is_lost(
    group: Group, photos: Program, settings: dict[str, str], tmp_path: Path
) -> None:
    """Some are told twice then, which programs have to bear: a token has an id."""
    names = {"one": "12025550171", "two": "12025550172"}
    subs = [sign_in(group, photos, phone, name) for name, phone in names.items()]
    for name in names:
        group.command("remove", name)
    code, point, log = -signal.SIGKILL, 0, tmp_path / "sending.log"
    while code == -signal.SIGKILL:
        point += 1
        group.rows("UPDATE receivers SET claimed_until = 0, next_at = 0")  # half a minute later
        code = crashing.run(crashing.fork(settings, log, crashing.send, point))

    assert (code, point > 5, group.one(WAITING)) == (0, True, 0), log.read_text()
    told = [one["sub"] for one in read_heard(photos)]
    assert list(dict.fromkeys(told)) == subs
    assert told == sorted(told, key=subs.index)


def test_a_running_server_sends_what_a_command_writes(
    served: Served, local: Group, listening: str
) -> None:
    ada = local.join(ADA, "ada", bound=True)
    register(ada, "photos")
    photos = Program(local, ada, logout=f"{listening}/photos")
    photos.tokens(local.join(GRACE, "grace"))

    done = served.command("remove", "grace")

    assert "Apps are told as soon as the server runs." in done.stdout
    wait_for(lambda: Listener.heard)
    wait_for(lambda: local.one(WAITING) == 0)


def test_a_thread_that_is_quick_tells_the_next_receiver_too(group: Group) -> None:
    """Nothing is left to tell these: they belong to no feature."""
    names = ["nobody 1", "nobody 2"]
    with group.app.app_context(), transaction():
        for name in names:
            put_in_outbox(name, "gone")
    with ThreadPoolExecutor(1) as pool:
        list(pool.map(partial(tell, group.app), names))
    assert group.one(WAITING) == 0


def test_without_a_program_that_wants_to_know_nothing_waits(group: Group, ada: Browser) -> None:
    register(ada, "photos")
    photos = Program(group, ada)
    photos.tokens(group.join(GRACE, "grace"))
    assert group.command("remove", "grace").output.count("\n") == 1
    assert group.one(WAITING) == 0


def test_backups_leave_the_outbox_out(group: Group, photos: Program, tmp_path: Path) -> None:
    photos.tokens(group.join(GRACE, "grace"))
    group.command("remove", "grace")
    group.command("backup", str(tmp_path / "copy.db"))
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert copy.execute(WAITING).fetchone() == (0,)
    assert group.one(WAITING) == 1


@pytest.mark.parametrize("address", ["x", "javascript:alert(1)", "http://a.example.org", "//a"])
def test_where_sign_outs_cannot_be_told(group: Group, ada: Browser, address: str) -> None:
    register(ada, "photos")
    answer = ada.post("/admin/programs/photos/openid", redirects=BACK, logout=address)
    assert answer.status_code == 422
