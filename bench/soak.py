"""`make soak`: half an hour of a group of 200, with everything that goes wrong. Restarts every two
minutes, one call to Vonage in ten that fails, requests that are never sent to their end. Afterwards
nobody may be lost, memory and WAL must not have grown, and the log must hold nothing that isn't
understood. Writes its section of RESULTS.md."""

import argparse
import random
import re
import socket
import sqlite3
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import requests

from foundation.storage.journal import EVENTS
from simulator.vonage import Answer, Fault, Vonage, answer_with, drop, hang
from tests.cast import find_port
from wsgi import FEATURES

from .__main__ import describe_machine, write_section
from .servers import ROOT, Running, ours, running
from .world import World, cookie_of

MEMBERS = 200
RESTART_AFTER = 120  # seconds
FAULTS = (
    Fault(answer_with(Answer.of(500, {}))),
    Fault(answer_with(Answer.of(503, {})), acts=True),
    Fault(answer_with(Answer.of(429, {}))),
    Fault(answer_with(Answer(200, b"<html>", "text/html"))),
    Fault(drop),
    Fault(drop, acts=True),  # done, and the answer got lost
    Fault(hang(3), acts=True),
)


def find_words_of_journal() -> str:
    """As a pattern; each name is one word."""
    events = EVENTS | {name: words for one in FEATURES for name, words in one.events.items()}
    told = (words.replace(": {reason}", "") for words in events.values())
    return "|".join(re.sub(r"\\{\w+\\}", r"\\S+", re.escape(one)) for one in told)


UNDERSTOOD = {
    "starting": r"\S+ INFO (Starting granian|Listening at|Spawning worker|Started worker).*",
    "stopping": r"\S+ INFO (Shutting down|Stopping worker|Stopped worker|Granian shutdown).*",
    "16 threads": r"\S+ WARNING Configuration allows spawning up to 16 Python threads.*",
    "who joined and left": r"\S+ INFO [\w-]+ (joined|left|was removed by [\w-]+)",
    "what else the journal says": rf"\S+ (INFO|WARNING) ({find_words_of_journal()})",
    "guesses": r"\S+ WARNING Somebody entered a .*",
    "Vonage failed, as it was told to": r"\S+ WARNING The call to Vonage \(\w+\)"
    r" failed: (HTTP \d+|\w+Error|Timeout\w*|ReadTimeout)",
    "wrong PINs, and PINs that still run": r"\S+ INFO The call to Vonage \((start|check)\)"
    r" failed: HTTP (400|404|409|410)",
    "stopped while a request was half sent": r"\S+ WARNING Killing worker-\d after it refused .*",
}
LOST = (requests.ConnectionError, requests.Timeout)  # while it restarts


class Flaky(Vonage):
    """Vonage on a bad day."""

    def take_fault(self, call: str) -> Fault | None:
        return random.choice(FAULTS) if random.random() < 0.1 else None


@dataclass
class Seen:
    """What happened. `members` has the cookie of each who is in, by name."""

    members: dict[str, str] = field(default_factory=dict)
    removed: dict[str, str] = field(default_factory=dict)
    gave_up: list[tuple[int, str]] = field(default_factory=list)  # after which start, and phones
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    memory: list[tuple[int, float]] = field(default_factory=list)  # after which start, MiB
    mapped: list[tuple[int, float]] = field(default_factory=list)
    wal: list[tuple[int, float]] = field(default_factory=list)


