"""Who may be invited, how often, and what the admin is told."""

from typing import Any

import pytest
import time_machine

from foundation.typed.mistakes import Mistake
from foundation.typed.phones import parse_phone
from foundation.typed.usernames import parse_username
from foundation.words.clock import DAY
from simulator.vonage import Answer, Vonage, answer_with, change, drop
from wsgi import create_app

from .cast import ADA, CODE, GRACE, MALLORY, Browser, Group, sentence, shown


@pytest.mark.parametrize(
    "text",
    [
        "+12025550101",
        "+1 202 555 0101",
        " +1 (202) 555-0101 ",
        "+1.202.555.0101",
        "\u202a+1 202 555 0101\u202c",  # as pasted from a contact
        "＋１２０２５５５０１０１",
        "+1\u00a0202\u2011555\u20110101",
        "+١٢٠٢٥٥٥٠١٠١",
    ],
)
def test_a_phone_number_is_understood_however_it_is_written(group: Group, text: str) -> None:
    with group.app.app_context():
        assert parse_phone(text) == "12025550101"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "phone-missing"),
        ("   ", "phone-missing"),
        ("ada", "phone-unreadable"),
        ("+1202555010l", "phone-unreadable"),
        ("+4477O0900001", "phone-unreadable"),
        ("+12025550101 x5", "phone-unreadable"),
        ("+12025550101;ext=5", "phone-unreadable"),
        ("tel:+12025550101", "phone-unreadable"),
        ("+1202555\x000101", "phone-unreadable"),
        ("+1202555\n0101 and more words", "phone-unreadable"),
        ("+" + "1" * 60, "phone-unreadable"),
        ("++12025550101", "phone-unreadable"),
        ("²²²²²²²²²²", "phone-unreadable"),
        ("555 0101", "phone-no-country"),
        ("0900 123456", "phone-no-country"),
        ("44 909 8790000", "phone-no-country"),
        ("+", "phone-unreadable"),
        ("+1", "phone-impossible"),
        ("+1 202 555", "phone-impossible"),
        ("+1 555 0101", "phone-impossible"),
        ("+999 123 456 789", "phone-impossible"),
        ("+0012025550101", "phone-impossible"),
        ("+112", "phone-impossible"),
        ("+49 11833", "phone-impossible"),
        ("+49 116117", "phone-impossible"),
        ("+1 900 555 0100", "phone-costly"),
        ("+44 909 8790000", "phone-costly"),
        ("+44 843 0000000", "phone-costly"),
        ("+44 7640 123456", "phone-costly"),
        ("+44 3000 000000", "phone-costly"),
        ("+44 70 1234 5678", "phone-costly"),
        ("+1 800 555 0100", "phone-costly"),
        ("+800 1234 5678", "phone-costly"),
        ("+870 773 111 632", "phone-costly"),
        ("+881 612 345 678", "phone-costly"),
        ("+882 16 1234567", "phone-costly"),
        ("+883 510 012 345 678", "phone-costly"),
        ("+979 123 456 789", "phone-costly"),
    ],
)
def test_a_number_that_no_text_should_go_to_is_refused_with_a_sentence(
    group: Group, text: str, sentence: str
) -> None:
    with group.app.app_context(), pytest.raises(Mistake) as mistake:
        parse_phone(text)

    assert mistake.value.sentence == sentence
    assert group.vonage.requests == []


def test_with_a_default_region_numbers_may_be_typed_the_national_way(
    settings: dict[str, str],
) -> None:
    app = create_app(settings | {"DEFAULT_REGION": "GB"})

    with app.app_context():
        assert parse_phone("07400 123456") == "447400123456"
        assert parse_phone("+1 202 555 0101") == "12025550101"
        for short in ("999", "0101", "118118"):
            with pytest.raises(Mistake):
                parse_phone(short)


