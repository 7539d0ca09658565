"""What the page after a form says, once; and what is asked before."""

import re

import pytest

from .authenticator import Passkey
from .cast import GRACE, MALLORY, Browser, Group, shown
from .passkeys import add


def notice(browser: Browser, path: str) -> str | None:
    """What the page says has just happened."""
    found = re.search(r'<p class="notice" role="status".*?>(.*?)</p>', browser.get(path).text)
    return found[1] if found else None


@pytest.fixture
def grace(group: Group, ada: Browser) -> Browser:
    return group.join(GRACE, "grace")


POSTS = [
    ("/invite/9/revoke", {}, "The invite is withdrawn."),
    ("/members/2/sign-out", {}, "grace is signed out everywhere."),
    ("/members/2/remove", {}, "grace is removed, and signed out everywhere."),
    ("/members/2/last-day", {"ends_on": "2030-01-01"}, "grace is a guest until the day you set."),
    ("/members/2/last-day", {"ends_on": ""}, "grace can stay for good."),
    ("/devices/end-others", {}, "All your other devices are signed out."),
    ("/logout", {}, "You&#39;re signed out."),
]


@pytest.mark.parametrize(("path", "fields", "said"), POSTS)
def test_the_next_page_says_what_was_done_and_a_reload_does_not(
    group: Group, ada: Browser, grace: Browser, path: str, fields: dict[str, str], said: str
) -> None:
    group.rows("UPDATE sqlite_sequence SET seq = 8 WHERE name = 'whitelist'")
    group.invite("12025550177")
    group.join("12025550100", "ada", bound=True)

    answer = ada.post(path, **fields)

    assert answer.status_code == 303
    assert notice(ada, answer.location) == said
    assert notice(ada, answer.location) is None
    assert ada.client.get_cookie("notice") is None


def test_ending_a_device_is_said_too(group: Group, ada: Browser) -> None:
    group.join("12025550100", "ada", bound=True)
    path = re.findall(r"/devices/\w+/end", ada.get("/account").text)[0]

    assert notice(ada, ada.post(path).location) == "That device is signed out."


def test_what_is_done_to_a_passkey_is_said_too(ada: Browser) -> None:
    add(ada, Passkey())
    assert notice(ada, ada.post("/passkeys/1/rename", name="Phone").location) == "Passkey renamed."
    removed = notice(ada, ada.post("/passkeys/1/remove").location)
    assert removed == "The passkey is removed here. Delete it in your device, too."


def test_an_invite_whose_text_does_not_go_out_says_so(group: Group, ada: Browser) -> None:
    group.vonage.barred.add(MALLORY)

    answer = ada.post("/invite", phone=f"+{MALLORY}")

    page = ada.get(answer.location).text
    assert "Number ending in 66 is invited, but the text didn't go out." in page
    assert shown("vonage-number") in page.split('id="needing"')[1].split("<form")[0]


@pytest.mark.parametrize(
    "value", ["error-404", "done-", "done-nothing", "done-left.<b>", "done-left.a.b", "x" * 3000]
)
def test_a_cookie_that_somebody_made_up_says_nothing(group: Group, value: str) -> None:
    browser = group.browser()
    browser.client.set_cookie("notice", value)

    assert notice(browser, "/") is None
    assert notice(browser, "/") is None


def test_a_page_without_a_notice_sets_no_cookie(group: Group, grace: Browser) -> None:
    assert "Set-Cookie" not in grace.get("/").headers


# Before it is done


@pytest.mark.parametrize(
    ("path", "button"),
    [
        ("/logout", "Sign out"),
        ("/leave", "Leave the group"),
    ],
)
def test_a_page_asks_and_changes_nothing(
    group: Group, grace: Browser, path: str, button: str
) -> None:
    page = grace.get(path)

    assert page.status_code == 200
    assert f'<button class="danger">{button}</button>' in page.text
    assert grace.username() == "grace"
    assert group.browser().get(path).location == f"/signup?next={path}"


def test_removing_and_signing_out_say_what_differs(
    group: Group, ada: Browser, grace: Browser
) -> None:
    group.rows("UPDATE authors SET invited_by = 2 WHERE username = 'ada'")

    remove, sign_out = (ada.get(f"/members/2/{act}").text for act in ("remove", "sign-out"))

    assert "grace brought in <strong>ada</strong>" in remove
    assert "/members/2/sign-out" in remove
    assert "grace stays a member" in sign_out
    assert "on 1 device." in " ".join(sign_out.split())
    assert grace.username() == "grace"
    assert grace.get("/members/2/remove").status_code == 403
    assert ada.get("/members/9/remove").status_code == 404


def test_a_member_leaves_and_the_name_stays_taken(
    group: Group, ada: Browser, grace: Browser
) -> None:
    second = group.join(GRACE, "grace", bound=True)
    group.app.config["MEMBER_INVITES"] = 1
    grace.post("/invite", phone=f"+{MALLORY}")

    answer = grace.post("/leave")

    assert (answer.status_code, answer.location) == (303, "/")
    assert notice(grace, "/") == "You&#39;ve left the group. This device is signed out."
    assert grace.username() is second.username() is None
    assert group.rows("SELECT * FROM whitelist") == []
    assert "grace left the group" in ada.get("/admin/journal").text
    assert "<strong>grace" not in ada.get("/admin/members").text
    group.invite("12025550144")
    group.text("12025550144")
    pin = group.vonage.pin_of("12025550144")
    namesake = group.browser().sign_up("12025550144", "grace", pin)
    assert shown("username-taken") in namesake.text


def test_an_admin_does_not_leave(group: Group, ada: Browser) -> None:
    page = ada.get("/leave")
    assert shown("admin-stays") in page.text
    assert "Leave the group" not in page.text

    assert ada.post("/leave").status_code == 422
    assert ada.username() == "ada"
