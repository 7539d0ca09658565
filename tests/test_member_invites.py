"""Members who are no admins invite, too, within MEMBER_INVITES."""

import pytest
import time_machine

from app import create_invite
from foundation.words.clock import DAY, MINUTE

from .cast import GRACE, MALLORY, Browser, Group, shown

FRIENDS = [f"1202555012{n}" for n in range(6)]


@pytest.fixture
def grace(group: Group) -> Browser:
    group.app.config["MEMBER_INVITES"] = 2
    return group.join(GRACE, "grace")


def test_a_member_invites_a_friend_who_comes_in(group: Group, grace: Browser) -> None:
    assert 'href="/invite">Invite a friend' in grace.get("/").text

    answer = grace.post("/invite", phone=f"+{MALLORY}", who="from chess")

    assert (answer.status_code, answer.location) == (303, "/invite?new=2")
    page = grace.get(answer.location).text
    assert "from chess is invited; the text is on its way." in page
    assert "ends in 66" in page
    assert "from chess" in page
    assert group.vonage.thread(MALLORY)[0].startswith("grace invited you to Trusted Group.")
    group.text(MALLORY)
    friend = group.browser()
    assert friend.sign_up(MALLORY, "hopper", group.vonage.pin_of(MALLORY)).status_code == 303
    assert "invited by grace" in friend.get("/members").text


def test_nobody_but_admins_invites_unless_the_setting_says_so(group: Group, ada: Browser) -> None:
    grace = group.join(GRACE, "grace")

    assert "Invite a friend" not in grace.get("/").text
    assert grace.get("/invite").status_code == 403
    assert grace.post("/invite", phone=f"+{MALLORY}").status_code == 403
    assert ada.get("/invite").location == "/admin"
    assert group.browser().get("/invite").location == "/signup?next=/invite"
    assert group.rows("SELECT * FROM whitelist") == []


def test_a_guest_invites_nobody(group: Group, grace: Browser) -> None:
    group.rows("UPDATE authors SET ends_at = unixepoch() + 86400")

    assert "Invite a friend" not in grace.get("/").text
    assert grace.get("/invite").status_code == 403
    assert grace.post("/invite", phone=f"+{MALLORY}").status_code == 403


@pytest.mark.parametrize("field", [{"username": "ada"}, {"ends_on": "2030-01-01"}])
def test_names_and_last_days_are_for_admins(
    group: Group, grace: Browser, field: dict[str, str]
) -> None:
    assert grace.post("/invite", phone=f"+{MALLORY}", **field).status_code == 403
    assert group.rows("SELECT * FROM whitelist") == []
    assert 'name="username"' not in grace.get("/invite").text


def test_a_members_invite_displaces_none(group: Group, ada: Browser, grace: Browser) -> None:
    ada.post("/invite", phone=f"+{MALLORY}", username="hopper")
    before = group.rows("SELECT * FROM whitelist")

    answer = grace.post("/invite", phone=f"+{MALLORY}", send="self")

    assert answer.status_code == 422
    assert shown("invited-already") in answer.text
    assert group.rows("SELECT * FROM whitelist") == before


def test_a_member_has_only_so_many_open_invites(group: Group, grace: Browser) -> None:
    for friend in FRIENDS[:2]:
        assert grace.post("/invite", phone=f"+{friend}").status_code == 303
    refused = grace.post("/invite", phone=f"+{FRIENDS[2]}")
    assert (refused.status_code, shown("invites-all-open") in refused.text) == (422, True)

    grace.post(f"/invite/{group.one('SELECT min(id) FROM whitelist')}/revoke")

    assert grace.post("/invite", phone=f"+{FRIENDS[2]}").status_code == 303


def test_a_member_invites_three_friends_a_day(group: Group) -> None:
    with time_machine.travel("2026-11-25 12:00", tick=False) as clock:
        group.app.config["MEMBER_INVITES"] = 100
        grace = group.join(GRACE, "grace")
        for friend in FRIENDS[:3]:
            assert grace.post("/invite", phone=f"+{friend}", send="self").status_code == 200
            clock.shift(MINUTE)
        refused = grace.post("/invite", phone=f"+{FRIENDS[3]}", send="self")
        assert (refused.status_code, shown("invites-of-today") in refused.text) == (422, True)

        clock.shift(DAY - 3 * MINUTE)

        assert grace.post("/invite", phone=f"+{FRIENDS[3]}").status_code == 303
        assert grace.post("/invite", phone=f"+{FRIENDS[4]}").status_code == 422