@pytest.mark.parametrize("text", ["a", "7", " Ada ", "ada-lovelace", "a_1", "a" * 30, "ADA"])
def test_a_username_is_stripped_and_lower_cased(text: str) -> None:
    assert parse_username(text) == text.strip().lower()


@pytest.mark.parametrize(
    "text",
    ["-ada", "ada-", "_a", "a_", "a" * 31, "a b", "a.b", "ada@x", "<b>", "..", "%2e", "a\r\nb"]
    + ["ａｄａ", "аda", "adá", "ada\u200b", "\u202eada", "ada\x00", "ⓐda", "\u212aate", "ıda"],
)
def test_a_username_that_could_be_mistaken_for_another_is_refused(text: str) -> None:
    with pytest.raises(Mistake, match="username-unreadable"):
        parse_username(text)


@pytest.mark.parametrize("text", ["admin", "Root", "SYSTEM", "me", "null"])
def test_a_reserved_username_is_refused(text: str) -> None:
    with pytest.raises(Mistake, match="username-reserved"):
        parse_username(text)


def test_only_an_admin_sees_the_admin_page_or_invites(group: Group, ada: Browser) -> None:
    grace, mallory = group.join(GRACE, "grace"), group.browser()

    assert ada.get("/admin").status_code == 200
    assert grace.get("/admin").status_code == 403
    assert mallory.get("/admin").location == "/signup?next=/admin"
    sent = len(group.vonage.texts)
    assert grace.post("/invite", phone=f"+{MALLORY}").status_code == 403
    assert mallory.post("/invite", phone=f"+{MALLORY}").location == "/signup"
    assert len(group.vonage.texts) == sent


def test_a_wrong_form_keeps_what_was_typed(group: Group, ada: Browser) -> None:
    answer = ada.post("/invite", phone="+1 202 555", username="Gra ce")

    assert answer.status_code == 422
    assert 'value="+1 202 555"' in answer.text
    assert 'value="Gra ce"' in answer.text
    assert 'id="phone-error">There is no such number.' in answer.text
    assert 'aria-describedby="username-error username-hint"' in answer.text


def test_inviting_again_within_a_minute_changes_nothing(group: Group, ada: Browser) -> None:
    group.invite(GRACE)
    before = group.rows("SELECT * FROM whitelist"), group.rows("SELECT * FROM journal")

    answer = ada.post("/invite", phone=f"+{GRACE}", username="grace")

    assert answer.status_code == 422
    assert shown("invited-just-now") in answer.text
    assert (group.rows("SELECT * FROM whitelist"), group.rows("SELECT * FROM journal")) == before
    assert len(group.vonage.thread(GRACE)) == 1


def test_inviting_too_soon_says_how_long_to_wait(group: Group) -> None:
    with time_machine.travel("2026-11-23", tick=False) as clock:
        ada = group.join(ADA, "ada", bound=True)
        group.invite(GRACE)
        clock.shift(18)

        page = ada.post("/invite", phone=f"+{GRACE}").text
        told = group.command("invite", f"+{GRACE}").output

    assert (
        'You can try again in <span role="timer" data-seconds="42">0:42</span>.</span></p>' in page
    )
    assert told == f"Error: {sentence('invited-just-now')} Wait 42 seconds.\n"


def test_inviting_again_replaces_the_invite_and_its_running_pin(group: Group) -> None:
    with time_machine.travel("2026-11-23", tick=True) as clock:
        group.invite(GRACE)
        group.text(GRACE)
        pin = group.vonage.pin_of(GRACE)
        grace = group.browser()
        grace.sign_up(GRACE, "grace", "000000")
        clock.shift(61)

        group.invite(GRACE)

        assert group.rows("SELECT id, pins_sent, tries FROM whitelist") == [(2, 0, 0)]
        assert group.rows("SELECT * FROM pending_verifications") == []
        assert grace.sign_up(GRACE, "grace", pin).status_code == 422


