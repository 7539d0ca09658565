"""Phone keys: all spellings of a line meet, and no two lines share one."""

import phonenumbers
import pytest
from flask import Flask
from phonenumbers import PhoneNumberFormat, PhoneNumberType

from foundation.typed.mistakes import Mistake
from foundation.typed.phones import example_phone, parse_phone, parse_sender, region_of
from simulator.vonage import Vonage
from wsgi import create_app

from .cast import Group, sentence, shown

REGIONS = sorted(
    region
    for region in phonenumbers.SUPPORTED_REGIONS
    if phonenumbers.example_number_for_type(region, PhoneNumberType.MOBILE)
)


def read(app: Flask, text: str, region: str | None) -> str:
    app.config["DEFAULT_REGION"] = region
    with app.app_context():
        return parse_phone(text)


def spellings(region: str) -> list[tuple[str, str | None]]:
    """Of the region's example number, each with the DEFAULT_REGION it is typed under."""
    number = phonenumbers.example_number_for_type(region, PhoneNumberType.MOBILE)
    assert number
    e164 = phonenumbers.format_number(number, PhoneNumberFormat.E164)
    written = phonenumbers.format_number(number, PhoneNumberFormat.INTERNATIONAL)
    national = phonenumbers.format_number(number, PhoneNumberFormat.NATIONAL)
    digits = e164.removeprefix("+")
    code, rest = str(number.country_code), phonenumbers.national_significant_number(number)
    return [
        (e164, None),
        (f"\u202a{written}\u202c", None),
        (written.replace(" ", "-"), region),
        (f"+{code} (0) {rest}", None),
        (f"00{digits}", None),
        (f"00 {digits}", region),
        (digits, region),
        (national, region),
        (rest, region),
    ]


def test_every_regions_spellings_of_a_line_have_one_key_and_no_two_lines_share_one(
    app: Flask,
) -> None:
    keys, lines = {}, set()
    for region in REGIONS:
        found = {read(app, text, place) for text, place in spellings(region)}
        assert len(found) == 1, (region, found)
        keys[region] = found.pop()
        lines.add(spellings(region)[0][0])
        assert parse_sender(keys[region]) == keys[region]

    assert len(REGIONS) > 230
    assert len(set(keys.values())) == len(lines)  # some regions share an example


# The lines that people and networks write in several ways, and lines beside them.
CHAINS = {
    "mexico": ["+52 55 1234 5601", "5215512345601", "+52 1 55 1234 5601", "+52 044 55 1234 5601"],
    "mexico, north": ["+52 1 81 1234 5602", "528112345602"],
    "argentina": ["+54 9 11 2345 6701", "541123456701", "+54 11 15 2345 6701", "5491123456701"],
    "argentina, cordoba": ["+54 351 15 234 5602", "543512345602", "+54 9 351 234 5602"],
    "brazil": ["+55 11 8123 4501", "5511981234501", "+55 11 98123-4501", "551181234501"],
    "brazil, rio": ["+55 21 99123 4502", "552191234502"],
    "italy": ["+39 (0) 312 345 6701", "393123456701", "0039 312 3456701"],
    "germany": ["+49 (0) 151 23456701", "4915123456701", "+49 151 2345-6701"],
    "britain": ["+44 (0) 7400 123456", "447400123456", "0044 7400 123456"],
    "france": ["+33 (0)6 12 34 56 01", "33612345601"],
    "ivory coast": ["+225 01 23 45 67 01", "2250123456701"],
    "usa": ["+1 (202) 555-0150", "12025550150", "001 202 555 0150"],
    "russia": ["+7 912 345-67-01", "79123456701"],
    "australia": ["+61 (0)412 345 601", "61412345601"],
    "portugal": ["+351 (0) 912 345 601", "351912345601", "+351 912 345 601"],
    "turkey": ["+90 (0) 532 123 45 01", "905321234501"],
    "india": ["+91 81234 56701", "918123456701"],
}
LINKS = [
    (name, typed, delivered, again)
    for name, ways in CHAINS.items()
    for typed, delivered, again in zip(ways, ways[1:] + ways, ways[2:] + ways, strict=False)
]


