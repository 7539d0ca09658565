"""It tells you: what NOTIFY_URL and HOOK_URL get, once, whatever happens in between."""

import base64
import hashlib
import hmac
import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from email.header import decode_header, make_header
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar, NamedTuple

import pytest
import time_machine

from features import notify
from features.notify import look_for_news
from foundation.storage.database import transaction
from foundation.typed.settings import WrongSettings
from foundation.web.housekeeping import send_what_is_due
from foundation.words.clock import DAY, HOUR, MINUTE
from simulator.vonage import Vonage
from wsgi import create_app

from .authenticator import Passkey
from .cast import (
    ADA,
    CODE,
    GRACE,
    MALLORY,
    Browser,
    Group,
    find_port,
    listening_with,
    member_id,
    sentence,
)
from .new_devices import add
from .passkeys import add as add_passkey

SECRET = "of-a-test-0123456789-abcdefghijkl"


class Heard(NamedTuple):
    path: str
    headers: dict[str, str]
    body: str

    @property
    def title(self) -> str:
        return str(make_header(decode_header(self.headers["Title"])))

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


class Listener(BaseHTTPRequestHandler):
    """Where messages go."""

    heard: ClassVar[list[Heard]] = []
    answers: ClassVar[dict[str, int]] = {}  # by path; 200 where nothing is said
    seconds: ClassVar[float] = 0  # before it answers

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        status = self.answers.get(self.path, 200)
        if status < 500:
            self.heard.append(Heard(self.path, dict(self.headers.items()), body))
        time.sleep(self.seconds)
        with suppress(OSError):
            self.send_response(status)
            self.end_headers()

    def do_HEAD(self) -> None:
        self.send_response(405)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def listening() -> Iterator[str]:
    Listener.heard.clear()
    Listener.answers, Listener.seconds = {}, 0
    with listening_with(Listener) as url:
        yield url


@pytest.fixture
def settings(settings: dict[str, str], listening: str) -> dict[str, str]:
    settings |= {"NOTIFY_URL": f"{listening}/topic", "HOOK_URL": f"{listening}/hook"}
    return settings | {"HOOK_SECRET": SECRET}


@pytest.fixture
def ada(group: Group) -> Browser:
    """She is in, and that was told."""
    ada = group.join(ADA, "ada", bound=True)
    tell(group)
    Listener.heard.clear()
    return ada


def tell(group: Group) -> list[Heard]:
    """What the server does within a minute."""
    before = len(Listener.heard)
    group.keep_house()
    send_what_is_due(group.app)
    return Listener.heard[before:]


def words(heard: list[Heard]) -> list[str]:
    """What ntfy got."""
    return [one.body for one in heard if one.path == "/topic"]


# What is told -------------------------------------------------------------------------------------


def join(group: Group, ada: Browser) -> str:
    group.join(GRACE, "grace")
    return "grace joined"


def remove(group: Group, ada: Browser) -> str:
    join(group, ada)
    tell(group)
    ada.post(f"/members/{member_id(group, 'grace')}/remove")
    return "ada removed grace"


def leave(group: Group, ada: Browser) -> str:
    grace = group.join(GRACE, "grace")
    tell(group)
    grace.post("/leave", forget="yes")
    return "a former member left the group"


def come_back(group: Group, ada: Browser) -> str:
    remove(group, ada)
    tell(group)
    group.join(GRACE, "grace", bound=True)
    return "grace is back"


def say_stop(group: Group, ada: Browser) -> str:
    ada.post("/invite", phone=f"+{GRACE}", who="Grace from chess")
    group.text(GRACE, "STOP")
    return f"An invite needs you. {sentence('replied-stop')}"


def reply_otherwise(group: Group, ada: Browser) -> str:
    ada.post("/invite", phone=f"+{GRACE}", who="Grace from chess")
    group.text(GRACE, "who is this?")
    return f"An invite needs you. {sentence('replied-otherwise')}"


def spend_tries(group: Group, ada: Browser) -> str:
    ada.post("/invite", phone=f"+{GRACE}", who="Grace from chess")
    group.rows("UPDATE whitelist SET tries = 10")
    return f"An invite needs you. {sentence('tries-spent-admin')}"


