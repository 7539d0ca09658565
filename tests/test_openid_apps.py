"""What lets real programs in at the first try: reasons, addresses, e-mail addresses, settings that
change one at a time."""

import re
from html import unescape
from urllib.parse import urlencode

import pytest
import time_machine
from markupsafe import escape
from werkzeug.test import TestResponse

from foundation.words.clock import DAY, MINUTE
from wsgi import create_app

from .cast import ADA, GRACE, Browser, Group, Lock, once_of, sentence, shown
from .openid_client import BACK, BARE, Program, told
from .registering import choose, register

PAGE = "/admin/programs/photos/openid"


@pytest.fixture
def photos(group: Group, ada: Browser) -> Program:
    register(ada, "photos")
    return Program(group, ada)


def lines(group: Group) -> list[tuple[object, ...]]:
    return group.rows("SELECT event, subject FROM journal WHERE event = 'openid_refused'")


# Every refusal says why ---------------------------------------------------------------------------


def wrong_secret(photos: Program) -> TestResponse:
    return photos.ask("/openid/token", (photos.id, "wrong"), grant_type="authorization_code")


def no_secret(photos: Program) -> TestResponse:
    client = photos.group.app.test_client(use_cookies=False)
    return client.post(
        "/openid/token", data={"client_id": photos.id, "grant_type": "authorization_code"}
    )


def unknown_client(photos: Program) -> TestResponse:
    return photos.ask("/openid/token", ("nobody", "x"), grant_type="authorization_code")


@pytest.mark.parametrize(
    ("ask", "name"),
    [
        (wrong_secret, "openid-secret"),
        (no_secret, "openid-no-secret"),
        (unknown_client, ""),
    ],
)
def test_a_program_that_is_not_let_in_hears_what_is_wrong(
    group: Group, ada: Browser, photos: Program, ask: object, name: str
) -> None:
    answer = ask(photos)  # type: ignore[operator]
    assert answer.status_code == 401
    said = sentence(name) if name else "Unknown client ID."
    assert answer.get_json() == {"error": "invalid_client", "error_description": said}
    assert answer.headers["WWW-Authenticate"].startswith('Basic realm="')
    for page in (PAGE, "/admin/programs/photos"):
        assert (str(escape(said)) in ada.get(page).text) == bool(name)
    assert lines(group) == ([("openid_refused", "photos")] if name else [])


ASKED: dict[str, dict[str, str | None]] = {
    "openid-pkce": BARE,
    "openid-mode": {"response_mode": "form_post"},
    "openid-not-theirs": {},
}


@pytest.mark.parametrize("name", ASKED)
def test_so_does_the_page_that_sent_somebody(group: Group, ada: Browser, name: str) -> None:
    register(ada, "photos", who="chosen" if name == "openid-not-theirs" else "all")
    photos = Program(group, ada)
    facts = told(photos.send(ada, **ASKED[name]))
    assert facts["error_description"] == sentence(name)
    assert re.fullmatch(r"[ !#-\[\]-~]+", facts["error_description"])
    assert shown(name) in ada.get(PAGE).text
    german = ada.client.get(PAGE, headers={"Accept-Language": "de"}).text
    assert shown(name) not in german


def test_the_journal_has_one_line_a_day(group: Group) -> None:
    with time_machine.travel("2026-11-25", tick=False) as clock:
        ada = group.join(ADA, "ada", bound=True)
        register(ada, "photos")
        photos = Program(group, ada)
        for _ in range(3):
            photos.send(ada, **BARE)
            wrong_secret(photos)
            clock.shift(2 * MINUTE)
        assert len(lines(group)) == 1
        clock.shift(DAY)
        photos.send(ada, **BARE)
        assert len(lines(group)) == 2
        assert "Its page says why" in ada.get("/admin/journal?show=refused").text


def shown_refusal(ada: Browser, page: str = "") -> str:
    return str(re.findall(r'<p class="alert">.*?</p>', page or ada.get(PAGE).text, re.S)[0])


