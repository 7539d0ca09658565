"""The whole journey in a real browser, as `make demo` shows it: two people with two phones, on the
simulator's own page. Then every page in every state that it can be in. What they show is judged by
axe, by the browser's own console and by its reports of what the policy forbade."""

import json
import os
import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from foundation.words.clock import DAY
from simulator.server import make_certificate
from simulator.vonage import Answer, Connection, Vonage, drop
from wsgi import create_app

from .cast import (
    ADA,
    GRACE,
    MALLORY,
    Group,
    Lock,
    answering,
    find_port,
    pass_a_minute,
    require_chromium,
    require_executable,
    sentence,
    wait_for,
)
from .windows import (
    FLAGS,
    House,
    Stage,
    add_screen_lock,
    other_than,
    press,
    read_picture,
    send,
)

POST = """({ path, text }) => {
    const form = Object.assign(document.createElement("form"), { method: "post", action: path });
    form.append(Object.assign(document.createElement("input"), { name: "text", value: text }));
    document.body.append(form);
    form.submit();
}"""


# The journey, as `make demo` shows it ------------------------------------------------------------


def test_two_people_come_in_with_two_phones(stage: Stage) -> None:
    ada = stage.window().new_page()
    ada.goto(stage.group)
    stage.look(ada, "landing")
    ada.get_by_role("link", name="I was invited").click()
    ada.wait_for_url(f"{stage.group}/signup")
    stage.look(ada, "sign-up")
    pin = stage.reply(ADA)
    stage.sign_up(ada, ADA, "ada", f"{pin[:3]} {pin[3:]}")
    assert ada.get_by_role("heading", level=1).inner_text() == "You're in, ada"
    stage.look(ada, "welcome")
    press(ada, "Not now", "link")
    assert ada.get_by_role("heading", level=1).inner_text() == "Hello, ada"
    press(ada, "Admin", "link")
    expect(ada.get_by_text("No one is invited at the moment.")).to_be_visible()
    stage.look(ada, "admin-empty")

    ada.get_by_label("Phone number").fill(f"+{GRACE}")
    stage.snap(ada, "journey-1")
    stage.invite(ada, GRACE)
    expect(
        ada.get_by_text("Number ending in 01 is invited; the text is on its way.")
    ).to_be_visible()
    stage.look(ada, "admin-invited")
    grace = stage.window().new_page()
    pin = stage.reply(GRACE)
    stage.snap_phone(GRACE, "journey-2")
    stage.sign_up(grace, GRACE, "ada", pin)
    stage.look(grace, "sign-up-taken-name")
    assert grace.get_by_label("Your phone number").input_value() == f"+{GRACE}"
    assert grace.evaluate("document.activeElement.id") == "username"
    stage.sign_up(grace, GRACE, "grace", other_than(pin))
    expect(grace.get_by_text(sentence("pin-wrong"))).to_be_visible()
    stage.look(grace, "sign-up-wrong-pin")
    stage.fill(grace, GRACE, "grace", pin)
    stage.snap(grace, "journey-3")
    send(grace)
    press(grace, "Not now", "link")
    assert grace.get_by_role("heading", level=1).inner_text() == "Hello, grace"
    expect(grace.get_by_role("heading", name="1 friend")).to_be_visible()
    stage.look(grace, "home")
    press(grace, "Our wiki", "link")
    expect(grace.get_by_text("Hello grace")).to_be_visible()
    grace.get_by_label("What everybody here should know").fill("Club night is on Tuesday.")
    press(grace, "Save")
    stage.snap(grace, "journey-4")
    stage.look(grace, "wiki")
    stage.compose()
    grace.goto(stage.group)

    pass_a_minute(stage.database)
    stage.invite(ada, GRACE, "grace")
    tablet = stage.window().new_page()
    stage.sign_up(tablet, GRACE, "grace", stage.reply(GRACE))
    press(grace, "grace", "link")
    expect(grace.get_by_text("this device", exact=True)).to_be_visible()
    stage.look(grace, "devices")
    assert ada.get_by_role("button", name="Sign out").count() == 0  # on no page but the account's
    press(grace, "Sign out all others")
    stage.look(grace, "sign-out-others")
    press(grace, "Sign out all others")
    tablet.goto(stage.group)
    expect(tablet.get_by_text("You're signed out on this device.")).to_be_visible()
    stage.look(tablet, "landing-signed-out")

    press(ada, "Journal", "link")
    stage.look(ada, "journal")
    press(ada, "Members", "link")
    stage.look(ada, "members")
    open_member(ada, "grace")
    stage.look(ada, "member")
    press(ada, "Last day", "link")
    ada.get_by_label("Last day").fill("2099-12-31")
    press(ada, "Save")
    expect(ada.get_by_text("guest until 31 December 2099")).to_be_visible()
    open_member(ada, "grace")
    press(ada, "Sign out everywhere", "link")
    stage.look(ada, "members-sign-out")
    press(ada, "Cancel", "link")
    press(ada, "Remove grace", "link")
    stage.look(ada, "members-remove")
    press(ada, "Remove grace")
    stage.look(ada, "members-removed")
    reader = grace.context.new_page()
    reader.goto(stage.wiki)  # the next click of somebody who was removed
    assert reader.url.startswith(f"{stage.group}/signup")
    stage.table.goto(stage.phones)
    assert stage.table.locator("#steps .done").count() == 6
    stage.table.context.grant_permissions(["clipboard-read", "clipboard-write"])
    stage.table.locator(".thread .copy").last.click()
    assert stage.table.evaluate("navigator.clipboard.readText()").isdecimal()
    press(grace, "Add another device")  # while the page is still open
    assert grace.url.startswith(f"{stage.group}/signup")


