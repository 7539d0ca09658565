"""The SDK, made safe: each trap of it that was measured, and that ours does not fall into it."""

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs

import pytest
from flask import Flask

import app as program
from foundation.vonage.client import (
    PinRejected,
    SentInPart,
    VonageRefused,
    VonageUnavailable,
    VonageUnreached,
)
from simulator.server import Handler, Server
from simulator.vonage import Answer, Vonage, answer_with, drip, drop, hang
from wsgi import create_app

from .cast import GRACE, MALLORY, Group

REQUEST_ID = "36e7060d-2b23-4257-bad0-773ab47f85ef"


def test_a_text_after_a_pin_is_still_a_form(app: Flask, vonage: Vonage) -> None:
    with app.app_context():
        program.start_pin(GRACE)
        program.send_text(GRACE, "Hello")
        program.start_pin(MALLORY)

    first, text, second = vonage.requests
    assert text.headers["content-type"] == "application/x-www-form-urlencoded"
    assert parse_qs(text.body.decode())["text"] == ["Hello"]
    assert first.headers["content-type"] == second.headers["content-type"] == "application/json"
    assert vonage.thread(GRACE)[1] == "Hello"


def test_the_order_for_a_pin(app: Flask, vonage: Vonage) -> None:
    with app.app_context():
        program.start_pin(GRACE)

    assert vonage.requests[0].body == (
        b'{"brand": "Trusted Group", "workflow": [{"to": "12025550101", "channel": "sms"}],'
        b' "channel_timeout": 300, "code_length": 6}'
    )


