"""Words that a reply may be: an opt-out gets no text, HELP gets its one answer."""

import re

import pytest

from foundation.typed.settings import WrongSettings
from foundation.vonage.texts import write_text
from simulator.vonage import Answer, Vonage, answer_with
from wsgi import create_app

from .cast import CODE, GRACE, Browser, Group, shown

OUT = """STOP stop Stop. STOPALL UNSUBSCRIBE CANCEL END QUIT REVOKE OPTOUT|OPT OUT|opt-out
|please stop|Stop it!|Stop texting me please|Stop bitte|ABMELDEN|abbestellen|STOPP
|ARRET|Arrêt|Arrêter|DÉSABONNER|desabonner|STOP SMS|BAJA|baja|Alto|PARAR|cancelar
|SAIR|PARE|BASTA|annulla|AFMELDEN|STOP AUB|stoppen|إيقاف|ايقاف|توقف|إلغاء|ستوب
|停止|ストップ|解除|配信停止|配信停止してください|停止お願いします|إِيقَاف|أوقف|Désabonnez-moi"""
OUTS = [one.strip() for part in OUT.split("|") for one in part.split("\n")]
OUTS = [*OUTS[0].split(), *(one for one in OUTS[1:] if one)]
NOT_OUT = [
    "When does it stop being so cold",
    "stopping by later",
    "I end up here every day",
    "nonstop",
]


@pytest.mark.parametrize("text", OUTS)
def test_an_opt_out_closes_the_invite_and_gets_no_text(
    group: Group, ada: Browser, text: str
) -> None:
    group.invite(GRACE, "grace")
    group.text(GRACE)
    texts, pins = (len(group.vonage.calls(call)) for call in ("text", "start"))

    assert group.text(GRACE, text) == 204

    assert group.one("SELECT stopped_at FROM whitelist") is not None
    assert group.rows("SELECT 1 FROM pending_verifications WHERE author_id IS NULL") == []
    assert shown("replied-stop") in ada.get("/admin").text
    assert group.text(GRACE, "who are you?") == 204
    assert [len(group.vonage.calls(call)) for call in ("text", "start")] == [texts, pins]


@pytest.mark.parametrize("text", NOT_OUT)
def test_what_only_sounds_like_one_gets_a_hint(group: Group, text: str) -> None:
    group.invite(GRACE)
    group.text(GRACE, text)
    assert group.one("SELECT stopped_at FROM whitelist") is None
    assert len(group.vonage.thread(GRACE)) == 2


@pytest.mark.parametrize(
    ("text", "is_out"),
    [(f"STOP {CODE}", True), (f"opt out, {CODE}", True), (f"{CODE} stop", False)],
)
def test_with_the_word_it_counts_where_it_comes_first(
    group: Group, text: str, is_out: bool
) -> None:
    group.invite(GRACE)
    group.text(GRACE, text)
    assert (group.one("SELECT stopped_at FROM whitelist") is not None) == is_out
    assert len(group.vonage.calls("start")) == (0 if is_out else 1)


