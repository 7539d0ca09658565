"""The simulator is as strict as Vonage, or what is tested against it proves nothing."""

import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import requests
import time_machine

from simulator.page import TRICKS, Trick, create_page
from simulator.server import Server
from simulator.vonage import Answer, Vonage, answer_with, change, drip, drop

from .cast import CODE, GRACE, Group, Served, wait_for


class Caller:
    """Somebody with a key and a secret, and without the SDK."""

    def __init__(self, vonage: Vonage, server: Server) -> None:
        self.base = f"https://{server.host}"
        self.session = requests.Session()
        self.session.auth = (vonage.api_key, vonage.api_secret)
        self.session.verify = str(server.certificate)
        self.sender = vonage.number

    def send(self, **changes: str) -> dict[str, str]:
        form = {"to": GRACE, "from": self.sender, "text": "Hello"} | changes
        answer = self.session.post(f"{self.base}/sms/json", data=form)
        assert answer.status_code == 200
        message: dict[str, str] = answer.json()["messages"][0]
        return message

    def start(self, **changes: Any) -> requests.Response:
        order = {"brand": "Group", "workflow": [{"channel": "sms", "to": GRACE}]} | changes
        return self.session.post(f"{self.base}/v2/verify", json=order)

    def check(self, request_id: str, code: str) -> requests.Response:
        return self.session.post(f"{self.base}/v2/verify/{request_id}", json={"code": code})


@pytest.fixture
def caller(vonage: Vonage, vonage_server: Server) -> Caller:
    return Caller(vonage, vonage_server)


def test_a_text_arrives(caller: Caller, vonage: Vonage) -> None:
    message = caller.send()

    assert message["status"] == "0"
    assert set(message) >= {"to", "message-id", "remaining-balance", "message-price", "network"}
    assert vonage.thread(GRACE) == ["Hello"]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"to": ""}, "2"),
        ({"text": ""}, "2"),
        ({"from": ""}, "2"),
        ({"to": "+12025550101"}, "3"),
        ({"to": "abc"}, "3"),
        ({"from": "12025550000"}, "15"),
    ],
)
def test_a_wrong_text_is_refused(caller: Caller, changes: dict[str, str], status: str) -> None:
    assert caller.send(**changes)["status"] == status


def test_a_form_that_is_called_json_is_refused(caller: Caller, vonage: Vonage) -> None:
    headers = {"Content-Type": "application/json"}
    form = {"to": GRACE, "from": caller.sender, "text": "Hello"}
    answer = caller.session.post(f"{caller.base}/sms/json", data=form, headers=headers)

    assert answer.json()["messages"][0]["status"] == "2"
    assert vonage.texts == []


def test_letters_that_the_alphabet_lacks_are_lost_without_unicode(
    caller: Caller, vonage: Vonage
) -> None:
    caller.send(text="Дa")
    caller.send(text="Дa", type="unicode")

    assert vonage.thread(GRACE) == ["?a", "Дa"]


def test_strangers_are_refused(caller: Caller) -> None:
    caller.session.auth = ("abcd1234", "wrong")

    assert caller.send()["status"] == "4"
    assert caller.start().status_code == 401
    assert caller.check("x", "123456").status_code == 401
    assert caller.session.delete(f"{caller.base}/v2/verify/x").status_code == 401


