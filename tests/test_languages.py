"""Everybody reads the group's pages and texts in their own language."""

import json
import re
import shutil
from html.parser import HTMLParser
from itertools import product
from pathlib import Path

import pytest
from babel.messages.catalog import Message
from flask import Flask, render_template, render_template_string

import foundation.words.languages
from foundation.running import running
from foundation.typed.settings import WrongSettings, gather_settings, read_settings
from foundation.vonage.client import GSM_7, count_parts
from foundation.vonage.texts import TEXTS, write_invite, write_text
from foundation.web.kept_forms import MAX_KEPT_FORMS
from foundation.words.languages import (
    LANGUAGES,
    RIGHT_TO_LEFT,
    find_catalog,
    match_languages,
    translate,
)
from simulator.vonage import Vonage
from tools.catalogs import gather_catalog, is_complete, read_catalog
from wsgi import create_app

from .cast import ADA, CODE, GRACE, MALLORY, ROOT, Browser, Group, sentence
from .every_page import pages_of_every_state

OTHERS = [language for language in LANGUAGES if language != "en"]
BY_GSM_7 = ["en", "de", "fr", "es", "pt-BR", "it", "nl"]
GAP = re.compile(r"%\(\w+\)s|\{\w+\}|</?\w+[^>]*>")  # what is filled in, and tags
TAG = re.compile(r"</?\w+[^>]*>")
EMPHASISED = re.compile("<em>(.*?)</em>")


# The catalogs -------------------------------------------------------------------------------------


def forms_of(message: Message) -> list[tuple[str, str]]:
    """Each translation, with the English that it has to match. Those that are missing are another
    test's matter."""
    if isinstance(message.id, str):
        return [(message.id, str(message.string))] if message.string else []
    return [(message.id[1], text) for text in message.string or () if text]


@pytest.mark.parametrize("language", OTHERS)
def test_every_sentence_is_translated(language: str) -> None:
    wanted = {message.id for message in gather_catalog() if message.id}
    catalog = read_catalog(language)
    messages = [message for message in catalog if message.id]
    assert len(wanted) > 400
    assert {message.id for message in messages} == wanted
    assert [message.id for message in messages if not is_complete(message.string)] == []
    assert [message.id for message in messages if message.fuzzy] == []
    for message in messages:
        if isinstance(message.string, tuple):
            assert len(message.string) == catalog.num_plurals


@pytest.mark.parametrize("language", OTHERS)
def test_a_translation_has_the_gaps_and_tags_of_the_english(language: str) -> None:
    for message in read_catalog(language):
        if message.id:
            for english, text in forms_of(message):
                lost = {"%(count)s"} if isinstance(message.id, tuple) else set()  # "one device"
                wanted, found = set(GAP.findall(english)), set(GAP.findall(text))
                assert wanted - lost <= found <= wanted, message.id
                assert text.count("%(time)s") == english.count("%(time)s"), message.id
                assert sorted(TAG.findall(text)) == sorted(TAG.findall(english)), message.id
                assert english[:1].isspace() == text[:1].isspace()


@pytest.mark.parametrize("language", OTHERS)
def test_a_button_is_named_as_it_is_labelled(language: str) -> None:
    """Where a sentence says "press <em>Add a device</em>"."""
    catalog = read_catalog(language)
    named = 0
    for message in catalog:
        pairs = forms_of(message) if message.id else []
        for english, text in pairs:
            labels = zip(EMPHASISED.findall(english), EMPHASISED.findall(text), strict=True)
            for label, translated in labels:
                if known := catalog.get(label):
                    named += 1
                    assert translated == known.string
    assert named >= 1


def test_english_is_in_nothing_that_a_german_reads(
    settings: dict[str, str], vonage: Vonage
) -> None:
    """Whatever a page says that isn't a name stands in the catalog."""
    group = Group(create_app(settings | {"LANGUAGE": "de"}), vonage)
    english = {str(m.id) for m in gather_catalog() if isinstance(m.id, str) and len(m.id) > 12}
    english -= {str(m.id) for m in read_catalog("de") if m.id == m.string}
    pages = pages_of_every_state(group)
    assert len(pages) > 20
    for name, page in pages.items():
        said = TextOf.page(page)
        assert [one for one in english if one in said] == [], name


