"""What Vonage tells us: who may say it, in which shape, and how often it counts."""

import json
import sqlite3
import time
from contextlib import closing
from typing import Any

import pytest
import time_machine
from flask import Flask

from foundation.running import running
from foundation.storage.digests import keyed_digest
from foundation.vonage.client import signature
from foundation.vonage.inbound import parse_time, webhook_token
from foundation.words.clock import DAY
from simulator.server import Server
from simulator.vonage import Answer, Vonage, answer_with, drop, hang
from wsgi import create_app

from .cast import CODE, GRACE, MALLORY, SIGNATURE_SECRET, Browser, Group, find_port, point, shown

# Vonage's SDKs for PHP and Ruby prove theirs by these.
VECTOR = {
    "message-timestamp": "2013-11-21 15:27:30",
    "messageId": "020000001B0FE827",
    "msisdn": "14843472194",
    "text": "Test again",
    "timestamp": "1385047698",
    "to": "13239877404",
    "type": "text",
}
VECTOR_SIGNATURES = {
    "sha256": "DDB8397C2B90AAC7F3882D306475C9A5058C92322EEF43C92B298B6E0FC0D330",
    "sha512": "E0D3C650F8C9D1A5C174D10DDDBFB003E561F59B265616208B0487C5D819481C"
    "D3C311D59CF6165ECD1139622D5BA3A256C0D763AC4A9AD9144B5A426B94FE82",
}


@pytest.mark.parametrize("method", VECTOR_SIGNATURES)
def test_signatures_are_those_that_are_known_to_be_good(method: str) -> None:
    found = signature(VECTOR | {"sig": "whatever"}, "my_secret_key_for_testing", method)

    assert found == VECTOR_SIGNATURES[method].lower()


def test_ampersands_and_equal_signs_in_values_are_folded_as_vonage_does() -> None:
    fields = {
        "keyword": "TEST",
        "message-timestamp": "2017-04-04 22:57:47",
        "messageId": "0B00000042AC53BD",
        "msisdn": "14843472194",
        "nonce": "929d6744-bd28-42c8-b6cf-31d5b4f43732",
        "text": "Test with & and =",
        "timestamp": "1491346667",
        "to": "12192259404",
        "type": "text",
    }

    folded = fields | {"text": "Test with _ and _"}
    found, expected, other = (
        signature(one, "my_secret_key_for_testing", "sha256")
        for one in (fields, folded, fields | {"text": "Test with - and -"})
    )
    assert found == expected != other


@pytest.mark.parametrize("method", VECTOR_SIGNATURES)
@pytest.mark.parametrize("as_json", [False, True])
def test_a_signed_text_is_acted_on_in_every_method_and_shape(
    settings: dict[str, str], vonage: Vonage, method: str, as_json: bool
) -> None:
    vonage.signature_method = method
    group = Group(create_app(settings | {"VONAGE_SIGNATURE_METHOD": method}), vonage)
    group.invite(GRACE)

    status = group.deliver(vonage.inbound(GRACE, f"Yes! {CODE} & more = fun"), as_json=as_json)

    assert status == 204
    assert len(vonage.calls("start")) == 1


def test_the_address_with_the_token_takes_unsigned_texts_of_both_apis(group: Group) -> None:
    group.vonage.signature_secret = None
    for number, as_json in enumerate((False, True)):
        phone = str(int(GRACE) + number)
        group.invite(phone)
        fields = group.vonage.inbound(phone, CODE)
        assert "sig" not in fields
        assert group.deliver(fields, group.token(), as_json=as_json) == 204
        assert len(group.vonage.calls("start")) == number + 1

    group.invite(MALLORY)
    message = group.vonage.inbound_message(MALLORY, CODE)
    assert group.deliver(message, group.token(), as_json=True) == 204
    assert len(group.vonage.calls("start")) == 3


def without_time(good: dict[str, str]) -> dict[str, str]:
    fields = {name: value for name, value in good.items() if name != "timestamp"}
    return fields | {"sig": signature(fields, SIGNATURE_SECRET, "sha256")}