@pytest.mark.parametrize(
    "changes",
    [
        {"brand": ""},
        {"brand": "a/b"},
        {"brand": "x" * 19},
        {"workflow": []},
        {"workflow": [{"channel": "sms", "to": "+1202"}]},
        {"workflow": [{"channel": "pigeon", "to": GRACE}]},
        {"code_length": 3},
        {"channel_timeout": 901},
    ],
)
def test_a_wrong_order_is_refused(caller: Caller, changes: dict[str, Any]) -> None:
    answer = caller.start(**changes)

    assert answer.status_code == 422
    assert answer.json()["invalid_parameters"]
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_one_request_a_number_three_wrong_pins_and_the_end(caller: Caller, vonage: Vonage) -> None:
    request_id = caller.start().json()["request_id"]
    again = caller.start()
    assert (again.status_code, again.json()["request_id"]) == (409, request_id)

    wrong = [caller.check(request_id, "x").status_code for _ in range(4)]
    assert wrong == [400, 400, 410, 404]

    request_id = caller.start().json()["request_id"]
    right = caller.check(request_id, vonage.pin_of(GRACE))
    assert (right.status_code, right.json()) == (
        200,
        {"request_id": request_id, "status": "completed"},
    )
    assert caller.check(request_id, vonage.pin_of(GRACE)).status_code == 404


def test_a_request_can_be_cancelled_once(caller: Caller) -> None:
    request_id = caller.start().json()["request_id"]
    url = f"{caller.base}/v2/verify/{request_id}"

    assert [caller.session.delete(url).status_code for _ in range(2)] == [204, 404]
    assert caller.session.get(url).status_code == 404


def test_it_fails_on_demand_and_then_no_more(caller: Caller, vonage: Vonage) -> None:
    vonage.fail("start", answer_with(Answer.of(500, {})), times=2)
    vonage.fail("start", drop)
    vonage.fail("start", change(request_id="another"), acts=True)

    assert [caller.start().status_code for _ in range(2)] == [500, 500]
    with pytest.raises(requests.ConnectionError):
        caller.start()
    assert caller.start().json() == {"request_id": "another"}
    assert caller.start().status_code == 409


def test_it_answers_slowly_on_demand(caller: Caller, vonage: Vonage) -> None:
    vonage.fail("start", drip)

    with pytest.raises(requests.ReadTimeout):
        caller.session.post(f"{caller.base}/v2/verify", json={}, timeout=0.3)


def test_it_calls_nobody_but_this_machine(vonage: Vonage) -> None:
    with pytest.raises(ValueError, match="this machine only"):
        vonage.deliver("http://example.org/answer", {})


def test_a_webhook_that_nobody_answers_is_no_answer(vonage: Vonage) -> None:
    assert vonage.deliver("http://localhost:1/answer", {}) == 0


def test_the_page_shows_the_phones_and_replies(vonage: Vonage, caller: Caller) -> None:
    caller.send(text="Come to https://group.example.org/signup")
    page = create_page(vonage, "http://localhost:1/answer", "http://localhost:8000").test_client()

    shown = page.get("/").text
    assert "+12025550101" in shown
    assert '<a href="https://group.example.org/signup"' in shown
    assert page.post("/reply", data={"phone": "12025550177", "text": "Hello"}).status_code == 404
    assert [text.is_reply for text in vonage.texts] == [False]
    assert page.post("/reply", data={"phone": GRACE, "text": " Yes "}).status_code == 303
    assert vonage.texts[-1].is_reply
    assert "Yes" in page.get("/").text


def test_a_phone_gets_its_texts_late_or_never(vonage: Vonage, caller: Caller) -> None:
    page = create_page(vonage, "http://localhost:1/answer", "http://localhost:8000").test_client()
    page.post("/phones", data={"phone": f"+{GRACE}"})
    page.post("/network", data={"phone": GRACE, "how": "late"})
    with time_machine.travel("2026-11-23", tick=False) as clock:
        caller.send(text="Late")
        caller.start()
        assert vonage.thread(GRACE) == []
        assert "A text is on its way: 15 s" in page.get("/").text
        clock.shift(15)
        assert [text.split()[0] for text in vonage.thread(GRACE)] == ["Late", "Group"]
        page.post("/network", data={"phone": GRACE, "how": "lost"})
        caller.send(text="Lost")
        assert len(vonage.thread(GRACE)) == 2
        assert page.get("/").text.count("A text could not be delivered.") == 1
        page.post("/network", data={"phone": GRACE, "how": "now"})
        caller.send(text="Prompt")
        assert vonage.thread(GRACE)[2:] == ["Prompt"]