class TextOf(HTMLParser):
    """What a page says, with the texts in its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    @classmethod
    def page(cls, html: str) -> str:
        parser = cls()
        parser.feed(html)
        return "\n".join(parser.said)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.said += [text or "" for name, text in attrs if name in SPOKEN]

    def handle_data(self, data: str) -> None:
        self.said.append(" ".join(data.split()))


SPOKEN = {"aria-label", "title", "alt", "content", "data-over", "data-copied", "data-failed"}
# What templates say in every language: names, and what only machines read.
AS_IT_IS = {"Caddy", "nginx", "OpenID Connect", "light dark", "noindex", "website", "0; url="}
AS_IT_IS |= {"#f6f4ef", "#16181d", "width=device-width, initial-scale=1"}


@pytest.mark.parametrize("file", sorted((ROOT / "templates").rglob("*.html")), ids=str)
def test_a_template_says_nothing_but_what_is_translated(file: Path) -> None:
    source = re.sub(r"\{%-? trans\b.*?endtrans -?%\}", "", file.read_text(), flags=re.S)
    source = re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", "\n", source, flags=re.S)
    source = re.sub(r"<(pre|code)\b.*?</\1>", "", source, flags=re.S)
    said = {line.strip() for line in TextOf.page(source).splitlines() if line[:1] != "/"}
    assert {line for line in said if re.search(r"[A-Za-z]{2}", line)} - AS_IT_IS == set()


def test_catalogs_are_compiled_when_nobody_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ROOT / "translations" / "ar", tmp_path / "ar")
    (tmp_path / "ar" / "LC_MESSAGES" / "messages.mo").unlink(missing_ok=True)
    monkeypatch.setattr(foundation.words.languages, "FOLDER", tmp_path)
    catalog = find_catalog.__wrapped__("ar")
    assert catalog.gettext("Sign in") == translate("Sign in", "ar") != "Sign in"
    forms = [catalog.ngettext("%(count)s day", "%(count)s days", n) for n in (2, 5, 30)]
    assert len(set(forms)) == 3


# Which language a page is in ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("de", "de"),
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("pt-PT", "pt-BR"),
        ("PT", "pt-BR"),
        ("zh-CN,ja;q=0.8,en;q=0.5", "ja"),
        ("en-GB,en;q=0.9,de;q=0.8", "en"),
        ("en;q=0.3,nl;q=0.9", "nl"),
        ("ar-EG", "ar"),
        ("de;q=0,fr", "fr"),
        ("de;q=0", None),
        ("xx,tlh", None),
        ("*", None),
        ("", None),
        ("d" * 5000, None),
        ("de;q=x, ,;;,=", None),
        ("\u00e9", None),
    ],
)
def test_the_browser_is_asked(accepted: str, language: str | None) -> None:
    assert match_languages(accepted) == language


def language_of(page: str) -> str:
    found = re.search(r'<html lang="([\w-]+)"( dir="rtl")?>', page)
    assert found, page[:200]
    assert bool(found[2]) == (found[1] in RIGHT_TO_LEFT)
    return found[1]


def read(browser: Browser, path: str = "/", accepted: str = "") -> str:
    headers = {"Accept-Language": accepted} if accepted else {}
    return browser.client.get(path, headers=headers).text


def test_chosen_beats_browser_beats_setting(settings: dict[str, str], vonage: Vonage) -> None:
    browser = Group(create_app(settings | {"LANGUAGE": "fr"}), vonage).browser()
    assert language_of(read(browser)) == "fr"
    assert language_of(read(browser, accepted="xx")) == "fr"
    assert language_of(read(browser, accepted="en-US")) == "en"
    browser.post("/language", language="ar")
    assert language_of(read(browser, accepted="en-US")) == "ar"
    assert translate("Friends only", "ar") in read(browser, accepted="en-US")
    browser.client.set_cookie("language", "klingon")
    assert language_of(read(browser, accepted="en-US")) == "en"


def test_the_choice_is_a_cookie_and_nothing_else(group: Group, ada: Browser) -> None:
    before = [group.rows(f"SELECT * FROM {table}") for table in ("sessions", "authors", "journal")]
    answer = ada.post("/language", language="pt-BR")
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("language=pt-BR;")
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))
    after = [group.rows(f"SELECT * FROM {table}") for table in ("sessions", "authors", "journal")]
    assert after == before


@pytest.mark.parametrize(
    ("came_from", "back"),
    [
        ("http://localhost:8000/signup?next=/devices", "/signup?next=/devices"),
        ("http://localhost:8000/", "/"),
        ("http://localhost:8000", "/"),
        ("http://localhost:8000/login", "/login"),  # which leads on to the form
        ("http://localhost:8000/devices/add/confirm", "/"),  # it can't be opened
        ("http://localhost:8000/nothing", "/"),
        ("http://localhost:8000//mallory.example", "/"),
        ("http://localhost:8000.mallory.example/", "/"),
        ("https://mallory.example/signup", "/"),
        ("x", "/"),
        ("http://[", "/"),
        ("", "/"),
    ],
)
def test_the_choice_leads_back(group: Group, came_from: str, back: str) -> None:
    headers = {"Referer": came_from, "Sec-Fetch-Site": "same-origin"}
    client = group.browser().client
    answer = client.post("/language", data={"language": "de"}, headers=headers)
    assert (answer.status_code, answer.location) == (303, back)


def test_the_same_english_may_mean_two_things(group: Group, ada: Browser) -> None:
    """In French, to sign out oneself and to sign out a device are two verbs."""
    group.join(ADA, "ada", bound=True)
    assert ">Se déconnecter</button>" in read(ada, "/logout", "fr")
    assert ">Déconnecter</button>" in read(ada, "/account", "fr")


@pytest.mark.parametrize("chosen", ["", "xx", "DE", "de\r\nX: y", "../de"])
def test_what_is_no_language_is_refused(group: Group, chosen: str) -> None:
    answer = group.browser().post("/language", language=chosen)
    assert answer.status_code == 400
    assert "Set-Cookie" not in answer.headers


def test_one_process_serves_a_german_and_a_frenchman(group: Group) -> None:
    """In turn, and each page again: nothing is kept of who came first, also of what templates
    import, and of the pages that are kept for strangers."""
    german, french = group.browser(), group.browser()
    for _ in range(2):
        for browser, language in ((german, "de"), (french, "fr"), (group.browser(), "en")):
            for path in ("/", "/signup", "/join", "/nothing"):
                page = read(browser, path, language)
                assert language_of(page) == language
                others = {"de", "fr", "en"} - {language}
                for name in ("No PIN?", "I was invited", "Page not found"):
                    for other in others:
                        assert translate(name, other) not in page
            refused = browser.client.post(
                "/login",
                data={"phone": "x"},
                headers={"Accept-Language": language, "Sec-Fetch-Site": "same-origin"},
            ).text
            assert language_of(refused) == language
            words = translate(sentence("pin-missing"), language)
            assert words in refused


@pytest.mark.parametrize("language", OTHERS)
def test_every_page_is_in_the_language(
    settings: dict[str, str], vonage: Vonage, language: str
) -> None:
    group = Group(create_app(settings | {"LANGUAGE": language}), vonage)
    for name, page in pages_of_every_state(group).items():
        assert language_of(page) == language, name
        assert "%(" not in page, name


def test_a_device_is_named_in_the_language(settings: dict[str, str], vonage: Vonage) -> None:
    group = Group(create_app(settings | {"LANGUAGE": "de"}), vonage)
    firefox = "Mozilla/5.0 (Android 14; Mobile; rv:130.0) Gecko/130.0 Firefox/130.0"
    ada = group.browser()
    group.invite(ADA, "ada")
    group.text(ADA)
    ada.client.environ_base["HTTP_USER_AGENT"] = firefox
    ada.sign_up(ADA, "ada", group.vonage.pin_of(ADA))
    assert "Firefox auf Android" in ada.get("/account").text
    group.pass_a_minute()
    second = group.join(ADA, "ada", bound=True)
    assert "Unbekanntes Gerät" in second.get("/account").text
    group.rows("UPDATE sessions SET created_at = created_at - 60 WHERE device != ''")
    assert "Ein unbekanntes Gerät ist zu deinen Geräten hinzugekommen." in ada.get("/").text
    group.rows("UPDATE sessions SET added_by = (SELECT id_digest FROM sessions WHERE device = '')")
    group.rows("UPDATE sessions SET began = 'device' WHERE device != ''")
    assert "von einem anderen Gerät aus hinzugefügt" in ada.get("/account").text


def test_commands_speak_english(settings: dict[str, str], vonage: Vonage) -> None:
    group = Group(create_app(settings | {"LANGUAGE": "de"}), vonage)
    told = group.command("invite", "x").output
    assert sentence("phone-unreadable") in told


@pytest.mark.parametrize(
    ("language", "date"),
    [("en", "31 December 2026"), ("de", "31. Dezember 2026"), ("ja", "2026年12月31日"),
     ("pt-BR", "31 de dezembro de 2026"), ("ar", "31 ديسمبر 2026")],
)  # fmt: skip
def test_dates_and_spans_are_said_as_people_say_them(app: Flask, language: str, date: str) -> None:
    filters = app.jinja_env.filters
    with app.test_request_context("/", headers={"Accept-Language": language}):
        assert filters["date"](1798675200) == date
        assert filters["moment"](1798675200) == f"{date}, 00:00 UTC"
        said = {name: filters[name](3 * 86_400) for name in ("ago", "ahead", "day", "span", "days")}
        said |= {"today": filters["day"](0), "now": filters["ago"](5), "soon": filters["ahead"](5)}
    if language != "en":
        with app.test_request_context("/", headers={"Accept-Language": "en"}):
            assert filters["ago"](3 * 86_400) == "3 days ago"
            assert filters["ahead"](3 * 86_400) == "in 3 days"
            assert not set(said.values()) & {"3 days ago", "in 3 days", "today", "just now"}
    assert all(said.values())
    if language == "de":
        assert (said["ago"], said["ahead"]) == ("vor 3 Tagen", "in 3 Tagen")


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", ["1 day", "2 days", "5 days", "30 days", "365 days"]),
        ("de", ["1 Tag", "2 Tage", "5 Tage", "30 Tage", "365 Tage"]),
        ("ja", ["1日", "2日", "5日", "30日", "365日"]),
        ("ar", ["يومًا واحدًا", "يومين", "5 أيام", "30 يومًا", "365 يومًا"]),
    ],
)
def test_plurals_have_their_forms(app: Flask, language: str, said: list[str]) -> None:
    with app.test_request_context("/", headers={"Accept-Language": language}):
        found = [app.jinja_env.filters["days"](n) for n in (1, 2, 5, 30, 365)]
    assert found == said


@pytest.mark.parametrize(
    ("count", "said"),
    [(1, "1 Zugang<"), (2, "2 Zugänge<")],
)
def test_a_template_has_plurals_too(
    settings: dict[str, str], vonage: Vonage, count: int, said: str
) -> None:
    group = Group(create_app(settings | {"LANGUAGE": "de"}), vonage)
    for _ in range(count):
        ada = group.join(ADA, "ada", bound=True)
        group.pass_a_minute()
    assert said in ada.get("/admin/members").text


DAYS = "{% trans count=N %}{{ count }} day{% pluralize %}{{ count }} days{% endtrans %}"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{{ (3|days)|upper }}", "3 TAGE"),
        ("{{ 3|days if 1 else 2|days }}", "3 Tage"),
        ("{{ 'x' ~ (3|days) }}", "x3 Tage"),
        ("{{ _(name)|upper }}", "ANMELDEN"),
        ("{{ [_(name)]|join }}", "Anmelden"),
        ("{{ _('Page %(number)s', number='<' ~ 1) }}", "Seite &lt;1"),
        ("{{ _('Page %(number)s', number='<' ~ 1)|upper }}", "SEITE &lt;1"),
        ("{% set said = _('Sign in') %}{{ said }}", "Anmelden"),
        ("{% trans n='<b>' %}Page {{ n }}{% endtrans %}", "Page &lt;b&gt;"),
        ("{% trans number='<b>' %}Page {{ number }}{% endtrans %}", "Seite &lt;b&gt;"),
        (DAYS.replace("N", "1"), "1 Tag"),
        (DAYS.replace("N", "2"), "2 Tage"),
        ("{{ direction }} 100% {% trans %}100 % new{% endtrans %}", "ltr 100% 100 % new"),
        ("{% trans x=1 %}100 % {{ x }}{% endtrans %}{{ _('5 %% %(x)s', x=2) }}", "100 % 15 % 2"),
        ("{% include ['nope.html', '_next.html'] %}{{ _('Sign in') }}", "Anmelden"),
    ],
)  # fmt: skip
def test_what_templates_may_do(app: Flask, source: str, said: str) -> None:
    """Those of features, too; from a string or from the first that there is of several files."""
    with app.test_request_context("/", headers={"Accept-Language": "de"}):
        found = render_template_string(source, name="Sign in", passkeys_work=bool)
        assert '<html lang="de">' in render_template(["nope.html", "landing.html"])
    assert found.strip() == said


def test_pages_that_show_a_secret_have_no_foot(group: Group, ada: Browser) -> None:
    """Choosing a language would lose it."""
    wiki = {"name": "wiki", "title": "x", "address": "https://wiki.example.org", "who": "all"}
    ada.post("/admin/programs", **wiki)
    for path, form in (
        ("/app-passwords", {"program": "wiki", "name": "x"}),
        ("/admin/programs/wiki/openid", {"redirects": "https://wiki.example.org/callback"}),
    ):
        answer = ada.post(path, **form)
        assert answer.status_code == 200
        assert "/language" not in answer.text


@pytest.mark.parametrize(
    ("file", "environment", "language"),
    [
        ("de", {"LANGUAGE": "en_US:en"}, "de"),
        ("de", {"LANGUAGE": "fr"}, "de"),
        ("", {"LANGUAGE": "sv_SE:sv"}, "en"),
        ("", {"LANGUAGE": "C"}, "en"),
        ("", {"LANGUAGE": "pt"}, "en"),
        ("", {"LANGUAGE": "tlh"}, "en"),
        ("pt", {}, "pt-BR"),
        ("tlh", {}, None),
    ],
)
def test_what_systems_call_language_is_not_the_groups(
    settings: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    environment: dict[str, str],
    language: str | None,
) -> None:
    """Many set an environment variable of that name, for gettext."""
    line = f"LANGUAGE={file}\n" if file else ""
    (tmp_path / ".env").write_text(line + "".join(f"{k}={v}\n" for k, v in settings.items()))
    monkeypatch.chdir(tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if language is None:
        with pytest.raises(WrongSettings, match="LANGUAGE must be one of en, de"):
            read_settings(gather_settings(None))
    else:
        assert read_settings(gather_settings(None))["LANGUAGE"] == language


def test_error_pages_are_for_one_visitor(group: Group) -> None:
    answer = group.browser().get("/static/nothing")
    assert (answer.status_code, answer.headers["Cache-Control"]) == (404, "no-store")
    assert "Cookie" in answer.headers["Vary"]


def test_kept_pages_are_not_many(app: Flask) -> None:
    """Whatever a stranger types in however many languages; and each gets the right one."""
    typed = product(("", "x", "1", "+1999"), ("", "!", "admin", "1234567"), ("", "1"), LANGUAGES)
    client, most, seen = app.test_client(), 0, 0
    for phone, username, pin, language in typed:
        form = {"phone": phone, "username": username, "pin": pin}
        headers = {"Accept-Language": language, "Sec-Fetch-Site": "same-origin"}
        answer = client.post("/login", data=form, headers=headers)
        assert (answer.status_code, language_of(answer.text)) == (422, language)
        seen += 1
        most = max(most, len(running(app).kept_forms))
    assert (seen, most) == (288, MAX_KEPT_FORMS)


# Texts --------------------------------------------------------------------------------------------


def write(name: str, language: str, word: str = "SUNFLOWER") -> str:
    """As long as a group's name and address may make it."""
    facts = {"inviter": "grace", "group": "G" * 16, "word": word, "number": "+12025550199"}
    address = "https://" + "a" * 22
    links = {"address": f"{address}/signup", "about": f"{address}/texts"}
    return translate(TEXTS[name], language).format(**facts, **links)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", TEXTS)