def go_undelivered(group: Group, ada: Browser) -> str:
    ada.post("/invite", phone=f"+{GRACE}", who="Grace from chess")
    group.rows("UPDATE whitelist SET delivery = 'undelivered'")
    return f"An invite needs you. {sentence('undelivered')}"


def text_from_another_phone(group: Group, ada: Browser) -> str:
    ada.post("/invite", who="Grace from chess", send="self")
    group.rows("UPDATE whitelist SET replied = 'replied-another'")
    return f"An invite needs you. {sentence('replied-another')}"


def spend_the_budget(group: Group, ada: Browser) -> str:
    group.app.config["TEXTS_PER_DAY"] = 1
    for _ in range(2):
        ada.post("/invite", phone=f"+{GRACE}", who="Grace from chess")
    return f"ada couldn't invite: {sentence('budget-spent')}"


def add_device(group: Group, ada: Browser) -> str:
    add(ada, group.browser())
    return "ada added a device"


def sign_in_again(group: Group, ada: Browser) -> str:
    group.pass_a_minute()
    group.join(ADA, "ada", bound=True)
    return "ada signed in on a new device"


def make_passkey(group: Group, ada: Browser) -> str:
    assert add_passkey(ada, Passkey()).status_code == 200
    return "ada added a passkey"


CAUSES = [
    join, remove, leave, come_back, say_stop, reply_otherwise, spend_tries, go_undelivered,
    text_from_another_phone, spend_the_budget, add_device, sign_in_again, make_passkey,
]  # fmt: skip


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.__name__)
def test_each_is_told_once(
    group: Group, ada: Browser, cause: Callable[[Group, Browser], str]
) -> None:
    said = cause(group, ada)
    heard = tell(group)

    assert words(heard) == [said]
    (hook,) = [one for one in heard if one.path == "/hook"]
    assert hook.json["words"] == said
    assert set(hook.json) == {"id", "at", "event", "actor", "subject", "words"}
    assert words(tell(group)) == []
    everything = json.dumps([[one.headers, one.body] for one in Listener.heard])
    for secret in (GRACE, GRACE[-4:], f"in {GRACE[-2:]}", CODE, "chess", SECRET):
        assert secret not in everything


def test_what_others_do_is_nobodys_news(group: Group, ada: Browser) -> None:
    grace = group.join(GRACE, "grace")
    tell(group)
    group.pass_a_minute()
    group.join(GRACE, "grace", bound=True)
    grace.post("/logout")
    assert tell(group) == []


def test_a_guests_last_day_is_told_the_day_before(group: Group) -> None:
    with time_machine.travel("2026-12-01 12:00", tick=False) as clock:
        ada = group.join(ADA, "ada", bound=True)
        group.join(GRACE, "grace")
        ada.post(f"/members/{member_id(group, 'grace')}/last-day", ends_on="2026-12-04")
        tell(group)
        clock.shift(DAY)
        assert words(tell(group)) == []
        clock.shift(DAY)
        told = tell(group)
        assert words(told) == ["grace is a guest, and tomorrow is the last day."]
        (notice,) = [one for one in told if one.path == "/topic"]
        assert notice.headers["Click"] == "http://localhost:8000/admin/members?show=guests"
        clock.shift(6 * HOUR)
        assert words(tell(group)) == []
        clock.shift(18 * HOUR)
        assert words(tell(group)) == []


def test_a_state_that_lasts_is_told_once_and_a_new_one_again(group: Group) -> None:
    with time_machine.travel("2026-12-01 12:00", tick=False) as clock:
        ada = group.join(ADA, "ada", bound=True)
        tell(group)
        said = [reply_otherwise(group, ada)]
        assert words(tell(group)) == said
        for _ in range(3):
            clock.shift(DAY)
            assert words(tell(group)) == []
        group.text(GRACE, "STOP")
        assert words(tell(group)) == [f"An invite needs you. {sentence('replied-stop')}"]


