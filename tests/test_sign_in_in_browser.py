"""Signing in on a phone, in a real browser: what was typed stays, members find their way back, and
passkeys work where people keep them. In English, German and Arabic, with and without script."""

import json

import pytest
from playwright.sync_api import Page, expect

from foundation.words.languages import translate, translate_in
from simulator.vonage import Answer, Connection, answer_with

from .cast import ADA, GRACE, ROOT, sentence
from .windows import PHONE, House, add_screen_lock, other_than, press, send

LANGUAGES = ["en", "de", "ar"]
ANDROID = (
    "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Chrome/131.0.0.0 Mobile Safari/537.36"
)


def phone(house: House, language: str = "en", script: bool = True) -> Page:
    """A friend's browser that has looked at nothing yet."""
    return house.window(locale=language, java_script_enabled=script, user_agent=ANDROID).new_page()


def fill(page: Page, **fields: str) -> None:
    for name, value in fields.items():
        page.locator(f"[name={name}]").fill(value)


def focus(page: Page) -> str:
    return str(page.evaluate("document.activeElement.id"))


# The form -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_wrong_name_keeps_the_pin(house: House, language: str) -> None:
    local, page = house.local, phone(house, language)
    local.join(ADA, "ada", bound=True)
    local.invite(GRACE)
    local.text(GRACE)
    pin = local.vonage.pin_of(GRACE)
    posts: list[str] = []
    page.on("request", lambda sent: posts.append(sent.method))
    page.goto(f"{house.group}/signup")
    before = page.evaluate("history.length")
    title = page.title()
    fill(page, phone=f"+{GRACE}", pin=pin, username="Ada")

    page.locator("#sign-up .actions button").click()
    page.locator("[aria-invalid]").wait_for()

    assert page.locator("[name=pin]").input_value() == pin
    assert page.locator("[name=phone]").input_value() == f"+{GRACE}"
    assert pin not in page.content()
    assert focus(page) == "username"
    assert translate(sentence("username-taken"), language) in page.locator(".error").inner_text()
    described = page.locator("[name=username]").get_attribute("aria-describedby") or ""
    assert described.split()[0] == page.locator(".error").get_attribute("id") == "username-error"
    assert page.title() != title
    assert page.evaluate("history.length") == before
    page.locator(".error button").first.click()
    assert page.locator("[name=username]").input_value() == "ada-2"
    assert page.locator(".error, [aria-invalid], .wrong").count() == 0
    assert page.evaluate("document.activeElement.closest('.actions') !== null")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{house.group}/welcome")
    assert "ada-2" in page.get_by_role("heading", level=1).inner_text()
    page.go_back()
    assert "/signup" not in page.url  # the form with the PIN is not in the history


def test_without_script_the_pin_is_typed_again(house: House) -> None:
    local, page = house.local, phone(house, script=False)
    local.invite(GRACE)
    local.text(GRACE)
    pin = local.vonage.pin_of(GRACE)
    page.goto(f"{house.group}/signup")
    fill(page, phone=f"+{GRACE}", pin=pin, username="admin")
    page.locator("#sign-up button").click()
    assert page.locator("[name=pin]").input_value() == ""
    assert page.locator("[name=username]").input_value() == "admin"
    fill(page, pin=pin, username="Grace Hopper")
    page.locator("#sign-up button").click()
    page.wait_for_url(f"{house.group}/welcome")
    assert "grace-hopper" in page.get_by_role("heading", level=1).inner_text()


def test_all_errors_come_and_go(house: House) -> None:
    page = phone(house)
    page.goto(f"{house.group}/signup")
    page.locator("#sign-up").evaluate("form => form.noValidate = true")
    send(page)
    assert page.locator(".error").count() == 2
    assert focus(page) == "phone"
    fill(page, phone=f"+{GRACE}", pin="12")
    send(page)
    assert [one.get_attribute("id") for one in page.locator(".error").all()] == ["pin-error"]
    assert page.locator("[name=phone]").get_attribute("aria-invalid") is None
    assert focus(page) == "pin"
    page.context.clear_cookies()
    fill(page, pin="123456")
    send(page)
    assert focus(page) == "form-error"
    assert page.locator("#form-error").inner_text() == sentence("no-cookie")
    send(page)
    assert page.locator("#form-error").count() == 0