def test_a_second_invite_for_one_name_replaces_the_first(group: Group) -> None:
    """So that a mistyped number of the first admin is no open door."""
    group.invite(MALLORY, "ada")
    group.invite(ADA, "ada")

    assert group.rows("SELECT phone_hint, username FROM whitelist") == [("00", "ada")]
    group.text(MALLORY)
    assert len(group.vonage.thread(MALLORY)) == 1
    assert ("revoked", "ada") in group.rows("SELECT event, subject FROM journal")


def test_an_invite_that_is_replaced_by_name_takes_its_pin_along(group: Group) -> None:
    group.invite(MALLORY, "ada")
    group.text(MALLORY)

    group.invite(ADA, "ada")

    assert group.rows("SELECT * FROM pending_verifications") == []
    answer = group.browser().sign_up(MALLORY, "ada", group.vonage.pin_of(MALLORY))
    assert answer.status_code == 422


def test_an_invite_runs_out_after_its_days(group: Group) -> None:
    with time_machine.travel("2026-11-23", tick=True) as clock:
        group.invite(GRACE)
        clock.shift(7 * DAY - 60)
        assert group.text(GRACE) == 204
        assert len(group.vonage.thread(GRACE)) == 2
        clock.shift(61)
        grace = group.browser()
        answer = grace.sign_up(GRACE, "grace", group.vonage.pin_of(GRACE))
        assert shown("pin-wrong") in answer.text
        assert group.text(GRACE) == 204
        assert len(group.vonage.thread(GRACE)) == 2
        group.invite(ADA)
        assert group.one("SELECT count(*) FROM whitelist") == 1


def test_a_withdrawn_invite_is_gone_with_its_pin(group: Group, ada: Browser) -> None:
    ada.post("/invite", phone=f"+{GRACE}")
    group.text(GRACE)
    pin = group.vonage.pin_of(GRACE)
    invite_id = group.one("SELECT id FROM whitelist")

    assert ada.post(f"/invite/{invite_id}/revoke").location == "/admin"
    assert ada.post(f"/invite/{invite_id}/revoke").status_code == 404
    assert group.browser().sign_up(GRACE, "grace", pin).status_code == 422
    assert group.rows("SELECT * FROM pending_verifications WHERE author_id IS NULL") == []
    assert "ada withdrew a friend&#39;s invite" in ada.get("/admin/journal").text


def test_the_day_has_a_budget_for_invites(settings: dict[str, str], vonage: Vonage) -> None:
    with time_machine.travel("2026-11-23", tick=True) as clock:
        group = Group(create_app(settings | {"TEXTS_PER_DAY": "3"}), vonage)
        ada = group.join(ADA, "ada", bound=True)
        ada.post("/invite", phone=f"+{GRACE}")

        answer = ada.post("/invite", phone=f"+{MALLORY}")

        assert answer.status_code == 422
        assert shown("budget-spent") in answer.text
        assert "3 of 3 texts" in answer.text
        assert vonage.thread(MALLORY) == []
        assert group.one("SELECT event FROM journal ORDER BY id DESC") == "budget_reached"
        clock.shift(DAY)
        assert ada.post("/invite", phone=f"+{MALLORY}").status_code == 303
        assert len(vonage.thread(MALLORY)) == 1