def forgeries(good: dict[str, str]) -> dict[str, dict[str, Any]]:
    """A genuine call, in one way or another made to say something else."""
    sig = good["sig"]
    smuggled = {k: v for k, v in good.items() if k not in ("messageId", "msisdn")}
    smuggled[f"messageId={good['messageId']}&msisdn"] = good["msisdn"]
    return {
        "no sig": {k: v for k, v in good.items() if k != "sig"},
        "empty sig": good | {"sig": ""},
        "cut sig": good | {"sig": sig[:-1]},
        "longer sig": good | {"sig": sig + "0"},
        "other sig": good | {"sig": sig[:-1] + ("0" if sig[-1] != "0" else "1")},
        "non-ASCII sig": good | {"sig": "ſ" * 64},
        "other text": good | {"text": "another"},
        "other phone": good | {"msisdn": MALLORY},
        "other id": good | {"messageId": "X"},
        "other time": good | {"timestamp": str(int(good["timestamp"]) + 1)},
        "one more field": good | {"concat": "false"},
        "one field less": {k: v for k, v in good.items() if k != "nonce"},
        "no time": {k: v for k, v in good.items() if k != "timestamp"},
        "signed without a time": without_time(good),
        "two names folded into one": smuggled,
    }


@pytest.mark.parametrize("name", forgeries(VECTOR | {"sig": "0"}))
@pytest.mark.parametrize("as_json", [False, True])
def test_a_forged_webhook_is_refused_and_starts_nothing(
    group: Group, name: str, as_json: bool
) -> None:
    group.invite(GRACE)
    asked = len(group.vonage.requests)

    fields = forgeries(group.vonage.inbound(GRACE, CODE))[name]

    assert group.deliver(fields, as_json=as_json) == 401
    assert len(group.vonage.requests) == asked
    assert group.rows("SELECT * FROM inbound_messages") == []
    assert group.one("SELECT event FROM journal ORDER BY id DESC") == "webhook_refused"


@pytest.mark.parametrize("method", VECTOR_SIGNATURES)
@pytest.mark.parametrize("how", ["another secret", "another method"])
def test_in_every_method_a_wrong_signature_is_refused(
    settings: dict[str, str], method: str, how: str
) -> None:
    others = {"sha256": "sha512", "sha512": "sha256"}
    mallory = Vonage(
        signature_secret="another" if how == "another secret" else SIGNATURE_SECRET,
        signature_method=method if how == "another secret" else others[method],
    )
    group = Group(create_app(settings | {"VONAGE_SIGNATURE_METHOD": method}), mallory)

    assert group.deliver(mallory.inbound(GRACE, CODE)) == 401


@pytest.mark.parametrize(
    "change",
    [{"sig": None}, {"sig": 5}, {"sig": ["0"]}, {"sig": {}}, {"sig": True}]
    + [{"text": ["x"]}, {"timestamp": 1.5}, {"timestamp": None}, {"more": {"nested": 1}}],
)
def test_odd_types_in_json_are_refused(group: Group, change: dict[str, Any]) -> None:
    fields = group.vonage.inbound(GRACE, CODE)

    assert group.deliver(fields | change, as_json=True) == 401


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b'"text"', b"{", b"[" * 9000, b"\xff\xfe", b'[["a", "b"]]', b"1", b"{}"]
    + [b'{"text": "\\ud800", "sig": "\\ud800", "timestamp": "1"}'],
)
@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded"])
def test_a_body_that_is_no_message_is_refused(app: Flask, body: bytes, content_type: str) -> None:
    answer = app.test_client().post("/answer", data=body, content_type=content_type)

    assert answer.status_code == 401