def test_what_other_tabs_show_is_gone_after_signing_out(house: House) -> None:
    """Also where it was done from elsewhere; and a tab of somebody who is in stays as it was."""
    house.local.invite(ADA, "ada")
    ada = house.window().new_page()
    house.sign_up(ada, ADA, "ada", house.reply(ADA))
    ada.goto(f"{house.group}/admin/members")
    come_back(ada)
    ada.wait_for_timeout(500)
    assert ada.url.endswith("/admin/members")
    house.write("DELETE FROM sessions")
    come_back(ada)
    ada.wait_for_url(f"{house.group}/")
    expect(ada.get_by_text("You're signed out on this device.")).to_be_visible()


def come_back(page: Page) -> None:
    """To a tab: headless browsers show all of theirs always."""
    with page.expect_response(lambda answer: urlsplit(answer.url).path == "/"):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def test_signing_out_is_asked_and_leaving_is_too(house: House) -> None:
    house.local.invite(ADA, "ada")
    ada = house.window().new_page()
    house.sign_up(ada, ADA, "ada", house.reply(ADA))
    house.invite(ada, GRACE)
    grace = house.window().new_page()
    house.sign_up(grace, GRACE, "grace", house.reply(GRACE))
    for page, who, name in ((ada, "ada", "leave-as-admin"), (grace, "grace", "leave")):
        press(page, who, "link")
        press(page, "Leave the group", "link")
        house.look(page, name)
    press(grace, "Leave the group")
    assert grace.get_by_role("status").inner_text() == sentence("done-left")
    house.look(grace, "left")
    press(ada, "Back", "link")
    press(ada, "Sign out", "link")
    house.look(ada, "sign-out")
    press(ada, "Cancel", "link")
    ada.goto(f"{house.group}/logout")
    press(ada, "Sign out")
    assert ada.get_by_role("status").inner_text() == sentence("done-signed-out")


def open_member(page: Page, name: str) -> None:
    """From the list, whose rows say more than the name."""
    with page.expect_navigation():
        page.get_by_role("link", name=re.compile(f"^{name}\\b")).click()


def wait_until_shown(page: Page, text: str) -> None:
    """It comes about by a webhook, while nobody presses anything."""

    def is_shown() -> bool:
        page.reload()
        return page.get_by_text(text).first.is_visible()

    wait_for(is_shown, seconds=60)