def test_strangers_replace_what_a_member_met_once_a_minute_only(group: Group) -> None:
    """And no address that they bring is shown."""
    with time_machine.travel("2026-11-25", tick=False) as clock:
        ada = group.join(ADA, "ada", bound=True)
        register(ada, "photos")
        photos, stranger = Program(group, ada), group.browser()
        odd = "https://elsewhere.example/<b>"
        assert photos.send(ada, redirect_uri=odd).status_code == 400
        page = ada.get(PAGE).text
        assert (shown("openid-redirect") in page, str(escape(odd)) in page) == (True, True)

        other = "https://mallory.example/"
        photos.send(stranger, redirect_uri=other)
        wrong_secret(photos)
        assert shown_refusal(ada) == shown_refusal(ada, page)
        clock.shift(MINUTE)
        photos.send(stranger, redirect_uri=other)
        page = ada.get(PAGE).text
        assert (shown("openid-redirect") in page, other in page) == (True, False)
        clock.shift(1)
        photos.send(ada, **BARE)
        assert shown("openid-pkce") in ada.get(PAGE).text


def test_what_a_member_brings_who_may_not_use_it_is_not_shown(group: Group, ada: Browser) -> None:
    """Not even one who may use another app."""
    register(ada, "photos", who="chosen")
    register(ada, "wiki")
    photos, grace = Program(group, ada), group.join(GRACE, "grace")
    odd = "https://elsewhere.example/"
    photos.send(grace, redirect_uri=odd)
    page = ada.get(PAGE).text
    assert (shown("openid-redirect") in page, odd in page) == (True, False)


def test_asking_silently_is_no_news(group: Group, ada: Browser, photos: Program) -> None:
    assert told(photos.send(group.browser(), prompt="none"))["error"] == "login_required"
    assert lines(group) == []
    assert "The member has to sign in" not in ada.get(PAGE).text


def test_nothing_that_was_sent_is_shown(group: Group, ada: Browser) -> None:
    """Strangers could write on the admins' page, and on ours."""
    register(ada, "photos")
    photos = Program(group, ada, back="http://192.168.1.5/cb")
    words = "Call-+12025550166"
    for asked in ({"response_type": words}, {"prompt": words, "max_age": words}, {"scope": words}):
        page = photos.send(group.browser(), **asked).text
        assert words not in re.sub(r'(href|value)="[^"]*"', "", page)
        assert words not in ada.get(PAGE).text
    page = photos.send(group.browser(), response_type=words).text
    assert shown("openid-response-type") in page
    assert shown("openid-response-type") in ada.get(PAGE).text


def test_who_refuses_waits_for_no_lock(group: Group, ada: Browser, photos: Program) -> None:
    lock = Lock(group.app.config["DATABASE"])
    try:
        assert told(photos.send(group.browser(), **BARE))["error"] == "invalid_request"
    finally:
        lock.release()
    assert group.rows("SELECT * FROM openid_refusals") == []


def test_every_process_shows_it(
    group: Group, ada: Browser, photos: Program, settings: dict[str, str]
) -> None:
    photos.send(ada, **BARE)
    other = Group(create_app(settings), group.vonage).browser()
    other.client.set_cookie("session", ada.cookie())
    assert shown("openid-pkce") in other.get(PAGE).text


BAD_HINTS = ["x.y.z", "", "é", "eyJhbGciOiJSUzI1NiIsImNyaXQiOjV9.e30.AAAA", "W10.W10.W10"]


@pytest.mark.parametrize("hint", BAD_HINTS)
def test_a_bad_hint_is_no_fault_of_ours(
    group: Group, ada: Browser, photos: Program, hint: str
) -> None:
    assert told(photos.send(ada, prompt="none", id_token_hint=hint))["code"]
    for browser in (ada, group.browser()):
        query = urlencode({"id_token_hint": hint, "post_logout_redirect_uri": BACK})
        assert browser.get(f"/openid/logout?{query}").status_code == 200


# What programs are told of members ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "email"),
    [
        ("https://group.example.org", "ada@members.group.example.org"),
        ("https://192.168.1.5", "{id}@members.invalid"),
        ("http://localhost:8000", "{id}@members.invalid"),
        ("http://group.localhost", "{id}@members.invalid"),
    ],
)
def test_the_address_is_made_of_name_and_host(
    group: Group, ada: Browser, photos: Program, address: str, email: str
) -> None:
    tokens = photos.tokens(ada)
    group.app.config["BASE_URL"] = address
    info = photos.userinfo(tokens).get_json()
    assert (info["email"], info["email_verified"]) == (email.format(id=info["sub"]), False)


