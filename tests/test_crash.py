"""Killed at any instant: afterwards every invited friend gets in by doing what a person would
do, no text goes out twice for one message, and nobody is two members."""

import os
import re
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask

from app import create_invite
from foundation.storage.database import fetch_row, get_db
from foundation.vonage.own_words import word_of
from foundation.web.invite_form import NewInvite
from simulator.vonage import PIN, Answer, Connection, Vonage
from wsgi import create_app

from . import crashing
from .cast import GRACE, Group, Served, find_port, wait_for

pytestmark = pytest.mark.slow


class Friend:
    """One of many, with a browser that survives the server."""

    def __init__(self, number: int, group: Group) -> None:
        self.phone = str(int(GRACE) + number % 90)
        self.name = f"friend-{number}"
        self.word = "sunflower"
        self.group = group
        self.browser = requests.Session()
        self.browser.trust_env = False
        self.browser.headers["Sec-Fetch-Site"] = "same-origin"

    def invite(self) -> None:
        self.group.invite(self.phone)

    def get_own_word(self) -> None:
        """An invite without a number."""
        with self.group.app.app_context():
            invite_id = create_invite(NewInvite(None, is_texted=False), None)
            invite = fetch_row("SELECT * FROM whitelist WHERE id = ?", (invite_id,))
            assert invite
            self.word = str(word_of(invite))

    def pins(self) -> list[str]:
        found = (PIN.search(text) for text in self.group.vonage.thread(self.phone))
        return [pin[1] for pin in found if pin]

    def sign_up(self, url: str) -> int:
        """The status of the answer; 0 where there was none."""
        form = {"phone": f"+{self.phone}", "username": self.name, "pin": self.pins()[-1]}
        try:
            self.browser.get(f"{url}/signup", timeout=15)
            answer = self.browser.post(f"{url}/login", data=form, timeout=15, allow_redirects=False)
        except requests.RequestException:
            return 0
        return answer.status_code

    def is_in(self, url: str) -> bool:
        return f"Hello, {self.name}" in self.browser.get(url, timeout=15).text

    def get_in(self, url: str, text: Callable[[str], int]) -> None:
        """Press the button again; where the PIN is used up, text the word again."""
        if self.sign_up(url) == 303:
            return
        let_time_pass(self.group)
        if self.sign_up(url) != 303:
            assert text(self.phone) == 204
            assert self.sign_up(url) == 303


def let_time_pass(group: Group) -> None:
    """Half a minute, in which leases and claims of the dead run out."""
    with sqlite3.connect(group.app.config["DATABASE"]) as db:
        db.execute("UPDATE inbound_messages SET claimed_at = claimed_at - 31")
        db.execute("UPDATE pending_verifications SET leased_until = leased_until - 31")
    db.close()


def check_books(friend: Friend) -> None:
    """Whatever happened on the way: one member, no invite left, the database whole."""
    group = friend.group
    named = "SELECT count(*) FROM authors WHERE username = ?"
    assert group.one(named, friend.name) == 1
    assert group.rows("SELECT * FROM whitelist") == []
    joined = "SELECT count(*) FROM journal WHERE event = 'joined' AND actor = ?"
    assert group.one(joined, friend.name) == 1
    assert group.one("PRAGMA integrity_check") == "ok"
    assert group.rows("PRAGMA foreign_key_check") == []


@pytest.fixture
def settings(settings: dict[str, str]) -> dict[str, str]:
    return settings | {"TEXTS_PER_DAY": "100000"}


def crash_points(path: str, statements: int) -> Iterator[str]:
    yield from (f"{path} {number}" for number in range(1, statements + 1))
    yield f"{path} answer"


class Mortal(Served):
    """It is killed at a point that the test names."""

    def launch(self) -> None:
        self.alive = crashing.fork(self.environment(), self.log, crashing.serve, self.port)
        self.alive.start()

    def kill(self) -> None:
        if self.alive.is_alive():
            self.alive.kill()
        crashing.wait_for_end(self.alive)

    def die_at(self, point: str) -> None:
        Path(self.settings["CRASH_AT"]).write_text(point)