# In which form ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["Book Club", "Bücherbund", "家族のグループ", "نادي الكتاب", "ク" * 16]
)
def test_a_title_in_any_script(settings: dict[str, str], vonage: Vonage, name: str) -> None:
    group = Group(create_app(settings | {"GROUP_NAME": name}), vonage)
    group.join(ADA, "ada", bound=True)
    tell(group)
    group.join(GRACE, "grace")
    (told,) = [one for one in tell(group) if one.path == "/topic"]
    assert (told.title, told.body) == (name, "grace joined")
    assert told.headers["Title"].isascii()
    assert (told.headers["Tags"], told.headers["Click"]) == (
        "wave", "http://localhost:8000/admin/members",
    )  # fmt: skip


def test_in_the_groups_language(settings: dict[str, str], vonage: Vonage) -> None:
    group = Group(create_app(settings | {"LANGUAGE": "ja"}), vonage)
    group.join(ADA, "ada", bound=True)
    tell(group)
    group.join(GRACE, "grace")
    assert words(tell(group)) == ["grace が参加しました"]


@pytest.mark.parametrize(
    ("form", "path", "body"),
    [
        ("gotify", "/message?token=a%FFc&up", "message"),
        ("apprise", "/message?token=a%FFc&up", "body"),
    ],
)
def test_other_receivers_get_their_form(
    settings: dict[str, str], vonage: Vonage, listening: str, form: str, path: str, body: str
) -> None:
    """The address that is called has no `format`."""
    there = f"{listening}/message?token=a%FFc&format={form}&up"
    group = Group(create_app(settings | {"NOTIFY_URL": there, "HOOK_URL": ""}), vonage)
    group.join(ADA, "ada", bound=True)
    tell(group)
    group.join(GRACE, "grace")
    (told,) = tell(group)
    assert told.path == path
    assert (told.json["title"], told.json[body]) == ("Trusted Group", "grace joined")


@pytest.mark.parametrize("secret", [SECRET, f"whsec_{base64.b64encode(SECRET.encode()).decode()}"])
def test_the_webhook_is_signed(settings: dict[str, str], vonage: Vonage, secret: str) -> None:
    """As the libraries of Standard Webhooks check it."""
    group = Group(create_app(settings | {"HOOK_SECRET": secret}), vonage)
    group.join(ADA, "ada", bound=True)
    tell(group)
    group.join(GRACE, "grace")
    (hook,) = [one for one in tell(group) if one.path == "/hook"]
    id_, stamp, signature = (
        hook.headers[f"webhook-{one}"] for one in ("id", "timestamp", "signature")
    )
    signed = hmac.new(SECRET.encode(), f"{id_}.{stamp}.{hook.body}".encode(), hashlib.sha256)
    assert signature == f"v1,{base64.b64encode(signed.digest()).decode()}"
    assert hook.json["id"] == id_
    assert (hook.json["event"], hook.json["actor"], hook.json["subject"]) == (
        "joined",
        "grace",
        None,
    )


# Receivers that fail ------------------------------------------------------------------------------


def test_down_for_a_day_nothing_is_lost_and_nothing_comes_twice(group: Group) -> None:
    with time_machine.travel("2026-12-01 12:00", tick=False) as clock:
        ada = group.join(ADA, "ada", bound=True)
        tell(group)
        Listener.answers = {"/topic": 503, "/hook": 503}
        group.join(GRACE, "grace")
        for _ in range(24):
            clock.shift(HOUR)
            assert tell(group) == []
        ada.post(f"/members/{member_id(group, 'grace')}/remove")
        tell(group)
        Listener.answers = {}
        clock.shift(2 * MINUTE)
        told = tell(group)
        assert words(told) == ["grace joined", "ada removed grace"]
        hooks = [one.json["words"] for one in told if one.path == "/hook"]
        assert hooks == ["grace joined", "ada removed grace"]
        clock.shift(2 * MINUTE)
        assert tell(group) == []