def test_a_name_that_stands_twice_is_refused(group: Group) -> None:
    group.invite(GRACE)
    good = group.vonage.inbound(GRACE, CODE)
    client = group.app.test_client()

    for texts in (["another", good["text"]], [good["text"], "another"]):
        twice: Any = {**good, "text": texts}
        assert client.post("/answer", data=twice).status_code == 401
    doubled = '{"text": "another", ' + json.dumps(good)[1:]
    answer = client.post("/answer", data=doubled, content_type="application/json")
    assert answer.status_code == 401
    assert (
        client.post("/answer?text=another", data=good).status_code == 204
    )  # the query is not read


@pytest.mark.parametrize("token", ["x", "0" * 32, "ſ", "a" * 10_000, "..", "%00"])
def test_a_wrong_token_is_refused(group: Group, token: str) -> None:
    assert group.deliver(group.vonage.inbound(GRACE, CODE), token) == 401


def test_without_a_signature_secret_only_the_token_opens(
    settings: dict[str, str], vonage: Vonage
) -> None:
    group = Group(create_app(settings | {"VONAGE_SIGNATURE_SECRET": ""}), vonage)

    assert group.deliver(vonage.inbound(GRACE, CODE)) == 401
    vonage.signature_secret = ""
    assert group.deliver(vonage.inbound(GRACE, CODE)) == 401


def test_refused_calls_are_one_line_a_day_with_a_count(group: Group) -> None:
    noted = "SELECT count(*) FROM journal WHERE event = 'webhook_refused'"
    with time_machine.travel("2026-11-23", tick=True) as clock:
        for _ in range(20):
            assert group.deliver({"text": CODE}) == 401
        assert group.one(noted) == 1
        detail = "SELECT detail FROM journal WHERE event = 'webhook_refused'"
        assert group.one(detail) == '{"": 1}'  # the others wait in memory for the minute's end
        clock.shift(61)
        assert group.deliver({"text": CODE}) == 401
        assert group.one(noted) == 1
        assert group.one("SELECT detail FROM journal WHERE event = 'webhook_refused'") == '{"": 21}'
        clock.shift(DAY)
        assert group.deliver({"text": CODE}) == 401
        assert group.one(noted) == 2


def test_a_body_over_16_kilobytes_is_too_much(group: Group) -> None:
    fields = group.vonage.inbound(GRACE, "x" * 17_000)

    assert group.deliver(fields) == 413
    assert group.deliver(fields, group.token(), as_json=True) == 413


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_webhooks_are_posted(group: Group, method: str) -> None:
    for path in ("/answer", f"/answer/{group.token()}?text=sunflower"):
        assert group.app.test_client().open(path, method=method).status_code == 405


@pytest.mark.parametrize(
    "text",
    [
        "sunflower",
        "SUNFLOWER",
        "Sunflower please",
        "it is: sunflower.",
        "\n sunflower\n",
        "¡sunflower!",
    ]
    + ["my-sunflower", "sunflower, stop", "Ｓunflower sunflower"],
)
def test_the_code_is_found_as_a_word_in_any_case(group: Group, text: str) -> None:
    group.invite(GRACE)

    assert group.text(GRACE, text) == 204
    assert len(group.vonage.calls("start")) == 1


@pytest.mark.parametrize(
    "text", ["", "hello", "sunflowers", "sun flowers", "asunflower", "stopping"]
)
def test_any_other_text_brings_no_pin(group: Group, text: str) -> None:
    group.invite(GRACE)

    assert group.text(GRACE, text) == 204
    assert group.vonage.calls("start") == []
    assert group.rows("SELECT replied FROM whitelist") == [("replied-otherwise",)]


@pytest.mark.parametrize("text", ["STOP", "stop", " Stop. "])
def test_stop_stops_the_invite(group: Group, text: str) -> None:
    group.invite(GRACE)
    group.text(GRACE)
    pin = group.vonage.pin_of(GRACE)

    assert group.text(GRACE, text) == 204

    assert group.one("SELECT stopped_at FROM whitelist") is not None
    assert group.rows("SELECT * FROM pending_verifications") == []
    assert group.browser().sign_up(GRACE, "grace", pin).status_code == 422
    assert group.one("SELECT event FROM journal ORDER BY id DESC") == "stopped"
    assert group.text(GRACE, text) == 204  # nothing left to stop


