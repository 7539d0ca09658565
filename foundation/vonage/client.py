"""Vonage's official SDK, made safe to call. The calls themselves are in app.py.

By itself the SDK waits forever, sends a POST up to ten times, follows redirects, reads answers of
any size, and keeps one dict of headers for all calls, so that a text sent after a PIN goes out as
JSON.
"""

import hmac
import logging
import re
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from email.utils import parsedate_to_datetime
from typing import Any, cast

import pydantic
import requests
import urllib3
from flask import current_app, g
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPSConnectionPool
from urllib3.util.ssl_ import create_urllib3_context
from vonage_http_client.auth import Auth
from vonage_http_client.errors import HttpRequestError
from vonage_http_client.http_client import HttpClient, HttpClientOptions
from vonage_sms import Sms
from vonage_sms.errors import PartialFailureError, SmsError
from vonage_utils.errors import VonageError as SdkError
from vonage_verify import Verify

from foundation.running import running
from foundation.storage.database import get_db

VONAGE_SECONDS = 8.0  # for all the calls that one request of ours makes
CONNECT_SECONDS = 3.0
MAX_RESPONSE = 64 * 1024

# Failures: one small tree of errors, and what each failed call means ------------------------------


class VonageError(Exception):
    """Vonage did not do what we asked. `reason` is the name of the sentence to show; `sent_nothing`
    means that certainly no text went out."""

    sent_nothing = False

    def __init__(self, reason: str = "vonage-unavailable") -> None:
        super().__init__(reason)
        self.reason = reason


class VonageRefused(VonageError):
    """Asking again won't help: the account, the settings or the number must change."""

    sent_nothing = True


class VonageUnavailable(VonageError):
    """It may work later. Vonage may or may not have acted on this request."""


class VonageUnreached(VonageUnavailable):
    """There was no connection, so certainly nothing was asked."""

    sent_nothing = True

    def __init__(self) -> None:
        super().__init__("vonage-unreached")


class SentInPart(VonageError):
    """Of a text of several parts, Vonage took some (`message_ids`) and refused others."""

    def __init__(self, reason: str, message_ids: list[str]) -> None:
        super().__init__(reason)
        self.message_ids = message_ids


class PinRejected(VonageError):
    """The PIN is wrong (400), or the request is over and takes no more PINs (404, 410)."""

    def __init__(self, is_final: bool) -> None:
        super().__init__()
        self.is_final = is_final


class PinStillRunning(VonageUnavailable):
    """Vonage runs one request for a number at a time, and names the one that runs (409 at
    start)."""

    def __init__(self, request_id: str) -> None:
        super().__init__()
        self.request_id = request_id


