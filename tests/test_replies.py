"""What friends text back: no reply is lost in silence."""

from typing import Any

import pytest
import time_machine

from foundation.words.clock import DAY, MINUTE
from simulator.vonage import Answer, answer_with
from wsgi import create_app

from .cast import ADA, CODE, GRACE, MALLORY, Browser, Group, shown


@pytest.fixture
def grace_invited(group: Group) -> str:
    group.invite(GRACE)
    return GRACE


def pins(group: Group) -> int:
    return int(group.one("SELECT count(*) FROM journal WHERE event = 'pin_sent'"))


@pytest.mark.parametrize(
    "text",
    [
        "SUN FLOWER",
        "sun-flower",
        "S U N F L O W E R",
        "\uff33\uff35\uff2e\uff26\uff2c\uff2f\uff37\uff25\uff32",  # full width
        "sun\u00adflower",  # a soft hyphen
        "\u200esunflower\u200f",
        "SUNFLOWER\U0001f33b",
        "Hi! My word: Sunflower, thanks \u2019",
    ],
)
def test_the_word_is_found(group: Group, grace_invited: str, text: str) -> None:
    assert group.text(GRACE, text) == 204
    assert pins(group) == 1


@pytest.mark.parametrize("text", ["D\u0130L\u0130JAN", "d\u0131l\u0131jan", "dilijan", "DILIJAN"])
def test_turkish_letters_are_the_same_word(
    settings: dict[str, str], vonage: Any, text: str
) -> None:
    group = Group(create_app(settings | {"INVITE_CODE": "dilijan"}), vonage)
    group.invite(GRACE)

    assert group.text(GRACE, text) == 204
    assert pins(group) == 1


@pytest.mark.parametrize(
    "text", ["sunflowers", "moon flower sun", "sun flower power", "asunflower"]
)
def test_other_words_are_not_the_word(group: Group, grace_invited: str, text: str) -> None:
    assert group.text(GRACE, text) == 204
    assert pins(group) == 0


# Parts


def part(
    group: Group, text: str, number: int, ref: str = "7", total: str = "3", **more: str
) -> int:
    fields = {"concat": "true", "concat-ref": ref, "concat-total": total}
    fields |= {"concat-part": str(number)} | more
    return group.deliver(group.vonage.inbound(GRACE, text, **fields))


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2), (2, 3, 1)])
def test_each_part_of_a_long_reply_is_searched_and_all_act_once(
    group: Group, grace_invited: str, order: tuple[int, ...]
) -> None:
    texts = {1: "Dear Ada, the word is sunflower.", 2: "I repeat:", 3: "sunflower. Yours, Grace"}

    for number in order:
        assert part(group, texts[number], number) == 204

    assert pins(group) == 1
    assert len(group.vonage.calls("text")) == 1  # the invite; a part never brings a hint
    assert part(group, texts[1], 1, ref="8") == 204
    assert pins(group) == 2  # another text


def test_the_carriers_number_for_a_text_comes_again(group: Group) -> None:
    with time_machine.travel("2026-11-25 12:00", tick=False) as clock:
        group.invite(GRACE)
        assert part(group, "sunflower", 1) == 204
        clock.shift(31 * MINUTE)
        assert part(group, "sunflower", 2) == 204

        assert pins(group) == 2


def test_one_of_one_is_an_ordinary_text(group: Group, grace_invited: str) -> None:
    assert part(group, "hello?", 1, total="1") == 204

    assert len(group.vonage.calls("text")) == 2  # the invite, and the hint


# Other replies


def test_a_reply_without_the_word_is_said_and_brings_one_hint(group: Group, ada: Browser) -> None:
    group.invite(GRACE)
    before = group.one("SELECT sum(parts) FROM journal")

    for text in ("yes please", "who is this?", "hello?"):
        assert group.text(GRACE, text) == 204

    assert group.vonage.thread(GRACE)[1:] == ["Reply with just SUNFLOWER"]
    page = ada.get("/admin").text
    assert shown("replied-otherwise") in page
    assert "An invited friend replied, but without the word" in ada.get("/admin/journal").text
    assert "yes please" not in str(group.rows("SELECT * FROM journal"))
    assert group.one("SELECT sum(parts) FROM journal") == before + 1
    assert group.text(GRACE) == 204
    assert shown("replied-otherwise") not in ada.get("/admin").text


def test_no_hint_goes_over_the_budget(group: Group, grace_invited: str) -> None:
    group.app.config["TEXTS_PER_DAY"] = 1

    assert group.text(GRACE, "hello?") == 204

    assert len(group.vonage.calls("text")) == 1
    assert group.one("SELECT replied FROM whitelist") == "replied-otherwise"


def test_a_hint_that_vonage_refuses_costs_nothing(group: Group, grace_invited: str) -> None:
    refusal = {"message-count": "1", "messages": [{"status": "9", "error-text": "No"}]}
    group.vonage.fail("text", answer_with(Answer.of(200, refusal)))

    assert group.text(GRACE, "hello?") == 204

    assert group.one("SELECT sum(parts) FROM journal") == 1
    assert group.rows("SELECT event FROM journal WHERE event LIKE 'hint%'") == [("hint_refused",)]


