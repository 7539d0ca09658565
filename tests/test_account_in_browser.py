"""Home and the account in a real browser, in every state of a member: in English, German
and Arabic, light and dark."""

import time

import pytest
from playwright.sync_api import Page, expect

from foundation.words.clock import DAY
from foundation.words.languages import translate

from .cast import ADA, GRACE, Browser
from .new_devices import add as add_device
from .registering import register
from .windows import (
    DESKTOP,
    LEFT_OF_THE_PAGE,
    PHONE,
    SMALL,
    SMALL_TARGETS,
    House,
    find_violations,
    in_both_colours,
    press,
    take_picture,
)


def check(house: House, page: Page, language: str, name: str) -> None:
    """Nothing too wide, and nothing that axe objects to."""
    page.context.add_cookies([{"name": "language", "value": language, "url": house.group}])
    for path in ("/", "/account"):
        page.goto(f"{house.group}{path}")
        for size in (DESKTOP, SMALL):
            page.set_viewport_size(size)
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= size["width"], (name, path, size)
            assert language != "ar" or page.evaluate(LEFT_OF_THE_PAGE) == [], (name, path)
        assert page.evaluate(SMALL_TARGETS) == [], (name, path)
        for scheme in in_both_colours(page):
            take_picture(page, f"{name}-{language}-{path.strip('/') or 'home'}-{scheme}")
            assert find_violations(page) == [], (name, path)
    page.set_viewport_size(PHONE)
    page.goto(house.group)


@pytest.mark.parametrize("language", ["en", "de", "ar"])
def test_every_state_of_a_member(house: House, language: str) -> None:
    local = house.local
    ada = house.let_in(ADA, "ada")
    check(house, ada, language, "state-only-admin")
    grace = house.let_in(GRACE, "grace")
    check(house, grace, language, "state-new")
    expect(
        grace.get_by_text(translate("This computer is your only way in.", language))
    ).to_be_visible()

    as_grace = Browser(local.app)
    as_grace.client.set_cookie("session", grace.context.cookies()[0]["value"])
    add_device(as_grace, local.browser())
    local.rows("UPDATE sessions SET created_at = created_at - ? WHERE began = 'device'", DAY)
    as_ada = Browser(local.app)
    as_ada.client.set_cookie("session", ada.context.cookies()[0]["value"])
    for name, title in (("wiki", "Our wiki"), ("photos", "Photos of all that we have ever done")):
        register(as_ada, name, title=title)
    check(house, grace, language, "state-two-ways-and-news")
    assert grace.locator(".tiles a").count() == 2

    ends_at = int(time.time()) // DAY * DAY + DAY
    local.rows("UPDATE authors SET ends_at = ? WHERE username = 'grace'", ends_at)
    check(house, grace, language, "state-last-day")
    assert grace.locator(".warning").count() == 1

    local.rows("UPDATE authors SET ends_at = NULL")
    for n in range(300):
        local.rows("INSERT INTO authors (username, joined_at) VALUES (?, 1)", f"friend-{n:03}")
    check(house, grace, language, "state-three-hundred")
    assert grace.locator(".names span").count() == 8


def test_news_is_answered_and_the_account_found(house: House) -> None:
    local, grace = house.local, house.let_in(GRACE, "grace")
    other = local.join(GRACE, "grace", bound=True)
    grace.goto(house.group)
    assert grace.locator(".news").count() == 1
    press(grace, "It wasn't me", "link")
    press(grace, "Cancel", "link")
    press(grace, "That was me")
    assert grace.locator(".news").count() == 0
    assert other.username() == "grace"
    press(grace, "grace", "link")
    for name in ("What happened", "What we know about you"):
        press(grace, name, "link")
        house.look(grace, f"account-{name.split()[-1]}")
        press(grace, "Back", "link")
    with grace.expect_download() as download:
        grace.goto(f"{house.group}/account/about-me")
        grace.get_by_role("link", name="Download it").click()
    assert download.value.suggested_filename == "grace.json"


def test_who_leaves_is_forgotten_if_they_want(house: House) -> None:
    grace = house.let_in(GRACE, "grace")
    grace.goto(f"{house.group}/leave")
    house.look(grace, "leave-and-forget")
    grace.get_by_label("and forget my name here").check()
    press(grace, "Leave the group")
    assert house.local.rows("SELECT 1 FROM authors WHERE username = 'grace'") == []
