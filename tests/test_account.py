"""One's own pages: home and its news, the account, what we know, and being forgotten."""

import json
import re
import time
from pathlib import Path

import pytest
import time_machine

from app import prune
from features.members.leaving import sign_out_everywhere
from foundation.storage.about_member import find_columns, find_not_shown, find_tables
from foundation.storage.authors import find_author
from foundation.storage.database import checkpoint, fetch_rows, transaction
from foundation.storage.digests import digest_session
from foundation.storage.journal_lines import ABOUT_APPS
from foundation.words.clock import DAY
from simulator.vonage import Vonage
from wsgi import FEATURES, create_app

from .app_passwords import make as make_app_password
from .authenticator import Passkey
from .cast import ADA, GRACE, MALLORY, Browser, Group, shown
from .new_devices import add as add_device
from .openid_client import Program
from .passkeys import add as add_passkey
from .passkeys import use
from .registering import register
from .ways_in import LINUX, synced, words

START = "2026-11-23 12:00"


@pytest.fixture
def grace(group: Group, ada: Browser) -> Browser:
    return group.join(GRACE, "grace")


def named(group: Group, browser: Browser, name: str) -> Browser:
    """What the newest device is called."""
    group.rows("UPDATE sessions SET device = ? WHERE device = ''", name)
    return browser


def news(browser: Browser) -> list[str]:
    return re.findall(r'<section class="card news">\s*<p>(.*?) <span', browser.get("/").text)


def buttons(browser: Browser) -> list[str]:
    """Where the news' answers go: "That was me", and the page behind "It wasn't me"."""
    return re.findall(r'"(/news/[^"]+)/mine"', browser.get("/").text)


# Home ---------------------------------------------------------------------------------------------


def test_home_says_hello_and_nothing_else(group: Group, ada: Browser) -> None:
    page = words(ada.get("/").text)
    assert page.startswith('id="main"> Hello, ada')
    assert "Nobody else is here yet" in page
    for n in range(10):
        group.rows("INSERT INTO authors (username, joined_at) VALUES (?, 1)", f"friend-{n}")
    page = words(ada.get("/").text)
    assert "10 friends friend-9 friend-8" in page
    assert "friend-2 See all" in page
    assert "friend-1 " not in page
    assert "Invite a friend" in page


def test_apps_are_tiles(group: Group, ada: Browser, grace: Browser) -> None:
    register(ada, "photos")
    page = grace.get("/").text
    assert re.search(r'class="tile colour-\d" aria-hidden="true">[A-Z]</span> ', page)
    assert page.index('class="tiles"') < page.index('id="friends-heading"')


def test_everybody_can_be_looked_up(group: Group, grace: Browser) -> None:
    for n in range(60):
        group.rows("INSERT INTO authors (username, joined_at) VALUES (?, 1)", f"friend-{n:02}")
    group.rows("UPDATE authors SET removed_at = 1 WHERE username = 'friend-00'")
    page = grace.get("/members").text
    assert page.count("<li><strong>") == 50
    assert "friend-00" not in page
    assert grace.get("/members?page=2").text.count("<li><strong>") == 11
    assert grace.get("/members?q=END-31").text.count("<li><strong>friend-31") == 1
    assert "No member has" in grace.get("/members?q=nobody").text


# What should be done about ways in ----------------------------------------------------------------


def test_one_way_in_is_a_warning_and_two_are_none(group: Group, grace: Browser) -> None:
    for path in ("/", "/account"):
        assert "This phone is your only way in." in grace.get(path).text
        on_laptop = grace.get(path, headers={"User-Agent": LINUX}).text
        assert "This computer is your only way in." in on_laptop
    add_passkey(grace, synced())
    for path in ("/", "/account"):
        assert "your only way in" not in grace.get(path).text
    assert "Your ways in: this phone and the passkey Passkey." in grace.get("/account").text


def test_the_last_device_is_about_to_end(group: Group, ada: Browser) -> None:
    with time_machine.travel("2026-01-01 12:00", tick=False) as clock:
        grace = group.join(GRACE, "grace")
        add_device(grace, second := group.browser())
        for _ in range(17):
            clock.shift(20 * DAY)
            grace.get("/")
            second.get("/")
        said = "The last of your devices is signed out on 1 January 2027."
        assert said in grace.get("/").text
        assert said in grace.get("/account").text
        add_passkey(grace, synced())
        assert said not in grace.get("/").text


