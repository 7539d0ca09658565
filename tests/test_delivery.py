"""Whether an invite text arrived: Vonage's delivery receipts, and what the admin reads."""

from typing import Any

import pytest
from flask import Flask

from simulator.vonage import Answer, Connection, Text, Vonage, answer_with
from wsgi import create_app

from .cast import GRACE, Browser, Group, Served, shown, wait_for

WAITING = "Texted, waiting for a reply"
DELIVERED = "Texted and delivered, waiting for a reply"


@pytest.fixture
def invited(group: Group) -> Text:
    group.invite(GRACE)
    return group.vonage.texts[-1]


def deliver(group: Group, fields: dict[str, Any], path: str = "/delivery", **body: Any) -> int:
    client = group.app.test_client()
    return client.post(path, **(body or {"data": fields})).status_code


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        ("delivered", "0", DELIVERED),
        ("accepted", "0", WAITING),
        ("buffered", "0", WAITING),
        ("unknown", "1", WAITING),
        ("failed", "12", shown("undelivered-number")),
        ("failed", "9", shown("undelivered-opted-out")),
        ("failed", "1", shown("undelivered")),
        ("failed", "2", shown("undelivered-absent")),
        ("rejected", "14", shown("undelivered-blocked")),
        ("expired", "99", shown("undelivered")),
        ("failed", "", shown("undelivered")),
        ("failed", "12x", shown("undelivered")),
    ],
)
def test_the_admin_reads_what_became_of_the_text(
    group: Group, ada: Browser, invited: Text, status: str, code: str, said: str
) -> None:
    assert deliver(group, group.vonage.receipt(invited.id, status, code)) == 204

    page = ada.get("/admin").text
    assert said in page
    journal = ada.get("/admin/journal").text
    assert ("The text to an invited friend wasn&#39;t delivered" in journal) == ("couldn" in said)


def test_the_first_final_word_counts(group: Group, ada: Browser, invited: Text) -> None:
    for status, code in [("buffered", "0"), ("failed", "12"), ("delivered", "0"), ("failed", "2")]:
        assert deliver(group, group.vonage.receipt(invited.id, status, code)) == 204

    assert group.one("SELECT delivery FROM whitelist") == "undelivered-number"
    assert group.one("SELECT count(*) FROM journal WHERE event = 'text_undelivered'") == 1


@pytest.mark.parametrize("as_json", [True, False])
def test_both_apis_shapes_are_read(group: Group, invited: Text, as_json: bool) -> None:
    fields = {"message_uuid": invited.id, "status": "undeliverable", "err-code": 3}
    body: dict[str, Any] = {"json": fields} if as_json else {"data": fields}

    assert deliver(group, {}, path=f"/delivery/{group.token()}", **body) == 204

    assert group.one("SELECT delivery FROM whitelist") == "undelivered-number"


def nested(depth: int) -> dict[str, Any]:
    return {"a": nested(depth - 1)} if depth else {}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"messageId": "another", "status": "failed", "err-code": "1"},
        {"messageId": ["x"], "status": "failed"},
        {"messageId": None, "status": "failed"},
        {"messageId": 7, "status": "failed"},
        {"messageId": "another", "status": {"a": 1}},
        {"messageId": "another", "status": None},
        {"messageId": "\x00' OR 1", "status": "failed", "err-code": [1]},
        {"msisdn": GRACE, "messageId": "m", "text": "sunflower"},
        {"messageId": "\ud800", "status": "delivered"},
        {"messageId": "another", "status": nested(800)},
        {"messageId": "another", "status": "failed", "err-code": nested(800)},
    ],
    ids=lambda fields: str(fields)[:60],
)
def test_whatever_else_vonage_says_changes_nothing(
    group: Group, invited: Text, fields: dict[str, Any]
) -> None:
    before = group.rows("SELECT * FROM journal"), group.rows("SELECT * FROM whitelist")

    assert deliver(group, {}, path=f"/delivery/{group.token()}", json=fields) == 204

    assert (group.rows("SELECT * FROM journal"), group.rows("SELECT * FROM whitelist")) == before