def test_texts_fit(language: str, name: str) -> None:
    most = 1 if language in BY_GSM_7 else 2
    most += name == "by oneself"  # which the inviter sends
    text = write(name, language)
    assert language not in BY_GSM_7 or set(text) - GSM_7 == set()
    assert count_parts(text) <= most
    if not name.endswith("by name"):  # left out where it doesn't fit
        assert count_parts(write(name, language, "W" * 20)) <= most


@pytest.fixture
def long_named(settings: dict[str, str], vonage: Vonage) -> Group:
    more = {"GROUP_NAME": "G" * 16, "BASE_URL": "https://" + "a" * 18 + ".org"}
    return Group(create_app(settings | more | {"INVITE_CODE": "W" * 20}), vonage)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_inviter_is_named_where_it_costs_no_more(long_named: Group, language: str) -> None:
    with long_named.app.app_context():
        plain = write_invite(None, language)
        short, long = (write_invite(name, language) for name in ("bo", "a" * 30))
    assert count_parts(plain) <= (1 if language in BY_GSM_7 else 2)
    assert count_parts(plain) == count_parts(short) == count_parts(long)
    assert long == plain


def test_the_inviter_chooses_the_language_of_the_texts(
    group: Group, ada: Browser, vonage: Vonage
) -> None:
    form = ada.get("/admin").text
    assert '<option value="en" lang="en" selected>' in form
    ada.post("/invite", phone=f"+{GRACE}", language="de")
    text = vonage.thread(GRACE)[-1]
    assert text.startswith("ada lädt dich zu Trusted Group ein. Antworte mit SUNFLOWER")
    assert group.text(GRACE, "was?") == 204
    assert vonage.thread(GRACE)[-1] == "Antworte nur mit SUNFLOWER"
    assert group.text(GRACE) == 204
    assert json.loads(vonage.calls("start")[-1].body)["locale"] == "de-de"
    again = ada.get(f"/admin?again={group.one('SELECT max(id) FROM whitelist')}").text
    assert '<option value="de" lang="de" selected>' in again