def test_a_guest_reads_one_date_everywhere(group: Group, ada: Browser, grace: Browser) -> None:
    ada.post("/members/2/last-day", ends_on="2099-12-31")
    for path in ("/", "/account"):
        assert "You&#39;re a guest until 31 December 2099." in grace.get(path).text.replace(
            "You're", "You&#39;re"
        )
    assert "A device stays signed in" not in grace.get("/account").text
    assert "your only way in" in grace.get("/").text


def test_a_guest_of_a_few_days_is_asked_for_nothing_but_to_stay(group: Group, ada: Browser) -> None:
    with time_machine.travel(START, tick=False) as clock:
        grace = group.join(GRACE, "grace")
        ada = group.join(ADA, "ada", bound=True)
        group.rows("UPDATE authors SET invited_by = 1 WHERE username = 'grace'")
        ada.post("/members/2/last-day", ends_on="2026-12-10")
        page = grace.get("/").text
        assert "a guest until 10 December 2026." in page
        assert "only way in" not in page
        clock.shift(16 * DAY)
        page = grace.get("/").text
        assert "a guest until 10 December 2026. Ask ada if you" in page


def test_no_token_lasts_longer_than_its_guest(group: Group, ada: Browser) -> None:
    register(ada, "photos")
    photos = Program(group, ada)
    grace = group.join(GRACE, "grace")
    group.rows("UPDATE authors SET ends_at = unixepoch() + 120 WHERE username = 'grace'")
    ends_at = group.one("SELECT ends_at FROM authors WHERE username = 'grace'")
    tokens = photos.tokens(grace)
    assert tokens["expires_in"] <= 120
    assert photos.read_id(tokens)["exp"] <= ends_at
    assert group.one("SELECT max(expires_at) FROM openid_tokens") <= ends_at


# News ---------------------------------------------------------------------------------------------


def test_who_is_told_of_a_new_device(group: Group, grace: Browser) -> None:
    with time_machine.travel(START, tick=False) as clock:
        clock.shift(30 * DAY)
        grace = named(group, group.join(GRACE, "grace", bound=True), "phone")
        clock.shift(10 * DAY)
        add_device(grace, laptop := group.browser())
        named(group, laptop, "laptop")
        third = named(group, group.join(GRACE, "grace", bound=True), "tablet")

        assert news(laptop) == ["tablet was added to your devices."]
        assert news(grace) == ["tablet was added to your devices."]  # it added the laptop today
        assert news(third) == ["laptop was added to your devices."]
        clock.shift(DAY)
        assert len(news(grace)) == 2
        clock.shift(6 * DAY)
        assert news(grace) == news(laptop) == news(third) == []


def test_the_first_device_is_no_news(group: Group, grace: Browser) -> None:
    third = group.join(GRACE, "grace", bound=True)
    assert news(third) == []
    assert len(news(grace)) == 1


def test_that_was_me(group: Group, grace: Browser) -> None:
    third = named(group, group.join(GRACE, "grace", bound=True), "tablet")
    add_device(grace, laptop := group.browser())
    (answer,) = buttons(laptop)
    assert laptop.post(f"{answer}/mine").location == "/"
    assert news(laptop) == news(grace) == []
    assert third.username() == "grace"


def test_a_device_answers_neither_for_itself_nor_for_what_added_it(
    group: Group, grace: Browser
) -> None:
    stolen = named(group, group.join(GRACE, "grace", bound=True), "stolen")
    add_device(stolen, thief := group.browser())
    named(group, thief, "thief")
    own = buttons(grace)
    assert len(own) == 2
    assert news(thief) == news(stolen) == []
    for answer in own:
        for browser in (thief, stolen):
            assert browser.get(answer).status_code == 404
            assert browser.post(answer).status_code == 404
            assert browser.post(f"{answer}/mine").status_code == 404
    assert len(news(grace)) == 2


def test_it_was_not_me_ends_it_and_all_from_it(group: Group, grace: Browser, ada: Browser) -> None:
    register(ada, "wiki")
    stolen = named(group, group.join(GRACE, "grace", bound=True), "stolen")
    make_app_password(stolen)
    add_passkey(stolen, Passkey())
    (answer,) = (one for one in buttons(grace) if "/device/" in one)
    page = words(grace.get(answer).text)
    assert "Sign out stolen?" in page
    assert "the passkey Passkey and the app password git" in page
    assert stolen.username() == "grace"

    assert grace.post(answer).location == "/"

    assert (grace.username(), stolen.username()) == ("grace", None)
    assert group.rows("SELECT 1 FROM passkeys UNION ALL SELECT 1 FROM app_passwords") == []
    assert news(grace) == []


