"""What an admin may say of an invite: a note, a guest's last day, and who sends it."""

import pytest
import time_machine

from .cast import ADA, GRACE, MALLORY, Browser, Group, once_of, shown


def test_a_note_is_seen_while_the_invite_is_open(group: Group, ada: Browser) -> None:
    ada.post("/invite", phone=f"+{GRACE}", who="  Grace <from>  chess ")
    assert "Grace &lt;from&gt; chess" in ada.get("/admin").text
    assert "chess" not in str(group.rows("SELECT * FROM journal"))

    group.text(GRACE)
    group.browser().sign_up(GRACE, "grace", group.vonage.pin_of(GRACE))

    assert "chess" not in ada.get("/admin").text
    assert "chess" not in str(group.rows("SELECT * FROM authors"))


@pytest.mark.parametrize(
    ("note", "sentence"),
    [
        ("call 12025550101", "line-number"),
        ("+1 (202) 555-01", "line-number"),
        ("2.0.2.5.5.5", "line-number"),
        ("20_25_55", "line-number"),
        ("\u0661\u0662\u0663\u0664\u0665\u0666", "line-number"),
        ("x" * 61, "who-too-long"),
        ("a\x00b", "who-too-long"),
    ],
)
def test_a_note_keeps_no_number(group: Group, ada: Browser, note: str, sentence: str) -> None:
    answer = ada.post("/invite", phone=f"+{GRACE}", who=note)

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
        ("2026-11-24", "", "day-over"),
        ("1999-01-01", "", "day-over"),
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

    answer = ada.post("/invite", phone=f"+{GRACE}", send="self", who="Grace <3")
    page = answer.text

    words = "text SUNFLOWER to +12025550199 from this phone. You get a PIN; sign in with it at"
    links = "http://localhost:8000/signup (about our texts: http://localhost:8000/texts)"
    assert f"Join us in Trusted Group: {words} {links}</p>" in page
    body = "body=Join%20us%20in%20Trusted%20Group%3A%20text%20SUNFLOWER"
    assert f'href="sms:+{GRACE}?&amp;{body}' in page
    assert "<h1>Send this to Grace &lt;3</h1>" in page
    assert "Only the phone ending in 01 can answer." in page
    assert answer.headers["Cache-Control"] == "no-store"
    again = ada.get(f"/invite/{group.one('SELECT id FROM whitelist')}/words").text
    assert f'href="sms:?&amp;{body}' in again  # the number is nowhere any more
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
    assert ada.post("/invite", phone=f"+{GRACE}", send="self").status_code == 200
    assert group.one("SELECT count(*) FROM whitelist") == 1


def test_a_guest_for_a_weekend(group: Group) -> None:
    """The invite ends with the visit."""
    with time_machine.travel("2026-11-27 12:00", tick=False) as clock:
        ada = group.join(ADA, "ada", bound=True)
        assert ada.post("/invite", phone=f"+{GRACE}", ends_on="2026-11-28").status_code == 303
        ends_at, expires_at = group.rows("SELECT ends_at, expires_at FROM whitelist")[0]
        assert ends_at == expires_at
        group.text(GRACE)
        grace = group.browser()
        grace.sign_up(GRACE, "grace", group.vonage.pin_of(GRACE))
        clock.shift(36 * 3600 - 1)
        assert grace.username() == "grace"
        clock.shift(1)
        assert grace.username() is None


# A form that is sent again -----------------------------------------------------------------------


@pytest.mark.parametrize("send", ["text", "self"])
def test_a_form_that_is_sent_again_invites_once(group: Group, ada: Browser, send: str) -> None:
    form = {"phone": f"+{GRACE}", "send": send, "once": once_of(ada.get("/admin").text)}
    first = ada.post("/invite", **form)
    group.text(GRACE)
    before = group.rows("SELECT * FROM whitelist, pending_verifications")

    second = ada.post("/invite", **form)

    assert (second.status_code, second.location) == (first.status_code, first.location)
    assert send == "text" or second.text.split("<main")[1] == first.text.split("<main")[1]
    assert group.rows("SELECT * FROM whitelist, pending_verifications") == before
    assert len(group.vonage.calls("text")) == (2 if send == "text" else 1)
    group.browser().sign_up(GRACE, "grace", group.vonage.pin_of(GRACE))
    assert ada.post("/invite", **form).status_code == 303  # the invite is gone, and stays so
    assert group.rows("SELECT * FROM whitelist") == []


def test_withdrawing_asks(group: Group, ada: Browser) -> None:
    ada.post("/invite", phone=f"+{GRACE}", who="Grace from chess")
    page = ada.get("/invite/2/revoke").text
    assert "<h1>Withdraw the invite of Grace from chess?</h1>" in page
    assert group.one("SELECT count(*) FROM whitelist") == 1
    assert ada.get("/invite/99/revoke").status_code == 404
    assert group.browser().get("/invite/2/revoke").status_code == 303
    assert ada.post("/invite/2/revoke").status_code == 303
    assert group.rows("SELECT * FROM whitelist") == []


# Who needs the admin ------------------------------------------------------------------------------


def test_those_who_need_the_admin_stand_above_the_form(group: Group, ada: Browser) -> None:
    for number in range(3):
        ada.post("/invite", phone=f"+1202555015{number}", who=f"Friend {number}")
    page = ada.get("/admin").text
    assert "Waiting: 3" in page
    assert '<span class="tag">' not in page.split("</header>")[0]

    group.text("12025550151", "hello?")
    group.text("12025550152", "stop")

    page = ada.get("/admin").text
    above, below = page.split('id="invite"')
    assert ["Friend 0" in above, "Friend 1" in above, "Friend 2" in above] == [False, True, True]
    assert "Friend 0" in below
    assert "Waiting: 1" in below
    assert "We texted back how." in above
    for path in ("/", "/admin", "/admin/members"):
        assert '<span class="tag">2</span>' in ada.get(path).text.split("</header>")[0]
    group.text("12025550151")
    assert '<span class="tag">1</span>' in ada.get("/").text.split("</header>")[0]


def test_the_result_warns_the_friend(group: Group, ada: Browser) -> None:
    page = ada.get(ada.post("/invite", phone=f"+{GRACE}", who="Grace", language="de").location).text
    result = page.split('id="needing"')[0]
    assert "Grace is invited; the text is on its way." in result
    assert "Du bekommst eine SMS von +12025550199" in result