def test_an_opt_out_word_is_no_word_of_a_new_group(
    group: Group, settings: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """An older one goes on: there, the word wins, and the doctor says so."""
    basta = settings | {"INVITE_CODE": "Basta"}
    with pytest.raises(WrongSettings, match="INVITE_CODE must not be a word that people opt out"):
        create_app(basta | {"DATABASE": settings["DATABASE"] + ".new"})

    older = Group(create_app(basta), group.vonage)
    older.invite(GRACE)
    assert older.text(GRACE, "basta") == 204
    assert len(older.vonage.calls("start")) == 1
    assert "INVITE_CODE is also a word that people opt out with" in older.command("doctor").output


# HELP ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["HELP", "Help!", "info", "Hilfe", "AYUDA", "مساعدة", "ヘルプ"])
def test_help_gets_one_answer(group: Group, ada: Browser, text: str) -> None:
    ada.post("/invite", phone=f"+{GRACE}")
    for _ in range(2):
        assert group.text(GRACE, text) == 204
    _, answer = group.vonage.thread(GRACE)
    with group.app.app_context():
        assert answer == write_text("help by name", None, "ada")
    for part in ("Trusted Group", "ada", "SUNFLOWER", "STOP", "Msg & data rates", "/texts"):
        assert part in answer
    assert "asked for HELP and got an answer" in ada.get("/admin/journal").text
    assert group.text(GRACE) == 204
    assert group.vonage.pin_of(GRACE)


def test_help_counts_for_the_budget(vonage: Vonage, settings: dict[str, str]) -> None:
    group = Group(create_app(settings | {"TEXTS_PER_DAY": "1"}), vonage)
    group.invite(GRACE)
    assert group.text(GRACE, "HELP") == 204
    assert len(vonage.thread(GRACE)) == 1


def test_help_that_vonage_refuses_costs_nothing(group: Group) -> None:
    group.invite(GRACE)
    before = group.one("SELECT sum(parts) FROM journal")
    group.vonage.fail("text", answer_with(Answer.of(401, {})))
    assert group.text(GRACE, "HELP") == 204
    assert group.one("SELECT sum(parts) FROM journal") == before
    assert group.one("SELECT count(*) FROM journal WHERE event = 'help_refused'") == 1


@pytest.mark.parametrize("text", ["HELP", "who are you?", "STOP"])
def test_who_sends_the_words_themselves_has_nothing_but_the_pin_texted(
    group: Group, ada: Browser, text: str
) -> None:
    ada.post("/invite", phone=f"+{GRACE}", send="self")
    texts = len(group.vonage.calls("text"))
    assert group.text(GRACE, text) == 204
    assert group.text(GRACE) == 204
    assert len(group.vonage.calls("text")) == texts
    assert group.vonage.pin_of(GRACE)


# Code 9 -------------------------------------------------------------------------------------------


def receive(group: Group, code: str) -> None:
    text = group.vonage.texts[-1]
    fields = group.vonage.receipt(text.id, "failed", code)
    assert group.app.test_client().post("/delivery", data=fields).status_code == 204


def test_a_number_that_opted_out_at_its_carrier_gets_no_more_texts(
    group: Group, ada: Browser
) -> None:
    group.invite(GRACE)
    receive(group, "9")
    texts = len(group.vonage.calls("text"))

    assert shown("undelivered-opted-out") in ada.get("/admin").text
    for text in ("HELP", "who are you?"):
        group.text(GRACE, text)
    group.pass_a_minute()
    again = ada.post("/invite", phone=f"+{GRACE}")
    assert (again.status_code, shown("phone-opted-out") in again.text) == (422, True)
    assert len(group.vonage.calls("text")) == texts
    assert ada.post("/invite", phone=f"+{GRACE}", send="self").status_code == 200


def test_the_word_takes_it_back(group: Group, ada: Browser) -> None:
    """The carrier said so before the friend texted the word."""
    group.invite(GRACE)
    receive(group, "9")
    assert group.text(GRACE) == 204
    assert group.text(GRACE, "HELP") == 204
    assert len(group.vonage.thread(GRACE)) == 3  # the invite, the PIN, the answer to HELP
    group.pass_a_minute()
    assert ada.post("/invite", phone=f"+{GRACE}").status_code == 303


def test_a_stop_in_the_very_moment_gets_no_hint(group: Group) -> None:
    group.invite(GRACE)
    begin = "CREATE TRIGGER stop AFTER INSERT ON journal WHEN NEW.event = 'replied_otherwise' BEGIN"
    group.rows(f"{begin} UPDATE whitelist SET stopped_at = unixepoch(); END")
    assert group.text(GRACE, "who are you?") == 204
    assert len(group.vonage.thread(GRACE)) == 1


def test_the_word_from_that_phone_says_otherwise(group: Group, ada: Browser) -> None:
    group.invite(GRACE)
    text = group.vonage.texts[-1]
    assert group.text(GRACE) == 204
    fields = group.vonage.receipt(text.id, "failed", "9")
    assert group.app.test_client().post("/delivery", data=fields).status_code == 204
    assert group.one("SELECT delivery FROM whitelist") is None
    grace = group.browser()
    assert grace.sign_up(GRACE, "grace", group.vonage.pin_of(GRACE)).status_code == 303


# What we text -------------------------------------------------------------------------------------


def test_a_page_says_what_we_text(group: Group, ada: Browser) -> None:
    page = group.app.test_client().get("/texts").text
    for said in ("What we text", "How many", "STOP", "HELP", "data rates", "What we keep"):
        assert said in page
    for path in ("/", "/signup", "/admin"):
        assert 'href="/texts"' in ada.get(path).text
    page = ada.post("/invite", phone=f"+{GRACE}", send="self").text
    assert "http://localhost:8000/texts" in page
    assert "from this phone" in page


@pytest.mark.parametrize(("number", "is_self"), [("12025550199", True), ("447700900001", False)])
def test_in_north_america_one_sends_it_oneself_if_nothing_else_is_said(
    group: Group, settings: dict[str, str], number: str, is_self: bool
) -> None:
    app = create_app(settings | {"VONAGE_NUMBER": number})
    ada = Group(app, group.vonage).browser()
    group.invite("12025550100", "ada")
    group.text("12025550100")
    ada.sign_up("12025550100", "ada", group.vonage.pin_of("12025550100"))
    page = ada.get("/admin").text
    main, other = re.findall(r'name="send" value="(\w+)"( class="quiet")?>', page)
    assert main == ("self" if is_self else "text", "")
    assert other == ("text" if is_self else "self", ' class="quiet"')