def test_members_see_and_withdraw_their_own_invites_only(
    group: Group, ada: Browser, grace: Browser
) -> None:
    ada.post("/invite", phone=f"+{FRIENDS[0]}", who="by ada")
    grace.post("/invite", phone=f"+{FRIENDS[1]}", who="by grace")
    by_ada, by_grace = group.rows("SELECT id FROM whitelist ORDER BY id")

    assert "by ada" not in grace.get("/invite").text
    assert "by grace" in ada.get("/admin").text
    assert "by ada" not in grace.get(f"/invite?again={by_ada[0]}").text
    assert grace.post(f"/invite/{by_ada[0]}/revoke").status_code == 403
    answer = grace.post(f"/invite/{by_grace[0]}/revoke")
    assert (answer.status_code, answer.location) == (303, "/invite")
    assert shown("done-withdrawn") in grace.get("/invite").text
    assert group.rows("SELECT id FROM whitelist") == [by_ada]


def test_inviting_again_fills_in_what_the_earlier_invite_said(group: Group, ada: Browser) -> None:
    about = {"username": "hopper", "who": "Film & co", "ends_on": "2030-01-01", "send": "self"}
    ada.post("/invite", phone=f"+{MALLORY}", **about)
    again = f"/admin?again={group.one('SELECT id FROM whitelist')}"

    assert f'href="{again}#invite"' in ada.get("/admin").text
    form = ada.get(again).text.split('<form class="card" id="invite"')[1].split("</form>")[0]

    for value in ("hopper", "Film &amp; co", "2030-01-01"):
        assert f'value="{value}"' in form
    assert 'name="phone" value=""' in form
    assert ada.get("/admin?again=99").status_code == ada.get("/admin?again=x").status_code == 200


@pytest.mark.parametrize("act", ["remove", "last-day"])
def test_somebody_who_goes_while_inviting_leaves_no_invite(
    group: Group, ada: Browser, grace: Browser, act: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the worst moment: after the guard, before the transaction."""
    number = group.one("SELECT id FROM authors WHERE username = 'grace'")

    def act_first(*args: object) -> int:
        ada.post(f"/members/{number}/{act}", ends_on="2099-01-01")
        return create_invite(*args)  # type: ignore[arg-type]

    monkeypatch.setattr("app.create_invite", act_first)

    answer = grace.post("/invite", phone=f"+{MALLORY}")

    assert answer.status_code in (303, 422)
    assert group.rows("SELECT * FROM whitelist") == []
    assert group.vonage.thread(MALLORY) == []


def test_only_an_admin_lifts_a_stop(group: Group, ada: Browser, grace: Browser) -> None:
    grace.post("/invite", phone=f"+{MALLORY}")
    group.text(MALLORY, "STOP")
    group.pass_a_minute()
    invite = group.one("SELECT id FROM whitelist")

    assert "Withdraw" not in grace.get("/invite").text
    assert grace.post(f"/invite/{invite}/revoke").status_code == 403
    refused = grace.post("/invite", phone=f"+{MALLORY}")
    assert shown("invited-already") in refused.text
    assert len(group.vonage.thread(MALLORY)) == 1
    assert "Invite again" not in ada.get("/admin").text
    assert ada.post(f"/invite/{invite}/revoke").status_code == 303


def test_the_invites_of_a_member_who_becomes_a_guest_end(
    group: Group, ada: Browser, grace: Browser
) -> None:
    grace.post("/invite", phone=f"+{MALLORY}")
    number = group.one("SELECT id FROM authors WHERE username = 'grace'")

    ada.post(f"/members/{number}/last-day", ends_on="2099-01-01")

    assert group.rows("SELECT * FROM whitelist") == []


def test_limits_are_said_before_anything_about_the_number(
    group: Group, ada: Browser, grace: Browser
) -> None:
    ada.post("/invite", phone=f"+{FRIENDS[5]}")
    for friend in FRIENDS[:2]:
        grace.post("/invite", phone=f"+{friend}")

    said = [grace.post("/invite", phone=f"+{friend}").text for friend in FRIENDS[4:6]]

    assert all(shown("invites-all-open") in page for page in said)


def test_a_clock_that_was_ahead_locks_nobody_out(group: Group) -> None:
    with time_machine.travel("2026-12-25 12:00", tick=False) as clock:
        group.app.config["MEMBER_INVITES"] = 100
        grace = group.join(GRACE, "grace")
        for friend in FRIENDS[:3]:
            grace.post("/invite", phone=f"+{friend}", send="self")
        group.rows("UPDATE sessions SET seen_at = 0, expires_at = expires_at")
        clock.move_to("2026-12-05 12:00")

        assert grace.post("/invite", phone=f"+{FRIENDS[4]}").status_code == 303


def test_refusals_for_the_budget_do_not_fill_the_journal(group: Group, grace: Browser) -> None:
    group.app.config["TEXTS_PER_DAY"] = 0

    for friend in FRIENDS:
        assert grace.post("/invite", phone=f"+{friend}").status_code == 422

    assert group.one("SELECT count(*) FROM journal WHERE event = 'budget_reached'") == 3


@pytest.mark.parametrize("again", ["9223372036854775808", "-1", "9" * 40, "\u0661", "x", ""])
def test_an_odd_invite_to_repeat_is_none(ada: Browser, again: str) -> None:
    assert ada.get("/admin", query_string={"again": again}).status_code == 200