@pytest.mark.parametrize(
    "changes",
    [
        {"messageId": ""},
        {"messageId": "\ud800"},
        {"messageId": "a b"},
        {"messageId": None},
        {"msisdn": "Vonage"},
        {"msisdn": "123"},
        {"type": "binary", "text": None, "data": "EA06", "udh": "0605"},
    ],
)
def test_what_cannot_be_a_reply_is_ignored(group: Group, changes: dict[str, str]) -> None:
    group.vonage.signature_secret = None
    group.invite(GRACE)
    fields = group.vonage.inbound(GRACE, CODE) | changes

    assert group.deliver(fields, group.token(), as_json=True) == 204
    assert group.vonage.calls("start") == []


def test_a_receipt_at_the_wrong_address_is_ignored(group: Group) -> None:
    receipt = {"msisdn": GRACE, "to": "12025550199", "messageId": "1", "status": "delivered"}

    assert group.deliver(receipt, group.token()) == 204
    assert group.deliver({"message": {"content": {}}}, group.token(), as_json=True) == 204


def test_a_number_that_is_not_invited_gets_nothing(group: Group) -> None:
    assert group.text(MALLORY) == 204
    assert group.vonage.requests == []


def test_one_text_delivered_many_times_sends_one_pin(group: Group) -> None:
    group.invite(GRACE)
    fields = group.vonage.inbound(GRACE, CODE)

    assert [group.deliver(fields) for _ in range(5)] == [204] * 5
    with time_machine.travel(time.time() + 60, tick=True):
        assert group.deliver(fields) == 204
    assert len(group.vonage.calls("start")) == 1
    assert len(group.vonage.requests) == 2
    assert group.one("SELECT pins_sent FROM whitelist") == 1


def test_a_text_that_was_acted_on_does_nothing_for_a_later_invite(group: Group) -> None:
    with time_machine.travel("2026-11-23 12:00 +0000", tick=True) as clock:
        group.invite(GRACE)
        fields = group.vonage.inbound(GRACE, CODE)
        assert group.deliver(fields) == 204
        pin = group.vonage.pin_of(GRACE)
        assert group.browser().sign_up(GRACE, "grace", pin).status_code == 303
        clock.shift(120)
        group.invite(GRACE, "grace")

        assert group.deliver(fields) == 204

        assert len(group.vonage.calls("start")) == 1


def test_what_was_acted_on_is_known_for_three_days(group: Group) -> None:
    """Vonage calls again for one."""
    with time_machine.travel("2026-11-23 12:00 +0000", tick=False) as clock:
        group.invite(GRACE)
        assert group.text(GRACE) == 204
        for seconds, known in ((3 * DAY - 1, 1), (1, 0)):
            clock.shift(seconds)
            group.keep_house()
            assert group.one("SELECT count(*) FROM inbound_messages") == known


def claim(group: Group, fields: dict[str, str]) -> None:
    """As a worker leaves it that dies between the claim and the answer."""
    with group.app.app_context():
        digest = keyed_digest("message", fields["messageId"])
    with sqlite3.connect(group.app.config["DATABASE"]) as db:
        db.execute(
            "INSERT INTO inbound_messages (message_id, claimed_at) VALUES (?, ?)",
            (digest, int(time.time())),
        )
    db.close()


def test_a_claim_that_was_never_finished_may_be_taken_again_after_30_seconds(group: Group) -> None:
    with time_machine.travel("2026-11-23", tick=False) as clock:
        group.invite(GRACE)
        fields = group.vonage.inbound(GRACE, CODE)
        claim(group, fields)

        assert group.deliver(fields) == 503
        clock.shift(29)
        assert group.deliver(fields) == 503
        assert group.vonage.calls("start") == []
        clock.shift(1)
        assert group.deliver(fields) == 204
        assert len(group.vonage.calls("start")) == 1