def test_only_vonage_reports(group: Group, invited: Text) -> None:
    genuine = group.vonage.receipt(invited.id, "failed", "12")
    forged = genuine | {"status": "delivered"}
    unsigned = {name: value for name, value in genuine.items() if name != "sig"}

    assert deliver(group, forged) == deliver(group, unsigned) == 401
    assert deliver(group, genuine, path="/delivery/guess", data=genuine) == 401
    assert group.one("SELECT delivery FROM whitelist") is None
    assert group.one("SELECT count(*) FROM journal WHERE event = 'webhook_refused'") == 1


def test_a_receipt_that_overtakes_the_answer_is_asked_for_again(group: Group, ada: Browser) -> None:
    """Vonage may report before we know the id of the text that it reports on."""
    early: list[int] = []

    def report_first(connection: Connection, answer: Answer) -> None:
        sent = group.vonage.texts[-1]
        fields = group.vonage.receipt(sent.id, "delivered", "0")
        early.append(deliver(group, fields))
        connection.answer(answer)

    group.vonage.fail("text", report_first, acts=True)
    ada.post("/invite", phone=f"+{GRACE}")

    assert early == [503]
    sent = group.vonage.texts[-1]
    assert deliver(group, group.vonage.receipt(sent.id, "delivered", "0")) == 204
    assert DELIVERED in ada.get("/admin").text


def test_what_was_noted_is_not_asked_for_again(group: Group, invited: Text) -> None:
    """Though another text is on the way."""
    report = group.vonage.receipt(invited.id, "delivered", "0")
    assert deliver(group, report) == 204
    again: list[int] = []

    def report_twice(connection: Connection, answer: Answer) -> None:
        again.append(deliver(group, report))
        connection.answer(answer)

    group.vonage.fail("text", report_twice, acts=True)
    group.invite("12025550150")

    assert again == [204]


def test_a_friend_who_texted_back_has_the_text(group: Group, ada: Browser, invited: Text) -> None:
    group.text(GRACE)
    deliver(group, group.vonage.receipt(invited.id, "expired", "1"))

    page = ada.get("/admin").text
    assert "Texted back, PIN sent just now" in page
    assert "Could not be delivered" not in page


def test_the_texts_name_the_address_for_their_receipts(
    app: Flask, group: Group, invited: Text
) -> None:
    assert invited.callback == f"http://localhost:8000/delivery/{group.token()}"


def test_an_address_too_long_for_vonage_is_left_out(
    settings: dict[str, str], vonage: Vonage
) -> None:
    host = "a" * 60 + ".example.org"
    Group(create_app(settings | {"BASE_URL": f"https://{host}"}), vonage).invite(GRACE)

    assert vonage.texts[-1].callback == ""


def test_the_simulator_reports_as_vonage_does(served: Served, local: Group) -> None:
    served.vonage.sends_receipts = True
    served.vonage.unreachable.add("12025550198")

    local.invite(GRACE)
    local.invite("12025550198")

    states = "SELECT delivery FROM whitelist ORDER BY id"
    wait_for(lambda: local.rows(states) == [("delivered",), ("undelivered-number",)])
    assert served.vonage.thread("12025550198") == []


# Texts of several parts


@pytest.fixture
def parts(settings: dict[str, str], vonage: Vonage) -> tuple[Group, list[str]]:
    """Grace is invited with a text of two parts; their ids."""
    group = Group(create_app(settings | {"GROUP_NAME": "Дружба Ёлка Юла"}), vonage)
    group.invite(GRACE)
    return group, [id for (id,) in group.rows("SELECT key FROM whitelist, json_each(message_ids)")]


