"""Invites without a number: the first phone that texts an invite's own word is the one."""

import re
import sqlite3
import time
from contextlib import closing

import pytest
import time_machine
from flask import Flask

from foundation.storage.database import fetch_row
from foundation.storage.migrations import create_tables, migrate, read_parts
from foundation.typed.codes import ALPHABET
from foundation.vonage.own_words import derive_word, digest_word, word_of
from foundation.words.clock import DAY, HOUR
from simulator.vonage import Answer, answer_with
from wsgi import create_app

from .cast import ADA, GRACE, MALLORY, ROOT, Browser, Group, Lock, shown
from .own_words import invite, is_unbound, pins

TOLL_FREE = "18005550101"


# The way ------------------------------------------------------------------------------------------


def test_no_digit_is_typed_and_one_text_is_sent(group: Group, ada: Browser) -> None:
    word, texts = invite(ada, who="Bob"), len(group.vonage.calls("text"))
    assert set(word) <= set(ALPHABET)
    bob = group.browser()
    page = bob.get(f"/i/{word}").text
    assert f'href="sms:+12025550199?&amp;body={word}"' in page

    assert group.text(GRACE, word) == 204

    assert 'Bob</strong> <span class="note">ends in 01' in ada.get("/admin").text
    answer = bob.sign_up(GRACE, "bob", group.vonage.pin_of(GRACE))
    assert answer.status_code == 303
    assert bob.username() == "bob"
    assert group.rows("SELECT * FROM whitelist") == []
    assert len(group.vonage.calls("text")) == texts
    assert "A PIN was sent to bob" in ada.get("/admin/journal").text


@pytest.mark.parametrize(
    "write",
    [
        lambda word: word.lower(),
        lambda word: f"  {word}. ",
        lambda word: f"Hi, it's {word}!",
        lambda word: f"{word[:3]} {word[3:]}",
        lambda word: " ".join(word),
        lambda word: "\u200e" + word,
        lambda word: "".join(chr(ord(c) + 0xFEE0) for c in word),  # full width
    ],
)
def test_the_word_however_it_is_typed(group: Group, ada: Browser, write: object) -> None:
    word = invite(ada)
    assert group.text(GRACE, write(word)) == 204  # type: ignore[operator]
    assert not is_unbound(group)


def test_afterwards_it_is_an_invite_like_any_other(group: Group, ada: Browser) -> None:
    word = invite(ada)
    group.text(GRACE, word)
    first = group.vonage.pin_of(GRACE)
    group.text(GRACE)  # the group's word
    assert group.vonage.pin_of(GRACE) != first
    texts = len(group.vonage.calls("text"))
    group.text(GRACE, "what is this?")  # nothing but the PIN is ever texted
    group.text(GRACE, "help")
    assert len(group.vonage.calls("text")) == texts
    group.text(GRACE, "stop")
    assert shown("replied-stop") in ada.get("/admin").text
    group.text(GRACE, word)
    assert group.one("SELECT pins_sent FROM whitelist") == 2  # an own word reopens nothing
    assert group.one("SELECT stopped_at FROM whitelist")
    group.text(GRACE)
    assert not group.one("SELECT stopped_at FROM whitelist")


def test_the_word_is_shown_while_the_invite_is_open(group: Group, ada: Browser) -> None:
    word = invite(ada)
    number = group.one("SELECT id FROM whitelist")
    assert word in ada.get(f"/invite/{number}/words").text
    assert word not in str(group.rows("SELECT * FROM whitelist"))
    assert word not in str(group.rows("SELECT * FROM journal"))
    assert group.browser().get(f"/invite/{number}/words").location.startswith("/signup")
    ada.post(f"/invite/{number}/revoke")
    assert ada.get(f"/invite/{number}/words").location == "/admin"
    assert group.text(GRACE, word) == 204
    assert pins(group) == 1


def test_two_words_never_meet(group: Group, ada: Browser) -> None:
    """Where the first is taken, the next is: the counter goes on."""
    words = {invite(ada) for _ in range(20)}
    assert len(words) == 20
    with group.app.app_context():
        at = int(time.time())
        taken = derive_word(22, at, 0)
    with time_machine.travel(at, tick=False), group.app.app_context():
        group.rows("UPDATE whitelist SET word_digest = ? WHERE id = 3", digest_word(taken))
        word = invite(ada)
        row = fetch_row("SELECT * FROM whitelist WHERE id = 22")
        assert row
        assert word == word_of(row) == derive_word(22, at, 1)