def test_a_program_that_was_told_another_address_goes_on_with_it(
    group: Group, ada: Browser, photos: Program
) -> None:
    """Until an admin changes that, on a page that says what follows."""
    tokens = photos.tokens(ada)
    ada.post(PAGE, redirects=BACK, email="verified")
    group.rows("UPDATE openid_clients SET is_email_old = 1")

    def info() -> tuple[str, bool]:
        own, group.app.config["BASE_URL"] = (
            group.app.config["BASE_URL"],
            "https://group.example.org",
        )
        told = photos.userinfo(tokens).get_json()
        group.app.config["BASE_URL"] = own
        return told["email"].replace(told["sub"], "id"), told["email_verified"]

    old, new = ("id@members.invalid", True), ("ada@members.group.example.org", True)
    assert info() == old
    page = ada.get(PAGE).text
    assert re.findall(r'name="email" value="(\w+)" checked', page) == ["old"]
    assert "somebody new" in page
    ada.post(PAGE, redirects=BACK, email="old")
    assert info() == old
    ada.post(PAGE, redirects=BACK, email="verified")
    assert info() == new
    assert "somebody new" not in ada.get(PAGE).text
    ada.post(PAGE, redirects=BACK, email="old")
    assert info() == new


@pytest.mark.parametrize("name", ["postmaster", "abuse", "webmaster", "hostmaster"])
def test_nobody_new_gets_mail_for_the_host(group: Group, ada: Browser, name: str) -> None:
    assert (
        shown("username-reserved")
        in ada.post("/invite", phone=GRACE, username=name, send="self").text
    )
    group.invite(GRACE)
    group.text(GRACE)
    answer = group.browser().sign_up(GRACE, name, group.vonage.pin_of(GRACE))
    assert (answer.status_code, shown("username-reserved") in answer.text) == (422, True)


def test_one_claim_more(group: Group, ada: Browser) -> None:
    register(ada, "photos")
    claim = {"claim": "immich_role", "claim_outside": "user", "claim_inside": "admin"}
    photos = Program(group, ada, **claim)
    grace = group.join(GRACE, "grace")
    assert photos.read_id(photos.tokens(ada))["immich_role"] == "admin"
    tokens = photos.tokens(grace)
    assert photos.userinfo(tokens).get_json()["immich_role"] == "user"
    ada.post(PAGE, redirects=BACK, claim="role", claim_outside="member")
    assert photos.userinfo(photos.tokens(ada)).get_json()["role"] == "member"


@pytest.mark.parametrize(
    "claim",
    [{"claim": "sub"}, {"claim": "groups"}, {"claim": "a b"}, {"claim": "x" * 81}]
    + [{"claim": "role", "claim_outside": "x" * 81}, {"claim": "phone_number"}]
    + [{"claim": "role"}, {"claim_outside": "user"}, {"claim_inside": "admin"}],
)
def test_no_claim_takes_the_place_of_another(
    group: Group, ada: Browser, claim: dict[str, str]
) -> None:
    register(ada, "photos")
    answer = ada.post(PAGE, redirects=BACK, **claim)
    assert (answer.status_code, shown("openid-claim") in answer.text) == (422, True)


# What is asked oddly ------------------------------------------------------------------------------


def test_somebody_elses_hint_gets_no_code(group: Group, ada: Browser, photos: Program) -> None:
    grace = group.join(GRACE, "grace")
    hint = photos.tokens(grace)["id_token"]
    assert told(photos.send(ada, prompt="none", id_token_hint=hint))["error"] == "login_required"
    assert told(photos.send(grace, prompt="none", id_token_hint=hint))["code"]
    assert told(photos.send(ada, prompt="none", id_token_hint="x.y.z"))["code"]