def test_a_passkey_takes_the_devices_along_that_it_signed_in(group: Group, grace: Browser) -> None:
    """They may be the thief's, and can't say that it was them."""
    other = group.join(GRACE, "grace", bound=True)
    add_passkey(other, passkey := Passkey())
    thief = group.browser()
    thief.get("/signup")
    assert use(thief, passkey).status_code == 200
    (answer,) = (one for one in buttons(grace) if "/passkey/" in one)
    assert thief.post(f"{answer}/mine").status_code == 404
    assert "Remove the passkey Passkey?" in grace.get(answer).text

    grace.post(answer)

    assert (thief.username(), other.username()) == (None, "grace")
    assert group.rows("SELECT 1 FROM passkeys") == []


def test_an_app_password_is_news_too(group: Group, grace: Browser, ada: Browser) -> None:
    register(ada, "wiki")
    other = group.join(GRACE, "grace", bound=True)
    make_app_password(other, name="Calendar")
    assert "The app password Calendar was made." in news(grace)
    (answer,) = (one for one in buttons(grace) if "/app-password/" in one)
    make_app_password(other, name="Notes")
    make_app_password(ada, name="Calendar")
    grace.post(answer)
    left = "SELECT username, name FROM app_passwords JOIN authors ON authors.id = author_id"
    assert group.rows(left) == [("grace", "Notes"), ("ada", "Calendar")]


@pytest.mark.parametrize("path", ["/news/device/x", "/news/nothing/1", "/news/passkey/1"])
def test_what_is_no_news_cannot_be_answered(grace: Browser, path: str) -> None:
    for ask in (grace.get, grace.post):
        assert ask(path).status_code == 404
    assert grace.post(f"{path}/mine").status_code == 404


# The account --------------------------------------------------------------------------------------


def test_a_device_says_how_it_came_and_what_ends_with_it(group: Group, grace: Browser) -> None:
    named(group, grace, "Safari on iOS")  # as older versions called it
    add_device(grace, laptop := group.browser())
    named(group, laptop, "Firefox on Windows")
    add_device(laptop, third := group.browser())
    named(group, third, "Edge on Windows")
    page = words(grace.get("/account").text)
    assert "Safari on iPhone this device Last used today · signed in on" in page
    assert "from Safari on iPhone If you sign it out, this ends, too: Edge on Windows" in page
    # The laptop stays when it ends the phone, and so does what was added from the laptop.
    assert "this ends, too" not in words(laptop.get("/account").text)
    assert "this ends, too: Firefox on Windows" in words(third.get("/account").text)


def test_what_happened_is_ones_own(group: Group, ada: Browser, grace: Browser) -> None:
    register(ada, "grace")  # an app that is called like her
    mallory = group.join(MALLORY, "mallory")
    mallory.post("/devices/end-others")
    ada.post("/members/2/last-day", ends_on="2099-12-31")
    page = words(grace.get("/account/history").text)
    assert "grace joined" in page
    assert "ada changed how long grace can stay" in page
    assert "mallory" not in page
    assert "added the app" not in page


def test_what_we_know_is_all_that_there_is(group: Group, ada: Browser, grace: Browser) -> None:
    register(ada, "wiki")
    make_app_password(grace)
    add_passkey(grace, Passkey())
    answer = grace.get("/account/about-me.json")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="grace.json"'
    facts = json.loads(answer.text)
    assert facts["authors"][0]["username"] == "grace"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT.*Z", facts["authors"][0]["joined_at"])
    assert facts["passkeys"][0]["name"] == "Passkey"
    assert facts["app_passwords"][0]["name"] == "git"
    assert {"joined", "pin_sent"} <= {line["event"] for line in facts["journal"]}
    assert GRACE[-4:] not in answer.text
    digests = group.rows("SELECT id_digest FROM sessions UNION SELECT digest FROM app_passwords")
    assert not any(digest in answer.text for (digest,) in digests)
    page = grace.get("/account/about-me").text
    for text in ("passkeys", "app_passwords", "grace", "sessions.id_digest"):
        assert text in page


def test_the_page_does_not_grow_with_the_journal(group: Group, grace: Browser) -> None:
    for _ in range(100):
        group.rows("INSERT INTO journal (at, event, actor) VALUES (1, 'signed_out', 'grace')")
    page = words(grace.get("/account/about-me").text)
    assert page.count("signed_out") <= 50
    assert "more, in the file." in page
    assert grace.get("/account/about-me.json").text.count("signed_out") == 100


