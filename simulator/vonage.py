"""The account at Vonage: who was texted what, which PINs run, which webhooks go out."""

import base64
import json
import math
import re
import secrets
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import phonenumbers
import requests

from foundation.vonage.client import GSM_7, signature

JSON = "application/json"
PROBLEM = "application/problem+json"
FORM = "application/x-www-form-urlencoded"


class Text(NamedTuple):
    """One message in a phone's thread, joined from its parts as a phone joins them. Of a text by
    the SMS API: the ids of its parts, and where their delivery receipts go."""

    at: float
    phone: str
    text: str
    is_reply: bool  # the phone's owner wrote it
    ids: tuple[str, ...] = ()
    callback: str = ""
    arrives_at: float = 0  # 0: immediately; infinite: never
    sender: str = ""  # who it says it is from, if not our number

    @property
    def id(self) -> str:
        return self.ids[0] if self.ids else ""

    @property
    def has_arrived(self) -> bool:
        return self.arrives_at <= time.time()

    @property
    def is_lost(self) -> bool:
        return self.arrives_at == math.inf


@dataclass
class Answer:
    status: int
    body: bytes
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, status: int, value: Any, content_type: str = JSON) -> "Answer":
        return cls(status, json.dumps(value).encode(), content_type)


class Delivery(NamedTuple):
    """One call of a webhook, and the status of its answer; 0: there was none. `why` is said where
    it is not what Vonage itself would call."""

    at: float
    path: str
    status: int
    why: str
    method: str


class Request(NamedTuple):
    """What arrived, as it arrived. `call` is text, start, check, cancel or none of these."""

    at: float
    call: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Fault:
    """How the next calls go wrong. Unless `acts`, nothing happens but the fault."""

    how: Callable[["Connection", Answer], None]
    acts: bool = False
    times: int = 1


class Connection(NamedTuple):
    """What a fault may do to the connection on which a request came."""

    write: Callable[[bytes], object]
    answer: Callable[[Answer], None]
    wait: Callable[[float], bool]  # seconds; True: the simulator is closing


def answer_with(answer: Answer) -> Callable[[Connection, Answer], None]:
    return lambda connection, _: connection.answer(answer)


def drop(connection: Connection, _: Answer) -> None:
    """Close the connection without a word."""


def hang(seconds: float) -> Callable[[Connection, Answer], None]:
    def how(connection: Connection, _: Answer) -> None:
        connection.wait(seconds)

    return how


def drip(connection: Connection, answer: Answer) -> None:
    """The right answer at one byte a second."""
    head = f"HTTP/1.1 {answer.status} OK\r\nContent-Type: {answer.content_type}\r\n\r\n"
    for byte in head.encode() + answer.body:
        connection.write(bytes([byte]))
        if connection.wait(1):
            return


def change(**values: Any) -> Callable[[Connection, Answer], None]:
    """The right answer with other values in it."""

    def how(connection: Connection, answer: Answer) -> None:
        body = json.loads(answer.body) | values
        connection.answer(Answer.of(answer.status, body, answer.content_type))

    return how


@dataclass
class Verification:
    phone: str
    pin: str
    expires_at: float
    wrong: int = 0


class Refused(Exception):
    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def problem(status: int, title: str, detail: str, **more: Any) -> Refused:
    body = {"title": title, "detail": detail, "instance": uuid.uuid4().hex} | more
    return Refused(Answer.of(status, body, PROBLEM))


def sms_status(status: int, text: str) -> Refused:
    message = {"status": str(status), "error-text": text}
    return Refused(Answer.of(200, {"message-count": "1", "messages": [message]}))


