"""Circles: named sets of members. An invite puts a friend into some; apps are for some, and are
told of some."""

import json
import re
from typing import Any

import pytest

from .app_passwords import make
from .cast import ADA, GRACE, MALLORY, Browser, Group, member_id, shown
from .circles import make_circle, put_into
from .openid_client import Program
from .registering import asked, register


@pytest.fixture
def family(ada: Browser) -> str:
    return make_circle(ada, "Family")


def tick(ada: Browser, program: str, *, may_use: str = "", is_told: str = "") -> None:
    """The two columns on the app's page; circles by name, with spaces between them."""
    page = ada.get(f"/admin/programs/{program}").text
    ticks: dict[str, Any] = {"may_use": may_use.split(), "is_told": is_told.split()}
    ticks |= find_hidden(page)
    answer = ada.client.post(f"/admin/programs/{program}/circles", data=ticks)
    assert answer.location == f"/admin/programs/{program}"


def find_hidden(page: str) -> dict[str, str]:
    """What was ticked when the page was made."""
    return dict(re.findall(r'name="(\w+_were)" value="([^"]*)"', page))


def groups(browser: Browser, program: str) -> str | None:
    return browser.client.get(f"/auth?program={program}").headers.get("Remote-Groups")


# Making them --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("title", "name", "made"),
    [("Family", "", "family"), ("Chess & Co", "", "chess-co"), ("家族", "kazoku", "kazoku")],
)
def test_a_circle_is_made(ada: Browser, title: str, name: str, made: str) -> None:
    assert make_circle(ada, title, name=name) == made
    assert title.replace("&", "&amp;") in ada.get("/admin/circles").text
    assert "Nobody is in it yet." in ada.get(f"/admin/circles/{made}").text
    assert f"ada made the circle {made}" in ada.get("/admin/journal?show=apps").text
    assert 'href="/admin/circles"' in ada.get("/admin/members").text


@pytest.mark.parametrize(
    ("title", "name", "sentence"),
    [
        ("", "", "program-title"),
        ("x" * 41, "x", "program-title"),
        ("家族", "", "circle-name"),
        ("Family", "x" * 31, "circle-name"),
        ("Chess", "members", "circle-name"),
        ("Admins", "", "circle-name"),
        ("Some", "Chosen", "circle-name"),
        ("Family again", "family", "circle-taken"),
    ],
)
def test_what_is_no_circle(ada: Browser, family: str, title: str, name: str, sentence: str) -> None:
    answer = ada.post("/admin/circles", title=title, name=name)
    assert (answer.status_code, shown(sentence) in answer.text) == (422, True)
    if title:
        assert f'value="{title}"' in answer.text


def test_a_name_is_never_given_again(group: Group, ada: Browser, family: str) -> None:
    """An app would take the new circle for the old one."""
    assert "lose the apps" in ada.get(f"/admin/circles/{family}/remove").text
    ada.post(f"/admin/circles/{family}/remove")
    assert ada.get(f"/admin/circles/{family}").status_code == 404
    assert "Family" not in ada.get("/admin/circles").text.split("Make a circle")[0]
    answer = ada.post("/admin/circles", title="Family")
    assert (answer.status_code, shown("circle-taken") in answer.text) == (422, True)


def test_a_new_title(group: Group, ada: Browser, family: str) -> None:
    assert ada.post(f"/admin/circles/{family}", title=" The\nfamily ").status_code == 303
    assert "<h1>The family</h1>" in ada.get(f"/admin/circles/{family}").text
    answer = ada.post(f"/admin/circles/{family}", title="x" * 41)
    assert (answer.status_code, shown("program-title") in answer.text) == (422, True)


def test_a_hundred_are_enough(group: Group, ada: Browser) -> None:
    for n in range(100):
        group.rows("INSERT INTO circles (name, title) VALUES (?1, ?1)", f"circle-{n}")
    answer = ada.post("/admin/circles", title="One more")
    assert (answer.status_code, shown("circles-many") in answer.text) == (422, True)


# Who is in one ------------------------------------------------------------------------------------