@pytest.fixture
def mortal(settings: dict[str, str], vonage: Vonage, tmp_path: Path) -> Iterator[Mortal]:
    settings |= {"BASE_URL": f"http://localhost:{find_port()}", "CRASH_AT": str(tmp_path / "crash")}
    mortal = Mortal(settings, vonage, tmp_path / "server.log")
    create_app(settings)  # and with it the database
    mortal.start()
    yield mortal
    mortal.kill()


@pytest.fixture
def beside(mortal: Mortal, vonage: Vonage) -> Group:
    """The database of the mortal program, seen from this process."""
    return Group(create_app(mortal.settings), vonage)


def count_statements(group: Group, act: Callable[[], object]) -> int:
    seen: list[str] = []
    with group.app.app_context():
        get_db().set_trace_callback(seen.append)
        act()
        get_db().set_trace_callback(None)
    return len(seen)


@pytest.mark.parametrize("invite", [Friend.invite, Friend.get_own_word])
def test_killed_before_any_statement_of_the_webhook(
    mortal: Mortal, beside: Group, invite: Callable[[Friend], None]
) -> None:
    """Vonage calls again with the same message, and one PIN goes out in all."""
    probe = Friend(89, beside)
    invite(probe)
    statements = count_statements(beside, lambda: beside.text(probe.phone, probe.word))
    probe_browser = beside.browser()
    probe_browser.sign_up(probe.phone, probe.name, probe.pins()[-1])
    points = list(crash_points("/answer", statements))

    for number, point in enumerate(points):
        friend = Friend(number, beside)
        invite(friend)
        fields = mortal.vonage.inbound(friend.phone, friend.word)
        mortal.die_at(point)
        assert mortal.vonage.deliver(f"{mortal.url}/answer", fields) == 0, point
        mortal.start_again()
        let_time_pass(beside)
        assert mortal.vonage.deliver(f"{mortal.url}/answer", fields) == 204, point
        assert len(friend.pins()) == 1, point
        friend.get_in(mortal.url, mortal.text)
        assert friend.is_in(mortal.url), point
        check_books(friend)
    print(f"\nwebhook, {invite.__name__}: {len(points)} points; lost 0, doubled 0, locked out 0")
    assert len(points) > 12


@pytest.mark.parametrize("part", range(3))
def test_killed_before_any_statement_of_a_sign_up(mortal: Mortal, beside: Group, part: int) -> None:
    """In three parts: who presses again at once is kept waiting, for the one who died."""
    probe = Friend(89, beside)
    probe.invite()
    beside.text(probe.phone)
    browser = beside.browser()
    browser.get("/signup")
    act = lambda: browser.sign_up(probe.phone, probe.name, probe.pins()[-1])  # noqa: E731
    points = list(crash_points("/login", count_statements(beside, act)))

    for number, point in enumerate(points[part::3]):
        friend = Friend(number, beside)
        friend.invite()
        assert beside.text(friend.phone) == 204
        mortal.die_at(point)
        assert friend.sign_up(mortal.url) == 0, point
        mortal.start_again()
        friend.get_in(mortal.url, mortal.text)
        assert friend.is_in(mortal.url), point
        assert len(friend.pins()) <= 2
        check_books(friend)
    print(f"\nsign-up: {len(points)} points, a third; lost 0, doubled 0, locked out 0")
    assert len(points) > 12


