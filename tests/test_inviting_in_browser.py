"""Inviting in a real browser, as at a party: with a phone in the hand, and friends all around."""

import re

import pytest
from playwright.sync_api import expect

from .cast import ADA, GRACE, MALLORY, sentence
from .windows import House, press


def test_nobody_types_a_number_and_one_text_is_sent(house: House) -> None:
    ada, bob = house.let_in(ADA, "ada"), house.window().new_page()
    local, vonage = house.local, house.local.vonage
    ada.goto(f"{house.group}/admin")
    ada.get_by_label("Who is it?").fill("Bob, neighbour")
    press(ada, "I'll send it myself")
    assert ada.get_by_role("heading", level=1).inner_text() == "Send this to Bob, neighbour"
    words = ada.locator("#words").inner_text()
    bob.goto(str(ada.locator(".offer a").get_attribute("href")))
    link = bob.get_by_role("link", name="Open in Messages").get_attribute("href")
    number, word = re.findall(r"^sms:\+(\d+)\?&body=(\w+)$", str(link))[0]
    assert number == vonage.number
    assert f"text {word} to +{number}" in words
    texts, pins = len(vonage.calls("text")), len(vonage.calls("start"))

    assert local.text(GRACE, word) == 204
    ada.goto(f"{house.group}/admin")
    assert ada.locator(".list strong").inner_text() == "Bob, neighbour"
    assert ada.locator(".list .note").first.inner_text() == "ends in 01"
    press(bob, "I have the PIN", "link")
    house.sign_up(bob, GRACE, "bob", vonage.pin_of(GRACE))

    assert bob.get_by_role("heading", level=1).inner_text() == "You're in, bob"
    assert (len(vonage.calls("text")), len(vonage.calls("start"))) == (texts, pins + 1)
    press(ada, "Journal", "link")
    expect(ada.get_by_text("A PIN was sent to bob")).to_be_visible()


@pytest.mark.parametrize("button", ["Text them", "I'll send it myself"])
def test_a_reload_invites_nobody_twice(house: House, button: str) -> None:
    ada, local = house.let_in(ADA, "ada"), house.local
    ada.goto(f"{house.group}/admin")
    ada.get_by_label("Who is it?").fill("Grace")
    ada.get_by_label("Phone number").fill(f"+{GRACE}")
    press(ada, button)
    title = ada.get_by_role("heading", level=1).inner_text()
    assert local.text(GRACE) == 204
    before = local.rows("SELECT * FROM whitelist, pending_verifications")

    ada.reload()

    assert ada.get_by_role("heading", level=1).inner_text() == title
    assert local.rows("SELECT * FROM whitelist, pending_verifications") == before
    assert local.one("SELECT count(*) FROM journal WHERE event = 'invited'") == 2  # and Ada's own


def test_the_list_renews_itself_and_what_is_typed_stays(house: House) -> None:
    ada, local = house.let_in(ADA, "ada"), house.local
    local.invite(GRACE)
    local.invite(MALLORY)
    ada.clock.install()
    ada.goto(f"{house.group}/admin")
    ada.get_by_label("Who is it?").fill("Carol")
    ada.get_by_label("Phone number").press_sequentially("+1202")
    asked: list[str] = []
    ada.on("request", lambda request: asked.append(request.url))

    assert local.text(GRACE) == 204
    ada.clock.run_for(5000)
    ada.get_by_text("Texted back, PIN sent").wait_for()
    assert local.text(MALLORY, "stop") == 204
    ada.clock.run_for(5000)
    ada.locator("#needing").get_by_text(sentence("replied-stop")).wait_for()

    assert ada.get_by_label("Who is it?").input_value() == "Carol"
    assert ada.get_by_label("Phone number").input_value() == "+1202"
    assert ada.evaluate("document.activeElement.id") == "phone"

    ada.locator("#waiting summary").click()  # she looks at one, so nothing moves
    asked.clear()
    ada.clock.run_for(20_000)
    assert asked == []
    ada.locator("#waiting summary").click()
    ada.get_by_label("Phone number").focus()
    with ada.expect_response(f"{house.group}/admin"):
        ada.clock.run_for(5000)


def test_withdrawing_asks_and_says_whose(house: House) -> None:
    ada, local = house.let_in(ADA, "ada"), house.local
    ada.goto(f"{house.group}/admin")
    ada.get_by_label("Who is it?").fill("Bob")
    press(ada, "I'll send it myself")
    press(ada, "Invite another friend", "link")
    ada.locator("#waiting summary").click()
    press(ada, "Withdraw the invite of Bob", "link")
    house.look(ada, "withdraw")
    assert ada.get_by_role("heading", level=1).inner_text() == "Withdraw the invite of Bob?"
    press(ada, "Cancel", "link")
    assert local.one("SELECT count(*) FROM whitelist") == 1
    ada.locator("#waiting summary").click()
    press(ada, "Withdraw the invite of Bob", "link")
    press(ada, "Withdraw")
    assert ada.get_by_role("status").inner_text() == sentence("done-withdrawn")
    assert local.one("SELECT count(*) FROM whitelist") == 0