def test_who_may_make_one_and_for_whom(group: Group, ada: Browser) -> None:
    group.app.config["MEMBER_INVITES"] = 2
    grace = group.join(GRACE, "grace")
    assert grace.post("/invite", send="self").status_code == 403
    assert grace.post("/invite", send="text").status_code == 422
    nobody = ada.post("/invite", send="text")
    assert nobody.status_code == 422
    assert shown("phone-or-self") in nobody.text
    named = ada.post("/invite", send="self", username="hopper")
    assert named.status_code == 422
    assert shown("phone-for-name") in named.text
    assert group.rows("SELECT * FROM whitelist") == []


# What binds nothing -------------------------------------------------------------------------------


def test_a_second_phone_is_told_of(group: Group, ada: Browser) -> None:
    word = invite(ada)
    group.text(GRACE, word)
    asked = pins(group)
    group.text(MALLORY, word)
    assert pins(group) == asked
    assert group.one("SELECT phone_hint FROM whitelist") == "01"
    assert shown("replied-another") in ada.get("/admin").text


@pytest.mark.parametrize("phone", [TOLL_FREE, "12125550101", "19005550101"])
def test_only_what_the_form_would_take(group: Group, ada: Browser, phone: str) -> None:
    """A premium number got a PIN."""
    word = invite(ada)
    refused = ada.post("/invite", phone=f"+{phone}").status_code == 422
    group.text(phone, word)
    assert is_unbound(group) == refused
    assert (pins(group) == 1) == refused


def test_a_late_text_binds_nothing(group: Group, ada: Browser) -> None:
    word = invite(ada)
    fields = group.vonage.inbound(GRACE, word)
    with time_machine.travel(time.time() + 2 * HOUR, tick=True):
        assert group.deliver(fields, group.token()) == 204
        assert is_unbound(group)
        assert shown("replied-late") in ada.get("/admin").text


def test_a_number_that_said_stop_is_not_bound(group: Group, ada: Browser) -> None:
    ada.post("/invite", phone=f"+{GRACE}")
    group.text(GRACE, "stop")
    word = invite(ada)
    group.text(GRACE, word)
    assert pins(group) == 1
    assert group.rows("SELECT phone_hint FROM whitelist ORDER BY id") == [("01",), (None,)]


def test_a_number_with_an_invite_gets_its_own_pin(group: Group, ada: Browser) -> None:
    ada.post("/invite", phone=f"+{GRACE}")
    word = invite(ada)
    group.text(GRACE, word)
    assert pins(group) == 2
    assert group.rows("SELECT phone_hint, pins_sent FROM whitelist ORDER BY id") == [
        ("01", 1),
        (None, 0),
    ]


def test_a_receipt_is_not_wiped(group: Group, ada: Browser) -> None:
    group.invite(GRACE)
    group.text(GRACE)
    grace, pin = group.browser(), group.vonage.pin_of(GRACE)
    grace.sign_up(GRACE, "grace", pin)
    word = invite(ada)
    group.text(GRACE, word)
    assert is_unbound(group)
    assert grace.sign_up(GRACE, "grace", pin).status_code == 303  # the same answer again


def test_what_is_over_makes_way(group: Group) -> None:
    """An expired row of the same phone gave 500 until it was pruned."""
    with time_machine.travel("2026-11-23 12:00", tick=False) as clock:
        ada = group.join(ADA, "ada", bound=True)
        ada.post("/invite", phone=f"+{GRACE}")
        clock.shift(7 * DAY - 10)
        word = invite(ada)
        clock.shift(20)  # over, and not pruned yet
        assert group.one("SELECT count(*) FROM whitelist") == 2
        assert group.text(GRACE, word) == 204
        assert group.rows("SELECT phone_hint FROM whitelist") == [("01",)]


def test_a_pin_that_is_refused_burns_no_word(group: Group, ada: Browser) -> None:
    word = invite(ada)
    group.vonage.fail("start", answer_with(Answer.of(402, {})))
    group.text(GRACE, word)
    assert is_unbound(group)
    assert "no PIN sent" in ada.get("/admin").text
    group.text(MALLORY, word)
    assert group.one("SELECT phone_hint FROM whitelist") == "66"


def test_a_number_that_had_a_pin_stays(group: Group, ada: Browser) -> None:
    word = invite(ada)
    group.text(GRACE, word)
    group.vonage.fail("start", answer_with(Answer.of(402, {})))
    group.text(GRACE, word)
    assert group.one("SELECT phone_hint FROM whitelist") == "01"


def test_where_vonage_doesnt_answer_it_calls_again(group: Group, ada: Browser) -> None:
    word = invite(ada)
    group.vonage.fail("start", answer_with(Answer(500, b"")))
    fields = group.vonage.inbound(GRACE, word)
    assert group.deliver(fields) == 503
    assert group.one("SELECT phone_hint FROM whitelist") == "01"
    assert group.deliver(fields) == 204
    assert group.browser().sign_up(GRACE, "grace", group.vonage.pin_of(GRACE)).status_code == 303