@pytest.mark.parametrize(
    ("language", "locale"),
    [("de", "de-de"), ("fr", "fr-fr"), ("es", "es-es"), ("it", "it-it"), ("pt-BR", "pt-br"),
     ("en", None), ("nl", None), ("ar", None), ("ja", None)],
)  # fmt: skip
def test_verify_is_told_the_language_where_it_has_it(
    settings: dict[str, str], vonage: Vonage, language: str, locale: str | None
) -> None:
    group = Group(create_app(settings | {"LANGUAGE": language}), vonage)
    group.invite(GRACE)  # without one of its own: the group's
    assert group.text(GRACE) == 204
    assert json.loads(vonage.calls("start")[-1].body).get("locale") == locale
    assert translate(TEXTS["invite"], language).split("{")[0] in vonage.thread(GRACE)[0]


def test_a_member_writes_the_words_in_the_friends_language(group: Group, ada: Browser) -> None:
    page = ada.post("/invite", phone=f"+{GRACE}", language="fr", send="self").text
    assert "envoie SUNFLOWER au +" in page
    assert language_of(page) == "en"


def test_a_language_that_there_is_not(group: Group, ada: Browser) -> None:
    answer = ada.post("/invite", phone=f"+{GRACE}", language="tlh")
    assert answer.status_code == 422
    assert sentence("language-unknown") in answer.text
    assert group.rows("SELECT 1 FROM whitelist") == []


