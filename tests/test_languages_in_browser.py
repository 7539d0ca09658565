"""Every page in every language in a real browser: nothing too wide, nothing that axe objects to,
and Arabic from right to left."""

import pytest
from playwright.sync_api import Page, ViewportSize

from foundation.words.languages import LANGUAGES, RIGHT_TO_LEFT

from .cast import ADA, GRACE, MALLORY
from .windows import (
    DESKTOP,
    LEFT_OF_THE_PAGE,
    SMALL,
    SMALL_TARGETS,
    House,
    find_violations,
    take_picture,
)

NARROW = ViewportSize(width=360, height=740)
SEEN = f"""(() => {{
    const html = document.documentElement;
    const brand = document.querySelector(".brand").getBoundingClientRect();
    return {{
        language: html.lang,
        direction: getComputedStyle(html).direction,
        width: html.scrollWidth,
        brand: brand.x + brand.width / 2,
        brokenTabs: [...document.querySelectorAll(".tabs a")]
            .filter((e, _, tabs) => e.offsetTop !== tabs[0].offsetTop || e.offsetHeight > 60)
            .map((e) => e.outerHTML),
        left: {LEFT_OF_THE_PAGE},
    }};
}})()"""

OF_STRANGERS = ["/", "/signup", "/join", "/texts", "/nothing"]
OF_MEMBERS = ["/", "/signup", "/invite", "/account", "/devices/add", "/app-passwords", "/logout"]
OF_MEMBERS += ["/account/history", "/account/about-me", "/members", "/leave", "/admin"]
OF_ADMINS = ["/admin", "/admin/members", "/admin/members?q=xyz", "/admin/journal", "/leave"]
OF_ADMINS += [f"/admin/programs{more}" for more in ("", "/wiki", "/wiki/openid", "/wiki/remove")]
OF_ADMINS += [f"/members/2/{what}" for what in ("remove", "sign-out", "last-day")]


def fill(house: House) -> tuple[Page, Page]:
    """A group with something on every page; the pages of Ada and Grace."""
    local = house.local
    ada, grace = house.let_in(ADA, "ada"), house.let_in(GRACE, "grace")
    as_ada = local.browser()
    as_ada.client.set_cookie("session", ada.context.cookies()[0]["value"])
    wiki = {"name": "wiki", "title": "Our wiki", "address": "https://wiki.example.org"}
    as_ada.post("/admin/programs", **wiki, who="chosen")
    for name in ("ada", "grace"):
        as_ada.post("/admin/programs/wiki/members", username=name)
    as_ada.post("/admin/programs/wiki/openid", redirects="https://wiki.example.org/callback")
    as_ada.post("/app-passwords", program="wiki", name="My calendar")
    as_ada.post("/members/2/last-day", ends_on="2099-12-31")
    as_ada.post("/members/2/last-day", ends_on="")
    local.vonage.barred.add("12025550150")
    as_ada.post("/invite", phone="+12025550150", who="Tom")
    as_ada.post("/invite", phone="+12025550151", send="self", ends_on="2099-12-31")
    as_ada.post("/invite", phone=f"+{MALLORY}", username="mallory")
    local.text(MALLORY)
    local.browser().sign_up(MALLORY, "mallory", "000000")
    as_ada.post("/invite", phone="+12025550152")
    local.text("12025550152")
    as_ada.post("/invite", phone="+12025550153")
    local.text("12025550153", "stop")
    return ada, grace


ONE_OF_EACH_KIND = ["de", "ar"]  # long words; from right to left
OTHERS = [one for one in LANGUAGES if one not in ("en", *ONE_OF_EACH_KIND)]


@pytest.mark.parametrize(
    "language", [*ONE_OF_EACH_KIND, *(pytest.param(one, marks=pytest.mark.slow) for one in OTHERS)]
)
def test_every_page(house: House, language: str) -> None:
    house.expected |= {400, 403, 404, 422}
    stranger = house.window().new_page()
    ada, grace = fill(house)
    for page in (stranger, ada, grace):
        cookie = {"name": "language", "value": language, "url": house.group}
        page.context.add_cookies([cookie])  # type: ignore[list-item]
    for page, who, paths in ((stranger, "stranger", OF_STRANGERS), (grace, "member", OF_MEMBERS),
                             (ada, "admin", OF_ADMINS)):  # fmt: skip
        for path in paths:
            page.goto(f"{house.group}{path}")
            look(page, language, f"{who}{path}")
    stranger.goto(f"{house.group}/signup")
    stranger.locator("#sign-up").evaluate("form => form.noValidate = true")
    stranger.locator("#sign-up button").click()
    stranger.locator("[aria-invalid]").first.wait_for()
    look(stranger, language, "refused")
    ada.goto(f"{house.group}/devices/add")
    ada.locator("main form button").first.click()
    ada.locator(".code").wait_for()
    look(ada, language, "code")
    assert ada.locator(".code").evaluate("e => getComputedStyle(e).direction") == "ltr"


def look(page: Page, language: str, name: str) -> None:
    is_mirrored = language in RIGHT_TO_LEFT
    direction = "rtl" if is_mirrored else "ltr"
    for size in (DESKTOP, NARROW, SMALL):
        page.set_viewport_size(size)
        seen = page.evaluate(SEEN)
        assert (seen["language"], seen["direction"]) == (language, direction), name
        assert seen["width"] <= size["width"], name
        assert not is_mirrored or seen["left"] == [], (name, size)
        assert (seen["brand"] > size["width"] / 2) == is_mirrored, name
        assert size == SMALL or seen["brokenTabs"] == [], (name, size)
    take_picture(page, f"{language}-{name.replace('/', '-').partition('?')[0]}-{SMALL['width']}")
    assert page.evaluate(SMALL_TARGETS) == [], name
    assert find_violations(page) == [], name