def test_members_come_and_go(group: Group, ada: Browser, family: str) -> None:
    group.join(GRACE, "grace")
    put_into(ada, family, "grace")
    put_into(ada, family, "grace")
    assert "grace" in ada.get(f"/admin/circles/{family}").text
    assert "1 member<" in ada.get("/admin/circles").text
    wrong = ada.post(f"/admin/circles/{family}/members", username="nobody")
    assert (wrong.status_code, shown("no-such-member") in wrong.text) == (422, True)
    ada.post(f"/admin/circles/{family}/members/{member_id(group, 'grace')}/drop")
    assert group.rows("SELECT * FROM circle_members") == []
    changes = group.one("SELECT count(*) FROM journal WHERE event = 'circle_members_changed'")
    assert changes == 2
    assert "ada changed who is in the circle family" in ada.get("/admin/journal").text


def test_ticks_at_the_member(group: Group, ada: Browser, family: str) -> None:
    group.join(GRACE, "grace")
    chess = make_circle(ada, "Chess")
    number = member_id(group, "grace")

    def save(*circles: str, were: str = "") -> None:
        ticks = {"circles": [*circles], "circles_were": were}
        assert ada.client.post(f"/members/{number}", data=ticks).status_code == 303

    def ticked() -> set[str]:
        page = ada.get(f"/members/{number}").text
        boxes = re.findall(r'<input type="checkbox"[^>]*>', page)
        found = {re.findall(r'value="(\w+)"', box)[0] for box in boxes if " checked" in box}
        assert set(find_hidden(page)["circles_were"].split()) == found
        return found

    save(family)
    assert ticked() == {family}
    save(chess)  # on a page from before that
    assert ticked() == {family, chess}
    save(chess, "nothing", were=f"{chess} {family}")
    assert ticked() == {chess}


@pytest.mark.parametrize("how", ["remove", "leave", "forget"])
def test_who_is_out_is_in_no_circle(group: Group, ada: Browser, family: str, how: str) -> None:
    grace = group.join(GRACE, "grace")
    put_into(ada, family, "grace")
    if how == "remove":
        ada.post(f"/members/{member_id(group, 'grace')}/remove")
    else:
        grace.post("/leave", **({"forget": "yes"} if how == "forget" else {}))
    assert group.rows("SELECT * FROM circle_members") == []
    group.join(GRACE, "grace", bound=True)
    assert group.rows("SELECT * FROM circle_members") == []


def test_only_admins(group: Group, ada: Browser, family: str) -> None:
    grace = group.join(GRACE, "grace")
    for path in ("/admin/circles", f"/admin/circles/{family}", f"/admin/circles/{family}/remove"):
        assert grace.get(path).status_code == grace.post(path).status_code == 403
    group.app.config["MEMBER_INVITES"] = 3
    form = {"phone": f"+{MALLORY}", "who": "Mallory", "circles": family}
    assert grace.post("/invite", **form).status_code == 403
    assert group.rows("SELECT * FROM whitelist") == []


# Invites ------------------------------------------------------------------------------------------


def test_from_the_invite_to_the_photos_without_a_click(
    group: Group, ada: Browser, family: str
) -> None:
    chess = make_circle(ada, "Chess")
    register(ada, "photos", who="chosen")
    tick(ada, "photos", may_use=family)
    form = {"phone": f"+{GRACE}", "who": "Grace", "circles": [family, chess]}
    assert ada.client.post("/invite", data=form).status_code == 303
    group.text(GRACE)
    grace = group.browser()
    grace.sign_up(GRACE, "grace", group.vonage.pin_of(GRACE))

    assert "Our photos" in grace.get("/").text
    assert asked(grace, "program=photos") == (200, "grace")
    assert group.one("SELECT count(*) FROM circle_members") == 2


def test_a_mistake_loses_no_tick_and_again_brings_them_back(
    group: Group, ada: Browser, family: str
) -> None:
    make_circle(ada, "Chess")
    wrong = ada.post("/invite", phone="12", who="Grace", circles=family).text
    assert is_ticked(wrong, family)
    assert not is_ticked(wrong, "chess")
    ada.post("/invite", phone=f"+{GRACE}", who="Grace", circles=family)
    again = group.one("SELECT id FROM whitelist")
    assert is_ticked(ada.get(f"/admin?again={again}").text, family)


def is_ticked(page: str, circle: str) -> bool:
    (box,) = re.findall(rf'<input type="checkbox" id="circle-{circle}"[^>]*>', page)
    return " checked" in box