@pytest.mark.parametrize(
    ("asked", "language"), [("de", "de"), ("xx fr-CA en", "fr"), ("xx", "en"), ("", "en")]
)
def test_pages_are_in_the_language_that_a_program_asks_for(
    group: Group, photos: Program, asked: str, language: str
) -> None:
    stranger = group.browser()
    page = stranger.get(photos.send(stranger, ui_locales=asked).location).text
    assert f'<html lang="{language}"' in page


def test_a_language_that_was_chosen_stays(group: Group, photos: Program) -> None:
    stranger = group.browser()
    stranger.post("/language", language="fr")
    page = stranger.get(photos.send(stranger, ui_locales="de").location).text
    assert '<html lang="fr"' in page


# What scripts and other libraries read ------------------------------------------------------------


def test_both_places_say_the_same(group: Group, photos: Program) -> None:
    client = group.app.test_client(use_cookies=False)
    said = client.get("/.well-known/oauth-authorization-server").get_json()
    assert said == client.get("/.well-known/openid-configuration").get_json()
    assert "de" in said["ui_locales_supported"]


@pytest.mark.parametrize(
    "path",
    [
        "/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server",
        "/openid/jwks",
        "/openid/userinfo",
    ],
)
def test_scripts_of_other_origins_may_read_it(
    group: Group, ada: Browser, photos: Program, path: str
) -> None:
    tokens = photos.tokens(ada)
    client = group.app.test_client(use_cookies=False)
    headers = {"Origin": "https://photos.example.org"}
    asked = client.options(
        path,
        headers=headers
        | {
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "authorization",
        },
    )
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    answer = client.get(path, headers=headers | bearer)
    for one in (asked, answer):
        assert one.status_code == 200
        assert one.headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in one.headers
    assert asked.headers["Access-Control-Allow-Headers"] == "Authorization"


def test_no_script_reads_anything_else(group: Group, ada: Browser, photos: Program) -> None:
    for path in ("/", "/openid/token", "/openid/authorize", "/openid/logout", "/account"):
        answer = ada.client.get(path, headers={"Origin": "https://photos.example.org"})
        assert "Access-Control-Allow-Origin" not in answer.headers


# Signing out --------------------------------------------------------------------------------------


def ask_to_end(browser: Browser, **query: str) -> str:
    return browser.get(f"/openid/logout?{urlencode(query)}").text


def link_to_stay(page: str) -> str:
    return unescape(re.findall(r'<a class="button quiet" href="([^"]+)">Stay signed in', page)[0])


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("registered", ["", "/"])
def test_a_slash_at_the_end_makes_no_difference(
    group: Group, ada: Browser, slash: str, registered: str
) -> None:
    register(ada, "photos")
    after = "https://app.example.org"
    photos = Program(group, ada, after_sign_out=after + registered)
    page = ask_to_end(ada, client_id=photos.id, post_logout_redirect_uri=after + slash, state="a&b")
    assert "signed out of Our photos" in page
    assert link_to_stay(page) == f"{after}{slash}?state=a%26b"
    form = {"client_id": photos.id, "post_logout_redirect_uri": after + slash}
    assert f"url={after}{slash}" in ada.post("/openid/logout", **form).text


def test_staying_leads_to_the_program_where_that_is_all_that_is_known(
    group: Group, ada: Browser, photos: Program
) -> None:
    page = ask_to_end(ada, client_id=photos.id)
    assert "signed out of Our photos" in page
    assert link_to_stay(page) == "https://photos.example.org/start"


def test_where_no_program_is_known_none_is_named(
    group: Group, ada: Browser, photos: Program
) -> None:
    register(ada, "wiki")
    wiki = Program(group, ada, "wiki")
    for query in (
        {},
        {"client_id": "nobody", "post_logout_redirect_uri": BACK},
        {"client_id": wiki.id, "id_token_hint": photos.tokens(ada)["id_token"]},
        {"client_id": photos.id, "id_token_hint": "x.y.z"},
    ):
        page = ask_to_end(ada, **query)
        assert "An app asks to sign you out" in page
        assert "Our photos" not in page
        assert link_to_stay(page) == "/"


# The app's page -----------------------------------------------------------------------------------