def test_a_pin_that_ran_out_is_no_way_in_and_a_new_one_is(house: House) -> None:
    house.local.invite(ADA, "ada")
    ada = house.window().new_page()
    pin = house.reply(ADA)
    house.play(ADA, "Let the PIN expire")
    house.sign_up(ada, ADA, "ada", pin)
    expect(ada.get_by_text(sentence("pin-wrong"))).to_be_visible()
    house.look(ada, "sign-up-expired-pin")

    house.sign_up(ada, ADA, "ada", house.reply(ADA))

    assert ada.get_by_role("heading", level=1).inner_text() == "You're in, ada"


def test_without_script_and_by_keyboard_alone(house: House) -> None:
    house.local.invite(ADA, "ada")
    page = house.window(java_script_enabled=False).new_page()
    pin = house.reply(ADA)
    page.goto(f"{house.group}/signup")
    for text in (f"+{ADA}", pin, "ada"):
        tab_to(page, "INPUT")
        page.keyboard.type(text)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{house.group}/welcome")

    assert page.get_by_role("heading", level=1).inner_text() == "You're in, ada"
    assert not page.get_by_role("button", name="Add a passkey").is_visible()


def tab_to(page: Page, element: str) -> None:
    """Press Tab until such an element has the focus. (`evaluate` works without the page's own
    scripts, too.)"""
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.tagName") == element:
            return
    raise AssertionError(f"no {element} can be reached by Tab")


def test_the_stage_delays_and_loses_texts_and_plays_tricks(stage: Stage) -> None:
    table, ada = stage.table, stage.window().new_page()
    stage.sign_up(ada, ADA, "ada", stage.reply(ADA))
    stage.look(table, "phones")
    grace, mallory = (table.locator(f"#phone-{phone}") for phone in (GRACE, MALLORY))
    grace.get_by_role("button", name="delayed").click()
    grace.locator("[aria-pressed=true]", has_text="delayed").wait_for()
    mallory.get_by_role("button", name="never").click()
    mallory.locator("[aria-pressed=true]", has_text="never").wait_for()
    stage.invite(ada, GRACE)
    stage.invite(ada, MALLORY)
    grace.get_by_text("A text is on its way").wait_for()
    mallory.get_by_text("A text could not be delivered.").wait_for()
    stage.look(table, "phones-in-trouble")
    grace.get_by_text("invited you to").wait_for(timeout=20_000)
    grace.get_by_role("button", name="Reply STOP").click()
    for told in (sentence("replied-stop"), sentence("undelivered-number")):
        wait_until_shown(ada, told)

    asked = table.locator("#wire code", has_text="/v2/verify").count()
    assert stage.play(MALLORY, "Deliver one by GET").endswith("405")
    for trick in ("Forge a reply", "Sign it with a guess", "Change the sender of a real one"):
        assert stage.play(MALLORY, trick).endswith("401")
    for trick in ("Deliver the last reply again", "Deliver one from yesterday"):
        assert stage.play(MALLORY, trick).endswith("204")
    assert table.locator("#wire code", has_text="/v2/verify").count() == asked

    table.get_by_label("Its number, with the country code").fill("+1 202 555 0103")
    table.get_by_role("button", name="Add it").click()
    table.locator("#phone-12025550103").wait_for()