def test_a_tapback_is_no_reply(group: Group, grace_invited: str) -> None:
    (invite,) = group.vonage.thread(GRACE)

    assert group.text(GRACE, f"Loved \u201c{invite}\u201d") == 204

    assert pins(group) == 0
    assert group.one("SELECT replied FROM whitelist") is None


@pytest.mark.parametrize("kind", ["image", "video"])
def test_a_pictures_caption_counts(group: Group, grace_invited: str, kind: str) -> None:
    fields = group.vonage.inbound_message(GRACE, "")
    del fields["text"]
    fields |= {"message_type": kind, kind: {"url": "https://x.example/1", "caption": "Sunflower!"}}

    assert group.deliver(fields, group.token(), as_json=True) == 204

    assert pins(group) == 1


def test_a_reply_that_came_too_late_is_said(group: Group) -> None:
    with time_machine.travel("2026-11-25 12:00", tick=False) as clock:
        ada = group.join(ADA, "ada", bound=True)
        group.invite(GRACE)
        reply = group.vonage.inbound(GRACE, CODE)
        clock.shift(31 * MINUTE)

        assert group.deliver(reply) == 204

        assert pins(group) == 1  # Ada's
        assert shown("replied-late") in ada.get("/admin").text
        assert "A reply arrived more than 30 minutes late" in ada.get("/admin/journal").text


def test_the_word_from_strangers_is_one_line_a_day(group: Group, ada: Browser) -> None:
    with time_machine.travel("2026-11-25 12:00", tick=False) as clock:
        for phone in (MALLORY, MALLORY, "12025550177"):
            assert group.text(phone) == 204
        line = "SELECT detail FROM journal WHERE event = 'word_from_stranger'"
        assert group.rows(line) == [('{"": 1}',)]  # the others are counted in memory
        assert group.rows("SELECT 1 FROM inbound_messages WHERE done_at IS NULL") == []
        group.keep_house()
        assert group.rows(line) == [('{"": 3}',)]
        assert group.text(MALLORY, "hello") == 204
        assert len(group.rows(line)) == 1
        clock.shift(DAY)
        assert group.text(MALLORY) == 204

        assert len(group.rows(line)) == 2
        ada = group.join(ADA, "ada", bound=True)
        assert "numbers that aren&#39;t invited, in a day: 3" in ada.get("/admin/journal").text
        assert group.vonage.thread(MALLORY) == []


def test_a_text_that_comes_by_get_is_said_once_a_day(group: Group, ada: Browser) -> None:
    token = group.token()
    for _ in range(3):
        answer = group.browser().get(f"/answer/{token}?msisdn={GRACE}&text=sunflower")
        assert answer.status_code == 405
    assert group.browser().get("/answer/guessed?text=sunflower").status_code == 401
    assert group.browser().get(f"/answer/{token}").status_code == 200

    assert group.one("SELECT count(*) FROM journal WHERE event = 'webhook_by_get'") == 1
    assert "set the webhook&#39;s method to POST" in ada.get("/admin/journal").text


# STOP


def test_after_stop_a_number_is_not_texted_until_an_admin_says_so(
    group: Group, ada: Browser
) -> None:
    group.invite(GRACE)
    group.text(GRACE, "Stop")
    texts = len(group.vonage.calls("text"))

    assert shown("replied-stop") in ada.get("/admin").text
    assert group.text(GRACE, "who are you?") == 204
    group.pass_a_minute()
    again = ada.post("/invite", phone=f"+{GRACE}")
    assert again.status_code == 422
    assert shown("phone-stopped") in again.text
    assert len(group.vonage.calls("text")) == texts

    id = group.one("SELECT id FROM whitelist")
    assert ada.post(f"/invite/{id}/revoke").status_code == 303
    assert ada.post("/invite", phone=f"+{GRACE}").status_code == 303


def test_the_friends_own_word_opens_a_stopped_invite_again(group: Group) -> None:
    group.invite(GRACE, "grace")
    group.text(GRACE, "STOP")

    assert group.text(GRACE) == 204

    grace = group.browser()
    assert grace.sign_up(GRACE, "grace", group.vonage.pin_of(GRACE)).status_code == 303


def test_a_stopped_invites_name_is_free(group: Group, ada: Browser) -> None:
    group.invite(GRACE, "grace")
    group.text(GRACE, "STOP")

    group.invite(MALLORY, "grace")
    assert group.one("SELECT count(*) FROM whitelist") == 2
    assert group.text(GRACE) == 204  # too late: two phones could sign in as one member

    assert len(group.vonage.calls("start")) == 1  # Ada's
    assert group.one("SELECT stopped_at FROM whitelist WHERE phone_hint = '01'") is not None
    assert group.text(MALLORY) == 204
    mallory = group.browser()
    assert mallory.sign_up(MALLORY, "grace", group.vonage.pin_of(MALLORY)).status_code == 303