def test_a_circle_that_went_meanwhile_is_none(group: Group, ada: Browser, family: str) -> None:
    ada.post("/invite", phone=f"+{GRACE}", who="Grace", circles=family)
    ada.post(f"/admin/circles/{family}/remove")
    group.text(GRACE)
    group.browser().sign_up(GRACE, "grace", group.vonage.pin_of(GRACE))
    assert group.rows("SELECT * FROM circle_members") == []
    assert group.one("SELECT count(*) FROM authors") == 2


# Apps ---------------------------------------------------------------------------------------------


def test_an_app_is_for_circles_and_is_told_of_circles(
    group: Group, ada: Browser, family: str
) -> None:
    grace, mallory = group.join(GRACE, "grace"), group.join(MALLORY, "mallory")
    chess = make_circle(ada, "Chess")
    for circle in (family, chess):
        put_into(ada, circle, "grace")
    register(ada, "photos", who="chosen")
    tick(ada, "photos", may_use=family, is_told=f"{chess} {family}")

    assert (groups(grace, "photos"), groups(mallory, "photos")) == ("chess,family,members", None)
    tick(ada, "photos", may_use=family)
    assert groups(grace, "photos") == "members"
    assert "Family" in ada.get(f"/members/{member_id(group, 'grace')}").text
    listed = group.command("program", "list").output
    assert (
        listed == "photos: Our photos, https://photos.example.org/start, for 0 chosen members"
        " and the circle family\n"
    )
    tick(ada, "photos")
    assert groups(grace, "photos") is None


def test_who_may_use_it_stays_while_all_may(group: Group, ada: Browser, family: str) -> None:
    grace = group.join(GRACE, "grace")
    put_into(ada, family, "grace")
    register(ada, "photos", who="chosen")
    tick(ada, "photos", may_use=family)
    ada.post("/admin/programs/photos/who", who="all")
    tick(ada, "photos", is_told=family)  # the other column can't be ticked then
    ada.post("/admin/programs/photos/who", who="chosen")
    assert groups(grace, "photos") == "family,members"


def test_without_a_program_nobody_is_told_of_circles(
    group: Group, ada: Browser, family: str
) -> None:
    grace = group.join(GRACE, "grace")
    for name in ("ada", "grace"):
        put_into(ada, family, name)
    for browser, told in ((ada, "admins,members"), (grace, "members")):
        assert browser.client.get("/auth").headers["Remote-Groups"] == told
    assert "Remote-Groups" not in group.browser().client.get("/auth").headers


def test_chosen_members_are_told_so(group: Group, ada: Browser) -> None:
    register(ada, "photos", who="chosen")
    ada.post("/admin/programs/photos/members", username="ada")
    assert groups(ada, "photos") == "admins,chosen,members"


def test_an_app_is_told_of_forty_at_most(group: Group, ada: Browser) -> None:
    register(ada, "photos")
    names = [f"circle-{n}" for n in range(41)]
    for name in names:
        group.rows("INSERT INTO circles (name, title) VALUES (?1, ?1)", name)

    def save(*told: str) -> int:
        """On a page from before."""
        answer = ada.client.post("/admin/programs/photos/circles", data={"is_told": [*told]})
        assert (shown("circles-told") in answer.text) == (answer.status_code == 422)
        return answer.status_code

    assert save(*names) == 422
    assert save(*names[:40]) == 303
    assert save(names[40]) == 422
    assert group.one("SELECT sum(is_told) FROM program_circles") == 40


@pytest.mark.parametrize("how", ["member", "circle", "ticks", "gone"])
def test_who_loses_a_circle_loses_the_app_with_all_that_opens_it(
    group: Group, ada: Browser, family: str, how: str
) -> None:
    grace = group.join(GRACE, "grace")
    put_into(ada, family, "grace")
    register(ada, "photos", who="chosen")
    photos = Program(group, ada, logout="https://photos.example.org/logout")
    tick(ada, "photos", may_use=family)
    make(grace, "photos", "Laptop")
    tokens = photos.tokens(grace, scope="openid offline_access")
    number = member_id(group, "grace")

    if how == "member":
        ada.post(f"/members/{number}", circles_were=family)
    elif how == "circle":
        ada.post(f"/admin/circles/{family}/members/{number}/drop")
    elif how == "ticks":
        tick(ada, "photos")
    else:
        ada.post(f"/admin/circles/{family}/remove")

    assert asked(grace, "program=photos")[0] == 403
    assert group.one("SELECT count(*) FROM app_passwords") == 0
    assert photos.userinfo(tokens).status_code == 401
    assert photos.refresh(tokens).status_code == 400
    assert group.rows("SELECT event, json_extract(ids, '$.sid') != '' FROM outbox") == [
        ("signed-out", 1)
    ]