def test_a_claim_from_a_clock_that_was_ahead_holds_nobody(group: Group) -> None:
    with time_machine.travel("2026-11-23", tick=True) as clock:
        group.invite(GRACE)
        fields = group.vonage.inbound(GRACE, CODE)
        clock.shift(3600)
        claim(group, fields)
        clock.shift(-3600)

        assert group.deliver(fields) == 204
        assert len(group.vonage.calls("start")) == 1


@pytest.mark.parametrize(
    ("old", "acted_on"), [(29 * 60, True), (31 * 60, False), (86_400, False), (-600, True)]
)
@pytest.mark.parametrize("signed", [True, False])
def test_a_text_that_is_older_than_30_minutes_is_not_acted_on(
    group: Group, old: int, acted_on: bool, signed: bool
) -> None:
    with time_machine.travel("2026-11-23 12:00 +0000", tick=True) as clock:
        group.invite(GRACE)
        if not signed:
            group.vonage.signature_secret = None
        fields = group.vonage.inbound(GRACE, CODE)
        clock.shift(old)

        assert group.deliver(fields, "" if signed else group.token()) == 204

        assert bool(group.vonage.calls("start")) is acted_on
        stale = group.one("SELECT count(*) FROM journal WHERE event = 'webhook_stale'")
        assert stale == (not acted_on)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1385047698", 1385047698),
        (1385047698, 1385047698),
        ("2013-11-21 15:28:18", 1385047698),
        ("2013-11-21T15:28:18.000Z", 1385047698),
        ("2013-11-21T16:28:18+01:00", 1385047698),
        ("yesterday", None),
        ("", None),
        (None, None),
        ({}, None),
        ("9" * 40, None),
    ],
)
def test_times_are_read_as_vonage_writes_them(text: object, seconds: int | None) -> None:
    assert parse_time(text) == seconds


def test_a_text_without_a_time_is_taken_for_new(group: Group) -> None:
    group.vonage.signature_secret = None
    group.invite(GRACE)
    fields = group.vonage.inbound(GRACE, CODE)
    del fields["message-timestamp"]

    assert group.deliver(fields, group.token()) == 204
    assert len(group.vonage.calls("start")) == 1


# The PIN request


def test_a_new_text_cancels_the_running_pin_and_sends_a_new_one(group: Group) -> None:
    group.invite(GRACE)
    group.text(GRACE)
    first = group.vonage.pin_of(GRACE)
    group.text(GRACE)
    second = group.vonage.pin_of(GRACE)

    asked = [request.call for request in group.vonage.requests]
    assert asked == ["text", "start", "start", "cancel", "start"]
    assert len(group.vonage.thread(GRACE)) == 3
    browser = group.browser()
    if first != second:
        assert browser.sign_up(GRACE, "grace", first).status_code == 422
    assert browser.sign_up(GRACE, "grace", second).status_code == 303


def test_a_pin_that_vonage_started_before_we_died_is_adopted(group: Group) -> None:
    """Vonage reads the request and texts the PIN, but its answer never arrives; then it calls the
    webhook again with the same message."""
    group.invite(GRACE)
    group.vonage.fail("start", drop, acts=True)
    fields = group.vonage.inbound(GRACE, CODE)

    assert group.deliver(fields) == 503
    assert group.deliver(fields) == 204

    assert len(group.vonage.thread(GRACE)) == 2  # the invite and one PIN
    assert group.one("SELECT pins_sent FROM whitelist") == 1
    browser = group.browser()
    assert browser.sign_up(GRACE, "grace", group.vonage.pin_of(GRACE)).status_code == 303


def test_an_older_pin_is_not_adopted_for_a_text_that_asked_for_a_new_one(group: Group) -> None:
    group.invite(GRACE)
    group.text(GRACE)
    group.vonage.fail("start", drop)
    fields = group.vonage.inbound(GRACE, CODE)

    assert group.deliver(fields) == 503
    assert group.deliver(fields) == 204

    assert len(group.vonage.thread(GRACE)) == 3
    assert group.one("SELECT pins_sent FROM whitelist") == 2


