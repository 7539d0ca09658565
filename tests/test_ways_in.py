"""Ways in: what brings a member back, what is said before the last one goes, and where somebody
goes who signs in."""

import re
import time

import pytest
import time_machine
from flask import Flask

import app as journey
from foundation.web.invite_form import NewInvite
from foundation.words.clock import DAY
from simulator.vonage import Vonage
from wsgi import create_app

from .authenticator import Passkey
from .cast import GRACE, MALLORY, Browser, Group
from .new_devices import add as add_device
from .new_devices import confirm, give, offer
from .openid_client import Program
from .passkeys import add as add_passkey
from .passkeys import options, send, use
from .registering import register
from .ways_in import BACKED_UP, LINUX, synced, words

ONLY = "Only an admin can let you back."


@pytest.fixture
def grace(group: Group, ada: Browser) -> Browser:
    return group.join(GRACE, "grace")


# The one way on -----------------------------------------------------------------------------------


def test_who_comes_by_pin_with_one_way_in_is_asked_for_a_second(group: Group) -> None:
    grace = group.join(GRACE, "grace")

    page = grace.get("/welcome?next=/devices").text

    said = words(page)
    assert "in, grace" in said
    assert "This phone is your only way in" in said
    assert "Add a passkey" in said
    assert "Add another device" in said
    assert 'href="/devices">Not now' in page
    assert group.one("SELECT count(*) FROM journal WHERE event = 'joined'") == 1
    assert "This computer is" in grace.get("/welcome", headers={"User-Agent": LINUX}).text


def test_who_has_two_goes_on_at_once(group: Group, grace: Browser) -> None:
    second = group.join(GRACE, "grace", bound=True)
    third = group.browser()
    add_device(grace, third)

    for browser in (second, third):
        assert browser.get("/welcome?next=/devices").location == "/devices"
        assert browser.get("/welcome").location == "/"


def test_who_came_by_device_or_passkey_is_not_asked(group: Group, grace: Browser) -> None:
    second = group.browser()
    add_device(grace, second)
    add_passkey(grace, passkey := Passkey())
    grace.post("/logout")
    assert second.get("/welcome?next=/devices").location == "/devices"
    second.post("/logout")
    third = group.browser()
    third.get("/signup")
    assert use(third, passkey).get_json() == {"next": "/welcome"}
    assert third.get("/welcome").location == "/"


def test_a_stranger_is_sent_to_sign_in_and_on(group: Group) -> None:
    stranger = group.browser()
    assert stranger.get("/welcome?next=/devices").location == "/signup?next=/devices"
    assert stranger.get("/welcome").location == "/signup"
    assert stranger.get("/welcome?next=//mallory.example").location == "/signup"


@pytest.mark.parametrize(("days", "asked"), [(40, True), (20, False)])
def test_a_guest_who_leaves_soon_is_not_asked(group: Group, days: int, asked: bool) -> None:
    guest = group.join(GRACE, "grace")
    group.rows("UPDATE authors SET ends_at = ?", int(time.time()) + days * DAY)
    assert guest.get("/welcome").status_code == (200 if asked else 303)


def test_the_journey_alone_has_nothing_to_ask(settings: dict[str, str], vonage: Vonage) -> None:
    alone: Flask = journey.create_app(settings)
    grace = Group(alone, vonage).browser()
    group = Group(alone, vonage)
    with alone.app_context():
        wanted = NewInvite(GRACE)
        invite_id = journey.create_invite(wanted, None)
        journey.send_invite(invite_id, GRACE)
    group.text(GRACE)
    answer = grace.sign_up(GRACE, "grace", vonage.pin_of(GRACE), next="/logout")
    assert answer.location == "/welcome?next=/logout"
    assert grace.get("/welcome").location == "/"


def test_the_second_way_leads_on_too(group: Group, grace: Browser) -> None:
    """From the page that asks: the passkey's answer, and the page of the other device."""
    page = grace.get("/welcome?next=/invite").text
    assert 'data-passkey="add" data-next="/welcome?next=/invite"' in page
    assert grace.post("/devices/add", next="/invite").location == "/devices/add?next=/invite"
    code = "".join(re.findall(r">(\w{4})-(\w{4})<", grace.get("/devices/add?next=/invite").text)[0])
    second = group.browser()
    assert give(second, code) == 303
    confirm(grace, second)
    second.post("/join/finish")
    assert 'href="/invite">Done' in grace.get("/devices/add?next=/invite").text