def test_a_change_of_what_an_app_is_told_signs_out_there(
    group: Group, ada: Browser, family: str
) -> None:
    """It learns the new groups at the next sign-in, and by a refresh."""
    grace, chess = group.join(GRACE, "grace"), make_circle(ada, "Chess")
    register(ada, "photos")
    photos = Program(group, ada, logout="https://photos.example.org/logout")
    tick(ada, "photos", is_told=family)
    tokens = photos.tokens(grace, scope="openid offline_access")
    photos.tokens(ada)
    assert photos.read_id(tokens)["groups"] == ["members"]

    put_into(ada, chess, "grace")  # which it isn't told of
    assert group.rows("SELECT * FROM outbox") == []
    put_into(ada, family, "grace")

    assert group.one("SELECT count(*) FROM outbox") == 1
    sub = group.one("SELECT public_id FROM authors WHERE username = 'grace'")
    assert json.loads(group.one("SELECT ids FROM outbox"))["sub"] == sub
    assert photos.read_id(photos.refresh(tokens).get_json())["groups"] == ["members", "family"]
    group.command("remove", "grace")  # it may have gone on by that refresh
    assert group.one("SELECT count(*) FROM outbox") == 2


def test_one_claim_more_for_a_circle(group: Group, ada: Browser, family: str) -> None:
    """As Immich wants its role. It need not be told of the circle."""
    grace = group.join(GRACE, "grace")
    register(ada, "photos")
    claim = {"claim": "immich_role", "claim_outside": "user", "claim_inside": "admin"}
    photos = Program(group, ada, **claim, claim_circle=family)
    assert re.search(r'value="family" selected', ada.get("/admin/programs/photos/openid").text)
    assert photos.read_id(photos.tokens(grace))["immich_role"] == "user"
    put_into(ada, family, "grace")
    told = photos.read_id(photos.tokens(grace))
    assert (told["immich_role"], told["groups"]) == ("admin", ["members"])
    assert photos.read_id(photos.tokens(ada))["immich_role"] == "user"


def test_a_claim_follows_its_circle(group: Group, ada: Browser, family: str) -> None:
    """The app is told when it changes. Of a circle that is gone, nobody is: no admin, either."""
    grace = group.join(GRACE, "grace")
    put_into(ada, family, "grace")
    register(ada, "photos")
    claim = {"claim": "role", "claim_outside": "user", "claim_inside": "owner"}
    claim |= {"claim_circle": family, "logout": "https://photos.example.org/logout"}
    photos = Program(group, ada, **claim)
    assert photos.read_id(photos.tokens(grace))["role"] == "owner"
    ada.post(f"/admin/circles/{family}/remove")
    assert group.one("SELECT count(*) FROM outbox") == 1
    page = ada.get("/admin/programs/photos/openid").text
    assert "<option selected>family</option>" in page
    saved = ada.post("/admin/programs/photos/openid", redirects=photos.back, **claim)
    assert saved.status_code == 303
    for browser in (ada, grace):
        assert photos.read_id(photos.tokens(browser))["role"] == "user"


def test_a_claim_is_of_no_circle_that_never_was(group: Group, ada: Browser) -> None:
    register(ada, "photos")
    claim = {"claim": "role", "claim_outside": "user", "claim_inside": "admin"}
    back = "https://photos.example.org/callback"
    wrong = {"redirects": back, "claim_circle": "nothing"}
    answer = ada.post("/admin/programs/photos/openid", **claim, **wrong)
    assert answer.status_code == 422
    assert group.rows("SELECT * FROM openid_clients") == []


# Two admins at once -------------------------------------------------------------------------------