def test_of_two_texts_at_once_the_newest_pin_is_the_good_one(group: Group) -> None:
    """The first is answered so slowly that the second cancels its PIN before it is stored."""
    group.invite(GRACE)

    def text_again(connection: Any, answer: Answer) -> None:
        assert group.text(GRACE) == 204
        connection.answer(answer)

    group.vonage.fail("start", text_again, acts=True)

    assert group.text(GRACE) == 204

    browser = group.browser()
    assert browser.sign_up(GRACE, "grace", group.vonage.pin_of(GRACE)).status_code == 303


def test_a_text_that_comes_late_does_not_end_a_newer_pin(group: Group) -> None:
    group.invite(GRACE)
    group.vonage.fail("start", drop, acts=True)
    late = group.vonage.inbound(GRACE, CODE)
    assert group.deliver(late) == 503
    assert group.text(GRACE) == 204
    sent = group.vonage.thread(GRACE)

    assert group.deliver(late) == 204

    assert group.vonage.thread(GRACE) == sent
    assert group.one("SELECT pins_sent FROM whitelist") == 2
    browser = group.browser()
    assert browser.sign_up(GRACE, "grace", group.vonage.pin_of(GRACE)).status_code == 303


def test_a_text_whose_pin_ran_out_before_it_was_known_is_counted_again(group: Group) -> None:
    with time_machine.travel("2026-11-23 12:00 +0000", tick=True) as clock:
        group.invite(GRACE)
        group.vonage.fail("start", drop, acts=True)
        fields = group.vonage.inbound(GRACE, CODE)
        assert group.deliver(fields) == 503
        clock.shift(301)

        assert group.deliver(fields) == 204

        assert len(group.vonage.thread(GRACE)) == 3
        assert group.one("SELECT pins_sent FROM whitelist") == 2


def test_of_a_text_that_was_counted_twice_one_refusal_gives_back_one(group: Group) -> None:
    """The first PIN did go out, though its answer was lost; the second was refused."""
    with time_machine.travel("2026-11-23 12:00 +0000", tick=True) as clock:
        group.invite(GRACE)
        group.vonage.fail("start", drop, acts=True)
        fields = group.vonage.inbound(GRACE, CODE)
        assert group.deliver(fields) == 503
        clock.shift(301)
        group.vonage.fail("start", answer_with(Answer.of(402, {})))

        assert group.deliver(fields) == 204

        assert group.one("SELECT count(*) FROM journal WHERE event = 'pin_sent'") == 1
        assert group.one("SELECT pins_sent FROM whitelist") == 1


def test_a_text_that_is_taken_up_again_gets_no_pin_that_has_no_try_left(group: Group) -> None:
    group.invite(GRACE)
    group.vonage.fail("start", drop)
    fields = group.vonage.inbound(GRACE, CODE)
    assert group.deliver(fields) == 503
    with sqlite3.connect(group.app.config["DATABASE"]) as db:
        db.execute("UPDATE whitelist SET tries = 10")
    db.close()

    assert group.deliver(fields) == 204
    assert len(group.vonage.thread(GRACE)) == 1


def test_a_refused_text_gives_back_its_own_count(group: Group) -> None:
    group.invite(GRACE)
    second = group.vonage.inbound(GRACE, CODE)

    def refuse_after_another(connection: Any, answer: Answer) -> None:
        assert group.deliver(second) == 204
        connection.answer(Answer.of(402, {}))

    group.vonage.fail("start", refuse_after_another)
    first = group.vonage.inbound(GRACE, CODE)

    assert group.deliver(first) == 204

    newest = "SELECT message_digest FROM pending_verifications"
    counted = group.rows("SELECT detail FROM journal WHERE event = 'pin_sent'")
    assert counted == group.rows(newest)
    assert second["messageId"] not in str(counted)
    assert group.one("SELECT pins_sent FROM whitelist") == 1


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 410, 418, 422])
def test_a_pin_that_vonage_refuses_is_not_asked_for_again(group: Group, status: int) -> None:
    group.invite(GRACE)
    group.vonage.fail("start", answer_with(Answer.of(status, {"title": "No"})))
    fields = group.vonage.inbound(GRACE, CODE)

    assert group.deliver(fields) == 204
    assert group.deliver(fields) == 204

    assert len(group.vonage.calls("start")) == 1
    assert group.one("SELECT pins_sent FROM whitelist") == 0
    assert group.one("SELECT event FROM journal ORDER BY id DESC") == "pin_refused"
    assert group.text(GRACE) == 204  # the friend asks again
    assert len(group.vonage.thread(GRACE)) == 2