CALLS: dict[str, Any] = {
    "text": lambda: program.send_text(GRACE, "Hello"),
    "start": lambda: program.start_pin(GRACE),
    "check": lambda: program.check_pin(REQUEST_ID, "123456"),
    "cancel": lambda: program.cancel_pin(REQUEST_ID),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("acts", [True, False])
def test_a_dropped_connection_is_one_request_and_not_ten(
    app: Flask, vonage: Vonage, call: str, acts: bool
) -> None:
    vonage.fail(call, drop, acts=acts, times=50)

    with app.app_context(), pytest.raises(VonageUnavailable) as failure:
        CALLS[call]()

    assert len(vonage.calls(call)) == 1
    assert not isinstance(failure.value, VonageUnreached)
    assert len(vonage.texts) == (1 if acts and call in ("text", "start") else 0)


def test_each_call_has_a_connection_of_its_own(app: Flask, vonage_server: Server) -> None:
    """Also where Vonage leaves it open, and closes it just before the next one."""
    came: list[int] = []

    class Open(Handler):
        def setup(self) -> None:
            came.append(1)
            super().setup()

        def parse_request(self) -> bool:
            is_right = super().parse_request()
            self.close_connection = False
            return is_right

    vonage_server.RequestHandlerClass = Open
    with app.app_context():
        program.start_pin(GRACE)
        program.start_pin(MALLORY)

    assert len(came) == 2


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("status", [429, 500, 503])
def test_nothing_is_sent_again_on_vonages_advice(
    app: Flask, vonage: Vonage, call: str, status: int
) -> None:
    later = answer_with(Answer(status, b"{}", headers={"Retry-After": "1"}))
    vonage.fail(call, later, times=50)

    with app.app_context(), pytest.raises(VonageUnavailable):
        CALLS[call]()

    assert len(vonage.calls(call)) == 1


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(
    app: Flask, vonage: Vonage, vonage_server: Any, call: str, status: int
) -> None:
    to = {"Location": f"https://{vonage_server.host}/elsewhere"}
    vonage.fail(call, answer_with(Answer(status, b"{}", headers=to)))

    with app.app_context(), pytest.raises(VonageUnavailable):
        CALLS[call]()

    assert len(vonage.requests) == 1


@pytest.mark.parametrize("call", CALLS)
def test_a_connection_that_is_refused_is_known_to_have_asked_nothing(
    settings: dict[str, str], call: str
) -> None:
    nobody = {"VONAGE_API_HOST": "localhost:1", "VONAGE_REST_HOST": "localhost:1"}
    app = create_app(settings | nobody)

    with app.app_context(), pytest.raises(VonageUnreached):
        CALLS[call]()


@pytest.mark.parametrize("host", ["no-such-host.invalid", "localhost:0"])
def test_a_host_that_cannot_be_found_is_unreached(settings: dict[str, str], host: str) -> None:
    app = create_app(settings | {"VONAGE_API_HOST": host})

    with app.app_context(), pytest.raises(VonageUnavailable):
        CALLS["check"]()


def test_a_server_that_is_not_vonage_is_not_talked_to(
    app: Flask, vonage: Vonage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its certificate is not signed by anybody whom we trust."""
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")

    with app.app_context(), pytest.raises(VonageUnavailable):
        CALLS["check"]()

    assert vonage.requests == []


@pytest.mark.parametrize("how", [hang(30), drip], ids=["hang", "drip"])
def test_vonage_has_so_many_seconds_in_all_however_it_spends_them(
    app: Flask, vonage: Vonage, how: Any, impatient: float
) -> None:
    """The bound is the promise itself: 30 s of silence, or an answer that would take 5 minutes."""
    vonage.fail("check", how, acts=False)
    vonage.fail("start", how, acts=False)
    began = time.monotonic()

    with app.app_context():
        with pytest.raises(VonageUnavailable):
            CALLS["check"]()
        with pytest.raises(VonageUnavailable):
            CALLS["start"]()

    assert impatient - 1 < time.monotonic() - began < impatient + 2
    assert vonage.calls("start") == []  # the second call of one request had no time left


@pytest.mark.parametrize("size", [70_000, 50_000_000])
def test_an_answer_that_is_too_long_is_not_read(app: Flask, vonage: Vonage, size: int) -> None:
    body = f'{{"status": "completed", "request_id": "{REQUEST_ID}"}}'.encode()
    vonage.fail("check", answer_with(Answer(200, b" " * size + body)))

    with app.app_context(), pytest.raises(VonageUnavailable):
        CALLS["check"]()


@pytest.mark.parametrize("status", [400, 404, 410])
def test_a_pin_is_rejected_by_status_and_not_by_title(
    app: Flask, vonage: Vonage, status: int
) -> None:
    vonage.fail("check", answer_with(Answer.of(status, {"title": "Fine", "status": "completed"})))

    with app.app_context(), pytest.raises(PinRejected):
        CALLS["check"]()


def test_a_request_that_is_over_need_not_be_cancelled(app: Flask, vonage: Vonage) -> None:
    with app.app_context():
        CALLS["cancel"]()

    assert len(vonage.calls("cancel")) == 1


def test_of_a_text_in_parts_one_that_failed_is_a_failure(app: Flask, vonage: Vonage) -> None:
    parts = [{"status": "0", "message-id": "1"}, {"status": "1", "error-text": "Throttled"}]
    body = {"message-count": "2", "messages": parts}
    vonage.fail("text", answer_with(Answer.of(200, body)))

    with app.app_context(), pytest.raises(SentInPart) as failure:
        CALLS["text"]()
    assert (failure.value.reason, failure.value.message_ids) == ("vonage-unavailable", ["1"])


def test_of_a_text_in_parts_all_refused_is_refused_for_the_first_ones_reason(
    app: Flask, vonage: Vonage
) -> None:
    parts = [{"status": "9", "error-text": "No"}, {"status": "7", "error-text": "Barred"}]
    vonage.fail("text", answer_with(Answer.of(200, {"message-count": "2", "messages": parts})))

    with app.app_context(), pytest.raises(VonageRefused, match="vonage-credit") as failure:
        CALLS["text"]()
    assert failure.value.sent_nothing


def test_wrong_credentials_are_refused_by_both_apis(settings: dict[str, str]) -> None:
    app = create_app(settings | {"VONAGE_API_SECRET": "another"})

    for call in CALLS:
        with app.app_context(), pytest.raises(VonageRefused, match="vonage-credentials"):
            CALLS[call]()


def test_the_log_says_what_happened_and_nothing_more(
    group: Group, grace_texted: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="vonage")
    group.vonage.fail("check", answer_with(Answer.of(500, {"detail": grace_texted})))

    group.browser().sign_up(GRACE, "grace", grace_texted)

    assert "The call to Vonage (check) failed: HTTP 500" in caplog.text
    assert grace_texted not in caplog.text
    assert GRACE not in caplog.text


# Behind HTTPS_PROXY


class SlowProxy:
    """A proxy for CONNECT that is silent, drips its answer, or passes on."""

    def __init__(self, how: str) -> None:
        self.how, self.server = how, socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.server.getsockname()[1]}"
        self.asked: list[bytes] = []
        self.closing = threading.Event()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.server.accept()
                threading.Thread(target=self.answer, args=(client,), daemon=True).start()

    def answer(self, client: socket.socket) -> None:
        with suppress(OSError), client:
            self.asked.append(client.recv(4096))
            if self.how == "silent":
                self.closing.wait(60)
            elif self.how == "drips":
                for byte in b"HTTP/1.1 200 OK\r\n" + b"X-Slow: yes\r\n" * 20:
                    client.sendall(bytes([byte]))
                    if self.closing.wait(0.9):
                        return
            else:
                self.pass_on(client)

    def pass_on(self, client: socket.socket) -> None:
        host, port = self.asked[-1].split()[1].decode().split(":")
        with socket.create_connection((host, int(port))) as server:
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=self.copy, args=(server, client), daemon=True)
            back.start()
            self.copy(client, server)
            back.join()

    def copy(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(4096):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.closing.set()
        self.server.close()


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], SlowProxy]]:
    started = []

    def start(how: str) -> SlowProxy:
        started.append(SlowProxy(how))
        monkeypatch.setenv("HTTPS_PROXY", started[-1].url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        return started[-1]

    yield start
    for proxy in started:
        proxy.close()


def gives_up(app: Flask) -> bool:
    """Whether a call ends, which could go on for minutes."""
    ended = threading.Event()

    def call() -> None:
        with app.app_context(), suppress(VonageUnavailable):
            CALLS["text"]()
        ended.set()

    threading.Thread(target=call, daemon=True).start()
    return ended.wait(20)


def test_a_proxy_is_asked_to_pass_on(
    app: Flask, vonage: Vonage, proxied: Callable[[str], SlowProxy]
) -> None:
    proxy = proxied("passes on")

    with app.app_context():
        CALLS["text"]()

    assert proxy.asked[0].startswith(b"CONNECT localhost:")
    assert len(vonage.calls("text")) == 1


@pytest.mark.parametrize("how", ["silent", "drips"])
def test_a_slow_proxy_has_no_more_time_than_vonage(
    app: Flask,
    vonage: Vonage,
    proxied: Callable[[str], SlowProxy],
    impatient: float,
    how: str,
) -> None:
    proxied(how)

    assert gives_up(app)
    assert vonage.requests == []


def test_a_proxy_does_not_make_an_answer_slower_than_it_may_be(
    app: Flask, vonage: Vonage, proxied: Callable[[str], SlowProxy], impatient: float
) -> None:
    proxied("passes on")
    vonage.fail("text", drip, acts=True)

    assert gives_up(app)