def test_phones_are_added_by_their_numbers(vonage: Vonage) -> None:
    cast = {GRACE: "Grace"}
    page = create_page(vonage, "http://localhost:1/answer", "http://localhost:8000", CODE, cast)
    client = page.test_client()

    assert client.post("/phones", data={"phone": "+1 (202) 555-0103"}).status_code == 303
    assert client.post("/phones", data={"phone": "<b>"}).status_code == 400
    phones = re.findall(r'aria-label="Phone (\+\d+)"', client.get("/").text)
    assert phones == [f"+{GRACE}", "+12025550103"]
    for address in ("/network", "/trick"):
        assert client.post(address, data={"phone": "12025550104"}).status_code == 404
    assert client.post("/trick", data={"phone": GRACE, "trick": "unknown"}).status_code == 404
    assert client.post("/trick", data={"phone": GRACE, "trick": "repeated"}).status_code == 404


@pytest.mark.parametrize("trick", TRICKS, ids=lambda trick: trick.name)
def test_every_trick_comes_to_what_its_label_says(group: Group, trick: Trick) -> None:
    group.invite(GRACE)
    fields = group.vonage.inbound(GRACE, CODE)
    assert group.deliver(fields) == 204
    group.vonage.last_inbound = fields

    made = trick.make(group.vonage, GRACE, CODE)
    client, is_get = group.app.test_client(), trick.method == "GET"
    asked = (
        client.get("/answer", query_string=made) if is_get else client.post("/answer", data=made)
    )
    status = asked.status_code

    assert trick.outcome.startswith(str(status))
    assert len(group.vonage.calls("start")) == 1


@pytest.mark.parametrize("label", ["sunflower", "A long text"])
def test_replies_of_one_press_bring_a_pin(
    group: Group, vonage: Vonage, served: Served, label: str
) -> None:
    page = create_page(vonage, f"{served.url}/answer", served.url, CODE, {GRACE: "Grace"})
    served.command("invite", f"+{GRACE}")
    client = page.test_client()
    words = re.search(rf'value="([^"]*)" aria-label="Reply {label}"', client.get("/").text)
    assert words

    client.post("/reply", data={"phone": GRACE, "text": unescape(words[1])})

    assert vonage.pin_of(GRACE)
    taken = [one.status for one in vonage.deliveries if one.path == "/answer"]
    assert taken == [204] * (2 if label == "A long text" else 1)


def test_verify_can_be_closed_to_a_phone_and_opened_again(vonage: Vonage) -> None:
    cast = {GRACE: "Grace"}
    page = create_page(vonage, "http://localhost:1/answer", "http://localhost:8000", CODE, cast)
    client = page.test_client()

    client.post("/trick", data={"phone": GRACE, "trick": "close"})
    assert vonage.blocked == {GRACE}
    client.post("/trick", data={"phone": GRACE, "trick": "close"})
    assert vonage.blocked == set()


def test_what_goes_over_the_wire_is_shown_without_the_secret_address(
    group: Group, vonage: Vonage, served: Served
) -> None:
    page = create_page(vonage, f"{served.url}/answer", served.url, CODE, {GRACE: "Grace"})
    client = page.test_client()
    vonage.deliver(f"{served.url}/answer/{group.token()}", vonage.inbound(GRACE, "Hello"))
    client.post("/trick", data={"phone": GRACE, "trick": "unsigned"})

    shown = client.get("/").text
    assert "<code>POST /answer/...</code>" in shown
    assert re.search(r'Forge a reply: <code>POST /answer</code>\s+<strong class="bad">401<', shown)
    assert re.search(r'id="trick-unsigned" data-live>[^<]+<strong class="good">401<', shown)
    assert group.token() not in shown


def test_certificates_are_made_and_not_kept_in_the_project(vonage_server: Server) -> None:
    assert not list(Path(__file__).parent.parent.glob("*.pem"))
    assert vonage_server.certificate.exists()


