"""A name is one person's forever, and what it owns elsewhere too."""

import json
import re
import sqlite3
import time

import pytest
import time_machine

from foundation.typed.usernames import suggest_usernames, tidy_username
from foundation.words.clock import DAY

from .cast import ADA, CODE, GRACE, MALLORY, ROOT, Browser, Group, shown


def write(group: Group, sql: str, *values: object) -> None:
    with sqlite3.connect(group.app.config["DATABASE"]) as db:
        db.execute(sql, values)
    db.close()


def remove(group: Group, ada: Browser, name: str) -> None:
    id = group.one("SELECT id FROM authors WHERE username = ?", name)
    assert ada.post(f"/members/{id}/remove").status_code == 303


def test_nobody_inherits_a_removed_members_name(group: Group, ada: Browser) -> None:
    group.join(MALLORY, "mallory")
    remove(group, ada, "mallory")
    group.invite(GRACE)
    group.text(GRACE)
    grace = group.browser()

    taken = grace.sign_up(GRACE, "mallory", group.vonage.pin_of(GRACE))

    assert taken.status_code == 422
    assert shown("username-taken") in taken.text
    assert grace.sign_up(GRACE, "grace", group.vonage.pin_of(GRACE)).status_code == 303
    assert grace.get("/auth").headers["Remote-User"] == "grace"


def test_an_invite_for_the_name_brings_the_same_member_back(group: Group, ada: Browser) -> None:
    group.join(GRACE, "grace")
    before = group.rows("SELECT id, public_id FROM authors WHERE username = 'grace'")
    remove(group, ada, "grace")
    assert "<span>grace</span>" not in ada.get("/").text

    grace = group.join(MALLORY, "grace", bound=True)

    assert grace.username() == "grace"
    assert group.rows("SELECT id, public_id FROM authors WHERE username = 'grace'") == before
    assert "grace is back" in ada.get("/admin/journal").text
    assert "<span>grace</span>" in ada.get("/").text


def test_public_ids_are_random_and_stay(group: Group, ada: Browser) -> None:
    for number in range(5):
        group.join(f"1202555015{number}", f"friend-{number}")

    ids = [id for (id,) in group.rows("SELECT public_id FROM authors")]
    assert len(set(ids)) == 6
    assert all(len(id) == 32 for id in ids)


def test_a_removed_admins_open_invites_are_gone(group: Group, ada: Browser) -> None:
    group.app.config["ADMINS"] = frozenset({"ada", "henry"})
    henry = group.join("12025550150", "henry", bound=True)
    henry.post("/invite", phone=f"+{MALLORY}")
    group.text(MALLORY)
    pin = group.vonage.pin_of(MALLORY)
    group.app.config["ADMINS"] = frozenset({"ada"})

    remove(group, ada, "henry")

    assert group.rows("SELECT * FROM whitelist") == []
    assert group.browser().sign_up(MALLORY, "mallory", pin).status_code == 422
    assert group.text(MALLORY) == 204
    assert len(group.vonage.calls("start")) == 3


def test_a_guest_is_out_when_their_day_is_over(group: Group) -> None:
    with time_machine.travel("2026-11-25 12:00", tick=False) as clock:
        ada = group.join(ADA, "ada", bound=True)
        group.invite(GRACE)
        write(group, "UPDATE whitelist SET ends_at = ?", int(time.time()) + 3 * DAY)
        group.text(GRACE)
        grace = group.browser()
        grace.sign_up(GRACE, "grace", group.vonage.pin_of(GRACE))
        clock.shift(3 * DAY - 1)
        assert grace.get("/auth").status_code == 200
        assert "<span>grace</span>" in ada.get("/").text

        clock.shift(1)

        assert grace.get("/auth").status_code == 401
        assert grace.username() is None
        assert "<span>grace</span>" not in ada.get("/").text
        group.invite(MALLORY)
        group.text(MALLORY)
        answer = group.browser().sign_up(MALLORY, "grace", group.vonage.pin_of(MALLORY))
        assert shown("username-taken") in answer.text
        again = group.join(GRACE, "grace", bound=True)  # and an invite without an end lifts it
        clock.shift(9 * DAY)
        assert again.username() == "grace"


@pytest.mark.parametrize("name", ["12025550101", "2025-55", "20-25_55", "grace123456", "123456"])
def test_a_number_is_no_name(group: Group, grace_texted: str, name: str) -> None:
    grace = group.browser()

    answer = grace.sign_up(GRACE, name, grace_texted)

    assert answer.status_code == 422
    assert shown("username-number") in answer.text
    assert group.one("SELECT tries FROM whitelist") == 0
    assert grace.sign_up(GRACE, "grace12345", grace_texted).status_code == 303


def test_the_word_is_no_name_and_strangers_dont_learn_it(
    group: Group, ada: Browser, grace_texted: str
) -> None:
    stranger = group.browser().sign_up(MALLORY, CODE, "123456")
    invited = group.browser().sign_up(GRACE, CODE, grace_texted)
    at_invite = ada.post("/invite", phone=f"+{MALLORY}", username=CODE)

    assert shown("username-reserved") not in stranger.text
    assert shown("pin-wrong") in stranger.text
    assert shown("username-reserved") in invited.text
    assert at_invite.status_code == 422
    assert shown("username-reserved") in at_invite.text
    assert group.one("SELECT tries FROM whitelist") == 1


def test_names_can_be_guessed_ten_times_at_most(group: Group, ada: Browser) -> None:
    """Somebody who knows Grace's number could learn her username while her PIN runs."""
    group.invite(GRACE, "grace")
    group.text(GRACE)
    mallory = group.browser()

    answers = [mallory.sign_up(GRACE, f"guess-{number}", "000000").text for number in range(11)]

    assert shown("username-not-invited") in answers[9]
    assert shown("tries-spent") in answers[10]
    assert group.one("SELECT tries FROM whitelist") == 10