# What counts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "attachment", "counts"),
    [
        (0, None, False),
        (0, "platform", False),
        (0, "cross-platform", True),
        (BACKED_UP, "platform", True),
        (BACKED_UP, None, True),
        (0, "of-the-future", False),
    ],
)
def test_a_passkey_counts_if_it_outlives_the_phone(
    group: Group, grace: Browser, flags: int, attachment: str | None, counts: bool
) -> None:
    passkey = Passkey()
    passkey.flags |= flags
    passkey.attachment = attachment

    assert add_passkey(grace, passkey).status_code == 200

    assert grace.get("/welcome").status_code == (303 if counts else 200)
    # Who signs out loses nothing, so it brings back.
    assert "come back with the passkey Passkey" in grace.get("/logout").text


def test_a_passkey_says_again_whether_it_is_backed_up(group: Group, grace: Browser) -> None:
    add_passkey(grace, passkey := Passkey())
    assert group.rows("SELECT is_backed_up, attachment FROM passkeys") == [(0, "")]
    passkey.flags |= BACKED_UP
    passkey.attachment = "platform"
    use(grace, passkey, "confirm")
    assert group.rows("SELECT is_backed_up, attachment FROM passkeys") == [(1, "platform")]
    passkey.flags &= ~0x10
    use(grace, passkey, "confirm")
    assert group.one("SELECT is_backed_up FROM passkeys") == 0


def test_the_list_says_what_is_lost_with_a_phone(group: Group, grace: Browser) -> None:
    passkey = Passkey()
    passkey.attachment = "platform"
    add_passkey(grace, passkey)
    assert "lives on this phone only" in grace.get("/account").text
    second = group.browser()
    use(grace, passkey, "confirm")
    add_device(grace, second)
    assert "lives on one device only" in second.get("/account").text
    passkey.flags |= BACKED_UP
    use(grace, passkey, "confirm")
    assert "lost with it" not in second.get("/account").text


def test_a_passkey_of_another_host_is_no_way_in(group: Group, grace: Browser) -> None:
    add_passkey(grace, synced())
    assert ONLY not in grace.get("/logout").text
    group.rows("UPDATE passkeys SET host = 'elsewhere.example'")
    assert ONLY in grace.get("/logout").text


def test_admins_see_who_has_one_way_in(group: Group, ada: Browser, grace: Browser) -> None:
    entries = ada.get("/admin/members").text.split("<li>")
    assert sum("1 way in" in entry for entry in entries) == 2
    add_passkey(grace, synced())
    entries = ada.get("/admin/members").text.split("<li>")
    assert ["1 way in" in entry for entry in entries if "<strong>" in entry] == [True, False]


# What is said before one goes ---------------------------------------------------------------------


def test_signing_out_names_what_brings_one_back(group: Group, grace: Browser) -> None:
    assert ONLY in grace.get("/logout").text
    second = group.browser()
    second.client.environ_base["HTTP_USER_AGENT"] = LINUX
    add_device(grace, second)
    page = grace.get("/logout").text
    assert ONLY not in page
    assert "come back with Firefox on Linux." in page
    add_passkey(grace, synced())
    assert "Firefox on Linux or the passkey Passkey" in grace.get("/logout").text
    assert "This device will forget you." in grace.get("/openid/logout").text


def test_the_only_admin_reads_the_command(group: Group, ada: Browser) -> None:
    for path in ("/logout", "/openid/logout", "/members/1/sign-out"):
        page = ada.get(path).text
        assert "flask invite &lt;your number&gt; --username ada" in page, path
        assert ONLY not in page, path
    group.app.config["ADMINS"] = frozenset({"ada", "henry"})
    assert "flask invite" in ada.get("/logout").text  # henry was never here
    henry = group.join(MALLORY, "henry", bound=True)
    assert ONLY in ada.get("/logout").text
    henry.post("/logout")
    assert "flask invite" in ada.get("/logout").text