def test_a_second_window_is_added_as_another_device(house: House) -> None:
    house.local.invite(ADA, "ada")
    phone, laptop = house.window().new_page(), house.window().new_page()
    house.sign_up(phone, ADA, "ada", house.reply(ADA))
    press(phone, "ada", "link")
    press(phone, "Add another device")
    house.look(phone, "device-code")
    laptop.goto(read_picture(phone))  # as its camera would
    house.look(laptop, "device-join")
    press(laptop, "Continue")
    laptop.locator(".code").wait_for()
    house.look(laptop, "device-digits")
    phone.get_by_label("The two digits").wait_for()  # it noticed by itself
    house.look(phone, "device-confirm")
    phone.get_by_label("The two digits").fill(laptop.locator(".code").inner_text())
    press(phone, "Add this device")
    laptop.wait_for_url(f"{house.group}/")  # by itself, too
    expect(laptop.get_by_text("This device is added. You're ada.")).to_be_visible()
    phone.get_by_text("is signed in as ada").wait_for()
    house.look(phone, "device-added")
    press(phone, "Done", "link")
    house.look(phone, "devices-two")
    phone.goto(house.group)
    assert phone.locator(".news").count() == 0  # it knows what it did today
    press(phone, "ada", "link")
    press(phone, "Add another device")
    stranger = house.window().new_page()
    stranger.goto(read_picture(phone))
    press(stranger, "Continue")
    press(phone, "That's not mine")
    house.look(phone, "device-refused")
    stranger.get_by_text(sentence("offer-not-me")).wait_for()
    house.look(stranger, "device-not-added")


def test_a_passkey_signs_in_where_nobody_is_signed_in_any_more(house: House) -> None:
    house.local.invite(ADA, "ada")
    window = house.window()
    page = window.new_page()
    add_screen_lock(page)
    house.sign_up(page, ADA, "ada", house.reply(ADA))
    press(page, "ada", "link")
    page.get_by_role("button", name="Add a passkey").click()
    page.get_by_text(sentence("done-passkey-added")).wait_for()
    house.look(page, "devices-passkey")
    press(page, "Rename the passkey HeadlessChrome on Linux", "link")
    house.look(page, "passkey-rename")
    page.get_by_label("Name").fill("My phone")
    press(page, "Save")
    press(page, "Add another device")
    house.look(page, "passkey-confirm")
    page.get_by_role("button", name="Confirm").click()
    page.wait_for_url(f"{house.group}/devices/add")
    press(page, "Show a code")
    page.locator("svg.qr").wait_for()

    page.goto(f"{house.group}/logout")
    press(page, "Sign out")
    page.goto(f"{house.group}/signup")
    house.look(page, "sign-up-passkey")
    page.get_by_text("Been here before?").click()
    page.get_by_role("button", name="Use a passkey").click()
    page.get_by_role("heading", name="Hello, ada").wait_for()
    stranger = house.window().new_page()
    stranger.goto(house.group)
    add_screen_lock(stranger)
    stranger.get_by_role("button", name="Use a passkey").click()
    stranger.get_by_role("alert").get_by_role("link", name="Add this device").click()
    stranger.wait_for_url(f"{house.group}/join")


def test_a_passkey_that_is_lost_is_removed_without_it(house: House) -> None:
    house.local.invite(ADA, "ada")
    page = house.window().new_page()
    add_screen_lock(page)
    house.sign_up(page, ADA, "ada", house.reply(ADA))
    press(page, "ada", "link")
    page.get_by_role("button", name="Add a passkey").click()
    page.get_by_text(sentence("done-passkey-added")).wait_for()
    house.write("UPDATE sessions SET created_at = created_at - 600")  # ten minutes pass
    remove = "Remove the passkey HeadlessChrome on Linux"
    press(page, remove)
    house.look(page, "passkey-confirm-ending")
    page.get_by_role("button", name="Confirm").click()
    page.get_by_role("heading", name=remove).wait_for()
    press(page, "Cancel", "link")
    house.write("UPDATE sessions SET data = '{}'")
    press(page, remove)
    press(page, "I don't have it any more", "link")
    house.look(page, "passkey-unconfirmed")
    press(page, "Remove")
    press(page, "Add another device")
    house.look(page, "passkey-on-hold")


def test_a_passkey_works_on_https(
    chromium: Browser, settings: dict[str, str], vonage: Vonage, tmp_path: Path
) -> None:
    port, certificate = find_port(), make_certificate(tmp_path)
    url = f"https://localhost:{port}"
    group = Group(create_app(settings | {"BASE_URL": url}), vonage)
    keys = (str(certificate), str(certificate.with_suffix(".key")))
    group.invite(GRACE)
    group.text(GRACE)
    # A browser of its own: where a certificate is not trusted, Chromium has no passkeys.
    trusting = [*FLAGS, "--ignore-certificate-errors"]
    path = require_chromium()
    browser = chromium.browser_type.launch(executable_path=path, args=trusting)
    with answering(group.app, port, ssl_context=keys):
        add_and_use_passkey(browser.new_page(), url, vonage.pin_of(GRACE))
        browser.close()