def sms_error(status: str) -> Any:
    body = {"message-count": "1", "messages": [{"status": status, "error-text": "No."}]}
    return answer_with(Answer.of(200, body))


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (sms_error("4"), "VONAGE_API_SECRET"),
        (sms_error("8"), shown("vonage-permission")),
        (sms_error("9"), shown("vonage-credit")),
        (sms_error("15"), "10DLC"),
        (sms_error("29"), shown("vonage-trial")),
        (sms_error("7"), shown("vonage-number")),
        (sms_error("99"), shown("vonage-parameters")),
        (answer_with(Answer.of(401, {})), "VONAGE_API_SECRET"),
        (answer_with(Answer.of(402, {})), shown("vonage-credit")),
    ],
)
def test_when_vonage_refuses_the_text_the_admin_reads_what_to_fix(
    group: Group, ada: Browser, how: Any, words: str
) -> None:
    spent = group.one("SELECT count(*) FROM journal WHERE event IN ('text_sent', 'pin_sent')")
    group.vonage.fail("text", how)

    answer = ada.post("/invite", phone=f"+{GRACE}")
    page = ada.get(answer.location).text

    assert words in page
    assert "Number ending in 01" in page  # the invite stands
    assert f"{spent} of 100 texts" in page  # nothing was paid
    assert ada.post("/invite", phone=f"+{GRACE}").status_code == 303  # and may be tried at once
    assert len(group.vonage.thread(GRACE)) == 1


@pytest.mark.parametrize(
    "how",
    [
        sms_error("1"),
        sms_error("5"),
        answer_with(Answer.of(429, {})),
        answer_with(Answer.of(500, {})),
        answer_with(Answer(502, b"<h1>Bad gateway</h1>", "text/html")),
        answer_with(Answer(200, b"<h1>Hello</h1>", "text/html")),
        answer_with(Answer(200, b"")),
        answer_with(Answer.of(200, None)),
        answer_with(Answer.of(200, [])),
        answer_with(Answer.of(200, {"message-count": "1", "messages": []})),
        answer_with(Answer.of(200, {"message-count": "1", "messages": [{"status": "4"}]})),
        answer_with(Answer.of(302, {}, "text/html")),
        drop,
        change(messages="none"),
    ],
)
def test_when_vonage_stumbles_the_invite_stands_and_the_admin_is_told(
    group: Group, ada: Browser, how: Any
) -> None:
    group.vonage.fail("text", how)

    answer = ada.post("/invite", phone=f"+{GRACE}")

    assert shown("vonage-unavailable") in ada.get(answer.location).text
    assert "3 of 100 texts" in ada.get("/admin").text  # it may have gone out, so it counts
    assert group.text(GRACE) == 204
    assert "Texted back, PIN sent" in ada.get("/admin").text
    grace = group.browser()
    assert grace.sign_up(GRACE, "grace", group.vonage.pin_of(GRACE)).status_code == 303


def test_a_text_that_certainly_was_not_sent_is_told_as_that(
    settings: dict[str, str], vonage: Vonage
) -> None:
    nobody = settings | {"VONAGE_REST_HOST": "localhost:1"}
    group = Group(create_app(nobody), vonage)

    result = group.command("invite", f"+{GRACE}")

    assert sentence("vonage-unreached") in result.output
    assert group.rows("SELECT event FROM journal") == [("invited",), ("text_refused",)]


@pytest.mark.parametrize(
    ("name", "kind"), [("Trusted Group", "text"), ("Café Ñandù", "text"), ("Дружба", "unicode")]
)
def test_a_text_is_sent_in_an_alphabet_that_has_its_letters(
    settings: dict[str, str], vonage: Vonage, name: str, kind: str
) -> None:
    group = Group(create_app(settings | {"GROUP_NAME": name}), vonage)
    group.invite(GRACE)

    assert vonage.thread(GRACE)[0].startswith(f"You're invited to {name}.")
    assert f"&type={kind}" in vonage.calls("text")[0].body.decode()


def test_an_ordinary_invite_fits_into_one_segment(settings: dict[str, str], vonage: Vonage) -> None:
    names = {"GROUP_NAME": "Sixteen letters!", "INVITE_CODE": "chrysanthemum"}
    longest = names | {"BASE_URL": "https://group.our-village.example"}
    Group(create_app(settings | longest), vonage).invite(GRACE)

    assert len(vonage.thread(GRACE)[0]) <= 160
    assert CODE.upper() not in vonage.thread(GRACE)[0]