HOLDS_NOTHING_OF_MEMBERS = {
    "cooldowns", "inbound_messages", "sent_forms", "receivers", "parts", "name_salt", "programs",
    "openid_clients", "openid_keys", "openid_refusals", "used_challenges",
    "circles", "program_circles", "told", "told_until",
}  # fmt: skip


def test_every_column_of_every_table_is_shown_or_said_to_be_left_out(
    group: Group, ada: Browser, grace: Browser
) -> None:
    with group.app.app_context():
        tables = find_tables()
        left_out = set(find_not_shown(tables))
        sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
        every = {row["name"]: set(find_columns(row["name"])) for row in fetch_rows(sql)}
    assert every.keys() - tables.keys() == HOLDS_NOTHING_OF_MEMBERS
    for table in every.keys() - {"authors", "journal", "outbox"} - HOLDS_NOTHING_OF_MEMBERS:
        fill(group, table)
    facts = json.loads(grace.get("/account/about-me.json").text)
    for table in tables.keys() - {"outbox"}:
        seen = {column for row in facts[table] for column in row}
        said = {name.partition(".")[2] for name in left_out if name.startswith(f"{table}.")}
        assert seen | said == every[table], table
        assert not seen & said
    assert facts["not_shown"] == sorted(left_out) or set(facts["not_shown"]) == left_out


