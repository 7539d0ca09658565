"""From an invite to a device that stays signed in."""

import re

import pytest

from .cast import ADA, GRACE, Group, Served


@pytest.fixture
def workers() -> int:
    return 2


def test_a_friend_is_invited_texts_back_and_signs_up(group: Group) -> None:
    invited = group.command("invite", f"+{GRACE}")
    assert "The number ending in 01 is invited until" in invited.output
    assert group.vonage.thread(GRACE) == [
        "You're invited to Trusted Group. Reply SUNFLOWER to get your PIN (STOP to opt out), then"
        " sign in at http://localhost:8000/signup"
    ]

    assert group.text(GRACE, "Sunflower please") == 204
    pin = group.vonage.pin_of(GRACE)
    grace = group.browser()
    answer = grace.sign_up(GRACE, " Grace ", f"{pin[:3]} {pin[3:]}")

    assert (answer.status_code, answer.location) == (303, "/welcome")
    assert grace.username() == "grace"
    assert group.rows("SELECT username, invited_by FROM authors") == [("grace", None)]
    assert group.rows("SELECT * FROM whitelist") == []
    events = group.rows("SELECT event, actor FROM journal ORDER BY id")
    assert events == [
        ("invited", None),
        ("text_sent", None),
        ("texted_back", None),
        ("pin_sent", None),
        ("joined", "grace"),
    ]


def test_an_admin_invites_from_the_page_and_is_named_as_the_inviter(group: Group) -> None:
    ada = group.join(ADA, "ada", bound=True)

    answer = ada.post("/invite", phone="+1 (202) 555-0101", username="")
    assert answer.status_code == 303
    page = ada.get(answer.location).text
    assert "Number ending in 01" in page
    assert "Texted, waiting for a reply" in page

    assert group.text(GRACE) == 204
    assert "Texted back, PIN sent" in ada.get("/admin").text
    grace = group.browser()
    assert grace.sign_up(GRACE, "grace", group.vonage.pin_of(GRACE)).status_code == 303
    page = ada.get("/admin").text
    assert "No one is invited at the moment." in page
    (row,) = re.findall(r'href="([^"]*)"><span><strong>grace<', ada.get("/admin/members").text)
    assert re.search(r"Joined on .*, invited by ada", ada.get(row).text)


def test_a_member_signs_in_on_a_new_device_by_an_invite_for_their_name(group: Group) -> None:
    first = group.join(GRACE, "grace")
    second = group.join(GRACE, "grace", bound=True)

    assert first.username() == second.username() == "grace"
    assert group.rows("SELECT id, username FROM authors") == [(1, "grace")]
    assert group.one("SELECT count(*) FROM sessions") == 2
    assert group.one("SELECT event FROM journal ORDER BY id DESC") == "signed_in"


def test_the_whole_journey_on_the_served_program(served: Served) -> None:
    """Granian with two workers, real sockets on both sides, the first admin from the command line
    while the server runs."""
    vonage, url = served.vonage, served.url
    invited = served.command("invite", f"+{ADA}", "--username", "ada")
    assert invited.returncode == 0, invited.stderr
    assert served.text(ADA, "SUNFLOWER") == 204

    ada = served.browser()
    assert "PIN" in ada.get(f"{url}/signup").text
    form = {"phone": f"+{ADA}", "username": "ada", "pin": vonage.pin_of(ADA)}
    assert ada.post(f"{url}/login", data=form).url == f"{url}/welcome"

    admin = ada.post(f"{url}/invite", data={"phone": f"+{GRACE}", "username": ""})
    assert "Texted, waiting for a reply" in admin.text
    assert served.text(GRACE) == 204
    grace = served.browser()
    form = {"phone": f"+{GRACE}", "username": "grace", "pin": vonage.pin_of(GRACE)}
    assert grace.post(f"{url}/login", data=form).url == f"{url}/welcome"

    # Whichever worker answers, both stay who they are; then Grace leaves.
    assert all("Hello, ada" in ada.get(url).text for _ in range(10))
    assert all("Hello, grace" in grace.get(url).text for _ in range(10))
    assert grace.get(f"{url}/admin").status_code == 403
    grace.post(f"{url}/logout")
    assert "Friends only" in grace.get(url).text


def test_signed_in_friends_stay_so_when_the_server_is_restarted(served: Served) -> None:
    served.command("invite", f"+{GRACE}")
    served.text(GRACE)
    grace = served.browser()
    form = {"phone": f"+{GRACE}", "username": "grace", "pin": served.vonage.pin_of(GRACE)}
    assert grace.post(f"{served.url}/login", data=form).url == f"{served.url}/welcome"

    served.stop()
    served.start()

    assert "Hello, grace" in grace.get(served.url).text