def test_what_is_refused_three_times_is_dropped_with_one_line(group: Group) -> None:
    with time_machine.travel("2026-12-01 12:00", tick=False) as clock:
        ada = group.join(ADA, "ada", bound=True)
        tell(group)
        Listener.answers = {"/topic": 403}
        group.join(GRACE, "grace")
        tries = 0
        for _ in range(6):
            tries += len(words(tell(group)))
            clock.shift(MINUTE + 1)
        assert tries == 3
        assert group.rows("SELECT * FROM outbox") == []
        line = "Messages that NOTIFY_URL or HOOK_URL didn&#39;t take, in a day: 1"
        assert line in ada.get("/admin/journal").text
        assert [one.path for one in Listener.heard].count("/hook") == 1


@pytest.mark.parametrize("status", [408, 425, 429])
def test_a_busy_receiver_is_asked_again(group: Group, status: int) -> None:
    with time_machine.travel("2026-12-01 12:00", tick=False) as clock:
        group.join(ADA, "ada", bound=True)
        tell(group)
        Listener.answers = {"/topic": status}
        group.join(GRACE, "grace")
        for _ in range(6):
            tell(group)
            clock.shift(MINUTE + 1)
        Listener.answers, before = {}, len(Listener.heard)
        assert words(tell(group)) == ["grace joined"]
        assert before >= 6


def test_whoever_sets_it_later_is_not_flooded(settings: dict[str, str], vonage: Vonage) -> None:
    before = Group(create_app(settings | {"NOTIFY_URL": "", "HOOK_URL": ""}), vonage)
    before.join(ADA, "ada", bound=True)
    before.join(GRACE, "grace")
    tell(before)
    after = Group(create_app(settings), vonage)
    assert tell(after) == []
    after.join(MALLORY, "mallory")
    assert words(tell(after)) == ["mallory joined"]


def test_what_is_so_when_it_is_set_is_no_news(settings: dict[str, str], vonage: Vonage) -> None:
    before = Group(create_app(settings | {"NOTIFY_URL": "", "HOOK_URL": ""}), vonage)
    said = reply_otherwise(before, before.join(ADA, "ada", bound=True))
    after = Group(create_app(settings), vonage)
    assert tell(after) == []
    after.text(GRACE, "STOP")
    assert words(tell(after)) != [said]


