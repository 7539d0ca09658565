"""Bad luck that nobody is to blame for: locks, slow answers, wrong clocks. Nothing is lost by
it."""

import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
import requests
import time_machine

from foundation.running import running
from foundation.storage.database import THREADS, close_those_of_ended_threads
from foundation.typed.settings import WrongSettings
from foundation.words.clock import DAY, HOUR
from simulator.vonage import Vonage, hang
from wsgi import create_app

from .cast import ADA, GRACE, MALLORY, ROOT, Group, Lock, Served, shown, wait_for

YEAR = 365 * DAY


@pytest.fixture
def workers() -> int:
    return 2


def test_a_database_that_is_locked_for_a_second_is_noticed_by_nobody(
    served: Served, local: Group
) -> None:
    local.invite(GRACE)
    lock = Lock(served.settings["DATABASE"])
    threading.Timer(1, lock.release).start()

    assert served.text(GRACE) == 204
    assert len(served.vonage.thread(GRACE)) == 2


def test_a_database_that_stays_locked_is_told_and_then_all_goes_on(
    served: Served, local: Group
) -> None:
    local.invite(GRACE)
    assert served.text(GRACE) == 204
    form = {"phone": f"+{GRACE}", "username": "grace", "pin": served.vonage.pin_of(GRACE)}
    grace = served.browser()
    lock = Lock(served.settings["DATABASE"])
    try:
        refused = grace.post(f"{served.url}/login", data=form, timeout=30)
        again = served.vonage.deliver(f"{served.url}/answer", served.vonage.inbound(GRACE, "stop"))
        assert grace.get(served.url, timeout=5).status_code == 200  # who only reads is served
        assert grace.get(f"{served.url}/healthz", timeout=5).status_code == 200
    finally:
        lock.release()

    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
    assert shown("error-503") in refused.text
    assert again == 503
    assert served.vonage.calls("check") == []
    signed_in = grace.post(f"{served.url}/login", data=form, timeout=30)
    assert signed_in.url == f"{served.url}/welcome"


def test_while_vonage_hangs_other_visitors_are_served(served: Served, local: Group) -> None:
    """Six PIN checks hang; pages are answered meanwhile, and the six in the end."""
    phones = [str(int(GRACE) + number) for number in range(6)]
    for phone in phones:
        local.invite(phone)
        assert local.text(phone) == 204
    served.vonage.fail("check", hang(60), times=6)
    answers = []

    def sign_up(phone: str) -> None:
        form = {"phone": f"+{phone}", "username": f"friend-{phone[-4:]}"}
        form["pin"] = served.vonage.pin_of(phone)
        answers.append(served.browser().post(f"{served.url}/login", data=form, timeout=10))

    friends = [threading.Thread(target=sign_up, args=(phone,)) for phone in phones]
    for friend in friends:
        friend.start()
    wait_for(lambda: len(served.vonage.calls("check")) == 6)
    for _ in range(20):
        assert served.browser().get(served.url, timeout=5).status_code == 200
    assert answers == []
    for friend in friends:
        friend.join()

    assert [answer.status_code for answer in answers] == [503] * 6
    assert all(shown("pin-unchecked") in answer.text for answer in answers)


def test_debug_mode_gives_a_visitor_no_debugger(served: Served) -> None:
    served.kill()
    served.settings["FLASK_DEBUG"] = "1"
    served.start()

    assert requests.get(f"{served.url}/console", timeout=5).status_code == 404
    page = requests.get(f"{served.url}/?__debugger__=yes&cmd=resource&f=debugger.js", timeout=5)
    assert "Friends only" in page.text


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_one_clear_line(
    settings: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "read-only"
    folder.mkdir()
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)

    with pytest.raises(WrongSettings, match=r"DATABASE .* cannot be used"):
        create_app(settings | {"DATABASE": str(folder / "group.db")})


def test_a_folder_that_is_read_only_is_one_clear_line(settings: dict[str, str]) -> None:
    """/proc is one that root cannot write to either."""
    with pytest.raises(WrongSettings) as wrong:
        create_app(settings | {"DATABASE": "/proc/group/group.db"})

    assert len(wrong.value.problems) == 1
    assert "cannot be used" in wrong.value.problems[0]


# Memory


def test_threads_take_no_more_as_the_database_grows(tmp_path: Path) -> None:
    """16 of them; 2 MB each, if SQLite had its way."""
    command = [sys.executable, "-m", "tests.writing_everywhere", str(tmp_path / "large.db")]
    grown = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=120)
    assert int(grown.stdout) < 12 * 1024


# Clocks

JUMPS = [HOUR, -HOUR, DAY, -DAY, YEAR, -YEAR]
START = "2026-11-23 12:00 +0000"


@pytest.mark.parametrize("jump", JUMPS)
def test_after_a_jump_of_the_clock_an_invited_friend_can_still_get_in(
    group: Group, jump: int
) -> None:
    """Perhaps by a new text, perhaps by a new invite; and once in, they stay."""
    with time_machine.travel(START, tick=True) as clock:
        group.invite(GRACE)
        assert group.text(GRACE) == 204
        clock.shift(jump)
        grace = group.browser()
        answer = grace.sign_up(GRACE, "grace", group.vonage.pin_of(GRACE))
        if answer.status_code != 303:
            group.text(GRACE)
            answer = grace.sign_up(GRACE, "grace", group.vonage.pin_of(GRACE))
        if answer.status_code != 303:
            group.invite(GRACE)
            assert group.text(GRACE) == 204
            answer = grace.sign_up(GRACE, "grace", group.vonage.pin_of(GRACE))
        assert answer.status_code == 303
        assert grace.username() == "grace"