class Vonage:
    """An account with one number. Thread-safe; all state is in memory."""

    def __init__(
        self,
        api_key: str = "abcd1234",
        api_secret: str = "simulated-secret",
        number: str = "12025550199",
        signature_secret: str | None = None,
        signature_method: str = "sha256",
    ) -> None:
        self.api_key, self.api_secret, self.number = api_key, api_secret, number
        self.signature_secret, self.signature_method = signature_secret, signature_method
        self.wrong_pins_allowed = 3
        self.barred: set[str] = set()  # numbers that cannot be texted
        self.unreachable: set[str] = set()  # numbers whose texts are taken, and never arrive
        self.blocked: set[str] = set()  # numbers whose PINs are accepted, and stopped as fraud
        self.closed_to = ["1876", "216", "233", "382", "389"]  # countries that Verify is closed to
        self.webhook_method = "POST"  # of the account; its default was GET for years
        self.delays: dict[str, float] = {}  # by number: seconds that a text to it takes
        self.sends_receipts = False
        self.balance = 38.07
        self.clock_ahead = 0  # seconds
        self.webhook = ""  # where the number's inbound texts go
        self.features = ["SMS", "VOICE"]
        self.more_of_number: dict[str, str] = {"type": "mobile-lvn"}
        self.texts: list[Text] = []
        self.last_inbound: dict[str, str] | None = None  # the webhook of the newest reply
        self.requests: list[Request] = []
        self.deliveries: list[Delivery] = []
        self.verifications: dict[str, Verification] = {}
        self.checked: set[str] = set()  # numbers that gave a right PIN
        self.faults: dict[str, list[Fault]] = {}
        self.lock = threading.Lock()

    # Faults

    def fail(self, call: str, how: Callable[[Connection, Answer], None], **more: Any) -> None:
        self.faults.setdefault(call, []).append(Fault(how, **more))

    def take_fault(self, call: str) -> Fault | None:
        with self.lock:
            queue = self.faults.get(call, [])
            if not queue:
                return None
            queue[0].times -= 1
            return queue.pop(0) if queue[0].times <= 0 else queue[0]

    # The two APIs

    def receive(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Request:
        """Note a request down, before anything can go wrong with it."""
        calls = {
            ("POST", "/sms/json"): "text",
            ("POST", "/v2/verify"): "start",
            ("POST", "/v2/verify/"): "check",
            ("DELETE", "/v2/verify/"): "cancel",
            ("GET", "/account/get-balance"): "balance",
            ("GET", "/account/numbers"): "numbers",
            ("POST", "/number/update"): "update",
        }
        plain = re.sub(r"^(/v2/verify/)[^/]+$", r"\1", urlsplit(path).path)
        call = calls.get((method, plain), "")
        request = Request(time.time(), call, method, path, headers, body)
        with self.lock:
            self.requests.append(request)
        return request

    def act(self, request: Request) -> Answer:
        acts = {
            "text": self.send_text,
            "start": self.start,
            "check": self.check,
            "cancel": self.cancel,
            "balance": self.tell_balance,
            "numbers": self.list_numbers,
            "update": self.update_number,
        }
        try:
            if request.call not in acts:
                raise problem(404, "Not Found", "There is no such address.")
            with self.lock:
                return acts[request.call](request)
        except Refused as refused:
            return refused.answer

    def has_credentials(self, request: Request) -> bool:
        pair = f"{self.api_key}:{self.api_secret}".encode()
        expected = "Basic " + base64.b64encode(pair).decode()
        return request.headers.get("authorization") == expected

    def send_text(self, request: Request) -> Answer:
        """SMS API: 200 to everything; the status of each part says what happened."""
        fields = self.read_text(request)
        text = fields["text"]
        if fields.get("type", "text") == "text":  # what the alphabet lacks is lost on the way
            text = "".join(c if c in GSM_7 else "?" for c in text)
        ids = tuple(str(uuid.uuid4()) for _ in split(text))
        sent = self.send_off(fields["to"], text, ids, fields.get("callback", ""))
        if self.sends_receipts and sent.callback:
            threading.Thread(target=self.send_receipts, args=(sent,), daemon=True).start()
        paid = {"remaining-balance": "38.07243628", "message-price": "0.04120000"}
        messages = [
            {"to": sent.phone, "message-id": id, "status": "0", "network": "310004"} | paid
            for id in ids
        ]
        return Answer.of(200, {"message-count": str(len(ids)), "messages": messages})

    def send_off(
        self, phone: str, text: str, ids: tuple[str, ...] = (), callback: str = "", sender: str = ""
    ) -> Text:
        at, delay = time.time(), self.delays.get(phone)
        arrives_at = math.inf if phone in self.unreachable else at + delay if delay else 0
        self.texts.append(Text(at, phone, text, False, ids, callback, arrives_at, sender))
        return self.texts[-1]

    def read_text(self, request: Request) -> dict[str, str]:
        if not self.has_credentials(request):
            raise sms_status(4, "Bad Credentials")
        is_form = request.headers.get("content-type", "").startswith(FORM)
        pairs = parse_qs(request.body.decode(), strict_parsing=False) if is_form else {}
        fields = {name: values[0] for name, values in pairs.items()}
        for name in ("to", "from", "text"):
            if not fields.get(name):
                raise sms_status(2, f"Missing {name} param")
        wrong = {
            (3, "Invalid to param"): not re.fullmatch(r"[1-9][0-9]{6,14}", fields["to"]),
            (15, "Illegal Sender Address - rejected"): fields["from"] != self.number,
            (12, "Message too long"): len(fields["text"]) > 3200,
            (23, "Invalid callback URL"): len(fields.get("callback", "")) > 100,
            (7, "Number barred."): fields["to"] in self.barred,
        }
        for (status, why), is_wrong in wrong.items():
            if is_wrong:
                raise sms_status(status, why)
        return fields

    def start(self, request: Request) -> Answer:
        phone, brand, length, lifetime = self.read_order(request)
        for request_id, running in self.running().items():
            if running.phone == phone:
                detail = "Concurrent verifications to the same number are not allowed"
                raise problem(409, "Conflict", detail, request_id=request_id)
        request_id = str(uuid.uuid4())
        pin = "".join(secrets.choice("0123456789") for _ in range(length))
        self.verifications[request_id] = Verification(phone, pin, time.time() + lifetime)
        if phone not in self.blocked and not phone.startswith(tuple(self.closed_to)):
            text = f"{brand} code: {pin}. Valid for {lifetime // 60} minutes."
            self.send_off(phone, text, sender=brand)
        return Answer.of(202, {"request_id": request_id})

    def read_order(self, request: Request) -> tuple[str, str, int, int]:
        order = self.read_json(request)
        workflow = order.get("workflow")
        step = workflow[0] if isinstance(workflow, list) and workflow else {}
        brand, phone = order.get("brand", ""), step.get("to", "")
        length, lifetime = order.get("code_length", 4), order.get("channel_timeout", 180)
        right = {
            "brand": bool(re.fullmatch(r"[^/{}:$]{1,18}", brand)),
            "workflow": step.get("channel") == "sms",
            "to": can_exist(phone),
            "code_length": length in range(4, 11),
            "channel_timeout": lifetime in range(15, 901),
        }
        for name, is_right in right.items():
            if not is_right:
                detail = "The value of one or more parameters is invalid"
                wrong = [{"name": name, "reason": f"`{name}` is invalid"}]
                raise problem(422, "Invalid params", detail, invalid_parameters=wrong)
        return phone, brand, length, lifetime

    def read_json(self, request: Request) -> dict[str, Any]:
        if not self.has_credentials(request):
            detail = "You did not provide correct credentials."
            raise problem(401, "Unauthorized", detail)
        if request.headers.get("content-type") != JSON:
            raise problem(422, "Invalid params", "The body is not JSON.")
        value = json.loads(request.body)
        return value if isinstance(value, dict) else {}

    def running(self) -> dict[str, Verification]:
        now = time.time()
        return {id: one for id, one in self.verifications.items() if one.expires_at > now}

    def find_running(self, request: Request) -> tuple[str, Verification]:
        request_id = urlsplit(request.path).path.rsplit("/", 1)[1]
        running = self.running().get(request_id)
        if running is None:
            detail = f"Request {request_id} was not found or it has been verified already."
            raise problem(404, "Not Found", detail)
        return request_id, running

    def check(self, request: Request) -> Answer:
        code = self.read_json(request).get("code")
        request_id, running = self.find_running(request)
        if code == running.pin:
            del self.verifications[request_id]
            self.checked.add(running.phone)
            return Answer.of(200, {"request_id": request_id, "status": "completed"})
        running.wrong += 1
        if running.wrong < self.wrong_pins_allowed:
            detail = "The code you provided does not match the expected value."
            raise problem(400, "Invalid Code", detail)
        del self.verifications[request_id]
        detail = "An incorrect code has been provided too many times. Workflow terminated."
        raise problem(410, "Invalid Code", detail)

    def cancel(self, request: Request) -> Answer:
        if not self.has_credentials(request):
            raise problem(401, "Unauthorized", "You did not provide correct credentials.")
        request_id, _ = self.find_running(request)
        del self.verifications[request_id]
        return Answer(204, b"")

    # The account and its number

    def require_credentials(self, request: Request) -> None:
        if not self.has_credentials(request):
            body = {"error-code": "401", "error-code-label": "authentication failed"}
            raise Refused(Answer.of(401, body))

    def tell_balance(self, request: Request) -> Answer:
        self.require_credentials(request)
        return Answer.of(200, {"value": self.balance, "autoReload": False})

    def list_numbers(self, request: Request) -> Answer:
        """An account that owns none answers without `numbers`."""
        self.require_credentials(request)
        asked = parse_qs(urlsplit(request.path).query)
        if asked.get("pattern", [""])[0] not in self.number:
            return Answer.of(200, {})
        number = {"country": "US", "msisdn": self.number, "features": self.features}
        number |= self.more_of_number | ({"moHttpUrl": self.webhook} if self.webhook else {})
        return Answer.of(200, {"count": 1, "numbers": [number]})

    def update_number(self, request: Request) -> Answer:
        self.require_credentials(request)
        fields = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        url = fields.get("moHttpUrl", "")
        if fields.get("msisdn") != self.number or not self.is_active(url):
            label = {"error-code": "420", "error-code-label": "method failed"}
            raise Refused(Answer.of(420, label))
        self.webhook = url
        return Answer.of(200, {"error-code": "200", "error-code-label": "success"})

    def is_active(self, url: str) -> bool:
        """Before Vonage takes an address for a webhook, it calls it."""
        if urlsplit(url).hostname not in ("localhost", "127.0.0.1"):
            return False
        try:
            with requests.Session() as session:
                session.trust_env = False
                return session.get(url, timeout=5, allow_redirects=False).status_code == 200
        except requests.RequestException:
            return False

    # The phones

    def thread(self, phone: str) -> list[str]:
        """What this phone received, oldest first."""
        texts = [text for text in list(self.texts) if text.phone == phone and text.has_arrived]
        return [text.text for text in texts if not text.is_reply]

    def pin_of(self, phone: str) -> str:
        """The newest PIN that this phone received."""
        return next(
            found[1] for text in reversed(self.thread(phone)) if (found := PIN.search(text))
        )

    def expire_pins(self, phone: str) -> None:
        """As five minutes would."""
        with self.lock:
            for running in self.verifications.values():
                if running.phone == phone:
                    running.expires_at = 0

    def calls(self, call: str) -> list[Request]:
        return [request for request in self.requests if request.call == call]

    # Webhooks

    def inbound(self, phone: str, text: str, **changes: str) -> dict[str, str]:
        """The fields of the SMS API's webhook for a text from `phone`, signed where the account
        signs. `changes` are made before it is signed."""
        fields = {
            "msisdn": phone,
            "to": self.number,
            "messageId": secrets.token_hex(8).upper(),
            "text": text,
            "type": "text" if set(text) <= GSM_7 else "unicode",
            "keyword": (text.split() or [""])[0].upper(),
            "api-key": self.api_key,
            "message-timestamp": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()),
        } | changes
        return self.sign(fields)

    def inbound_parts(self, phone: str, text: str) -> list[dict[str, str]]:
        """The webhooks of a text: one, or one for each part of a long text, the last one first."""
        parts = split(text)
        if len(parts) == 1:
            return [self.inbound(phone, text)]
        concat = {"concat": "true", "concat-ref": str(secrets.randbelow(256))}
        concat |= {"concat-total": str(len(parts))}
        return [
            self.inbound(phone, part, **concat, **{"concat-part": str(number)})
            for number, part in reversed([*enumerate(parts, 1)])
        ]

    def sign(self, fields: dict[str, str]) -> dict[str, str]:
        if self.signature_secret is None:
            return fields
        fields = {"timestamp": str(int(time.time())), "nonce": str(uuid.uuid4())} | fields
        sig = signature(fields, self.signature_secret, self.signature_method)
        return fields | {"sig": sig.upper()}

    def receipt(self, message_id: str, status: str, code: str, **changes: str) -> dict[str, str]:
        """The fields of a delivery receipt of the SMS API, signed as the others are."""
        fields = {
            "msisdn": "12025550100",
            "to": self.number,
            "network-code": "310004",
            "messageId": message_id,
            "price": "0.04120000",
            "status": status,
            "scts": time.strftime("%y%m%d%H%M", time.gmtime()),
            "err-code": code,
            "api-key": self.api_key,
            "message-timestamp": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()),
        } | changes
        return self.sign(fields)

    def send_receipts(self, sent: Text) -> None:
        """For each part: on the way, then how it ended."""
        for status in ("accepted", "buffered"):
            self.send_receipt(sent, status, "0")
        time.sleep(1 if sent.is_lost else max(1, sent.arrives_at - time.time()))
        self.send_receipt(sent, *(("failed", "12") if sent.is_lost else ("delivered", "0")))

    def send_receipt(self, sent: Text, status: str, code: str) -> None:
        for id in sent.ids:
            fields = self.receipt(id, status, code, msisdn=sent.phone)
            self.deliver_until_taken(sent.callback, fields)

    def inbound_message(self, phone: str, text: str, **changes: Any) -> dict[str, Any]:
        """The same in the shape of the Messages API, which some accounts send."""
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        return {
            "channel": "sms",
            "message_uuid": str(uuid.uuid4()),
            "to": self.number,
            "from": phone,
            "timestamp": at,
            "message_type": "text",
            "text": text,
            "context_status": "none",
            "usage": {"price": "0.0057", "currency": "EUR"},
            "sms": {"num_messages": "1", "keyword": text.split()[0].upper() if text else ""},
        } | changes

    def deliver(
        self,
        url: str,
        fields: dict[str, Any],
        as_json: bool = False,
        why: str = "",
        method: str | None = None,
    ) -> int:
        """Call a webhook once, as the account is set or by that method, and return the status of
        its answer; 0 where there was none."""
        method = method or self.webhook_method
        if urlsplit(url).hostname not in ("localhost", "127.0.0.1"):
            raise ValueError("the simulator calls this machine only")
        body: dict[str, Any] = {"json": fields} if as_json else {"data": fields}
        if method == "GET":
            body = {"params": fields}
        status = 0
        with requests.Session() as session, suppress(requests.RequestException):
            session.trust_env = False
            answer = session.request(method, url, timeout=(3, 15), allow_redirects=False, **body)
            status = answer.status_code
        self.deliveries.append(Delivery(time.time(), urlsplit(url).path, status, why, method))
        return status

    def reply(self, url: str, phone: str, text: str) -> None:
        """A person writes back."""
        self.texts.append(Text(time.time(), phone, text, is_reply=True))
        for fields in self.inbound_parts(phone, text):
            self.last_inbound = fields
            self.deliver_until_taken(url, fields)

    def deliver_until_taken(self, url: str, fields: dict[str, Any]) -> None:
        for pause in (0.5, 1, 2, 4, 8, 16, 0):
            status = self.deliver(url, fields)
            if status and status != 429 and status < 500:
                return
            time.sleep(pause)


PIN = re.compile(r"code: ([0-9]{4,10})\b")


def split(text: str) -> list[str]:
    """As phones and networks split a long text."""
    letters = text if set(text) <= GSM_7 else text.encode("utf-16-be")
    single, part = (160, 153) if set(text) <= GSM_7 else (140, 134)
    if len(letters) <= single:
        return [text]
    pieces = [letters[start : start + part] for start in range(0, len(letters), part)]
    return [p if isinstance(p, str) else p.decode("utf-16-be", "replace") for p in pieces]


def can_exist(phone: str) -> bool:
    if not re.fullmatch(r"[1-9][0-9]{6,14}", phone):
        return False
    try:
        return phonenumbers.is_possible_number(phonenumbers.parse(f"+{phone}"))
    except phonenumbers.NumberParseException:
        return False