def test_a_text_of_two_parts_has_two_ids_and_costs_two(parts: tuple[Group, list[str]]) -> None:
    group, ids = parts

    assert len(set(ids)) == 2
    assert group.one("SELECT sum(parts) FROM journal") == 2
    assert len(group.vonage.calls("text")) == 1
    assert group.vonage.thread(GRACE)[0].startswith("You're invited to Дружба Ёлка Юла.")


def test_it_is_delivered_when_all_its_parts_are(parts: tuple[Group, list[str]]) -> None:
    group, ids = parts
    delivery = "SELECT delivery FROM whitelist"

    for id, whole in ((ids[1], None), (ids[1], None), (ids[0], "delivered")):
        for status in ("accepted", "buffered", "delivered"):
            assert deliver(group, group.vonage.receipt(id, status, "0")) == 204
        assert group.one(delivery) == whole


def test_it_is_undelivered_when_one_part_is(parts: tuple[Group, list[str]]) -> None:
    group, ids = parts
    assert deliver(group, group.vonage.receipt(ids[0], "delivered", "0")) == 204
    assert deliver(group, group.vonage.receipt(ids[1], "failed", "12")) == 204
    assert deliver(group, group.vonage.receipt(ids[0], "failed", "2")) == 204

    assert group.one("SELECT delivery FROM whitelist") == "undelivered-number"
    assert group.one("SELECT count(*) FROM journal WHERE event = 'text_undelivered'") == 1


def test_the_ledger_says_what_vonage_counted(group: Group) -> None:
    """Not what we had computed."""
    taken = {"status": "0", "to": GRACE}
    messages = [taken | {"message-id": "part-1"}, taken | {"message-id": "part-2"}]
    body = {"message-count": "2", "messages": messages}
    group.vonage.fail("text", answer_with(Answer.of(200, body)))

    group.invite(GRACE)

    assert group.one("SELECT sum(parts) FROM journal") == 2
    assert group.one("SELECT message_ids FROM whitelist") == '{"part-1": null, "part-2": null}'


def test_a_text_that_is_refused_in_part_is_undelivered_and_counts_what_went_out(
    group: Group, ada: Browser
) -> None:
    messages = [{"status": "0", "message-id": "part-1"}, {"status": "7", "error-text": "Barred"}]
    body = {"message-count": "2", "messages": messages}
    group.vonage.fail("text", answer_with(Answer.of(200, body)))
    before = group.one("SELECT sum(parts) FROM journal")

    ada.post("/invite", phone=f"+{GRACE}")

    assert shown("vonage-number") in ada.get("/admin").text
    assert group.one("SELECT sum(parts) FROM journal") == before + 1


def test_a_text_whose_parts_are_all_refused_costs_nothing(group: Group) -> None:
    messages = [{"status": "9", "error-text": "No"}] * 2
    body = {"message-count": "2", "messages": messages}
    group.vonage.fail("text", answer_with(Answer.of(200, body)))

    assert group.command("invite", f"+{GRACE}").exit_code == 1

    assert group.one("SELECT sum(parts) FROM journal") == 0
    assert group.one("SELECT delivery FROM whitelist") == "vonage-credit"


def test_the_messages_api_says_in_the_errors_title_why(group: Group, invited: Text) -> None:
    receipt = {"message_uuid": invited.id, "status": "rejected", "error": {"title": 12}}

    path = f"/delivery/{group.token()}"
    assert group.app.test_client().post(path, json=receipt).status_code == 204

    assert group.one("SELECT delivery FROM whitelist") == "undelivered-number"


def test_the_budget_counts_parts(settings: dict[str, str], vonage: Vonage) -> None:
    name = {"GROUP_NAME": "Дружба Ёлка Юла", "TEXTS_PER_DAY": "3"}
    group = Group(create_app(settings | name), vonage)
    group.invite(GRACE)

    assert group.command("invite", "+12025550150").exit_code == 1  # two more would be four
    assert group.text(GRACE) == 204
    assert len(vonage.calls("start")) == 1