def test_a_slow_receiver_may_have_taken_it(
    group: Group, ada: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It's told three times at most."""
    monkeypatch.setattr(notify, "SECONDS", 1.0)
    Listener.seconds = 2
    group.join(GRACE, "grace")
    group.rows("DELETE FROM outbox WHERE receiver = 'notify hook'")
    for _ in range(5):
        tell(group)
        group.rows("UPDATE receivers SET next_at = 0")
    assert len(words(Listener.heard)) == 3
    assert group.rows("SELECT * FROM outbox") == []


def test_what_is_no_longer_so_is_not_told_late(group: Group) -> None:
    with time_machine.travel("2026-12-01 12:00", tick=False) as clock:
        ada = group.join(ADA, "ada", bound=True)
        group.join(GRACE, "grace")
        tell(group)
        Listener.answers = {"/topic": 503, "/hook": 503}
        guest = f"/members/{member_id(group, 'grace')}/last-day"
        ada.post(guest, ends_on="2026-12-02")
        ada.post("/invite", phone=f"+{MALLORY}", who="Mallory from chess")
        group.text(MALLORY, "who is this?")
        tell(group)
        assert group.one("SELECT count(*) FROM outbox") == 4
        ada.post(guest, ends_on="2027-06-30")
        group.text(MALLORY)  # now with the word
        Listener.answers = {}
        clock.shift(2 * MINUTE)
        assert tell(group) == []
        assert group.rows("SELECT * FROM outbox") == []


def test_all_are_told_of_however_many(group: Group, ada: Browser) -> None:
    for n in range(130):
        group.rows(
            "INSERT INTO whitelist (phone_digest, phone_hint, tries, created_at, expires_at)"
            " VALUES (?, '00', 10, unixepoch(), unixepoch() + 86400)",
            str(n),
        )
    group.keep_house()
    assert group.one("SELECT count(*) FROM outbox WHERE receiver = 'notify url'") == 130


def test_a_bug_in_it_keeps_nothing_from_being_pruned(group: Group, ada: Browser) -> None:
    group.rows("DROP TABLE told")
    group.rows("UPDATE sessions SET expires_at = 1")
    with pytest.raises(sqlite3.OperationalError):
        group.keep_house()
    assert group.rows("SELECT * FROM sessions") == []


def test_nothing_is_written_where_nothing_is_set(settings: dict[str, str], vonage: Vonage) -> None:
    group = Group(create_app(settings | {"NOTIFY_URL": "", "HOOK_URL": ""}), vonage)
    with closing(sqlite3.connect(settings["DATABASE"])) as other, group.app.app_context():
        before = other.execute("PRAGMA data_version").fetchone()
        with transaction():
            look_for_news()
        assert other.execute("PRAGMA data_version").fetchone() == before


def test_a_withdrawn_invite_is_no_news(group: Group, ada: Browser) -> None:
    Listener.answers = {"/topic": 503}
    say_stop(group, ada)
    tell(group)
    group.rows("DELETE FROM whitelist")
    group.rows("UPDATE receivers SET next_at = 0")
    Listener.answers = {}
    assert words(tell(group)) == []
    assert group.rows("SELECT * FROM outbox") == []


# For who runs it ----------------------------------------------------------------------------------


def test_a_test_says_what_came_back(group: Group) -> None:
    done = group.command("notify", "--test")
    assert (done.exit_code, done.output) == (0, "NOTIFY_URL: HTTP 200\nHOOK_URL: HTTP 200\n")
    assert words(Listener.heard) == [sentence("notify-test")]
    Listener.answers = {"/topic": 403}
    done = group.command("notify", "--test")
    assert (done.exit_code, done.output) == (1, "NOTIFY_URL: HTTP 403\nHOOK_URL: HTTP 200\n")


def test_nothing_is_set(settings: dict[str, str], vonage: Vonage) -> None:
    group = Group(create_app(settings | {"NOTIFY_URL": "", "HOOK_URL": ""}), vonage)
    done = group.command("notify", "--test")
    assert (done.exit_code, "Neither NOTIFY_URL nor HOOK_URL is set." in done.output) == (1, True)


def test_the_doctor_says_whether_they_answer(
    settings: dict[str, str], vonage: Vonage, listening: str
) -> None:
    nowhere = f"http://127.0.0.1:{find_port()}/hook"
    group = Group(create_app(settings | {"HOOK_URL": nowhere}), vonage)
    told = group.command("doctor").output
    assert "ok     NOTIFY_URL answers." in told
    assert "wrong  HOOK_URL doesn't answer (ConnectionError)." in told
    assert Listener.heard == []
    group.join(ADA, "ada", bound=True)
    tell(group)
    Listener.answers = {"/topic": 500}
    group.join(GRACE, "grace")
    tell(group)
    assert "wrong  NOTIFY_URL hasn't taken" in group.command("doctor").output


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"NOTIFY_URL": "ftp://ntfy.example.org/x"}, "NOTIFY_URL must be an https:// address"),
        ({"NOTIFY_URL": "http://ntfy.example.org/x"}, "NOTIFY_URL must be an https:// address"),
        ({"HOOK_URL": "https://a:b@x.example.org/"}, "HOOK_URL must be an https:// address"),
        ({"HOOK_SECRET": "short"}, "HOOK_SECRET must be 32 or more random characters"),
        ({"HOOK_SECRET": ""}, "HOOK_SECRET is missing"),
        ({"HOOK_SECRET": "whsec_äbcdefghijklmnopqrstuvwxyz012345"}, "HOOK_SECRET must have base64"),
        ({"HOOK_SECRET": "whsec_abc-_efghijklmnopqrstuvwxyz0123456"}, "HOOK_SECRET must have"),
        ({"NOTIFY_URL": "https://x.example.org/?format=slack"}, "NOTIFY_URL must say"),
        ({"NOTIFY_URL": "https://x.example.org/?format=ntfy&format=gotify"}, "NOTIFY_URL must say"),
    ],
)
def test_what_cannot_be_set(settings: dict[str, str], change: dict[str, str], problem: str) -> None:
    with pytest.raises(WrongSettings) as wrong:
        create_app(settings | change)
    assert any(one.startswith(problem) for one in wrong.value.problems)
    for value in change.values():
        assert not value or value not in str(wrong.value)
