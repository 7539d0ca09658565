"""Our program with a database of any size, and people who do things to it."""

import hashlib
import os
import sqlite3
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import requests

from app import create_invite
from foundation.storage.digests import digest_phone
from foundation.web.invite_form import NewInvite
from foundation.words.clock import DAY
from simulator.server import make_certificate, serving
from simulator.vonage import Vonage, hang
from tests.cast import Group, base_settings, find_port
from wsgi import create_app

from .servers import TWO_WORKERS, Load, Running, ours, running

JOURNAL = ("invited", "texted_back", "pin_sent", "joined")


def cookie_of(session: int) -> str:
    return hashlib.sha256(f"session {session}".encode()).hexdigest()


class World:
    def __init__(self, folder: Path, vonage: Vonage, settings: dict[str, str]) -> None:
        self.folder, self.vonage, self.settings = folder, vonage, settings
        self.group = Group(create_app(settings), vonage)
        self.token = self.group.token()
        self.cookie = f"session={cookie_of(0)}"
        self.people = 0
        self.lock = threading.Lock()

    @classmethod
    @contextmanager
    def create(cls, folder: Path, vonage: Vonage | None = None) -> "Iterator[World]":
        vonage = vonage or Vonage()
        make_certificate(folder)
        with serving(vonage, folder) as server:
            os.environ["REQUESTS_CA_BUNDLE"] = str(server.certificate)
            settings = base_settings(vonage, server, folder / "group.db")
            settings |= {"TEXTS_PER_DAY": "100000", "REQUESTS_CA_BUNDLE": str(server.certificate)}
            settings |= {
                "BASE_URL": f"http://localhost:{find_port()}",
                "VONAGE_SIGNATURE_SECRET": "",
            }
            yield cls(folder, vonage, settings)

    @contextmanager
    def served(self) -> Iterator[Running]:
        """BASE_URL names another port where two run at once; no page that is measured minds."""
        command = ours("bench.clubhouse:create_clubhouse", *TWO_WORKERS)
        with running(command, self.settings) as served:
            yield served

    def fill(self, sessions: int, members: int) -> None:
        """Members with sessions between them. Session 0 is the first member's, who is an admin."""
        at = int(time.time())
        with sqlite3.connect(self.settings["DATABASE"]) as db:
            db.executemany(
                "INSERT INTO authors (username, joined_at) VALUES (?, ?)",
                (("ada" if n == 0 else f"member-{n}", at) for n in range(members)),
            )
            db.executemany(
                "INSERT INTO sessions"
                " (id_digest, author_id, device, data, created_at, seen_at, expires_at)"
                " VALUES (?, ?, 'Firefox on Android', '{}', ?, ?, ?)",
                ((digest_of(n), 1 + n % members, at, at, at + 30 * DAY) for n in range(sessions)),
            )
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.close()

    def fill_more(self, invites: int, lines: int) -> None:
        """Open invites, and lines of the journal over a year."""
        at = int(time.time())
        with sqlite3.connect(self.settings["DATABASE"]) as db:
            db.executemany(
                "INSERT INTO whitelist (phone_digest, phone_hint, invited_by, created_at,"
                " expires_at) VALUES (?, '00', 1, ?, ?)",
                ((digest_of(n), at, at + 7 * DAY) for n in range(invites)),
            )
            db.executemany(
                "INSERT INTO journal (at, event, actor, invite_id, parts)"
                " VALUES (?, ?, 'ada', ?, 0)",
                (
                    (at - 364 * DAY + n * 364 * DAY // lines, JOURNAL[n % 4], n // 4)
                    for n in range(lines)
                ),
            )
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.close()

    def time_page(self, ours: Running, path: str) -> float:
        """Milliseconds until the whole page is there: the median of nine."""
        times = []
        for _ in range(9):
            began = time.perf_counter()
            page = requests.get(f"{ours.url}{path}", headers={"Cookie": self.cookie}, timeout=60)
            times.append((time.perf_counter() - began) * 1000)
            assert page.ok
        return statistics.median(times)

    def write_cookies(self, sessions: int) -> Path:
        """A file with the cookies of up to a thousand sessions, spread over all."""
        step = max(1, sessions // 1000)
        chosen = range(0, sessions, step)
        lines = (f"session={cookie_of(n)}\n" for n in chosen)
        (self.folder / "cookies").write_text("".join(lines))
        return self.folder / "cookies"

    def auth(self, ours: Running, seconds: float) -> Load:
        load = ours.load("/auth", "-H", f"Cookie: {self.cookie}", seconds=seconds)
        assert load.failed == 0
        return load

    def next_phone(self) -> str:
        """A new friend's. (There are 10,000 fictional numbers like these.)"""
        self.people += 1
        return f"1{202 + self.people // 10_000 * 10}555{self.people % 10_000:04d}"

    def digest_phone(self, phone: str) -> str:
        with self.group.app.app_context():
            return digest_phone(phone)

    def invite(self) -> str:
        """The phone of a friend who is invited."""
        phone = self.next_phone()
        with self.group.app.app_context():
            create_invite(NewInvite(phone), None)
        return phone

    def text_back(self, ours: Running, phone: str) -> str:
        fields = self.vonage.inbound(phone, "sunflower")
        answer = requests.post(f"{ours.url}/answer/{self.token}", data=fields, timeout=30)
        assert answer.status_code == 204
        return self.vonage.pin_of(phone)

    def sign_up(self, ours: Running, phone: str, pin: str) -> int:
        with requests.Session() as browser:
            browser.headers["Sec-Fetch-Site"] = "same-origin"
            browser.get(f"{ours.url}/signup", timeout=30)
            form = {
                "phone": f"+{phone}",
                "username": f"friend-{phone[1:4]}x{phone[-4:]}",  # six digits in a row are no name
                "pin": pin,
            }
            answer = browser.post(f"{ours.url}/login", data=form, timeout=30, allow_redirects=False)
            return answer.status_code

    def sign_up_many(self, ours: Running, count: int) -> Load:
        """Whole sign-ups, from text to cookie, eight friends at a time."""
        phones = [self.invite() for _ in range(count)]
        times: list[float] = []

        def sign_up(phone: str) -> int:
            began = time.perf_counter()
            status = self.sign_up(ours, phone, self.text_back(ours, phone))
            times.append((time.perf_counter() - began) * 1000)
            return status

        began = time.perf_counter()
        with ThreadPoolExecutor(8) as pool:
            statuses = set(pool.map(sign_up, phones))
        assert statuses == {303}
        times.sort()
        per_second = count / (time.perf_counter() - began)
        return Load(per_second, statistics.median(times), times[count * 99 // 100], failed=0)

    @contextmanager
    def slow_checks(self, ours: Running, count: int, seconds: float = 5) -> Iterator[None]:
        friends = [(phone := self.invite(), self.text_back(ours, phone)) for _ in range(count)]
        self.vonage.fail("check", hang(seconds), times=count)
        asked = len(self.vonage.calls("check"))
        pressing = [threading.Thread(target=self.sign_up, args=(ours, *one)) for one in friends]
        for thread in pressing:
            thread.start()
        while len(self.vonage.calls("check")) < asked + count:
            time.sleep(0.01)
        yield
        for thread in pressing:
            thread.join()


def digest_of(session: int) -> str:
    return hashlib.sha256(cookie_of(session).encode()).hexdigest()