class Soak:
    def __init__(self, world: World, port: int) -> None:
        self.world, self.url, self.seen = world, f"http://localhost:{port}", Seen()
        self.over, self.lock = threading.Event(), threading.Lock()
        self.ada = {"Cookie": world.cookie, "Sec-Fetch-Site": "same-origin"}
        self.program = ROOT
        world.fill(MEMBERS, MEMBERS)
        names = ["ada", *(f"member-{n}" for n in range(1, MEMBERS))]
        self.seen.members = {name: f"session={cookie_of(n)}" for n, name in enumerate(names)}

    # What people do, each again and again in a thread of its own

    def befriend(self) -> None:
        """A friend is invited and goes the whole way, with the patience of people."""
        start = self.seen.counts["starts"]
        with self.world.lock:
            phone = self.world.next_phone()
        invited = self.insist(lambda: self.post("/invite", self.ada, phone=f"+{phone}"))
        if invited is None:
            return
        for _ in range(3):  # PINs
            if self.text_back(phone) and self.sign_up(phone):
                return
        self.seen.gave_up.append((start, phone))

    def text_back(self, phone: str) -> bool:
        """Vonage calls again until we took it. True: a PIN arrived."""
        fields = self.world.vonage.inbound(phone, "sunflower")
        before = len(self.world.vonage.thread(phone))
        path = f"/answer/{self.world.token}"
        self.insist(lambda: requests.post(self.url + path, data=fields, timeout=30))
        return len(self.world.vonage.thread(phone)) > before

    def sign_up(self, phone: str) -> bool:
        name = f"friend-{phone[1:4]}x{phone[-4:]}"
        with requests.Session() as browser:
            browser.headers["Sec-Fetch-Site"] = "same-origin"
            if self.insist(lambda: browser.get(f"{self.url}/signup", timeout=30)) is None:
                return False
            with suppress(LookupError):
                pin = self.world.vonage.pin_of(phone)
                form = {"phone": f"+{phone}", "username": name, "pin": pin}
                answer = self.insist(
                    lambda: browser.post(
                        f"{self.url}/login", data=form, timeout=30, allow_redirects=False
                    )
                )
                if answer is not None and answer.status_code == 303:
                    with self.lock:
                        self.seen.members[name] = f"session={browser.cookies['session']}"
                    self.seen.counts["sign-ups"] += 1
                    return True
        return False

    def ask_auth(self) -> None:
        name, cookie = self.anybody()
        with suppress(*LOST):
            answer = requests.get(f"{self.url}/auth", headers={"Cookie": cookie}, timeout=10)
            self.seen.counts["questions of proxies"] += 1
            if answer.headers.get("Remote-User") != name and name in self.seen.members:
                self.seen.wrong.append(f"/auth: {answer.status_code} for {name}")
        time.sleep(0.01)

    def offer_device(self) -> None:
        name, cookie = self.anybody()
        headers = {"Cookie": cookie, "Sec-Fetch-Site": "same-origin"}
        answer = self.insist(lambda: self.post("/devices/add", headers))
        if answer is not None and name in self.seen.members:
            self.seen.counts["offers of devices"] += 1
            if answer.headers.get("Location") != "/devices/add":
                self.seen.wrong.append(f"offer: {answer.status_code} for {name}")
        time.sleep(0.2)

    def remove(self) -> None:
        """Those that are too many."""
        if len(self.seen.members) > MEMBERS:
            name, _ = self.anybody()
            if name == "ada":
                return
            row = self.world.group.one("SELECT id FROM authors WHERE username = ?", name)
            with self.lock:
                cookie = self.seen.members.pop(name)
            answer = self.insist(lambda: self.post(f"/members/{row}/remove", self.ada))
            if answer is not None and answer.status_code == 303:
                self.seen.removed[name] = cookie
                self.seen.counts["removals"] += 1
            elif answer is not None and answer.status_code != 404:  # a lost answer, asked again
                self.seen.wrong.append(f"removal: {answer.status_code}")
        else:
            time.sleep(0.2)

    def anybody(self) -> tuple[str, str]:
        """A member, with the cookie."""
        with self.lock:
            return random.choice([*self.seen.members.items()])

    def send_half(self) -> None:
        head = b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\nphone="
        with suppress(OSError), socket.create_connection(("localhost", self.port)) as line:
            line.sendall(head[: random.randrange(20, len(head))])
            self.seen.counts["half-sent requests"] += 1
            self.over.wait(3)

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def post(self, path: str, headers: dict[str, str], **fields: str) -> requests.Response:
        return requests.post(
            self.url + path, headers=headers, data=fields, timeout=30, allow_redirects=False
        )

    def insist(self, ask: Callable[[], requests.Response]) -> requests.Response | None:
        """Ask again after a second, while it restarts or says 503. None: forty tries in vain. (A
        text that was being acted on when the disk filled up is taken up again after 30 s.)"""
        for _ in range(40):
            with suppress(*LOST):
                answer = ask()
                if answer.status_code != 503:
                    return answer
            if self.over.wait(1):
                return None
        self.seen.wrong.append("nothing but 503, forty times")
        return None

    # The half hour

    def run(self, minutes: float, log: Path, restart_after: float = RESTART_AFTER) -> None:
        people = [self.befriend] * 3 + [self.ask_auth] * 3 + [self.send_half] * 3
        people += [self.offer_device, self.remove]
        began = time.monotonic()
        with ExitStack() as stack, log.open("wb") as output:
            stack.callback(self.over.set)
            while (left := minutes * 60 - (time.monotonic() - began)) > 30:
                if self.seen.counts["starts"]:
                    self.between_starts()
                settings, command = self.world.settings, ours("wsgi:create_app")
                with running(command, settings, self.port, output, self.program) as served:
                    self.seen.counts["starts"] += 1
                    if self.seen.counts["starts"] == 1:
                        threads = [threading.Thread(target=self.repeat, args=(p,)) for p in people]
                        for thread in threads:
                            thread.start()
                    self.watch(served, min(restart_after, left))
            self.over.set()
            for thread in threads:
                thread.join()

    def between_starts(self) -> None:
        """While it is stopped."""

    def repeat(self, act: Callable[[], None]) -> None:
        while not self.over.is_set():
            try:
                act()
            except Exception as error:
                self.seen.wrong.append(f"{act.__name__}: {error!r}")
                time.sleep(1)

    def watch(self, served: Running, seconds: float) -> None:
        start = self.seen.counts["starts"]
        wal = Path(f"{self.world.settings['DATABASE']}-wal")
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(min(5, max(0, until - time.monotonic())))
            own = served.whole("Pss_Anon")
            self.seen.memory.append((start, own))
            self.seen.mapped.append((start, served.whole() - own))
            self.seen.wal.append((start, wal.stat().st_size / 2**20))

    # Afterwards

    def look_for_the_lost(self) -> Iterator[str]:
        """Everybody who got in is in, nobody who was removed is, and each number has an invite or a
        member."""
        command = ours("wsgi:create_app")
        with running(command, self.world.settings, self.port, program=self.program):
            for name, cookie in self.seen.members.items():
                if self.who_is(cookie) != name:
                    yield f"{name} is out"
            for name, cookie in self.seen.removed.items():
                if self.who_is(cookie) is not None:
                    yield f"{name} is still in"
        with closing(sqlite3.connect(self.world.settings["DATABASE"])) as db:
            twice = db.execute(
                "SELECT invite_id FROM journal WHERE event = 'joined'"
                " GROUP BY invite_id HAVING count(*) > 1"
            )
            yield from (f"two members from invite {row[0]}" for row in twice)
            members = "SELECT username FROM authors WHERE removed_at IS NULL"
            known = {name for (name,) in db.execute(members)}
            yield from (f"{name} is no member" for name in self.seen.members.keys() - known)
            for _, phone in self.seen.gave_up:
                name = f"friend-{phone[1:4]}x{phone[-4:]}"
                invited = "SELECT 1 FROM whitelist WHERE phone_digest = ?"
                has_invite = db.execute(invited, (self.world.digest_phone(phone),)).fetchone()
                if bool(has_invite) == (name in known):
                    yield f"{name} has an invite and is a member, or neither"

    def who_is(self, cookie: str) -> str | None:
        answer = requests.get(f"{self.url}/auth", headers={"Cookie": cookie}, timeout=10)
        return answer.headers.get("Remote-User")