def add_and_use_passkey(page: Page, url: str, pin: str) -> None:
    add_screen_lock(page)
    page.goto(f"{url}/signup")
    page.get_by_label("Your phone number").fill(f"+{GRACE}")
    page.get_by_label("PIN", exact=True).fill(pin)
    page.get_by_label("Username").fill("grace")
    send(page)
    page.get_by_role("button", name="Add a passkey").click()
    page.get_by_text(sentence("done-passkey-added")).wait_for()
    page.goto(f"{url}/logout")
    press(page, "Sign out")
    page.goto(url)
    page.get_by_role("button", name="Use a passkey").click()
    page.get_by_role("heading", name="Hello, grace").wait_for()


def test_another_device_without_script_and_with_a_wrong_number(house: House) -> None:
    house.local.invite(ADA, "ada")
    first, second = (house.window(java_script_enabled=False).new_page() for _ in range(2))
    house.sign_up(first, ADA, "ada", house.reply(ADA))
    for digits_are_right in (False, True):
        first.goto(f"{house.group}/devices/add")
        first.locator("form[action='/devices/add'] button").click()
        second.goto(read_picture(first))
        press(second, "Continue")
        digits = second.locator(".code").inner_text()
        first.get_by_label("The two digits").wait_for()  # the page refreshes itself
        wrong = f"{(int(digits) + 1) % 100:02d}"
        first.get_by_label("The two digits").fill(digits if digits_are_right else wrong)
        press(first, "Add this device")
        if not digits_are_right:
            second.get_by_text(sentence("offer-wrong-number")).wait_for()
            expect(first.get_by_text(sentence("offer-wrong-number"))).to_be_visible()
    second.get_by_role("button", name="Continue as ada").click()
    second.wait_for_url(f"{house.group}/")
    assert second.get_by_role("heading", level=1).inner_text() == "Hello, ada"


# Every page, in every state that it can be in ----------------------------------------------------


def test_the_sign_up_page_in_every_state(house: House) -> None:
    local, vonage, page = house.local, house.local.vonage, house.window().new_page()
    house.sign_up(page, "1202", "123456", "12")
    assert page.locator(".error").count() == 3
    house.look(page, "sign-up-all-wrong")

    local.invite(GRACE, "grace")
    local.text(GRACE)
    pin = vonage.pin_of(GRACE)
    house.sign_up(page, GRACE, "hopper", pin)
    house.look(page, "sign-up-other-name")
    house.expected.add(503)
    vonage.fail("check", drop)
    house.sign_up(page, GRACE, "grace", pin)
    house.look(page, "sign-up-unchecked")

    house.write("UPDATE pending_verifications SET leased_until = unixepoch() + 3")
    house.sign_up(page, GRACE, "grace", pin)
    expect(page.get_by_role("timer")).to_be_visible()
    house.look(page, "sign-up-being-checked")
    page.get_by_text("You can try again now.").wait_for(timeout=10_000)
    house.write("UPDATE whitelist SET tries = 10")
    house.sign_up(page, GRACE, "grace", pin)
    house.look(page, "sign-up-tries-spent")
    house.write("UPDATE whitelist SET tries = 0")

    def withdraw(connection: Connection, answer: Answer) -> None:
        house.write("DELETE FROM whitelist")
        connection.answer(answer)

    vonage.fail("check", withdraw, acts=True)
    house.sign_up(page, GRACE, "grace", pin)
    house.look(page, "sign-up-withdrawn")
    ada = house.let_in(ADA, "ada")
    ada.goto(f"{house.group}/signup?next=/admin")
    house.look(ada, "sign-up-signed-in")