def test_a_stopped_phone_never_signs_in_as_somebody_who_has_the_name_now(group: Group) -> None:
    """The admin mistyped a number, whose owner said STOP, and invited the right one."""
    group.invite(MALLORY, "ada")
    group.text(MALLORY, "STOP")
    ada = group.join(ADA, "ada", bound=True)

    assert group.text(MALLORY) == 204

    assert len(group.vonage.calls("start")) == 1  # Ada's
    assert "was invited under this name" in ada.get("/admin/journal").text


def test_a_stopped_invites_name_may_be_chosen_and_is_gone_then(group: Group) -> None:
    group.invite(MALLORY, "grace")
    group.text(MALLORY, "STOP")
    group.join(GRACE, "grace")

    assert group.text(MALLORY) == 204

    assert len(group.vonage.calls("start")) == 1  # Grace's


def test_stop_counts_however_late_it_comes(group: Group) -> None:
    with time_machine.travel("2026-11-25 12:00", tick=False) as clock:
        group.invite(GRACE)
        fields = group.vonage.inbound(GRACE, "STOP")
        clock.shift(2 * 3600)
        assert group.deliver(fields) == 204

    assert group.one("SELECT stopped_at FROM whitelist") is not None


def test_a_word_from_before_the_stop_opens_nothing(group: Group, grace_invited: str) -> None:
    """Vonage delivered it a second time, or late."""
    with time_machine.travel("2026-11-25 12:00", tick=False) as clock:
        group.invite(GRACE)
        group.vonage.fail("start", answer_with(Answer.of(500, {})), times=1)
        first, uncounted = (group.vonage.inbound(GRACE, CODE) for _ in range(2))
        assert group.deliver(first) == 503
        clock.shift(10)
        group.text(GRACE, "STOP")
        clock.shift(10)

        for fields in (first, uncounted):
            assert group.deliver(fields) == 204

        assert len(group.vonage.thread(GRACE)) == 2  # the two invites
        assert group.one("SELECT stopped_at FROM whitelist") is not None
        assert group.text(GRACE) == 204
        assert len(group.vonage.thread(GRACE)) == 3


@pytest.mark.parametrize("how", ["Liked", "Disliked"])
def test_a_tapback_in_parts_is_no_reply(group: Group, how: str) -> None:
    group.invite(GRACE)
    (invite,) = group.vonage.thread(GRACE)
    parts = group.vonage.inbound_parts(GRACE, f"{how} \u201c{invite}\u201d")
    assert len(parts) == 3

    for fields in parts:
        assert group.deliver(fields) == 204
    assert pins(group) == 0

    group.text(GRACE, "STOP")
    for fields in group.vonage.inbound_parts(GRACE, f"{how} \u201c{invite}\u201d"):
        assert group.deliver(fields) == 204
    assert group.one("SELECT stopped_at FROM whitelist") is not None


def test_a_tapback_of_the_hint_is_no_reply(group: Group, grace_invited: str) -> None:
    group.text(GRACE, "hello?")

    assert group.text(GRACE, "Loved \u201cReply with just SUNFLOWER\u201d") == 204

    assert pins(group) == 0


def test_thanks_after_a_pin_brings_no_hint(group: Group, ada: Browser) -> None:
    group.invite(GRACE)
    group.text(GRACE)

    assert group.text(GRACE, "Thanks!") == 204

    assert len(group.vonage.thread(GRACE)) == 2
    assert "PIN sent just now" in ada.get("/admin").text


def test_an_old_reply_after_a_pin_is_no_news(group: Group) -> None:
    with time_machine.travel("2026-11-25 12:00", tick=False) as clock:
        group.invite(GRACE)
        old = group.vonage.inbound(GRACE, CODE)
        clock.shift(60)
        group.text(GRACE)
        clock.shift(31 * MINUTE)

        assert group.deliver(old) == 204

    assert group.one("SELECT replied FROM whitelist") is None


def test_a_part_that_failed_and_another_with_the_word_are_one_pin(
    group: Group, grace_invited: str
) -> None:
    group.vonage.fail("start", answer_with(Answer.of(500, {})))

    assert part(group, "sunflower", 1) == 503
    assert part(group, "sunflower", 2) == 204

    assert group.one("SELECT pins_sent FROM whitelist") == 1
    assert len(group.vonage.thread(GRACE)) == 2


def test_a_stop_outlives_who_invited(group: Group, ada: Browser) -> None:
    group.invite(MALLORY, "grace")
    group.text(MALLORY, "STOP")
    group.join(GRACE, "grace")
    id = group.one("SELECT id FROM authors WHERE username = 'grace'")
    ada.post(f"/members/{id}/remove")
    group.pass_a_minute()

    assert shown("phone-stopped") in ada.post("/invite", phone=f"+{MALLORY}").text
    assert group.text(MALLORY) == 204
    assert len(group.vonage.calls("start")) == 2  # Ada's and Grace's


def test_no_id_of_vonages_is_kept(group: Group, ada: Browser, grace_invited: str) -> None:
    fields = group.vonage.inbound(GRACE, CODE)
    assert group.deliver(fields) == 204

    for table in ("inbound_messages", "journal", "pending_verifications"):
        assert fields["messageId"] not in str(group.rows(f"SELECT * FROM {table}"))