def test_the_command_line_chooses_it_too(group: Group, vonage: Vonage) -> None:
    assert group.command("invite", f"+{GRACE}", "--language", "it").exit_code == 0
    assert vonage.thread(GRACE)[-1].startswith("Hai un invito per Trusted Group.")
    assert group.command("invite", f"+{MALLORY}", "--language", "xx").exit_code == 2


@pytest.mark.parametrize("words", ["STOPP", "Stopp!", "ARRET", "Arrêt", "stop."])
def test_stop_in_other_languages(group: Group, ada: Browser, words: str) -> None:
    ada.post("/invite", phone=f"+{GRACE}", language="de")
    assert group.text(GRACE, words) == 204
    assert sentence("replied-stop")[:20] in ada.get("/admin").text


def test_a_reply_that_sounds_like_our_text_is_a_reply(
    group: Group, ada: Browser, vonage: Vonage
) -> None:
    ada.post("/invite", phone=f"+{GRACE}", language="fr")
    assert group.text(GRACE, "Je te réponds sunflower pour recevoir mon PIN") == 204
    assert vonage.pin_of(GRACE)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", ["invite", "hint", "by oneself", "invite by name"])
def test_a_quote_of_our_text_is_no_reply(
    group: Group, ada: Browser, vonage: Vonage, language: str, name: str
) -> None:
    """Somebody "loved" it, on a phone that quotes what is loved."""
    ada.post("/invite", phone=f"+{GRACE}", language=language)
    with group.app.app_context():
        text = write_text(name, language, "ada")
        if name != "by oneself":  # of which the address has to be there
            text = text.partition("http")[0]
    before = len(vonage.calls("start"))
    assert group.text(GRACE, f"Loved “{text}”") == 204
    assert len(vonage.calls("start")) == before
    assert group.text(GRACE, CODE) == 204
    assert len(vonage.calls("start")) == before + 1