def test_the_page_has_what_programs_ask_for(group: Group, ada: Browser, photos: Program) -> None:
    page = ada.get(PAGE).text
    issuer = "http://localhost:8000"
    shown_ones = dict(re.findall(r'<code class="words" id="([\w-]+)">([^<]+)<', page))
    assert shown_ones == {
        "issuer": issuer,
        "discovery": f"{issuer}/.well-known/openid-configuration",
        "client-id": photos.id,
        "scopes": "openid profile email groups offline_access",
        "authorize": f"{issuer}/openid/authorize",
        "token": f"{issuer}/openid/token",
        "userinfo": f"{issuer}/openid/userinfo",
        "jwks": f"{issuer}/openid/jwks",
        "end-session": f"{issuer}/openid/logout",
    }
    said = group.app.test_client().get("/.well-known/openid-configuration").get_json()
    for id_, name in (
        ("authorize", "authorization_endpoint"),
        ("token", "token_endpoint"),
        ("userinfo", "userinfo_endpoint"),
        ("jwks", "jwks_uri"),
        ("end-session", "end_session_endpoint"),
    ):
        assert said[name] == shown_ones[id_]


def test_what_is_saved_is_shown_again(group: Group, ada: Browser, photos: Program) -> None:
    saved = {
        "redirects": f"{BACK}\nhttp://nas.local/cb",
        "after_sign_out": "https://photos.example.org/bye",
        "logout": "http://192.168.1.5:2283/logout",
        "local_names": "yes",
        "pkce": "no",
        "ignores_login": "yes",
        "email": "verified",
        "claim": "role",
        "claim_outside": "user",
        "claim_inside": "admin",
    }
    assert ada.post(PAGE, **saved).status_code == 303
    page = ada.get(PAGE).text
    for field in ("logout", "claim", "claim_outside", "claim_inside"):
        assert re.search(rf'name="{field}" value="{re.escape(saved[field])}"', page), field
    for field in ("redirects", "after_sign_out"):
        assert f">{saved[field]}</textarea>" in page
    checked = re.findall(r'name="(\w+)" value="(\w+)" checked', page)
    assert set(checked) == {
        (name, saved[name]) for name in ("local_names", "pkce", "ignores_login", "email")
    }
    assert ada.post(PAGE, redirects=BACK).status_code == 303
    page = ada.get(PAGE).text
    assert re.findall(r'name="(\w+)" value="(\w+)" checked', page) == [("email", "unverified")]


def test_a_mistake_loses_nothing(group: Group, ada: Browser, photos: Program) -> None:
    typed = {"redirects": "http://example.org/cb", "claim": "role", "pkce": "no"}
    page = ada.post(PAGE, **typed)
    assert page.status_code == 422
    kept = (">http://example.org/cb</textarea>", 'value="role"', 'value="no" checked')
    for text in (*kept, "<details open>"):
        assert text in page.text
    assert photos.code(ada)


def test_the_last_sign_in_and_by_how_many(group: Group, ada: Browser, photos: Program) -> None:
    assert "Last sign-in" not in ada.get("/admin/programs/photos").text
    photos.tokens(ada)
    grace = group.join(GRACE, "grace")
    photos.tokens(grace)
    page = ada.get("/admin/programs/photos").text
    assert re.search("Last sign-in: (grace|ada),", page)  # in the same second
    assert "2 members are signed in." in page
    grace.post("/logout")
    assert "1 member is signed in." in ada.get("/admin/programs/photos").text


def test_only_admins_touch_it(group: Group, ada: Browser, photos: Program) -> None:
    grace = group.join(GRACE, "grace")
    before = group.rows("SELECT * FROM openid_clients")
    for path in ("", "/secret", "/allow", "/try"):
        assert grace.post(PAGE + path).status_code == 403
        assert ada.post(f"/admin/programs/nothing/openid{path}", redirects=BACK).status_code == 404
    assert grace.get(f"{PAGE}/secret").status_code == 403
    assert group.rows("SELECT * FROM openid_clients") == before
    register(ada, "wiki")
    assert ada.post("/admin/programs/wiki/openid/secret").status_code == 404


# Asking for an app --------------------------------------------------------------------------------