@pytest.mark.parametrize(
    "how",
    [
        answer_with(Answer.of(429, {}, "text/html")),
        answer_with(Answer.of(500, {})),
        answer_with(Answer(503, b"<h1>No</h1>", "text/html", {"Retry-After": "60"})),
        answer_with(Answer(202, b"<h1>Hello</h1>", "text/html")),
        answer_with(Answer(202, b"")),
        answer_with(Answer.of(202, None)),
        answer_with(Answer.of(202, [])),
        answer_with(Answer(202, b'{"request_id": "')),
        answer_with(Answer(202, b"[" * 60_000)),
        answer_with(Answer(202, b" " * 70_000 + b'{"request_id": "12345678"}')),
        answer_with(Answer.of(202, {"request_id": "../../verify/control"})),
        answer_with(Answer.of(202, {"request_id": None})),
        answer_with(Answer.of(409, {"title": "Conflict"})),
        answer_with(Answer.of(409, {"request_id": "a/next_workflow"})),
        answer_with(Answer(302, b"", headers={"Location": "https://localhost/v2/verify"})),
        drop,
    ],
)
def test_a_pin_request_that_fails_makes_vonage_call_again(group: Group, how: Any) -> None:
    group.invite(GRACE)
    group.vonage.fail("start", how)
    fields = group.vonage.inbound(GRACE, CODE)

    assert group.deliver(fields) == 503
    assert group.deliver(fields) == 204

    assert group.one("SELECT pins_sent FROM whitelist") == 1
    assert len(group.vonage.thread(GRACE)) == 2


def test_an_invite_withdrawn_while_vonage_is_asked_leaves_no_pin(group: Group) -> None:
    group.invite(GRACE)

    def withdraw(connection: Any, answer: Answer) -> None:
        with sqlite3.connect(group.app.config["DATABASE"]) as db:
            db.execute("DELETE FROM whitelist")
        db.close()
        connection.answer(answer)

    group.vonage.fail("start", withdraw, acts=True)

    assert group.text(GRACE) == 204
    assert group.rows("SELECT * FROM pending_verifications") == []
    assert group.vonage.verifications == {}


# Money


def test_three_pins_in_ten_minutes_and_five_in_all(group: Group) -> None:
    with time_machine.travel("2026-11-23", tick=True) as clock:
        group.invite(GRACE)

        def pins() -> int:
            return len(group.vonage.thread(GRACE)) - 1

        for _ in range(5):
            assert group.text(GRACE) == 204
        assert pins() == 3
        assert group.one("SELECT detail FROM journal ORDER BY id DESC") == "pins-too-fast"
        clock.shift(601)
        for _ in range(3):
            group.text(GRACE)
        assert pins() == 5
        clock.shift(601)
        group.text(GRACE)
        assert pins() == 5
        assert group.one("SELECT detail FROM journal ORDER BY id DESC") == "pins-spent"


def test_the_day_has_a_budget_for_pins(settings: dict[str, str], vonage: Vonage) -> None:
    group = Group(create_app(settings | {"TEXTS_PER_DAY": "2"}), vonage)
    group.invite(GRACE)

    assert [group.text(GRACE), group.text(GRACE)] == [204, 204]

    assert len(vonage.thread(GRACE)) == 2
    assert group.one("SELECT detail FROM journal ORDER BY id DESC") == "budget-spent"