def test_what_is_no_answer_of_the_form_is_shown_as_without_script(
    house: House,
) -> None:
    local, page = house.local, phone(house)
    house.expected |= {502, 503}
    local.invite(GRACE, "grace")
    local.text(GRACE)
    page.goto(f"{house.group}/signup")
    fill(page, phone=f"+{GRACE}", pin=local.vonage.pin_of(GRACE))
    page.route("**/login", lambda route: route.fulfill(status=502, body="broken"), times=1)
    page.locator("#sign-up button").click()
    page.wait_for_url(f"{house.group}/welcome")

    other = phone(house)
    local.invite(ADA, "ada")
    local.text(ADA)
    other.goto(f"{house.group}/signup")
    fill(other, phone=f"+{ADA}", pin=local.vonage.pin_of(ADA))
    answer_with_trouble = answer_with(Answer(500, b""))
    local.vonage.fail("check", answer_with_trouble)
    send(other)  # ours, so the form stays as it is
    assert other.locator("#form-error").inner_text() == sentence("pin-unchecked")
    other.route("**/login", lambda route: route.abort(), times=1)
    other.locator("#sign-up button").click()
    other.wait_for_url(f"{house.group}/welcome")
    house.complaints.clear()  # the connection that was lost


def test_a_slow_check_says_what_it_does(house: House) -> None:
    local, page = house.local, phone(house)
    local.invite(GRACE, "grace")
    local.text(GRACE)

    def answer_slowly(connection: Connection, answer: Answer) -> None:
        connection.wait(4)
        connection.answer(answer)

    local.vonage.fail("check", answer_slowly, acts=True)
    page.goto(f"{house.group}/signup")
    fill(page, phone=f"+{GRACE}", pin=other_than(local.vonage.pin_of(GRACE)))
    button = page.locator("#sign-up .actions button")
    words = button.inner_text()
    button.click()
    page.get_by_role("button", name="Checking the PIN…").wait_for()
    page.locator("[aria-invalid]").wait_for()
    assert button.inner_text() == words


def test_forty_names_are_tidied_as_the_server_does(house: House) -> None:
    page = phone(house)
    page.goto(f"{house.group}/signup")
    for typed, name in json.loads((ROOT / "tests" / "usernames.json").read_text()):
        assert page.evaluate("typed => tidy(typed)", typed) == name, typed


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_name_is_said_while_it_is_typed(house: House, language: str) -> None:
    page = phone(house, language)
    page.goto(f"{house.group}/signup")
    output = page.locator("output")
    fill(page, username="Grace Hopper")
    output.locator("strong").wait_for()
    words = translate("You'll be %(name)s", language) % {"name": "grace-hopper"}
    assert output.inner_text() == words
    for silent in ("grace", "...", "x" * 35, ""):
        fill(page, username=silent)
        page.wait_for_timeout(700)
        assert output.inner_text() == ""


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_form_fits_a_phone(house: House, language: str) -> None:
    page = phone(house, language)
    page.goto(f"{house.group}/signup")
    box = page.locator("#sign-up .actions button").bounding_box()
    assert box
    assert box["y"] + box["height"] <= PHONE["height"]
    pin, name = (page.locator(f"[name={it}]").bounding_box() for it in ("pin", "username"))
    assert pin
    assert name
    assert pin["width"] < name["width"] / 2
    inside = page.locator("[name=pin]").evaluate("e => (e.value = '000000', e.scrollWidth)")
    assert inside <= pin["width"]


# From the group's wiki on a new phone, and back ---------------------------------------------------

NEXT = "/programs/wiki"


@pytest.fixture
def wiki(house: House) -> str:
    """A page that is for members, and whom it shows."""
    house.expected.add(404)
    house.local.command("program", "add", "wiki", "Our wiki", f"{house.group}/texts")
    return f"{house.group}{NEXT}"


def arrives(page: Page, house: House) -> bool:
    """The app's address is the page on our texts."""
    page.wait_for_url(f"{house.group}/texts")
    return True


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("script", [True, False])
def test_from_the_wiki_by_pin(
    house: House,
    wiki: str,
    language: str,
    script: bool,
) -> None:
    local, page = house.local, phone(house, language, script)
    local.invite(GRACE, "grace")
    local.text(GRACE)
    pin = local.vonage.pin_of(GRACE)
    page.goto(wiki)
    assert "Our wiki" in page.get_by_role("heading", level=1).inner_text()
    page.get_by_text(translate("I was invited", language)).click()
    fill(page, phone=f"+{GRACE}", pin=other_than(pin))
    page.locator("#sign-up button").click()
    page.locator("[aria-invalid]").wait_for()
    fill(page, pin=pin)
    page.locator("#sign-up button").click()
    page.wait_for_url(f"{house.group}/welcome?next={NEXT}")
    page.get_by_role("link", name=translate("Not now", language)).click()
    assert arrives(page, house)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("script", [True, False])