def mean_after(points: list[tuple[int, float]], start: int) -> float:
    """Over the two minutes from one start to the next, as memory grows while caches fill."""
    return statistics.mean(value for after, value in points if after == start)


def find_odd_lines(log: Path, understood: dict[str, str]) -> tuple[Counter[str], list[str]]:
    counts: Counter[str] = Counter()
    odd = []
    for line in log.read_text().splitlines():
        kind = next((kind for kind, form in understood.items() if re.fullmatch(form, line)), None)
        if kind is None:
            odd.append(line)
        else:
            counts[kind] += 1
    return counts, odd


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=int, default=30)
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory() as folder, World.create(Path(folder), Flaky()) as world:
        soak = Soak(world, find_port())
        soak.run(minutes, Path(folder) / "log")
        lost = [*soak.look_for_the_lost()]
        lines, odd = find_odd_lines(Path(folder) / "log", UNDERSTOOD)
    write_report("Soak", soak.seen, minutes, lost, lines, odd)


def write_report(
    title: str,
    seen: Seen,
    minutes: float,
    lost: list[str],
    lines: Counter[str],
    odd: list[str],
) -> None:
    last = seen.counts["starts"]
    first = min(2, last)
    memory = [mean_after(seen.memory, start) for start in (first, last)]
    mapped = [mean_after(seen.mapped, start) for start in (first, last)]
    wal = [mean_after(seen.wal, start) for start in (first, last)]
    happened = ", ".join(f"{what} {count:,}" for what, count in sorted(seen.counts.items()))
    text = [
        f"{describe_machine('One worker of 16 threads.')} {minutes:g} minutes: {happened}; gave up"
        f" after three PINs: {len(seen.gave_up)}. Lost: {len(lost)}. Wrong answers:"
        f" {len(seen.wrong)}.",
        f"Memory of all processes together, MiB: after start {first} {memory[0]:.1f} on average,"
        f" after start {last} {memory[1]:.1f} ({memory[1] / memory[0]:.3f} times); besides, of"
        f" mapped files (programs, and the database, which grows) {mapped[0]:.1f}, {mapped[1]:.1f}."
        f" WAL, MiB: {wal[0]:.1f}, {wal[1]:.1f}.",
        f"Lines in the log: {', '.join(f'{kind} {n}' for kind, n in lines.items())};"
        f" not understood: {len(odd)}.",
    ]
    print("\n".join([*text, *lost[:20], *seen.wrong[:20], *odd[:20]]))
    write_section(title, "\n\n".join(text))
    if lost or seen.wrong or odd or memory[1] > memory[0] * 1.05 or wal[1] > wal[0] * 1.1:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