def fill(group: Group, table: str) -> None:
    """A row of Grace's with something in every column."""
    db_facts = {"author_id": 2, "invited_by": 2, "username": "grace", "program_id": 1}
    digest = group.one("SELECT id_digest FROM sessions WHERE author_id = 2")
    db_facts |= {"session_digest": digest}
    columns = group.rows(f"SELECT name, type, pk FROM pragma_table_info('{table}')")
    values = {
        name: db_facts.get(name, {"INTEGER": 77, "BLOB": b"x"}.get(kind, f"text of {name}"))
        for name, kind, _ in columns
    }
    marks = ", ".join("?" * len(values))
    group.rows(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", *values.values())


# Forgetting ---------------------------------------------------------------------------------------


def leave(browser: Browser, forget: bool = True) -> None:
    assert browser.get("/leave").status_code == 200
    assert browser.post("/leave", **({"forget": "yes"} if forget else {})).location == "/"


def test_a_forgotten_name_is_said_nowhere(group: Group, ada: Browser) -> None:
    canary = group.join(GRACE, "canary-bird")
    ada.post("/members/2/last-day", ends_on="2099-12-31")
    ada.post("/members/2/last-day", ends_on="")
    ada.get("/")  # takes the notice
    group.rows("UPDATE authors SET invited_by = 2 WHERE username = 'ada'")
    leave(canary)
    for path in ("/admin/journal", "/admin/members", "/", "/admin/journal?show=invites"):
        page = ada.get(path).text
        assert "canary" not in page, path
        assert "~" not in page, path
    journal = ada.get("/admin/journal").text
    assert "a former member left the group" in journal
    assert "ada changed how long a former member can stay" in journal
    assert "invited by a former member" in words(ada.get("/members/1").text)
    assert "Nothing here." in ada.get("/admin/journal?who=canary-bird").text
    kept = group.one("SELECT username FROM authors WHERE id = 2")
    assert "former" not in ada.get(f"/admin/journal?who={kept}").text.split("<main")[1]
    printed = group.command("journal", "--json", "--since", "0").output
    assert "a former member" in printed
    assert "canary" not in printed
    assert "~" not in printed


def test_no_byte_of_it_stays(group: Group, ada: Browser) -> None:
    canary = group.join(GRACE, "canary-bird")
    database = Path(group.app.config["DATABASE"])
    files = [database, database.with_name(f"{database.name}-wal")]
    assert any(b"canary" in file.read_bytes() for file in files)
    leave(canary)
    with group.app.app_context():
        checkpoint()
    for file in [*files, database.with_name(f"{database.name}-shm")]:
        assert b"canary" not in file.read_bytes(), file


def test_nobody_gets_the_name_also_under_a_new_secret_key(
    group: Group, ada: Browser, grace: Browser, settings: dict[str, str], vonage: Vonage
) -> None:
    leave(grace)
    for app in (
        group.app,
        create_app(settings | {"SECRET_KEY": "a new key of thirty-two or more letters"}),
    ):
        renewed = Group(app, vonage)
        renewed.invite(MALLORY)
        renewed.text(MALLORY)
        mallory = renewed.browser()
        refused = mallory.sign_up(MALLORY, "grace", vonage.pin_of(MALLORY))
        assert refused.status_code == 422
        assert shown("username-taken") in refused.text
        with app.app_context():
            assert (found := find_author("grace"))
            assert found["id"] == 2
            assert find_author("grace2") is None
    assert mallory.sign_up(MALLORY, "mallory", vonage.pin_of(MALLORY)).status_code == 303


def test_an_invite_for_that_very_name_brings_it_back(
    group: Group, ada: Browser, grace: Browser
) -> None:
    leave(grace)
    again = group.join(GRACE, "grace", bound=True)
    assert again.username() == "grace"
    assert group.rows("SELECT username, removed_at FROM authors WHERE id = 2") == [("grace", None)]
    assert group.one("SELECT count(*) FROM authors") == 2
    assert "grace is back" in ada.get("/admin/journal").text


def test_an_admin_has_a_removed_members_name_forgotten(
    group: Group, ada: Browser, grace: Browser
) -> None:
    assert ada.get("/members/2/forget").status_code == 404  # she is in
    ada.post("/members/2/remove")
    assert 'href="/members/2/forget"' in ada.get("/members/2").text
    assert "Forget the name grace?" in ada.get("/members/2/forget").text
    assert ada.post("/members/2/forget").location == "/admin/members"
    assert "forget" not in ada.get("/admin/members").text.split("<main")[1].split("</h1>")[1]
    assert "grace" not in ada.get("/admin/journal").text
    assert "ada had the name of a former member forgotten" in ada.get("/admin/journal").text
    assert ada.post("/members/2/forget").status_code == 404


def test_who_only_leaves_keeps_the_name(group: Group, ada: Browser, grace: Browser) -> None:
    leave(grace, forget=False)
    assert group.one("SELECT username FROM authors WHERE id = 2") == "grace"
    assert "grace left the group" in ada.get("/admin/journal").text


def test_an_app_that_is_called_like_the_member_keeps_its_name(
    group: Group, ada: Browser, grace: Browser
) -> None:
    register(ada, "grace")
    leave(grace)
    events = group.rows("SELECT subject FROM journal WHERE event = 'program_added'")
    assert events == [("grace",)]


def test_it_is_said_of_every_event_whether_its_subject_is_an_app() -> None:
    of_apps = {"programs", "app_passwords", "openid"}
    found = {
        name.partition(",")[0]
        for feature in FEATURES
        for name, said in feature.events.items()
        if feature.name in of_apps and "{subject}" in said
    }
    assert found == set(ABOUT_APPS)


# What was found by trying -------------------------------------------------------------------------


def test_a_thief_cannot_vouch_for_what_comes_from_the_same_device(
    group: Group, grace: Browser
) -> None:
    """A stolen phone that is known for long adds two devices and a passkey, and uses that."""
    stolen = known(group, group.join(GRACE, "grace", bound=True))
    add_device(stolen, first := group.browser())
    add_device(first, second := group.browser())
    add_passkey(stolen, passkey := Passkey())
    thief = group.browser()
    thief.get("/signup")
    assert use(thief, passkey).status_code == 200
    answers = buttons(grace)
    assert len(answers) == 4
    for browser in (stolen, first, second, thief):
        for answer in answers:
            assert browser.post(f"{answer}/mine").status_code == 404
    assert len(news(grace)) == 4
    for answer in answers:
        grace.post(answer)  # some are gone with others
    assert [one.username() for one in (first, second, thief)] == [None] * 3
    assert grace.username() == "grace"


def known(group: Group, browser: Browser) -> Browser:
    """Long ago."""
    group.rows("UPDATE sessions SET is_known = 1 WHERE created_at = (SELECT max(created_at)"
               " FROM sessions) AND added_by IS NULL")  # fmt: skip
    return browser


def test_it_is_known_what_came_from_a_device_that_signed_out(group: Group, grace: Browser) -> None:
    stolen = group.join(GRACE, "grace", bound=True)
    add_device(stolen, other := group.browser())
    add_passkey(stolen, passkey := Passkey())
    thief = group.browser()
    thief.get("/signup")
    assert use(thief, passkey).status_code == 200
    stolen.post("/logout")
    for answer in buttons(grace):
        assert thief.post(f"{answer}/mine").status_code == 404
        assert other.post(f"{answer}/mine").status_code == 404
    (answer,) = (one for one in buttons(grace) if "/passkey/" in one)
    assert "This ends, too: An unknown device" in words(grace.get(answer).text).replace(
        "an unknown", "An unknown"
    )
    grace.post(answer)
    assert thief.username() is None


def test_a_device_takes_the_passkey_along_that_let_it_in(group: Group, grace: Browser) -> None:
    other = group.join(GRACE, "grace", bound=True)
    add_passkey(other, passkey := Passkey())
    group.rows("UPDATE passkeys SET created_at = created_at - ?", 8 * DAY)
    thief = group.browser()
    thief.get("/signup")
    assert use(thief, passkey).status_code == 200
    answer = f"/news/device/{digest_session(thief.cookie())[:16]}"
    assert "This ends, too: the passkey Passkey" in words(grace.get(answer).text)
    grace.post(answer)
    assert thief.username() is None
    again = group.browser()
    again.get("/signup")
    assert use(again, passkey).status_code == 422


def test_that_was_me_may_be_said_twice(group: Group, grace: Browser) -> None:
    group.join(GRACE, "grace", bound=True)
    (answer,) = buttons(grace)
    for _ in range(2):
        assert grace.post(f"{answer}/mine").location == "/"


def test_no_line_brings_a_forgotten_name_back(group: Group, ada: Browser, grace: Browser) -> None:
    """Two presses that were read before she left, and written after."""
    leave(grace)
    with group.app.test_request_context():
        sign_out_everywhere(2, "grace", "ada")
    assert "grace" not in str(group.rows("SELECT actor, subject FROM journal"))


@pytest.mark.parametrize("how", ["expired", "withdrawn", "displaced"])
def test_an_invite_in_vain_leaves_no_name(
    group: Group, ada: Browser, grace: Browser, how: str
) -> None:
    leave(grace)
    ada.post("/invite", phone=f"+{MALLORY}", username="grace")
    assert "grace" in str(group.rows("SELECT subject FROM journal"))
    if how == "expired":
        group.rows("UPDATE whitelist SET expires_at = 1")
        with group.app.app_context(), transaction():
            prune()
    elif how == "withdrawn":
        ada.post(f"/invite/{group.one('SELECT id FROM whitelist')}/revoke")
    else:
        group.pass_a_minute()
        ada.post("/invite", phone=f"+{MALLORY}")
    assert "grace" not in str(group.rows("SELECT actor, subject FROM journal"))
    assert "grace" not in str(group.rows("SELECT username FROM whitelist"))


def test_forgetting_withdraws_an_open_invite(group: Group, ada: Browser, grace: Browser) -> None:
    ada.post("/members/2/remove")
    ada.post("/invite", phone=f"+{MALLORY}", username="grace")
    ada.post("/members/2/forget")
    assert group.rows("SELECT 1 FROM whitelist") == []
    assert "grace" not in str(group.rows("SELECT actor, subject FROM journal"))


def test_what_we_know_keeps_others_secrets(group: Group, ada: Browser, grace: Browser) -> None:
    """A forgotten friend's name, and what an admin noted of her."""
    group.rows("UPDATE authors SET invited_by = 1 WHERE id = 2")
    ada.post("/invite", phone=f"+{MALLORY}", username="ada", who="the bossy one")
    leave(grace)
    facts = json.loads(ada.get("/account/about-me.json").text)
    assert "~" not in json.dumps(facts["authors"])
    assert {"username": "a former member", "invited_by": 1} in facts["authors"]
    group.rows("UPDATE whitelist SET invited_by = NULL")
    assert "bossy" not in ada.get("/account/about-me.json").text


def test_lines_of_another_persons_invite_are_nobodys_else(group: Group, ada: Browser) -> None:
    ada.post("/invite", phone=f"+{MALLORY}", username="sam")
    group.text(MALLORY, "stop")
    group.invite(GRACE)
    group.text(GRACE)
    sam = group.browser()
    assert sam.sign_up(GRACE, "sam", group.vonage.pin_of(GRACE)).status_code == 303
    page = words(sam.get("/account/history").text)
    assert "sam joined" in page
    assert "STOP" not in page


def test_a_guest_is_sent_to_an_admin(group: Group, ada: Browser, grace: Browser) -> None:
    mallory = group.join(MALLORY, "mallory")
    ends_at = int(time.time()) + 2 * DAY
    group.rows("UPDATE authors SET invited_by = 2, ends_at = ? WHERE id = 3", ends_at)
    assert "Ask an admin" in mallory.get("/").text
    group.rows("UPDATE authors SET invited_by = 1 WHERE id = 3")
    assert "Ask ada" in mallory.get("/").text