def test_from_the_wiki_by_another_device(
    house: House,
    wiki: str,
    language: str,
    script: bool,
) -> None:
    old, page = house.let_in(GRACE, "grace"), phone(house, language, script)
    old.goto(f"{house.group}/devices/add")
    old.get_by_role("button", name="Show a code").click()
    code = old.locator(".code").inner_text()
    page.goto(wiki)
    page.get_by_role("link", name=translate("I'm a member, on a new device", language)).click()
    fill(page, code=code)
    page.get_by_role("button", name=translate("Continue", language), exact=True).click()
    digits = page.locator(".code").inner_text()
    size = page.locator(".code").evaluate("e => parseFloat(getComputedStyle(e).fontSize)")
    assert size >= 96
    expect(page.get_by_role("timer")).to_be_visible()
    old.get_by_label("The two digits").fill(digits)
    old.get_by_role("button", name="Add this device").click()
    if not script:
        go_on = translate("Continue as %(name)s", language) % {"name": "grace"}
        page.get_by_role("button", name=go_on).click()
    assert arrives(page, house)
    assert page.get_by_role("status").inner_text() == translate(
        sentence("done-device-added"), language
    ).replace("{name}", "grace")


@pytest.mark.parametrize("language", LANGUAGES)
def test_from_the_wiki_by_passkey(house: House, wiki: str, language: str) -> None:
    page = house.let_in(GRACE, "grace")
    page.context.set_extra_http_headers({"Accept-Language": language})
    add_screen_lock(page)
    page.goto(f"{house.group}/welcome")
    page.locator("[data-passkey=add] button").click()
    page.locator("[data-passkey=add]").wait_for(state="detached")  # it is lost with the phone
    page.context.clear_cookies()
    page.goto(wiki)
    page.locator("[data-passkey=sign-in] button").click()
    assert arrives(page, house)


# One phone, two phones, the only admin ------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_before_the_last_way_in_goes(house: House, language: str) -> None:
    def say(words: str) -> str:
        return translate(words, language)

    ada, grace = house.let_in(ADA, "ada"), house.let_in(GRACE, "grace")
    for page in (ada, grace):
        page.context.set_extra_http_headers({"Accept-Language": language, "User-Agent": ANDROID})
    only = say("This is your only way in. Only an admin can let you back.")
    ada.goto(f"{house.group}/logout")
    assert "--username ada" in ada.locator("pre").inner_text()
    grace.goto(f"{house.group}/logout")
    expect(grace.get_by_text(only)).to_be_visible()
    second = house.let_in(GRACE, "grace")
    grace.reload()
    assert not grace.get_by_text(only).is_visible()
    grace.goto(f"{house.group}/devices")
    grace.locator(".list form button").last.click()
    expect(grace.get_by_text(say("Then this phone is your only way in."))).to_be_visible()
    second.goto(house.group)
    assert second.get_by_role("heading", level=1).inner_text() == "Hello, grace"
    sign_out = translate_in("oneself", "Sign out") if language == "en" else say("Sign out")
    press(grace, sign_out)
    second.goto(house.group)
    assert "grace" not in second.get_by_role("heading", level=1).inner_text()


# Passkeys where people keep them ------------------------------------------------------------------

# What a password manager's extension makes: an object of its own, which has no `toJSON` that works,
# with typed arrays instead of buffers.
EXTENSION = """
const { create, get } = navigator.credentials.constructor.prototype;
const FIELDS = ["clientDataJSON", "attestationObject", "authenticatorData", "signature"];
const own = (made) => {
  const response = {};
  for (const name of [...FIELDS, "userHandle"])
    if (made.response[name]) response[name] = new Uint8Array(made.response[name]);
  const toJSON = () => { throw new TypeError("Illegal invocation"); };
  return { id: made.id + "=", rawId: new Uint8Array(made.rawId), type: "public-key",
    authenticatorAttachment: "extension", response, toJSON, getClientExtensionResults: toJSON };
};
const there = navigator.credentials;
there.create = async (options) => own(await create.call(there, options));
there.get = async (options) => own(await get.call(there, options));
"""
# Safari before 18.4, Chrome before 129.
OLD_BROWSER = """
delete PublicKeyCredential.parseCreationOptionsFromJSON;
delete PublicKeyCredential.parseRequestOptionsFromJSON;
delete PublicKeyCredential.prototype.toJSON;
"""