def test_nobody_who_is_not_vonage_makes_a_text_go_out(group: Group) -> None:
    group.invite(GRACE)
    sent = len(group.vonage.requests)
    mallory = group.browser()

    for path in ("/", "/signup", "/admin", "/healthz", "/nothing"):
        mallory.get(path)
    for path in ("/login", "/logout", "/invite", "/answer", "/answer/guess", "/invite/1/revoke"):
        mallory.post(
            path, phone=f"+{GRACE}", username="mallory", pin="123456", text=CODE, msisdn=GRACE
        )

    assert len(group.vonage.requests) == sent


def test_the_token_is_not_the_key_itself(app: Flask) -> None:
    with app.app_context():
        assert len(webhook_token()) == 32
        assert webhook_token() not in app.config["SECRET_KEY"]


def test_a_slow_vonage_is_given_eight_seconds_in_all(group: Group) -> None:
    """409, then a cancel that hangs: three calls to Vonage share one patience."""
    group.invite(GRACE)
    group.text(GRACE)
    group.vonage.fail("cancel", hang(30))
    began = time.monotonic()

    assert group.text(GRACE) == 503

    assert time.monotonic() - began < 10  # the bound of the promise itself, not a benchmark


def test_a_forged_webhook_waits_for_no_lock(group: Group) -> None:
    """Another process writes: what a stranger did is counted, and written later."""
    with closing(sqlite3.connect(group.app.config["DATABASE"], isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        patience = running(group.app).queue.patience
        running(group.app).queue.patience = 10**6  # a wait would never end
        assert group.deliver({"text": CODE}) == 401
        assert group.text(MALLORY) == 204  # the word, from a stranger
        running(group.app).queue.patience = patience
        other.execute("ROLLBACK")
    assert group.rows("SELECT 1 FROM journal") == []

    group.keep_house()

    events = "SELECT event FROM journal ORDER BY event"
    assert group.rows(events) == [("webhook_refused",), ("word_from_stranger",)]


@pytest.mark.parametrize("takes", [False, True])
def test_while_vonage_fails_no_pin_is_claimed(
    group: Group, ada: Browser, vonage_server: Server, takes: bool
) -> None:
    """Neither on the page nor in the journal; and what it certainly didn't take isn't counted."""
    ada.post("/invite", phone=f"+{GRACE}", who="Grace")
    fields = group.vonage.inbound(GRACE, CODE)
    if takes:
        group.vonage.fail("start", drop)
    else:
        point(group.app, f"localhost:{find_port()}")
    assert group.deliver(fields) == 503

    page = ada.get("/admin").text
    assert shown("pin-unsent") in page.split('id="waiting"')[1]
    assert "PIN sent" not in page
    journal = ada.get("/admin/journal").text
    assert "The PIN for Grace couldn&#39;t be sent" in journal
    assert "A PIN was sent to Grace" not in journal
    cost = "SELECT parts FROM journal WHERE event = 'pin_sent' AND invite_id = 2"
    assert group.one(cost) == group.one("SELECT pins_sent FROM whitelist") == int(takes)

    if not takes:
        point(group.app, vonage_server.host)
    assert group.deliver(fields) == 204
    assert "A PIN was sent to Grace" in ada.get("/admin/journal").text
    assert group.one(cost) == group.one("SELECT pins_sent FROM whitelist") == 1
    assert shown("pin-unsent") not in ada.get("/admin").text


def test_an_invite_that_goes_unsent_says_so_for_good(group: Group, ada: Browser) -> None:
    ada.post("/invite", phone=f"+{GRACE}", who="Grace")
    group.vonage.fail("start", drop)
    assert group.deliver(group.vonage.inbound(GRACE, CODE)) == 503
    ada.post("/invite/2/revoke")
    page = ada.get("/admin/journal").text
    assert "No PIN was sent to an invited friend" in page