def test_killed_before_any_statement_of_adding_a_device(mortal: Mortal, beside: Group) -> None:
    """The same press once more, from the same browser: one session more, never two."""
    grace = beside.join(GRACE, "grace").cookie()
    first = mortal.browser()
    first.cookies.set("session", grace)
    points = [*crash_points("/join/finish", 14), *crash_points("/devices/add/confirm", 6)]
    died = 0

    for number, point in enumerate(points, 1):
        second = offered(mortal, first)
        digits = re.findall(r"dir=.ltr.>(\d\d)<", second.get(f"{mortal.url}/join/wait").text)[0]
        acts = [(first, "/devices/add/confirm", {"number": digits}), (second, "/join/finish", {})]
        for browser, path, form in acts:
            if point.startswith(path):
                mortal.die_at(point)
                died += press(browser, f"{mortal.url}{path}", form) == 0
                mortal.start_again()
            assert press(browser, f"{mortal.url}{path}", form) == 303, point
        assert "Hello, grace" in second.get(mortal.url, timeout=15).text, point
        assert beside.one("SELECT count(*) FROM sessions") == number + 1, point
        added = "SELECT count(*) FROM journal WHERE event = 'device_added'"
        assert beside.one(added) == number, point
        assert beside.rows("PRAGMA foreign_key_check") == []
    print(f"\nanother device: {died} points; lost 0, doubled 0")
    assert died > 12


def offered(served: Mortal, first: requests.Session) -> requests.Session:
    """A new browser that has given the code of an offer."""
    first.post(f"{served.url}/devices/add", timeout=15)
    page = first.get(f"{served.url}/devices/add", timeout=15).text
    second = served.browser()
    code = "".join(re.findall(r"dir=.ltr.>(\w{4})-(\w{4})<", page)[0])
    assert press(second, f"{served.url}/join", {"code": code}) == 303
    return second


def press(browser: requests.Session, url: str, form: dict[str, str]) -> int:
    """The status of the answer; 0 where there was none."""
    try:
        return browser.post(url, data=form, timeout=15, allow_redirects=False).status_code
    except requests.RequestException:
        return 0


@pytest.mark.parametrize("acts", [False, True], ids=["request read", "before the answer"])
@pytest.mark.parametrize("call", ["start", "check"])
def test_killed_while_vonage_is_asked(served: Served, local: Group, call: str, acts: bool) -> None:
    friend = Friend(1, local)
    friend.invite()

    def kill(connection: Connection, answer: Answer) -> None:
        served.kill()

    fields = served.vonage.inbound(friend.phone, "sunflower")
    if call == "check":
        assert served.vonage.deliver(f"{served.url}/answer", fields) == 204
    served.vonage.fail(call, kill, acts=acts)
    if call == "check":
        assert friend.sign_up(served.url) == 0
    else:
        assert served.vonage.deliver(f"{served.url}/answer", fields) == 0
    served.start_again()
    let_time_pass(local)
    assert served.vonage.deliver(f"{served.url}/answer", fields) == 204

    assert len(friend.pins()) == 1
    friend.get_in(served.url, served.text)
    assert friend.is_in(served.url)
    check_books(friend)


def test_killed_while_an_invite_is_texted(served: Served, local: Group) -> None:
    """The command dies after Vonage read its request; the admin invites again."""
    friend = Friend(1, local)

    def kill(connection: Connection, answer: Answer) -> None:
        subprocess.run(["pkill", "-9", "-f", f"flask invite .{friend.phone}"], check=True)

    served.vonage.fail("text", kill, acts=True)
    assert served.command("invite", f"+{friend.phone}").returncode == -9
    assert local.one("SELECT count(*) FROM whitelist") == 1
    assert served.text(friend.phone) == 204  # the text did go out
    friend.get_in(served.url, served.text)
    check_books(friend)


def test_requests_in_flight_are_finished_when_the_server_is_told_to_stop(
    served: Served, local: Group
) -> None:
    friend = Friend(1, local)
    friend.invite()
    served.text(friend.phone)
    wait_for(lambda: all(served.is_up() for _ in range(20)))

    def stop(connection: Connection, answer: Answer) -> None:
        served.process.terminate()
        connection.wait(1)
        connection.answer(answer)

    served.vonage.fail("check", stop, acts=True)

    assert friend.sign_up(served.url) == 303
    served.process.wait(timeout=20)
    served.start()
    assert friend.is_in(served.url)


# System calls

WRITES = "pwrite64,fdatasync,fsync,unlink,ftruncate"