@pytest.mark.parametrize("jump", JUMPS)
def test_after_a_jump_and_back_everything_is_as_it_was(group: Group, jump: int) -> None:
    """A clock that was wrong while others joined keeps nobody out when it is right again."""
    with time_machine.travel(START, tick=True) as clock:
        ada = group.join(ADA, "ada", bound=True)
        clock.shift(jump)
        group.join(MALLORY, "henry")
        clock.shift(-jump)
        if ada.username() is None:  # a year ahead, her session had run out
            assert jump == YEAR
            ada = group.join(ADA, "ada", bound=True)
        assert ada.get("/admin").status_code == 200
        assert ada.post("/invite", phone=f"+{GRACE}").status_code == 303
        assert group.text(GRACE) == 204
        grace = group.browser()
        pin = group.vonage.pin_of(GRACE)
        assert grace.sign_up(GRACE, "grace", pin).status_code == 303
        assert grace.username() == "grace"


@pytest.mark.parametrize("jump", JUMPS)
def test_nothing_that_was_used_comes_back_by_a_jump(group: Group, jump: int) -> None:
    with time_machine.travel(START, tick=True) as clock:
        group.invite(GRACE)
        fields = group.vonage.inbound(GRACE, "sunflower")
        assert group.deliver(fields) == 204
        pin = group.vonage.pin_of(GRACE)
        grace = group.browser()
        assert grace.sign_up(GRACE, "grace", pin).status_code == 303
        cookie = grace.cookie()
        grace.post("/logout")
        asked = len(group.vonage.requests)
        clock.shift(jump)

        assert group.deliver(fields) == 204  # the text
        for name in ("grace", "mallory"):  # the PIN, the receipt, the invite
            assert grace.sign_up(GRACE, name, pin).status_code == 422
        grace.client.set_cookie("session", cookie)  # the session
        assert grace.username() is None
        assert len(group.vonage.requests) == asked


def test_a_budget_spent_on_a_wrong_clock_does_not_last(
    settings: dict[str, str], vonage: Vonage
) -> None:
    group = Group(create_app(settings | {"TEXTS_PER_DAY": "1"}), vonage)
    with time_machine.travel(START, tick=True) as clock:
        clock.shift(YEAR)
        group.invite(GRACE)
        clock.shift(-YEAR)

        group.invite(MALLORY)

        assert len(vonage.thread(MALLORY)) == 1


@pytest.mark.filterwarnings("ignore:System time is way off")
def test_the_clock_of_this_machine_is_not_needed_to_be_right(group: Group) -> None:
    """At boot a small machine may believe that it is 1970."""
    with time_machine.travel(60, tick=True):
        grace = group.join(GRACE, "grace")
        assert grace.username() == "grace"
    assert time.time() > YEAR


def has_gone(thread: threading.Thread) -> bool:
    """For Linux: a moment after `join`."""
    return not (THREADS / str(thread.native_id)).exists()


def test_what_ended_threads_had_open_is_closed_by_the_next_one(settings: dict[str, str]) -> None:
    """A thread of granian's keeps what is its own beyond its end; here, a list does."""
    connections = running(create_app(settings)).connections
    kept: list[sqlite3.Connection] = []
    for _ in range(3):
        thread = threading.Thread(target=lambda: kept.append(connections.db))
        thread.start()
        thread.join()
        wait_for(partial(has_gone, thread))

    for closed in kept[:2]:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            closed.execute("SELECT 1")
    assert kept[2].execute("SELECT 1").fetchone()[0] == 1
    assert connections.db.execute("SELECT 1").fetchone()[0] == 1


def test_no_connection_of_a_living_thread_is_closed_while_others_end(
    settings: dict[str, str],
) -> None:
    """Linux's list of a process's threads ends early at one that ends in that very moment."""
    connections = running(create_app(settings)).connections
    for _ in range(150):
        with ExitStack() as stack:
            older = [begin(stack, lambda: None) for _ in range(30)]
            living = [begin(stack, lambda: connections.db) for _ in range(8)]
            for end, _ in older:
                end.set()
            for _ in range(60):
                close_those_of_ended_threads()
            assert [db.execute("SELECT 1").fetchone()[0] for _, db in living] == [1] * 8


def begin(stack: ExitStack, act: Callable[[], Any]) -> tuple[threading.Event, Any]:
    """A thread that has acted, and ends when it's told to or with the stack."""
    end, outcomes = threading.Event(), SimpleQueue[Any]()

    def run() -> None:
        outcomes.put(act())
        end.wait()

    thread = threading.Thread(target=run)
    thread.start()
    stack.callback(thread.join)
    stack.callback(end.set)
    return end, outcomes.get(timeout=20)


@pytest.fixture
def hasty() -> Iterator[None]:
    """Threads take turns after a microsecond each, where it's five milliseconds otherwise."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("hasty")
def test_sixteen_threads_begin_and_end_at_once(settings: dict[str, str]) -> None:
    """Each opens a connection, and none is closed while its thread lives."""
    connections = running(create_app(settings)).connections
    wrong: list[Exception] = []

    def use() -> None:
        try:
            for _ in range(3):
                connections.db.execute("SELECT count(*) FROM authors").fetchone()
        except Exception as error:
            wrong.append(error)

    for _ in range(150):
        threads = [threading.Thread(target=use) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