def action(page: str, path: str) -> str:
    """By which method the button there is pressed."""
    return str(re.findall(rf'method="(\w+)" action="{path}"', page)[0])


def test_ending_the_last_other_device_asks_first(group: Group, grace: Browser) -> None:
    second, third = group.browser(), group.browser()
    add_device(grace, second)
    path = re.findall(r'action="(/devices/\w+/end)"', grace.get("/account").text)[0]
    assert action(grace.get("/account").text, path) == "get"
    page = grace.get(path).text
    assert "Then this phone is your only way in." in page
    assert second.username() == "grace"  # asking ends nothing

    add_device(grace, third)
    assert action(grace.get("/account").text, path) == "post"
    assert "your only way in" not in grace.get(path).text
    page = second.get("/account").text
    buttons = re.findall(r'method="(\w+)" action="/devices/\w+/end"', page)
    assert {*buttons} == {"get", "post"}  # the third ends with the one that added it
    grace.post("/devices/end-others")
    add_device(grace, second)
    path = re.findall(r'action="(/devices/\w+/end)"', grace.get("/account").text)[0]
    assert grace.post(path).status_code == 303
    assert second.username() is None


def test_what_ends_along_counts_too(group: Group, grace: Browser) -> None:
    """A passkey that was added on a device ends with it, so nothing else is left."""
    second = group.browser()
    add_device(grace, second)
    add_passkey(second, synced())
    path = re.findall(r'action="(/devices/\w+/end)"', grace.get("/account").text)[0]
    assert action(grace.get("/account").text, path) == "get"
    assert "your only way in" in grace.get(path).text
    back = re.findall(r'action="(/devices/\w+/end)"', second.get("/account").text)[0]
    assert action(second.get("/account").text, back) == "post"  # its passkey stays


def test_ending_all_others_says_what_stays(group: Group, grace: Browser) -> None:
    add_device(grace, group.browser())
    assert "your only way in" in grace.get("/devices/end-others").text
    add_passkey(grace, synced())
    assert "your only way in" not in grace.get("/devices/end-others").text
    page = grace.get("/devices/end-others?passkeys=yes").text
    assert "your only way in" in page
    assert '<input type="hidden" name="passkeys" value="yes">' in page
    assert 'name="passkeys"' not in grace.get("/devices/end-others").text


def test_removing_the_last_passkey_asks_first(group: Group, grace: Browser) -> None:
    add_passkey(grace, synced())
    assert action(grace.get("/account").text, "/passkeys/1/remove") == "get"
    assert "Then this phone is your only way in." in grace.get("/passkeys/1/remove").text
    assert group.one("SELECT count(*) FROM passkeys") == 1
    assert group.browser().get("/passkeys/1/remove").status_code == 303
    assert grace.get("/passkeys/2/remove").status_code == 404
    assert grace.post("/passkeys/1/remove").status_code == 303
    assert group.one("SELECT count(*) FROM passkeys") == 0


# A session that is over ---------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/signup", "/signup?next=/devices"])
def test_a_browser_that_was_signed_out_reads_so(group: Group, grace: Browser, path: str) -> None:
    told = "signed out on this device."
    assert told not in group.browser().get(path).text
    group.command("sign-out", "grace")
    kept = grace.cookie()

    answer = grace.get(path)

    assert told in answer.text
    assert not any(cookie.startswith("session=") for cookie in answer.headers.getlist("Set-Cookie"))
    assert grace.cookie() == kept
    assert told not in group.browser().get(path).text  # of the kept pages, too
    grace.client.set_cookie("session", "")
    assert told not in grace.get(path).text


def test_one_sentence_whatever_the_reason(group: Group, ada: Browser) -> None:
    with time_machine.travel("2026-11-23 12:00", tick=False) as clock:
        pages = set()
        for reason in ("removed", "guest", "unused"):
            browser = group.join(GRACE, f"grace-{reason}")
            if reason == "removed":
                group.command("remove", f"grace-{reason}")
            elif reason == "guest":
                group.rows("UPDATE authors SET ends_at = 1 WHERE username = 'grace-guest'")
            else:
                clock.shift(31 * DAY)
            pages.add(browser.get("/").text)
        stranger = group.browser()
        stranger.client.set_cookie("session", "made-up")
        pages.add(stranger.get("/").text)
    assert len(pages) == 1
    assert "signed out on this device." in pages.pop()