def test_a_button_cannot_be_pressed_twice(house: House) -> None:
    local, page = house.local, house.window().new_page()
    local.invite(GRACE)
    local.text(GRACE)
    posts: list[str] = []
    page.on(
        "request", lambda request: posts.append(request.url) if "/login" in request.url else None
    )

    def answer_slowly(connection: Connection, answer: Answer) -> None:
        connection.wait(1)
        connection.answer(answer)

    local.vonage.fail("check", answer_slowly, acts=True)
    house.fill(page, GRACE, "grace", local.vonage.pin_of(GRACE))
    page.get_by_role("button", name="Sign in").dblclick()
    page.wait_for_url(f"{house.group}/welcome")

    assert len(posts) == len(local.vonage.calls("check")) == 1


def test_the_admin_page_in_every_state(house: House) -> None:
    local, vonage, ada = house.local, house.local.vonage, house.let_in(ADA, "ada")
    phones = [f"120255501{n}" for n in range(10, 18)]
    for phone in phones:
        local.invite(phone)
    delivered, undelivered, texted, wrong, fast, spent, barred = phones[:7]
    ids = dict(local.rows("SELECT phone_hint, key FROM whitelist, json_each(message_ids)"))
    for phone, status, code in ((delivered, "delivered", "0"), (undelivered, "failed", "12")):
        receipt = vonage.receipt(ids[phone[-2:]], status, code)
        assert local.app.test_client().post("/delivery", data=receipt).status_code == 204
    for phone in (texted, wrong, fast, fast, fast, fast, spent):
        assert local.text(phone) == 204
    local.browser().sign_up(wrong, "hopper", other_than(vonage.pin_of(wrong)))
    house.write("UPDATE whitelist SET tries = 10 WHERE phone_hint = ?", spent[-2:])
    vonage.barred.add(barred)
    house.write("UPDATE journal SET at = at - 90 WHERE event = 'text_sent'")
    house.invite(ada, barred)
    assert ada.get_by_role("timer").count() == 2
    house.look(ada, "admin-invites")

    house.invite(ada, texted, "Not a name")
    house.look(ada, "admin-wrong")
    house.invite(ada, "447700900001")
    house.look(ada, "admin-doubtful")
    press(ada, "Invite anyway")
    ada.get_by_text("Number ending in 01 is invited").wait_for()
    ada.get_by_label("Who is it?").fill("Somebody from the film club")
    ada.get_by_label("Phone number").fill("+12025550130")
    press(ada, "I'll send it myself")
    ada.get_by_role("button", name="Copy").wait_for()
    ada.get_by_role("heading", name="Send this to Somebody from the film club").wait_for()
    house.look(ada, "send-words")
    press(ada, "Invite another friend", "link")
    press(ada, "I'll send it myself")  # without a number
    house.look(ada, "send-own-word")
    link = ada.locator(".offer a").get_attribute("href")
    assert link
    friend = house.window().new_page()
    friend.goto(link)
    house.look(friend, "own-word-link")
    assert read_picture(friend) == link
    house.invite(ada, phones[7])
    house.invite(ada, phones[7])
    expect(ada.locator(".error").get_by_role("timer")).to_be_visible()
    house.look(ada, "admin-invited-just-now")
    house.write("UPDATE journal SET event = 'pin_sent' WHERE event = 'invited'")
    house.write("INSERT INTO journal (at, event, parts) SELECT unixepoch(), 'text_sent', 1 FROM"
                " (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100)"
                " SELECT i FROM n)")  # fmt: skip
    house.invite(ada, "12025550120")
    house.look(ada, "admin-budget-spent")
    ada.goto(f"{house.group}/admin")
    ada.get_by_text("Number ending in 17").click()
    press(ada, "Invite Number ending in 17 again", "link")
    house.look(ada, "admin-again")
    press(ada, "Journal", "link")
    press(ada, "Older entries", "link")
    house.look(ada, "journal-older")