# Everything the SDK and the network raise when a call or its answer goes wrong.
CALL_FAILURES = (
    SdkError,
    OSError,  # includes the errors of `requests`, and timeouts
    urllib3.exceptions.HTTPError,
    pydantic.ValidationError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


def understand_failure(call: str, error: Exception) -> tuple[VonageError, str]:
    """What a failed `call` (text, start, check or cancel) means, and what may be logged about it: a
    status or a class name, because the SDK's own messages contain PINs and phone numbers."""
    if isinstance(error, HttpRequestError):
        return understand_status(call, error.response), f"HTTP {error.response.status_code}"
    if isinstance(error, PartialFailureError):
        return understand_parts(cast(Any, error.response)["messages"])
    if isinstance(error, SmsError):
        found = re.search(r"error code (\d+)", str(error))
        status = found[1] if found else "unknown"
        return understand_sms(status), f"SMS status {status}"
    cause = getattr(error.args[0], "reason", None) if error.args else None
    if isinstance(cause, urllib3.exceptions.ConnectTimeoutError):  # or refused, or an unknown host
        return VonageUnreached(), type(cause).__name__
    return VonageUnavailable(), type(error).__name__


def understand_status(call: str, response: requests.Response) -> VonageError:
    """By status and call, never by title: Vonage's titles repeat, and differ between its pages."""
    status = response.status_code
    if call == "check" and status in (400, 404, 410):
        return PinRejected(is_final=status != 400)
    if call == "start" and status == 409:
        return understand_conflict(response)
    if 400 <= status < 500 and status not in (408, 409, 425, 429):
        reasons = {401: "credentials", 402: "credit", 403: "permission"}
        return VonageRefused(f"vonage-{reasons.get(status, 'parameters')}")
    return VonageUnavailable()


def understand_conflict(response: requests.Response) -> VonageError:
    try:
        return PinStillRunning(parse_request_id(response.json()["request_id"]))
    except CALL_FAILURES:
        return VonageUnavailable()


def understand_parts(parts: list[dict[str, str]]) -> tuple[VonageError, str]:
    """A text of several parts, of which at least one was refused."""
    refused = next(str(part["status"]) for part in parts if part["status"] != "0")
    failure, what = understand_sms(refused), f"SMS status {refused} of one part in {len(parts)}"
    taken = [part["message-id"] for part in parts if part["status"] == "0"]
    return (SentInPart(failure.reason, taken) if taken else failure), what


def understand_sms(status: str) -> VonageError:
    """The SMS API answers everything with 200; what happened is in the message's status."""
    if status in ("1", "5", "10"):
        return VonageUnavailable()
    reasons = {"4": "credentials", "8": "permission", "9": "credit", "15": "sender", "29": "trial"}
    reasons |= dict.fromkeys(("6", "7", "33"), "number")
    return VonageRefused(f"vonage-{reasons.get(status, 'parameters')}")


def parse_request_id(text: object) -> str:
    """The SDK puts it into a path unchanged, so it must not be able to lead to another path."""
    if not isinstance(text, str) or not re.fullmatch(r"[0-9A-Za-z-]{8,64}", text):
        raise ValueError("not a request_id")
    return text


# Transport: asks once, gives up in time, and reads no more than it must ---------------------------

deadline: ContextVar[float] = ContextVar("deadline")  # the time.monotonic() at which we give up


def seconds_left() -> float:
    left = deadline.get() - time.monotonic()
    if left <= 0:
        raise TimeoutError("Vonage had its time")
    return left


def deadline_context() -> ssl.SSLContext:
    context = create_urllib3_context()
    context.sslsocket_class = DeadlineSocket
    return context


class PlainDeadlineSocket(socket.socket):
    """Waits no longer than the time left, however slowly the bytes come. (The timeout of `requests`
    starts again at every byte.) Plain: what a proxy (HTTPS_PROXY) says to our CONNECT."""

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(seconds_left())
        return super().recv_into(*args, **kwargs)


class DeadlineSocket(PlainDeadlineSocket, ssl.SSLSocket):
    """The same with TLS."""


class DeadlineConnection(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        connected = super()._new_conn()
        timeout, plain = connected.gettimeout(), PlainDeadlineSocket(fileno=connected.detach())
        plain.settimeout(timeout)
        return plain

    def getresponse(self) -> Any:
        """Each is for one request. Vonage is asked to close it, but needs not say that it will."""
        response = super().getresponse()
        if self.sock:  # the response has its own hold on it
            self.sock.close()
            self.sock = None
        return response


class DeadlinePool(HTTPSConnectionPool):
    ConnectionCls = DeadlineConnection


class VonageAdapter(requests.adapters.HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=deadline_context())
        self.poolmanager.pool_classes_by_scheme = {"https": DeadlinePool}

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs, ssl_context=deadline_context())
        manager.pool_classes_by_scheme = {"https": DeadlinePool}
        return manager

    def send(
        self, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> requests.Response:
        left = seconds_left()
        kwargs |= {"timeout": (min(left, CONNECT_SECONDS), left), "stream": True}
        response = super().send(request, *args, **kwargs)
        try:
            body = response.raw.read(MAX_RESPONSE + 1, decode_content=True)
        finally:
            response.raw.close()
        if len(body) > MAX_RESPONSE:
            raise ValueError("the answer is too long")
        response._content = body
        return response


class VonageClient(HttpClient):
    """One for each API, with its own headers for each call. Needs `deadline` to be set."""

    answered_at: int | None = None  # by Vonage's clock

    def __init__(self, auth: Auth, options: HttpClientOptions) -> None:
        super().__init__(auth, options)
        self._session.mount("https://", VonageAdapter())
        self._session.max_redirects = 0
        # A connection that was kept open and that Vonage closed looks just like a request that was
        # read and dropped.
        self._session.headers["Connection"] = "close"

    def make_request(self, *args: Any, **kwargs: Any) -> Any:
        call = VonageClient.__new__(VonageClient)
        call.__dict__ |= self.__dict__
        call._headers = {"User-Agent": self._user_agent, "Accept": "application/json"}
        answer = HttpClient.make_request(call, *args, **kwargs)
        self.answered_at = read_date(call.last_response)
        return answer


def read_date(answer: requests.Response | None) -> int | None:
    """When it was sent, by the sender's clock."""
    try:
        sent = parsedate_to_datetime(answer.headers["Date"]) if answer is not None else None
    except (KeyError, ValueError):
        return None
    return int(sent.timestamp()) if sent else None


def connect(config: Mapping[str, Any]) -> VonageClient:
    hosts = {"api_host": config["VONAGE_API_HOST"], "rest_host": config["VONAGE_REST_HOST"]}
    given = {name: host for name, host in hosts.items() if host}
    options = HttpClientOptions(pool_maxsize=1, max_retries=0, **given)  # 1: never sent again
    auth = Auth(api_key=config["VONAGE_API_KEY"], api_secret=config["VONAGE_API_SECRET"])
    return VonageClient(auth, options)


class Vonage:
    """The two APIs we use, each with its own client."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.sms, self.verify = Sms(connect(config)), Verify(connect(config))


@contextmanager
def asking_vonage(call: str) -> Iterator[Vonage]:
    """The SDK for one call; whatever goes wrong becomes a VonageError. One request of ours gives
    Vonage 8 s, however many calls it makes."""
    if get_db().in_transaction:  # it would keep everybody else from writing for as long
        raise RuntimeError("Vonage is never called inside a transaction")
    deadline.set(g.setdefault("vonage_deadline", time.monotonic() + VONAGE_SECONDS))
    try:
        yield running().vonage
    except CALL_FAILURES as error:
        failure, what = understand_failure(call, error)
        usual = isinstance(failure, PinRejected | PinStillRunning)
        level = logging.INFO if usual else logging.WARNING
        current_app.logger.log(level, "The call to Vonage (%s) failed: %s", call, what)
        raise failure from error


# Wire: the letters of a text, and the signature of a webhook --------------------------------------

# The default alphabet of GSM 03.38, then its extension table, whose characters count twice.
GSM_7 = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà^{}\\[~]|€"
)
EXTENDED = frozenset("^{}\\[~]|€")


def count_parts(text: str) -> int:
    """How many texts Vonage sends, and bills, for this one: 160 letters of GSM-7 or 70 of UTF-16
    fit in one, and 153 or 67 in each part of a longer one."""
    if set(text) <= GSM_7:
        length, single, part = len(text) + sum(c in EXTENDED for c in text), 160, 153
    else:
        length, single, part = len(text.encode("utf-16-be")) // 2, 70, 67
    return 1 if length <= single else -(-length // part)


def signature(fields: Mapping[str, str], secret: str, method: str) -> str:
    """The SMS API's `sig`, as Vonage's page "Signing messages" describes it: the sorted fields as
    `&name=value`, with `&` and `=` in a value replaced by `_`; then a digest, in lower-case hex."""
    line = "".join(
        f"&{name}={re.sub('[&=]', '_', value)}"
        for name, value in sorted(fields.items())
        if name != "sig"
    ).encode("utf-8", "replace")
    return hmac.digest(secret.encode(), line, method).hex()