def ask_for(browser: Browser, name: str = "photos") -> str:
    page = browser.get(f"/programs/{name}")
    assert page.status_code == 403
    assert f'action="/programs/{name}/ask"' in page.text
    assert browser.post(f"/programs/{name}/ask").location == f"/programs/{name}"
    return browser.get(f"/programs/{name}").text


def test_a_member_asks_and_an_admin_lets_them_in(group: Group, ada: Browser) -> None:
    register(ada, "photos", who="chosen")
    grace = group.join(GRACE, "grace")
    assert "You asked to be let in" in ask_for(grace)
    grace.post("/programs/photos/ask")
    assert "1 asked to be let in" in ada.get("/admin/programs").text
    page = ada.get("/admin/programs/photos").text
    assert "<strong>grace</strong> asked to be let in." in page
    assert len(group.rows("SELECT 1 FROM journal WHERE event = 'program_asked'")) == 1
    choose(ada, "photos", "grace")
    assert grace.get("/programs/photos").location == "https://photos.example.org/start"
    assert "asked to be let in" not in ada.get("/admin/programs/photos").text


def test_or_says_no_and_may_be_asked_again(group: Group, ada: Browser) -> None:
    register(ada, "photos", who="chosen")
    grace = group.join(GRACE, "grace")
    ask_for(grace)
    (drop,) = re.findall(
        r'action="(/admin/programs/photos/askers/\d+/drop)"', ada.get("/admin/programs/photos").text
    )
    assert grace.post(drop).status_code == 403
    assert ada.post(drop).status_code == 303
    assert "asked to be let in" not in ada.get("/admin/programs/photos").text
    ask_for(grace)


def test_each_page_changes_what_it_shows(group: Group, ada: Browser) -> None:
    """Another admin may have changed the rest meanwhile."""
    register(ada, "photos")
    path = "/admin/programs/photos"
    assert ada.post(f"{path}/who", who="chosen").status_code == 303
    title = {"title": "Pictures", "address": "https://p.example.org"}
    assert ada.post(f"{path}/title", **title).status_code == 303
    assert ada.get("/programs/photos").status_code == 403
    assert ada.post(f"{path}/who", who="all").status_code == 303
    assert ada.get("/programs/photos").location == "https://p.example.org"
    assert ada.post(f"{path}/title", **title | {"title": ""}).status_code == 422
    assert "<h1>Pictures</h1>" in ada.get(path).text


def test_who_is_removed_asks_no_longer(group: Group, ada: Browser) -> None:
    register(ada, "photos", who="chosen")
    grace = group.join(GRACE, "grace")
    ask_for(grace)
    group.command("remove", "grace")
    assert "asked to be let in" not in ada.get("/admin/programs/photos").text
    assert group.rows("SELECT * FROM program_askers") == []


def test_an_admin_lets_herself_in(group: Group, ada: Browser) -> None:
    register(ada, "photos", who="chosen")
    page = ada.get("/programs/photos").text
    assert "Let yourself in" in page
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', page.split("<main")[1]))
    assert (
        ada.post("/admin/programs/photos/members", username=fields["username"]).status_code == 303
    )
    assert ada.get("/programs/photos").status_code == 303


def test_a_guest_who_is_gone_counts_no_more(group: Group, ada: Browser) -> None:
    register(ada, "photos", who="chosen")
    ask_for(group.join(GRACE, "grace"))
    group.rows("UPDATE authors SET ends_at = unixepoch() WHERE username = 'grace'")
    assert "asked to be let in" not in ada.get("/admin/programs").text


def test_two_tabs_make_one(group: Group, ada: Browser) -> None:
    register(ada, "photos")
    pages = [ada.get(PAGE).text for _ in range(2)]
    made = [ada.post(PAGE, redirects=BACK, once=once_of(page)) for page in pages]
    assert [one.status_code for one in made] == [200, 303]
    assert len(group.rows("SELECT 1 FROM openid_clients")) == 1


def test_who_may_use_it_asks_for_nothing(group: Group, ada: Browser) -> None:
    register(ada, "photos")
    ada.post("/programs/photos/ask")
    assert group.rows("SELECT * FROM program_askers") == []
    assert ada.post("/programs/nothing/ask").status_code == 404