# Where somebody wanted to go ----------------------------------------------------------------------

WIKI = {"name": "wiki", "title": "Our wiki", "address": "https://wiki.example.org", "who": "all"}


def test_signing_in_names_the_app_and_shows_members_ways_first(group: Group, ada: Browser) -> None:
    ada.post("/admin/programs", **WIKI)
    stranger = group.browser()
    plain = stranger.get("/signup").text
    assert plain.index('action="/login"') < plain.index('href="/join"')

    page = stranger.get("/signup?next=/programs/wiki").text

    assert "<h1>Sign in to go on to Our wiki</h1>" in page
    join = page.index('href="/join?next=/programs/wiki"')
    assert join < page.index("<summary>I was invited</summary>") < page.index('action="/login"')
    assert "<details open" not in page
    assert "<h1>Sign in</h1>" in stranger.get("/signup?next=/devices").text
    assert "<h1>Sign in</h1>" in stranger.get("/signup?next=/programs/photos").text
    signed_in = ada.get("/signup?next=/programs/wiki").text
    assert "already signed in as" in signed_in


def test_an_app_is_known_by_its_host(settings: dict[str, str], vonage: Vonage) -> None:
    more = {"BASE_URL": "https://group.example.org", "COOKIE_DOMAIN": "example.org"}
    group = Group(create_app(settings | more), vonage)
    for name, address in (("wiki", "https://wiki.example.org"),
                          ("talk", "https://wiki.example.org/talk")):  # fmt: skip
        group.command("program", "add", name, f"Our {name}", address)
    stranger = group.app.test_client()

    def title(wanted: str) -> str:
        page = stranger.get(
            "/signup", query_string={"next": wanted}, base_url="https://group.example.org"
        ).text
        return page.split("<h1>")[1].split("</h1>")[0]

    assert title("https://wiki.example.org/a?b=1") == "Sign in to go on to Our wiki"
    assert title("https://wiki.example.org/talk/1") == "Sign in to go on to Our talk"
    assert title("https://photos.example.org/") == "Sign in"
    assert title("https://wiki.mallory.example/") == "Sign in"


def test_an_app_is_known_by_its_client_id(group: Group, ada: Browser) -> None:
    register(ada, "photos")
    photos = Program(group, ada)
    sent = group.browser().get("/openid/authorize", query_string=photos.query())
    assert sent.location.startswith("/signup?next=")
    assert "<h1>Sign in to go on to Our photos</h1>" in group.browser().get(sent.location).text


def test_what_a_friend_wanted_survives_a_refusal(group: Group, grace_texted: str) -> None:
    grace = group.browser()
    refused = grace.sign_up(GRACE, "grace", "000000", next="/devices").text
    assert 'name="next" value="/devices"' in refused.split("<footer>")[0]
    assert 'data-onward="/welcome?next=/devices"' in refused
    assert '<details class="card" open>' in refused
    answer = grace.sign_up(GRACE, "grace", grace_texted, next="/devices")
    assert answer.location == "/welcome?next=/devices"


@pytest.mark.parametrize(("came_from", "there"), [("/login", "/login"), ("/join", "/join")])
def test_what_a_friend_wanted_survives_another_language(
    group: Group, came_from: str, there: str
) -> None:
    grace = group.browser()
    page = grace.post(came_from, next="/devices", code="x").text
    assert 'name="next" value="/devices"' in page.split("<footer>")[1]
    headers = {"Referer": f"http://localhost:8000{came_from}"}

    def choose(next_: str) -> str:
        form = {"language": "de", "next": next_}
        answer = grace.client.post("/language", data=form, headers=headers)
        return str(answer.location)

    assert choose("/devices") == f"{there}?next=/devices"
    assert choose("//mallory.example") == there
    again = grace.get(f"{there}?next=/devices")
    assert again.location == "/signup?next=/devices" if there == "/login" else again.status_code