@pytest.mark.parametrize("kind", [EXTENSION, OLD_BROWSER], ids=["extension", "old browser"])
def test_a_passkey_of_its_own_kind(house: House, kind: str) -> None:
    page = house.let_in(GRACE, "grace")
    page.add_init_script(kind)
    add_screen_lock(page)
    page.goto(f"{house.group}/devices")
    page.get_by_role("button", name="Add a passkey").click()
    page.get_by_text(sentence("done-passkey-added")).wait_for()
    page.goto(f"{house.group}/devices/add")
    page.get_by_role("button", name="Show a code").click()
    page.get_by_role("button", name="Confirm").click()
    page.wait_for_url(f"{house.group}/devices/add")
    page.context.clear_cookies()
    page.goto(house.group)
    page.get_by_role("button", name="Use a passkey").click()
    page.get_by_role("heading", name="Hello, grace").wait_for()


def test_a_page_that_was_open_for_days_heals_itself(house: House) -> None:
    page = house.let_in(GRACE, "grace")
    add_screen_lock(page)
    page.goto(f"{house.group}/devices")
    page.get_by_role("button", name="Add a passkey").click()
    page.get_by_text(sentence("done-passkey-added")).wait_for()
    page.context.clear_cookies()
    page.goto(f"{house.group}/signup")
    page.get_by_text("Been here before?").click()
    page.context.clear_cookies()  # as the visitor's is after a day
    page.get_by_role("button", name="Use a passkey").click()
    page.get_by_role("heading", name="Hello, grace").wait_for()


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_cancelled_passkey_leads_to_the_other_ways(
    house: House,
    language: str,
) -> None:
    page = phone(house, language)
    page.add_init_script(
        "navigator.credentials.get = async () => { throw new DOMException('', 'NotAllowedError') }"
    )
    page.goto(f"{house.group}/signup?next={NEXT}")
    page.locator("[data-passkey] button").click()
    page.get_by_role("alert").get_by_role("link").click()
    page.wait_for_url(f"{house.group}/join?next={NEXT}")


def test_a_page_that_asks_for_a_passkey_says_what_else_to_do(house: House) -> None:
    page = house.let_in(GRACE, "grace")
    add_screen_lock(page)
    page.goto(f"{house.group}/devices")
    page.get_by_role("button", name="Add a passkey").click()
    page.get_by_text(sentence("done-passkey-added")).wait_for()
    plain = house.window()
    plain.add_cookies(page.context.cookies())  # type: ignore[arg-type]
    plain.add_init_script("delete window.PublicKeyCredential")
    other = plain.new_page()
    other.goto(f"{house.group}/passkeys/confirm?next=/devices/add")
    expect(other.get_by_text("This browser can't use a passkey.")).to_be_visible()
    assert not other.get_by_role("button", name="Confirm").is_visible()
    other.goto(f"{house.group}/devices")
    expect(other.get_by_text("This browser can't add one.")).to_be_visible()
    page.goto(f"{house.group}/passkeys/confirm?next=/devices/add")
    assert not page.get_by_text("This browser can't use a passkey.").is_visible()
    cancel = "async () => { throw new DOMException('', 'NotAllowedError') }"
    page.evaluate(f"() => {{ navigator.credentials.get = {cancel} }}")
    page.get_by_role("button", name="Confirm").click()
    page.get_by_role("alert").get_by_role("link", name="your account").click()
    page.wait_for_url(f"{house.group}/account")


# Pictures -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_pages_fit_every_size(house: House, wiki: str, language: str) -> None:
    stranger, grace = phone(house, language), house.let_in(GRACE, "grace")
    grace.context.set_extra_http_headers({"Accept-Language": language})
    for page, path, name in (
        (stranger, "/", "landing"),
        (stranger, "/signup", "sign-up"),
        (stranger, f"/signup?next={NEXT}", "sign-up-to-app"),
        (stranger, "/join/ABCDEFGH", "join-scanned"),
        (grace, "/welcome", "welcome"),
        (grace, "/logout", "logout"),
        (grace, "/devices/end-others", "end-others"),
    ):
        page.goto(f"{house.group}{path}")
        house.look(page, f"26-{name}-{language}")