def test_a_member_invites_a_friend(house: House) -> None:
    grace = house.let_in(GRACE, "grace")
    grace.goto(f"{house.group}/invite")
    house.look(grace, "invite")
    grace.get_by_label("Phone number").fill(f"+{MALLORY}")
    grace.get_by_label("Who is it?").fill("Mallory from chess")
    press(grace, "Text them")
    expect(grace.get_by_text("Mallory from chess is invited")).to_be_visible()
    house.look(grace, "invite-open")
    grace.goto(house.group)
    house.look(grace, "home-of-an-inviter")


def test_programs_are_set_up_and_used(house: House) -> None:
    ada = house.let_in(ADA, "ada")
    ada.goto(f"{house.group}/admin/programs")
    house.look(ada, "programs-empty")
    ada.get_by_label("Short name").fill("My wiki")
    ada.get_by_label("Title").fill("Our wiki")
    ada.get_by_label("Address").fill("https://wiki.example.org")
    press(ada, "Add")
    assert ada.locator(".error").inner_text() == sentence("program-name")
    house.look(ada, "programs-wrong")
    ada.get_by_label("Short name").fill("wiki")
    ada.get_by_label("Only some members").check()
    press(ada, "Add")
    assert ada.get_by_role("status").inner_text() == sentence("done-program-added")
    house.look(ada, "program-new")
    ada.get_by_label("Username").fill("ada")
    press(ada, "Let them in")
    house.look(ada, "program")
    ada.goto(f"{house.group}/admin/programs")
    house.look(ada, "programs")
    ada.goto(house.group)
    assert (
        ada.get_by_role("link", name="Our wiki").get_attribute("href") == "https://wiki.example.org"
    )
    house.look(ada, "home-programs")

    ada.goto(f"{house.group}/devices")
    ada.get_by_role("link", name="Make an app password").click()
    ada.get_by_label("Where you'll use it").fill("+1 202 555 0101")
    press(ada, "Make it")
    house.look(ada, "app-password-wrong")
    ada.get_by_label("Where you'll use it").fill("Calendar on my phone")
    press(ada, "Make it")
    house.look(ada, "app-password-made")
    press(ada, "Done", "link")
    house.look(ada, "devices-app-password")

    grace = house.let_in(GRACE, "grace")
    house.expected.add(403)
    grace.goto(f"{house.group}/programs/wiki")
    house.look(grace, "program-refused")
    ada.goto(f"{house.group}/admin/programs/wiki/remove")
    house.look(ada, "program-remove")


def test_circles(house: House) -> None:
    ada, grace = house.let_in(ADA, "ada"), house.local.join(GRACE, "grace", bound=True)
    assert grace.username() == "grace"
    ada.goto(f"{house.group}/admin/members")
    press(ada, "Circles", "link")
    house.look(ada, "circles-none")
    ada.get_by_label("Title").fill("家族")
    press(ada, "Make a circle")
    house.look(ada, "circles-wrong")
    ada.get_by_label("Title").fill("Family")
    press(ada, "Make a circle")
    ada.get_by_label("Username").fill("grace")
    press(ada, "Add")
    house.look(ada, "circle")
    house.write("INSERT INTO circles (name, title) VALUES ('chess', 'The chess club of the town')")
    ada.goto(f"{house.group}/admin/circles")
    house.look(ada, "circles")
    ada.goto(f"{house.group}/admin/programs")
    for label, text in (("Short name", "wiki"), ("Title", "Wiki"), ("Address", "https://w.org")):
        ada.get_by_label(label).fill(text)
    ada.get_by_label("Only some members").check()
    press(ada, "Add")
    ada.get_by_role("checkbox", name="May use it Family").check()
    ada.get_by_role("checkbox", name="The app is told The chess club of the town").check()
    ada.locator("form", has_text="The app is told").get_by_role("button", name="Save").click()
    ada.get_by_role("status").wait_for()
    house.look(ada, "app-for-a-circle")
    ada.goto(f"{house.group}/admin/members")
    open_member(ada, "grace")
    house.look(ada, "member-in-a-circle")
    ada.goto(f"{house.group}/admin")
    ada.get_by_text("More", exact=True).click()
    house.look(ada, "invite-with-circles")
    ada.goto(f"{house.group}/admin/circles/family/remove")
    house.look(ada, "circle-remove")