def test_what_a_friend_wanted_survives_another_device(group: Group, grace: Browser) -> None:
    second, way = group.browser(), {"next": "/invite"}
    code = offer(grace)
    for path in ("/join?next=/invite", f"/join/{code}?next=/invite"):
        assert 'name="next" value="/invite"' in second.get(path).text.split("<footer>")[0]
    assert 'name="next" value="/invite"' in second.post("/join", code="x", **way).text
    assert second.post("/join", code=code, **way).location == "/join/wait?next=/invite"
    page = second.get("/join/wait?next=/invite").text
    assert 'data-poll="/join/wait?next=/invite"' in page
    confirm(grace, second)
    assert 'name="next" value="/invite"' in second.get("/join/wait?next=/invite").text
    assert second.get("/join/finish?next=/invite").location == "/join/wait?next=/invite"
    assert second.post("/join/finish", **way).location == "/welcome?next=/invite"
    assert second.get("/welcome?next=/invite").location == "/invite"


def test_what_a_member_wanted_survives_is_it_you(group: Group, grace: Browser) -> None:
    add_passkey(grace, passkey := synced())
    asked = grace.post("/devices/add", next="/invite").location
    page = grace.get(asked).text
    onward = re.findall(r'data-next="([^"]+)"', page)[0]
    assert onward == "/devices/add?next=/invite"
    assert use(grace, passkey, "confirm", next=onward).get_json() == {"next": onward}
    assert 'name="next" value="/invite"' in grace.get(onward).text


def test_a_passkey_that_is_lost_with_the_phone_is_no_second_way(
    group: Group, grace: Browser
) -> None:
    """So the page that asks for one says so, and goes on asking."""
    passkey = Passkey()
    passkey.attachment = "platform"
    credential = passkey.create(options(grace, "add"))
    answer = send(grace, "add", credential, next="/welcome?next=/devices")
    assert answer.get_json() == {"next": "/welcome?next=/devices"}
    page = grace.get("/welcome?next=/devices").text
    assert "This passkey lives on this phone only." in page
    assert "Add a passkey" not in page
    assert "Add another device" in page


def test_who_lost_a_phone_can_add_a_passkey_on_the_new_one(group: Group, grace: Browser) -> None:
    """The old one's passkey isn't here; the page says so of its own only."""
    passkey = Passkey()
    passkey.attachment = "platform"
    add_passkey(grace, passkey)
    grace.post("/logout")
    new = group.join(GRACE, "grace", bound=True)
    page = new.get("/welcome?next=/invite").text
    assert "Add a passkey" in page
    assert "lost with it" not in page
    asked = new.client.post("/passkeys/options", json={"for": "add", "next": "/welcome?next=/a"})
    assert asked.get_json()["next"] == "/passkeys/confirm?next=/welcome%3Fnext%3D/a"


def test_a_phones_passkey_over_a_qr_code_is_no_key_of_its_own(group: Group, grace: Browser) -> None:
    passkey = Passkey()
    passkey.attachment = "cross-platform"
    credential = passkey.create(options(grace, "add"))
    credential["response"]["transports"] = ["hybrid", "internal"]
    send(grace, "add", credential)
    assert group.one("SELECT attachment FROM passkeys") == "platform"
    use(grace, passkey, "confirm")
    assert group.one("SELECT attachment FROM passkeys") == "platform"
    assert grace.get("/welcome").status_code == 200


def test_a_door_that_is_still_open_leads_on(group: Group, grace: Browser) -> None:
    asked = grace.client.post("/passkeys/options", json={"for": "sign-in", "next": "/devices"})
    assert (asked.status_code, asked.get_json()["next"]) == (422, "/welcome?next=/devices")


def test_the_way_back_from_a_scanned_code(group: Group, grace: Browser) -> None:
    page = group.browser().get("/join/ABCD-EFGH?next=/devices").text
    assert ">ABCD-EFGH<" in page
    assert 'href="/signup?next=/devices">Cancel' in page
    assert grace.post("/join/wait", next="/invite").location == "/invite"