def test_a_long_text_has_an_id_and_receipts_for_each_part(
    caller: Caller, vonage: Vonage, served_receipts: list[tuple[str, str]]
) -> None:
    vonage.sends_receipts = True
    form = {"to": GRACE, "from": vonage.number, "text": "x" * 161, "callback": "http://localhost/d"}

    answer = caller.session.post(f"{caller.base}/sms/json", data=form).json()

    assert answer["message-count"] == "2"
    ids = [message["message-id"] for message in answer["messages"]]
    assert len(set(ids)) == 2
    assert vonage.thread(GRACE) == ["x" * 161]
    wait_for(lambda: len(served_receipts) == 6)
    seen = [(id, status) for status in ("accepted", "buffered", "delivered") for id in ids]
    assert served_receipts == seen


@pytest.fixture
def served_receipts(vonage: Vonage) -> list[tuple[str, str]]:
    """What Vonage would have called."""
    seen: list[tuple[str, str]] = []

    def take(url: str, fields: dict[str, Any], **_: Any) -> int:
        seen.append((fields["messageId"], fields["status"]))
        return 204

    vonage.deliver = take  # type: ignore[method-assign, assignment]
    return seen


@pytest.mark.parametrize(
    ("text", "count"),
    [("x" * 160, 1), ("x" * 161, 2), ("ж" * 70, 1), ("ж" * 71, 2), ("x" * 69 + "😀", 2)],
)
def test_a_long_reply_comes_in_parts_in_any_order(vonage: Vonage, text: str, count: int) -> None:
    parts = vonage.inbound_parts(GRACE, text)

    assert len(parts) == count
    assert len({part["messageId"] for part in parts}) == count
    if count > 1:
        assert [part["concat-part"] for part in parts] == ["2", "1"]
        assert {part["concat-total"] for part in parts} == {"2"}


@pytest.mark.parametrize(
    ("changes", "status"),
    [({"text": "x" * 3201}, "12"), ({"callback": "https://x.example/" + "x" * 90}, "23")],
)
def test_a_text_that_vonage_refuses(caller: Caller, changes: dict[str, str], status: str) -> None:
    assert caller.send(**changes)["status"] == status


def test_a_pin_is_worded_as_vonage_words_it_and_comes_from_the_brand(
    caller: Caller, vonage: Vonage
) -> None:
    assert caller.start(channel_timeout=300).status_code == 202

    assert re.fullmatch(r"Group code: \d{4}\. Valid for 5 minutes\.", vonage.thread(GRACE)[0])
    assert vonage.texts[-1].sender == "Group"


def test_a_pin_may_be_accepted_and_not_arrive(caller: Caller, vonage: Vonage) -> None:
    jamaica = [{"channel": "sms", "to": "18765550100"}]
    vonage.blocked.add(GRACE)

    assert caller.start().status_code == 202
    assert caller.start(workflow=jamaica).status_code == 202

    assert vonage.texts == []


def test_a_number_that_cannot_exist_is_refused_at_once(caller: Caller) -> None:
    answer = caller.start(workflow=[{"channel": "sms", "to": "1202555"}])

    assert answer.status_code == 422
    assert answer.json()["invalid_parameters"][0]["name"] == "to"


def test_an_account_whose_method_is_get_calls_by_get(group: Group, served: Served) -> None:
    served.vonage.webhook_method = "GET"
    fields = served.vonage.inbound(GRACE, CODE)
    token = served.command("webhook-url").stdout.strip().rsplit("/", 1)[1]

    assert served.vonage.deliver(f"{served.url}/answer/{token}", fields) == 405


def test_the_page_with_phones_answers_to_this_machine_only(vonage: Vonage) -> None:
    """Or any site that its browser visits could play with it, by a name of its own."""
    page = create_page(vonage, "http://localhost/answer", "http://localhost").test_client()
    assert page.get("/", base_url="http://localhost:8001").status_code == 200
    assert page.get("/", base_url="http://evil.example:8001").status_code == 400