# Guessing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "write",
    [
        lambda word: f"{word} BCDFGH",  # one long text was 22 guesses
        lambda word: f"{word}X",
        lambda word: word[:5],
        lambda word: f"http://localhost:8000/i/{word}",  # quotes us
        lambda word: word.replace(word[0], "A"),
    ],
)
def test_what_is_no_guess(group: Group, ada: Browser, write: object) -> None:
    word = invite(ada)
    assert group.text(GRACE, write(word)) == 204  # type: ignore[operator]
    assert is_unbound(group)


def test_a_part_of_a_text_is_no_guess(group: Group, ada: Browser) -> None:
    word = invite(ada)
    parts = {"concat": "true", "concat-ref": "7", "concat-total": "2", "concat-part": "1"}
    assert group.deliver(group.vonage.inbound(GRACE, word) | parts, group.token()) == 204
    assert is_unbound(group)


@pytest.mark.slow
def test_ten_thousand_wrong_words(group: Group, ada: Browser) -> None:
    """No text, no row, no lock: another program has the database locked all the while."""
    word = invite(ada)
    before, asked = group.rows("SELECT * FROM whitelist"), pins(group)
    lines = group.one("SELECT count(*) FROM journal")
    group.lose_patience()
    token, lock = group.token(), Lock(group.app.config["DATABASE"])
    fields = group.vonage.inbound(MALLORY, "x")
    try:
        for guess in range(10_000):
            letters = "".join(ALPHABET[guess // 28**place % 28] for place in range(6))
            fields |= {"text": letters, "messageId": f"{guess:016x}"}
            if letters != word:
                assert group.deliver(fields, token) == 204
    finally:
        lock.release()
    group.keep_house()
    assert group.rows("SELECT * FROM whitelist") == before
    assert pins(group) == asked
    assert group.one("SELECT count(*) FROM journal") == lines + 1
    assert "Texts with a word that no invite has, in a day: " in ada.get("/admin/journal").text


def test_the_link_looks_nothing_up(group: Group, ada: Browser) -> None:
    word = invite(ada)
    stranger = group.browser()
    other = "BCDFGH" if word != "BCDFGH" else "CDFGHJ"
    real, made_up = stranger.get(f"/i/{word}"), stranger.get(f"/i/{other}")
    picture = re.compile("<svg.*?</svg>", re.S)
    assert picture.sub("", real.text).replace(word, "") == picture.sub("", made_up.text).replace(
        other, ""
    )
    assert stranger.get(f"/i/{word.lower()}").status_code == 200
    for odd in ("BCDFG", "BCDFGHJ", "BCDFGA", "bcdfg1", "%00BCDFG", "B-DFGH"):
        assert stranger.get(f"/i/{odd}").status_code == 404, odd


# The table ----------------------------------------------------------------------------------------


def test_the_table_comes_along(app: Flask) -> None:
    """Open, stopped and running rows, from the version before."""
    parts = read_parts(ROOT, [])
    old = [parts[0]._replace(steps={n: s for n, s in parts[0].steps.items() if n < 9})]
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.executescript((ROOT / "tests" / "version_1.sql").read_text())
        migrate(db, old)
        columns = "phone_digest, phone_hint, note, stopped_at, created_at, expires_at"
        db.execute(f"INSERT INTO whitelist ({columns}) VALUES ('a', '01', 'Bob', NULL, 1, 9)")
        db.execute(f"INSERT INTO whitelist ({columns}) VALUES ('b', '02', NULL, 5, 1, 9)")
        db.execute("DELETE FROM whitelist WHERE phone_digest = 'b'")
        highest = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'whitelist'").fetchone()
        before = db.execute("SELECT count(*), max(pins_sent) FROM whitelist").fetchone()
        migrate(db, parts)
        assert db.execute("SELECT count(*), max(pins_sent) FROM whitelist").fetchone() == before
        assert db.execute("SELECT who FROM whitelist WHERE phone_digest = 'a'").fetchone() == (
            "Bob",
        )
        new = db.execute(
            "INSERT INTO whitelist (word_digest, created_at, expires_at) VALUES ('w', 1, 9)"
            " RETURNING id"
        ).fetchone()
        assert new[0] > highest[0]
    for values in ("NULL, NULL, NULL", "'x', NULL, NULL", "NULL, '01', 'w'"):
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
            create_tables(db, parts)
            with pytest.raises(sqlite3.IntegrityError):
                db.execute(
                    "INSERT INTO whitelist (phone_digest, phone_hint, word_digest, created_at,"
                    f" expires_at) VALUES ({values}, 1, 9)"
                )


def test_a_new_key_drops_them_too(settings: dict[str, str], group: Group, ada: Browser) -> None:
    invite(ada)
    create_app(settings | {"SECRET_KEY": "another-secret-key-of-more-than-32-characters"})
    assert group.rows("SELECT * FROM whitelist") == []
