"""Every way in which Vonage can fail, at each of the three calls: what the table in the design says
happens, nobody is in who should not be, and afterwards the invite still works."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from foundation.running import running
from simulator.server import Server, serving
from simulator.vonage import PIN, Answer, Vonage, answer_with, change, drip, drop, hang

from .cast import CODE, GRACE, Browser, Group

HTML = b"<!doctype html><h1>Bad gateway</h1>"


class Fault(NamedTuple):
    how: Any
    acts: bool = False


def status(code: int, body: Any = None) -> Fault:
    return Fault(answer_with(Answer.of(code, body or {"title": "No"}, "application/problem+json")))


def garbage(body: bytes, content_type: str = "application/json") -> Fault:
    return Fault(answer_with(Answer(200, body, content_type)))


REFUSALS = {str(code): status(code) for code in (401, 402, 403, 422)}
REJECTIONS = {str(code): status(code) for code in (400, 404, 410)}
TROUBLES = {
    "409": status(409),
    "429": status(429),
    "500, HTML": Fault(answer_with(Answer(500, HTML, "text/html"))),
    "503, HTML": Fault(answer_with(Answer(503, HTML, "text/html", {"Retry-After": "60"}))),
    "200, HTML": garbage(HTML, "text/html"),
    "empty": garbage(b""),
    "null": garbage(b"null"),
    "a list": garbage(b"[1, 2]"),
    "cut JSON": garbage(b'{"request_id": "c11236f4-00bf-4b8'),
    "50 MB": garbage(b" " * 50_000_000),
    "other values": Fault(
        change(request_id="x", status="failed", messages=[{"status": "1"}]), True
    ),
    "redirect": Fault(answer_with(Answer(302, b"", headers={"Location": "https://localhost:1/"}))),
    "dropped before it acted": Fault(drop),
    "dropped after it acted": Fault(drop, acts=True),
}
SLOW = {"hang": Fault(hang(60)), "one byte a second": Fault(drip, acts=True)}


def no_connection(group: Group, host: str) -> Callable[[], None]:
    """Make every call go to another host. Returns what mends it."""
    vonage = running(group.app).vonage
    clients = [vonage.sms.http_client, vonage.verify.http_client]
    right = clients[0].api_host
    for client in clients:
        client._api_host = client._rest_host = host

    def mend() -> None:
        for client in clients:
            client._api_host = client._rest_host = right

    return mend


@pytest.fixture
def impostor(tmp_path: Path) -> Iterator[Server]:
    """Somebody else's server, with a certificate that nobody vouches for."""
    with serving(Vonage(), tmp_path) as server:
        yield server


class Journey:
    """Grace's way in, one step at a time."""

    def __init__(self, group: Group, ada: Browser) -> None:
        self.group, self.ada, self.grace = group, ada, group.browser()
        self.fields: dict[str, str] = {}

    def text(self) -> None:
        assert self.ada.post("/invite", phone=f"+{GRACE}").status_code == 303

    def start(self) -> int:
        self.fields = self.fields or self.group.vonage.inbound(GRACE, CODE)
        return self.group.deliver(self.fields)

    def check(self) -> int:
        return self.grace.sign_up(GRACE, "grace", self.group.vonage.pin_of(GRACE)).status_code

    def before(self, call: str) -> None:
        if call in ("start", "check"):
            self.text()
        if call == "check":
            assert self.start() == 204

    def finish(self) -> None:
        """Afterwards, by doing what a person would do."""
        group = self.group
        assert group.one("SELECT count(*) FROM whitelist") == 1
        assert group.rows("SELECT username FROM authors") == [("ada",)]
        assert self.grace.username() is None
        if not self.fields or not any(PIN.search(text) for text in group.vonage.thread(GRACE)):
            self.fields = {}
            assert self.start() == 204
        if self.check() != 303:
            assert group.text(GRACE) == 204
            assert self.check() == 303
        assert self.grace.username() == "grace"


def expected(call: str, name: str) -> int:
    """What the friend, or Vonage, is answered."""
    if call == "start":
        return 204 if name in REFUSALS | REJECTIONS else 503
    return 422 if name in REJECTIONS else 503


@pytest.fixture
def journey(group: Group, ada: Browser) -> Journey:
    return Journey(group, ada)


def run(journey: Journey, call: str, name: str, fault: Fault) -> None:
    journey.before(call)
    texts = len(journey.group.vonage.thread(GRACE))
    journey.group.vonage.fail(call, fault.how, acts=fault.acts)

    if call == "text":
        journey.text()
        assert '<span class="bad">' in journey.ada.get("/admin").text
    else:
        outcome = journey.start() if call == "start" else journey.check()
        assert outcome == expected(call, name)

    assert len(journey.group.vonage.calls(call)) == 2  # Ada's, and one
    assert len(journey.group.vonage.thread(GRACE)) - texts <= 1
    journey.finish()


@pytest.mark.parametrize("call", ["text", "start", "check"])
@pytest.mark.parametrize("name", REFUSALS | REJECTIONS | TROUBLES)
def test_vonage_fails(journey: Journey, call: str, name: str) -> None:
    run(journey, call, name, (REFUSALS | REJECTIONS | TROUBLES)[name])


@pytest.mark.parametrize("call", ["text", "start", "check"])
@pytest.mark.parametrize("name", SLOW)
def test_vonage_takes_its_time(journey: Journey, impatient: float, call: str, name: str) -> None:
    run(journey, call, name, SLOW[name])


@pytest.mark.parametrize("call", ["text", "start", "check"])
@pytest.mark.parametrize("how", ["refused", "DNS failure", "TLS error"])
def test_vonage_cannot_be_reached(journey: Journey, impostor: Server, call: str, how: str) -> None:
    group = journey.group
    journey.before(call)
    asked = len(group.vonage.requests)
    hosts = {"refused": "localhost:1", "DNS failure": "no-such-host.invalid"}
    mend = no_connection(group, hosts.get(how, impostor.host))

    if call == "text":
        journey.text()
        assert '<span class="bad">' in journey.ada.get("/admin").text
    else:
        assert (journey.start() if call == "start" else journey.check()) == 503
    if call == "check" and how != "TLS error":
        assert group.one("SELECT tries FROM whitelist") == 0  # certainly not asked

    assert len(group.vonage.requests) == asked
    assert impostor.vonage.requests == []
    mend()
    journey.finish()