def test_a_stale_page_of_an_app_takes_nothing_away(group: Group, ada: Browser, family: str) -> None:
    """It was made while the app was for all, and its first column could not be ticked."""
    grace = group.join(GRACE, "grace")
    put_into(ada, family, "grace")
    register(ada, "photos", who="chosen")
    tick(ada, "photos", may_use=family)
    ada.post("/admin/programs/photos/who", who="all")
    stale = find_hidden(ada.get("/admin/programs/photos").text)
    ada.post("/admin/programs/photos/who", who="chosen")
    make(grace, "photos", "Laptop")
    before = group.one("SELECT count(*) FROM journal")

    assert ada.post("/admin/programs/photos/circles", **stale).status_code == 303

    assert groups(grace, "photos") == "members"
    assert group.one("SELECT count(*) FROM app_passwords") == 1
    assert group.one("SELECT count(*) FROM journal") == before  # nothing has changed


def test_a_stale_page_of_a_member_takes_nothing_away(
    group: Group, ada: Browser, family: str
) -> None:
    group.join(GRACE, "grace")
    register(ada, "files", who="chosen")
    number = member_id(group, "grace")
    stale = find_hidden(ada.get(f"/members/{number}").text)
    ada.post("/admin/programs/files/members", username="grace")

    ada.post(f"/members/{number}", circles=family, **stale)

    assert group.one("SELECT count(*) FROM program_members") == 1
    assert group.one("SELECT count(*) FROM circle_members") == 1


def test_one_save_that_swaps_a_tick_for_a_circle_loses_nothing(
    group: Group, ada: Browser, family: str
) -> None:
    grace = group.join(GRACE, "grace")
    register(ada, "files", who="chosen")
    tick(ada, "files", may_use=family)
    ada.post("/admin/programs/files/members", username="grace")
    make(grace, "files", "Laptop")

    ada.post(f"/members/{member_id(group, 'grace')}", programs_were="files", circles=family)

    assert groups(grace, "files") == "members"
    assert group.one("SELECT count(*) FROM app_passwords") == 1


def test_an_app_is_told_when_somebody_is_no_longer_chosen(
    group: Group, ada: Browser, family: str
) -> None:
    grace = group.join(GRACE, "grace")
    put_into(ada, family, "grace")
    register(ada, "photos", who="chosen")
    photos = Program(group, ada, logout="https://photos.example.org/logout")
    tick(ada, "photos", may_use=family)
    ada.post("/admin/programs/photos/members", username="grace")
    assert photos.read_id(photos.tokens(grace))["groups"] == ["members", "chosen"]

    ada.post(f"/admin/programs/photos/members/{member_id(group, 'grace')}/drop")

    assert group.one("SELECT count(*) FROM outbox") == 1


def test_who_asked_and_got_in_by_a_circle_asks_no_longer(
    group: Group, ada: Browser, family: str
) -> None:
    grace = group.join(GRACE, "grace")
    register(ada, "photos", who="chosen")
    tick(ada, "photos", may_use=family)
    grace.post("/programs/photos/ask")
    put_into(ada, family, "grace")
    assert "asked to be let in" not in ada.get("/admin/programs/photos").text
    assert "for 0 chosen members · Family" in words_of(ada.get("/admin/programs").text)


def words_of(page: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


def test_a_hundred_apps_and_circles_can_be_saved(group: Group, ada: Browser) -> None:
    group.join(GRACE, "grace")
    for n in range(100):
        name = f"{n:03d}-{'x' * 26}"
        group.rows("INSERT INTO circles (name, title) VALUES (?1, ?1)", name)
        group.rows(
            "INSERT INTO programs (name, title, address, host, for_all, created_at)"
            " VALUES (?1, ?1, 'https://x.example.org', 'x.example.org', 0, 0)",
            name,
        )
    number = member_id(group, "grace")
    every = [name for (name,) in group.rows("SELECT name FROM circles")]
    for were in ("", " ".join(every)):
        ticks: dict[str, Any] = {"programs": every, "circles": every}
        ticks |= {"programs_were": were, "circles_were": were}
        assert ada.client.post(f"/members/{number}", data=ticks).status_code == 303
    assert group.one("SELECT count(*) FROM circle_members") == 100


def test_groups_of_a_circle_in_a_token(group: Group, ada: Browser, family: str) -> None:
    put_into(ada, family, "ada")
    register(ada, "photos")
    photos = Program(group, ada)
    tick(ada, "photos", is_told=family)
    told = photos.read_id(photos.tokens(ada))
    assert told["groups"] == ["members", "admins", "family"]
    assert ADA not in json.dumps(told)