@pytest.mark.parametrize(("name", "typed", "delivered", "again"), LINKS)
def test_somebody_who_was_invited_gets_in_however_the_number_is_written(
    group: Group, name: str, typed: str, delivered: str, again: str
) -> None:
    """Typed by an admin, delivered by Vonage, typed again by the friend."""
    group.app.config["DEFAULT_REGION"] = None
    typed, again = (text if text[0] in "+0" else f"+{text}" for text in (typed, again))
    sender = "".join(c for c in delivered.replace("(0)", "") if c.isdigit()).removeprefix("00")
    assert group.command("invite", typed).exit_code == 0

    assert group.text(sender) == 204

    (text,) = group.vonage.calls("text")
    (start,) = group.vonage.calls("start")
    key = parse_sender(sender)
    assert f"to={key}&" in text.body.decode()
    assert f'"to": "{key}"' in start.body.decode()
    friend = group.browser()
    friend.get("/signup")
    form = {"phone": again, "username": "friend", "pin": group.vonage.pin_of(str(key))}
    assert friend.post("/login", **form).status_code == 303
    assert friend.username() == "friend"


def test_there_are_enough_chains() -> None:
    assert len(LINKS) >= 40
    assert (
        len({parse_sender("".join(filter(str.isdigit, ways[1]))) for ways in CHAINS.values()}) == 17
    )


@pytest.mark.parametrize(
    ("text", "region", "key"),
    [
        ("4915123456701", "DE", "4915123456701"),  # without the plus; not 49 49 151 ...
        ("015123456701", "DE", "4915123456701"),
        ("0011 49 151 23456701", "AU", "4915123456701"),  # Australia's own way to dial abroad
        ("0049 151 23456701", "AU", "4915123456701"),
        ("0049 151 23456701", "US", "4915123456701"),
        ("202 555 0101", "US", "12025550101"),
        ("07400 123456", "GB", "447400123456"),
        ("(0)151 23456701", "DE", "4915123456701"),
        ("15 2345 6701", None, None),
        ("030 1234567", "DE", None),  # a landline, typed the national way
        ("15123456", "GB", None),
        ("4915123456701", None, None),
    ],
)
def test_the_region_decides_what_is_typed_without_a_plus(
    app: Flask, text: str, region: str | None, key: str | None
) -> None:
    if key is not None:
        assert read(app, text, region) == key
        return
    with pytest.raises(Mistake) as mistake:
        read(app, text, region)
    assert mistake.value.sentence == "phone-no-country"


@pytest.mark.parametrize(
    ("sender", "key"),
    [
        ("12345", "12345"),
        ("99999999999999999", "99999999999999999"),
        ("+12025550101", "12025550101"),
        (12025550101, "12025550101"),
        ("551131234501", "551131234501"),  # a landline of eight digits keeps them
        ("3903123456789", "3903123456789"),  # and Italy's keep their 0
        ("3510912345601", "351912345601"),
        ("Vonage", None),
        ("", None),
        ("+", None),
        ("1202555010\u0661", None),
    ],
)
def test_what_vonage_delivers_is_refused_for_letters_only(sender: object, key: str | None) -> None:
    assert parse_sender(sender) == key


def test_a_number_that_may_not_exist_is_invited_when_the_admin_insists(
    group: Group, settings: dict[str, str]
) -> None:
    ada = group.join("12025550100", "ada", bound=True)
    doubtful = "+44 7700 900001"  # Ofcom's, for films

    page = ada.post("/invite", phone=doubtful)
    assert page.status_code == 422
    assert shown("phone-doubtful") in page.text
    assert f'name="anyway" value="{doubtful}"' in page.text
    assert ada.post("/invite", phone=doubtful, anyway="yes").status_code == 422
    assert ada.post("/invite", phone=doubtful, anyway="+447700900002").status_code == 422
    assert ada.post("/invite", phone=doubtful, anyway=doubtful).status_code == 303

    told = group.command("invite", "+447700900002")
    assert told.output == f"Error: {sentence('phone-doubtful')}\n"
    assert group.command("invite", "+447700900002", "--anyway").exit_code == 0
    assert group.text("447700900001") == 204
    friend = group.browser()
    assert friend.sign_up("447700900001", "grace", group.vonage.pin_of("447700900001"))
    assert friend.username() == "grace"


@pytest.mark.parametrize(
    ("number", "region"),
    [("12025550199", "US"), ("447700900001", "GB"), ("39312345", "IT"), ("88161234567", None)],
)
def test_the_default_region_is_that_of_our_own_number(
    settings: dict[str, str], vonage: Vonage, number: str, region: str | None
) -> None:
    app = create_app(settings | {"VONAGE_NUMBER": number})

    assert region_of(number) == app.config["DEFAULT_REGION"] == region
    assert create_app(settings | {"DEFAULT_REGION": "fr"}).config["DEFAULT_REGION"] == "FR"


def test_examples_are_of_the_country(settings: dict[str, str]) -> None:
    app = create_app(settings | {"DEFAULT_REGION": "DE"})
    browser = app.test_client()

    assert "+49 1512 3456789" in browser.get("/signup").text
    assert example_phone("US") == example_phone(None) == "+1 202 555 0100"