def test_forty_members_with_long_names(house: House) -> None:
    ada = house.let_in(ADA, "ada")
    for n in range(40):
        name = f"{'a-very-long-name-indeed-' if n % 3 else 'bo'}{n:02d}"
        house.write(
            "INSERT INTO authors (username, invited_by, joined_at) VALUES (?, ?, unixepoch())",
            f"{name:-<30}1"[:30].rstrip("-") if n % 3 else name,
            n or None,
        )
    house.write(
        "INSERT INTO sessions"
        " (id_digest, author_id, device, data, created_at, seen_at, expires_at)"
        " SELECT hex(randomblob(32)), id, 'Firefox on Android', '{}',"
        " unixepoch() - 5 * ?1, unixepoch() - 3 * ?1, unixepoch() + 9 * ?1 FROM authors",
        DAY,
    )
    ada.goto(house.group)
    house.look(ada, "home-of-forty")
    ada.goto(f"{house.group}/admin/members")
    house.look(ada, "members-of-forty")
    ada.get_by_label("Find a member").fill("bo1")
    press(ada, "Search")
    house.look(ada, "members-found")
    house.write("UPDATE sessions SET device = '' WHERE seen_at < unixepoch() - ?", DAY)
    ada.goto(f"{house.group}/devices")
    house.look(ada, "devices-unknown")


def test_pages_of_errors_are_fit_to_be_seen(house: House) -> None:
    house.expected |= {400, 401, 403, 404, 405, 413, 503}
    grace = house.let_in(GRACE, "grace")
    strange = house.group.replace("localhost", "strange.localhost")
    for address, name in (
        (f"{house.group}/admin", "error-403"),
        (f"{house.group}/nothing", "error-404"),
        (f"{house.group}/app-passwords/1/end", "error-405"),
        (f"{strange}/", "error-strange-host"),
    ):
        grace.goto(address)
        house.look(grace, name)
    for path, size, name in (("/answer", 1, "error-401"), ("/login", 20_000, "error-413")):
        grace.goto(house.group)
        with grace.expect_navigation():
            grace.evaluate(POST, {"path": path, "text": "x" * size})
        house.look(grace, name)

    grace.goto(f"{house.group}/logout")
    lock = Lock(house.local.app.config["DATABASE"])
    grace.get_by_role("button", name="Sign out").click()
    grace.get_by_role("timer").wait_for(timeout=15_000)
    lock.release()
    house.look(grace, "error-503")
    grace.get_by_text("You can try again now.").wait_for(timeout=10_000)


OF_MEMBERS = ["/", "/signup", "/account", "/logout", "/admin", "/admin/members", "/admin/journal"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("who", "path"), [("", "/"), ("", "/signup"), *(("ada", path) for path in OF_MEMBERS)]
)
def test_lighthouse_gives_full_marks(house: House, tmp_path: Path, who: str, path: str) -> None:
    """For accessibility and best practices. Being found by search engines is not what we want."""
    lighthouse, chromium = require_executable("lighthouse"), require_chromium()
    cookie = f"session={house.local.join(ADA, who, bound=True).cookie()}" if who else ""
    report = tmp_path / "report.json"
    subprocess.run(
        [lighthouse, house.group + path, "--quiet", "--output=json", f"--output-path={report}",
         "--only-categories=accessibility,best-practices",
         "--extra-headers=" + json.dumps({"Cookie": cookie}),
         "--chrome-flags=--headless " + " ".join(FLAGS)],
        env=os.environ | {"CHROME_PATH": chromium},
        check=True,
        timeout=120,
    )  # fmt: skip
    categories = json.loads(report.read_text())["categories"]
    marks = {name: found["score"] for name, found in categories.items()}
    assert marks == {"accessibility": 1, "best-practices": 1}