def sign_up_traced(settings: dict[str, str], inject: str, friend: Friend) -> tuple[int, str]:
    """The exit code of a process that signs a friend up, and what it said; what strace injects
    comes into its system calls."""
    trusted = {"REQUESTS_CA_BUNDLE": os.environ["REQUESTS_CA_BUNDLE"]}
    form = {"phone": f"+{friend.phone}", "username": friend.name, "pin": friend.pins()[-1]}
    log = Path(settings["DATABASE"]).with_name(f"{friend.name}.log")
    process = crashing.fork(settings | trusted, log, crashing.sign_up, form)
    return crashing.run_traced(process, WRITES, inject), log.read_text()


def same_browser(group: Group) -> Any:
    browser = group.browser()
    browser.client.set_cookie("visitor", "v" * 43)
    return browser


def get_in_locally(friend: Friend) -> None:
    """Half a minute later: the same browser again; where the PIN is used up, a new text."""
    group, browser = friend.group, same_browser(friend.group)
    let_time_pass(group)
    if browser.sign_up(friend.phone, friend.name, friend.pins()[-1]).status_code != 303:
        assert group.text(friend.phone) == 204
        pin = friend.pins()[-1]
        assert browser.sign_up(friend.phone, friend.name, pin).status_code == 303
    assert browser.username() == friend.name


def test_killed_at_every_write_of_a_sign_up(
    app: Flask, settings: dict[str, str], vonage: Vonage
) -> None:
    """strace counts each system call by itself, so each has a sweep of its own."""
    group = Group(app, vonage)
    friends = (Friend(number, group) for number in range(1, 1000))
    killed: dict[str, int] = {}
    for call in WRITES.split(","):
        for number in range(1, 100):
            friend = next(friends)
            friend.invite()
            assert group.text(friend.phone) == 204
            inject = f"{call}:signal=SIGKILL:when={number}"
            code, said = sign_up_traced(settings, inject, friend)
            was_killed = code == -signal.SIGKILL
            assert was_killed != ("status 303" in said), said
            get_in_locally(friend)
            check_books(friend)
            if not was_killed:
                killed[call] = number - 1
                break
    print(f"\nwrites of a sign-up: killed at {killed}; lost 0, doubled 0, locked out 0")
    assert killed["pwrite64"] > 10
    assert killed["fdatasync"] > 2
    assert killed.keys() == set(WRITES.split(","))


@pytest.mark.parametrize("part", range(2))
def test_the_disk_is_full_from_any_write_of_a_sign_up_on(
    app: Flask, settings: dict[str, str], vonage: Vonage, part: int
) -> None:
    """In two parts: the odd ones, and the even ones."""
    group = Group(app, vonage)
    full = 0
    for number in range(1 + part, 98, 2):
        friend = Friend(number, group)
        friend.invite()
        assert group.text(friend.phone) == 204
        code, said = sign_up_traced(settings, f"pwrite64:error=ENOSPC:when={number}+", friend)
        outcome = re.search(r"^status (\d+)", said, re.MULTILINE)
        # Without a beginning, it was full at start, which is one clear line.
        if re.search("^begin$", said, re.MULTILINE):
            assert outcome is not None, said
            assert outcome[1] in ("303", "503"), said
        else:
            assert code != 0
            assert "cannot be used" in said
        full += outcome is None or outcome[1] == "503"
        get_in_locally(friend)
        check_books(friend)
        if outcome and outcome[1] == "303":
            break
    print(f"\nfull disk: {full} points; lost 0, doubled 0, locked out 0")
    assert full > 3


def test_a_tiny_disk_that_fills_up(served: Served, tmp_path: Path) -> None:
    """The same with a real file system, where one can be mounted."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(small)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        served.kill()
        served.settings["DATABASE"] = str(small / "group.db")
        served.start()
        assert served.command("invite", f"+{GRACE}").returncode == 0
        filler = small / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        answer = requests.post(
            f"{served.url}/answer", data=served.vonage.inbound(GRACE, "sunflower"), timeout=15
        )
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert requests.get(served.url, timeout=15).status_code == 200
        filler.unlink()
        assert served.text(GRACE) == 204
        assert len(served.vonage.thread(GRACE)) == 2
    finally:
        served.kill()
        subprocess.run(["umount", "-l", str(small)], check=True)