def test_a_guests_old_devices_do_not_come_back(group: Group) -> None:
    old = group.join(GRACE, "grace")
    write(group, "UPDATE authors SET ends_at = ?", int(time.time()) - 1)
    assert old.get("/auth").status_code == 401

    new = group.join(GRACE, "grace", bound=True)

    assert new.username() == "grace"
    assert old.get("/auth").status_code == 401
    assert old.username() is None


# As it is typed -----------------------------------------------------------------------------------

TYPED = json.loads((ROOT / "tests" / "usernames.json").read_text())


@pytest.mark.parametrize(("typed", "name"), TYPED)
def test_a_name_is_tidied(typed: str, name: str) -> None:
    """test_sign_in_in_browser asks static/app.js the same."""
    assert tidy_username(typed) == name
    assert tidy_username(name) == name


def test_a_tidied_name_is_the_members_and_what_was_typed_stays(
    group: Group, grace_texted: str
) -> None:
    grace = group.browser()

    refused = grace.sign_up(GRACE, "Grace Hopper", "000000")
    assert 'value="Grace Hopper"' in refused.text
    assert grace.sign_up(GRACE, "Grace Hopper", grace_texted).status_code == 303
    assert grace.username() == "grace-hopper"


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("王小明", "username-missing"),
        ("grace " * 6, "username-unreadable"),
        ("A D M I N", None),
        ("Admin!", "username-reserved"),
        ("+1 (202) 555-0101", "username-number"),
        ("12 34 56", "username-number"),
    ],
)
def test_after_tidying_the_rules_hold(
    group: Group, grace_texted: str, typed: str, told: str | None
) -> None:
    answer = group.browser().sign_up(GRACE, typed, grace_texted)
    assert answer.status_code == (422 if told else 303)
    assert told is None or shown(told) in answer.text


@pytest.mark.parametrize("typed", ["Sun-Flower", "SUN FLOWER", "sun_flower!"])
def test_the_word_is_no_name_however_it_is_typed(
    group: Group, grace_texted: str, typed: str
) -> None:
    assert shown("username-reserved") in group.browser().sign_up(GRACE, typed, grace_texted).text
    assert group.rows("SELECT * FROM authors") == []


def test_two_free_names_are_offered_while_a_pin_runs(group: Group, ada: Browser) -> None:
    group.join("12025550150", "grace")
    group.join("12025550151", "grace-2")
    group.invite("12025550152", "grace-4")
    group.invite(GRACE)
    group.text(GRACE)
    pin = group.vonage.pin_of(GRACE)
    grace = group.browser()

    taken = grace.sign_up(GRACE, "Grace", pin)

    assert re.findall(r'data-fill="username">([^<]+)<', taken.text) == ["grace-3", "grace-5"]
    assert group.one("SELECT tries FROM whitelist WHERE username IS NULL") == 1
    stranger = group.browser().sign_up(MALLORY, "grace", "123456")
    assert shown("pin-wrong") in stranger.text
    assert "data-fill" not in stranger.text
    assert grace.sign_up(GRACE, "grace-3", pin).status_code == 303


def test_offered_names_are_names(group: Group, ada: Browser) -> None:
    """Also of a long one, of one with digits at its end, and while somebody holds one."""
    assert next(suggest_usernames("a" * 30)) == "a" * 28 + "-2"
    assert next(suggest_usernames("b" * 27 + "-xy")) == "b" * 27 + "-2"
    assert list(suggest_usernames("12345")) == []  # it would be six digits
    assert all(tidy_username(name) == name for name in suggest_usernames("grace"))
    group.invite(GRACE)
    group.text(GRACE)
    group.rows(
        "UPDATE pending_verifications SET username = 'ada-2' WHERE author_id IS NULL"
    )  # somebody else's lease
    group.invite(MALLORY)
    group.text(MALLORY)
    answer = group.browser().sign_up(MALLORY, "ada", group.vonage.pin_of(MALLORY))
    assert re.findall(r'data-fill="username">([^<]+)<', answer.text) == ["ada-3", "ada-4"]


def test_an_empty_field_is_the_invites_own_name(group: Group, ada: Browser) -> None:
    group.invite(GRACE, "grace")
    group.text(GRACE)
    grace = group.browser()
    pin = group.vonage.pin_of(GRACE)

    other = grace.sign_up(GRACE, "hopper", pin)
    assert shown("username-not-invited") in other.text
    assert grace.sign_up(GRACE, "  ", pin).status_code == 303

    assert grace.username() == "grace"
    cookie = grace.cookie()
    assert grace.sign_up(GRACE, "", pin).status_code == 303  # the same form again
    assert grace.cookie() == cookie


def test_an_empty_field_is_no_name_where_the_invite_has_none(
    group: Group, grace_texted: str
) -> None:
    grace = group.browser()

    answer = grace.sign_up(GRACE, "", grace_texted)

    assert answer.status_code == 422
    assert shown("username-missing") in answer.text
    assert group.one("SELECT tries FROM whitelist") == 1
    assert group.vonage.calls("check") == []
    stranger = group.browser().sign_up(MALLORY, "", "123456")
    assert shown("username-missing") not in stranger.text
    assert shown("pin-wrong") in stranger.text


def test_a_member_whose_name_is_like_the_word_comes_back(group: Group, ada: Browser) -> None:
    """As could happen before names were tidied."""
    group.join(GRACE, "grace")
    group.rows("UPDATE authors SET username = 'sun-flower' WHERE username = 'grace'")
    assert group.join(GRACE, "sun-flower", bound=True).username() == "sun-flower"
