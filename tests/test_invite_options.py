"""What an admin may say of an invite: a note, a guest's last day, and who sends it."""

import pytest
import time_machine

from .conftest import ADA, GRACE, MALLORY, Browser, Group, shown


def test_a_note_is_seen_while_the_invite_is_open(group: Group, ada: Browser) -> None:
    ada.post("/invite", phone=f"+{GRACE}", note="  Grace <from>  chess ")
    assert "Grace &lt;from&gt; chess" in ada.get("/admin").text
    assert "chess" not in str(group.rows("SELECT * FROM journal"))

    group.text(GRACE)
    group.browser().sign_up(GRACE, "grace", group.vonage.pin_of(GRACE))

    assert "chess" not in ada.get("/admin").text
    assert "chess" not in str(group.rows("SELECT * FROM authors"))


@pytest.mark.parametrize(
    ("note", "sentence"),
    [
        ("call 12025550101", "note-number"),
        ("+1 (202) 555-01", "note-number"),
        ("2.0.2.5.5.5", "note-number"),
        ("20_25_55", "note-number"),
        ("\u0661\u0662\u0663\u0664\u0665\u0666", "note-number"),
        ("x" * 61, "note-too-long"),
        ("a\x00b", "note-too-long"),
    ],
)
def test_a_note_keeps_no_number(group: Group, ada: Browser, note: str, sentence: str) -> None:
    answer = ada.post("/invite", phone=f"+{GRACE}", note=note)

    assert answer.status_code == 422
    assert shown(sentence) in answer.text
    assert f'value="+{GRACE}"' in answer.text
    assert group.rows("SELECT * FROM whitelist") == []


def test_a_guest_may_be_invited_for_some_days(group: Group) -> None:
    with time_machine.travel("2026-11-25 12:00", tick=False) as clock:
        ada = group.join(ADA, "ada", bound=True)
        assert ada.post("/invite", phone=f"+{GRACE}", ends_on="2026-12-06").status_code == 303
        assert "a guest until 6 December 2026" in ada.get("/admin").text
        group.text(GRACE)
        grace = group.browser()
        grace.sign_up(GRACE, "grace", group.vonage.pin_of(GRACE))

        clock.move_to("2026-12-06 23:59:59+00:00")
        assert grace.get("/auth").status_code == 200
        clock.move_to("2026-12-07 00:00:00+00:00")
        assert grace.get("/auth").status_code == 401


@pytest.mark.parametrize(
    ("day", "name", "sentence"),
    [
        ("tomorrow", "", "day-unreadable"),
        ("2026-13-01", "", "day-unreadable"),
        ("06.12.2026", "", "day-unreadable"),
        ("2026-11-26", "", "day-too-soon"),
        ("2026-12-01", "", "day-too-soon"),  # the invite itself ends on the 2nd
        ("1999-01-01", "", "day-too-soon"),
        ("2026-12-24", "ada", "day-for-admin"),
    ],
)
def test_a_last_day_that_cannot_be(group: Group, day: str, name: str, sentence: str) -> None:
    with time_machine.travel("2026-11-25 12:00", tick=False):
        ada = group.join(ADA, "ada", bound=True)

        answer = ada.post("/invite", phone=f"+{GRACE}", username=name, ends_on=day)

        assert answer.status_code == 422
        assert shown(sentence) in answer.text
        assert group.rows("SELECT * FROM whitelist") == []


def test_an_admin_may_send_the_words_themselves(group: Group, ada: Browser) -> None:
    texts, cost = len(group.vonage.calls("text")), group.one("SELECT sum(parts) FROM journal")
    group.app.config["TEXTS_PER_DAY"] = 2  # which Ada's own invite has used up

    page = ada.get(ada.post("/invite", phone=f"+{GRACE}", send="self").location).text

    words = "text SUNFLOWER to +12025550199 from this phone to get your PIN, then sign in at"
    links = "http://localhost:8000/signup (about our texts: http://localhost:8000/texts)"
    assert f"Join us in Trusted Group: {words} {links}</span>" in page
    assert 'href="sms:?&amp;body=Join%20us%20in%20Trusted%20Group%3A%20text%20SUNFLOWER' in page
    assert len(group.vonage.calls("text")) == texts
    assert group.one("SELECT sum(parts) FROM journal") == cost
    assert group.one("SELECT delivery FROM whitelist") == "self"

    group.app.config["TEXTS_PER_DAY"] = 100
    assert group.text(GRACE) == 204
    grace = group.browser()
    assert grace.sign_up(GRACE, "grace", group.vonage.pin_of(GRACE)).status_code == 303
    assert ada.post("/invite", phone=f"+{MALLORY}", send="text").status_code == 303
    assert len(group.vonage.calls("text")) == texts + 1


def test_no_cooldown_stands_in_the_way_of_sending_it_oneself(group: Group, ada: Browser) -> None:
    ada.post("/invite", phone=f"+{GRACE}")

    assert ada.post("/invite", phone=f"+{GRACE}").status_code == 422
    assert ada.post("/invite", phone=f"+{GRACE}", send="self").status_code == 303
    assert group.one("SELECT count(*) FROM whitelist") == 1
