"""Phone numbers: from what a person types, or Vonage delivers, to the phone key.

A *phone key* is today's E.164 form of a line, in digits without the plus. It is what we text and
what we look up, so all spellings of one line meet. Some countries write one line in two ways:

- Mexico dropped the 1 after 52 in 2019 (Plan Técnico Fundamental de Numeración), and with it the
  prefixes 044, 045 and 01 for mobile phones. Replies still carry the 1.
- Argentina puts a 9 after 54 for mobile phones, or 15 after the area code within the country.
  Messages come without either (libphonenumber's FAQ: "Argentina").
- Brazil put a ninth digit, 9, before eight-digit mobile numbers (Anatel, Resolution 553/2010,
  complete since 2016). Some networks still deliver eight.
- "+44 (0) ..." shows the national way and the international one at once (ITU-T E.123, 7.2, says
  not to). Italy's zero is a part of the number, so only libphonenumber's data can decide.
"""

import re
import unicodedata
from contextlib import suppress

import phonenumbers
from flask import current_app
from phonenumbers import (
    PhoneMetadata,
    PhoneNumber,
    PhoneNumberFormat,
    PhoneNumberType,
    ValidationResult,
)

from foundation.typed.mistakes import Mistake, drop_invisible

MOBILE = (PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE_OR_MOBILE)
REFUSED_TYPES = (
    PhoneNumberType.PAGER,
    PhoneNumberType.PERSONAL_NUMBER,
    PhoneNumberType.PREMIUM_RATE,
    PhoneNumberType.SHARED_COST,
    PhoneNumberType.TOLL_FREE,
    PhoneNumberType.UAN,
    PhoneNumberType.VOICEMAIL,
)
NO_COUNTRY = "001"  # libphonenumber's region of satellites, international networks and the like


def parse_phone(text: str) -> str:
    """The phone key of what a person typed. Raises Mistake.

    Letters are refused first: the library would read "+4477O0900001" as another, shorter number.
    """
    text = drop_invisible(text).strip()
    if not text:
        raise Mistake("phone", "phone-missing")
    if len(text) > 40 or not re.fullmatch(r"[+\uFF0B]?[\d\s()./\u2010-\u2015\u2212-]+", text):
        raise Mistake("phone", "phone-unreadable")
    text = re.sub(r"\(\s*0\s*\)", "", unicodedata.normalize("NFKC", text))
    if text[:1] == "+":
        return require_reachable(read_international(text))
    digits = re.sub(r"\D", "", text)
    if digits.startswith("00"):
        return require_reachable(read_with_00(digits))
    return require_reachable(read_national(digits))


def read_with_00(digits: str) -> PhoneNumber:
    """00 means plus. Where DEFAULT_REGION dials another prefix that begins like that (Australia's
    0011), it is that one, unless it makes no mobile number."""
    region = current_app.config["DEFAULT_REGION"]
    metadata = PhoneMetadata.metadata_for_region(region) if region else None
    own = re.match(metadata.international_prefix or "00", digits) if metadata else None
    for prefix in ("00", own[0] if own else "00"):
        with suppress(Mistake):
            number = read_international(f"+{digits.removeprefix(prefix)}")
            if is_mobile(number):
                return number
    return read_international(f"+{digits.removeprefix('00')}")


def read_international(text: str) -> PhoneNumber:
    try:
        return unify(phonenumbers.parse(text))
    except phonenumbers.NumberParseException:
        raise Mistake("phone", "phone-impossible") from None


def read_national(digits: str) -> PhoneNumber:
    """As people write it in DEFAULT_REGION, where it must then be a mobile number; or with the
    country code and without the plus."""
    region = current_app.config["DEFAULT_REGION"]
    for spelling, place in ((digits, region), (f"+{digits}", None)):
        try:
            number = unify(phonenumbers.parse(spelling, place)) if region else None
        except phonenumbers.NumberParseException:
            continue
        if number and is_mobile(number):
            return number
    raise Mistake("phone", "phone-no-country")


def is_mobile(number: PhoneNumber) -> bool:
    """libphonenumber has a type for valid numbers only."""
    return phonenumbers.number_type(number) in MOBILE


def unify(number: PhoneNumber) -> PhoneNumber:
    """Today's form of the line; see the top of this module."""
    digits = phonenumbers.national_significant_number(number)
    match number.country_code:
        case 52 if old := re.fullmatch(r"(?:1|01|044|045)([0-9]{10})", digits):
            return rebuild(number, old[1])
        case 54 if re.fullmatch(r"[1-8][0-9]{9}", digits):
            return rebuild(number, f"9{digits}")
        case 55 if re.fullmatch(r"[0-9]{2}[689][0-9]{7}", digits):
            if not phonenumbers.is_valid_number(number):
                return rebuild(number, f"{digits[:2]}9{digits[2:]}")
    if digits.startswith("0") and not phonenumbers.is_valid_number(number):
        shorter = rebuild(number, digits[1:])
        return shorter if is_mobile(shorter) else number
    return number


def rebuild(number: PhoneNumber, digits: str) -> PhoneNumber:
    return phonenumbers.parse(f"+{number.country_code}{digits}")


def to_digits(number: PhoneNumber) -> str:
    return phonenumbers.format_number(number, PhoneNumberFormat.E164).removeprefix("+")


def require_reachable(number: PhoneNumber) -> str:
    digits = to_digits(number)
    reason = phonenumbers.is_possible_number_with_reason(number)
    if reason != ValidationResult.IS_POSSIBLE or not 7 <= len(digits) <= 15:
        raise Mistake("phone", "phone-impossible")
    region = phonenumbers.region_code_for_country_code(number.country_code or 0)
    kind = phonenumbers.number_type(number)
    if region == NO_COUNTRY or kind in REFUSED_TYPES:
        raise Mistake("phone", "phone-costly")
    # The library also takes "+49 118 33" for a number.
    if kind not in MOBILE and phonenumbers.is_valid_short_number(number):
        raise Mistake("phone", "phone-impossible")
    return digits


def is_known_phone(key: str) -> bool:
    """Whether libphonenumber knows such numbers. It is a little behind the world, so a number that
    it doesn't know can be invited all the same, when the admin insists."""
    return phonenumbers.is_valid_number(phonenumbers.parse(f"+{key}"))


def parse_known_phone(text: str) -> str:
    """Raises Mistake for a number that may not exist; the form then offers to invite it anyway."""
    phone = parse_phone(text)
    if not is_known_phone(phone):
        raise Mistake("phone", "phone-doubtful")
    return phone


def parse_sender(sender: object) -> str | None:
    """The phone key of a sender that Vonage delivered. No number is refused for its shape; None for
    a sender with letters."""
    if not re.fullmatch(r"\+?[0-9]{1,20}", str(sender)):
        return None
    digits = str(sender).removeprefix("+")
    try:
        return to_digits(unify(phonenumbers.parse(f"+{digits}")))
    except phonenumbers.NumberParseException:
        return digits


def region_of(digits: str) -> str | None:
    """The main country of a number's calling code, such as US for 1 and GB for 44."""
    try:
        number = phonenumbers.parse(f"+{digits}")
    except phonenumbers.NumberParseException:
        return None
    region = phonenumbers.region_code_for_country_code(number.country_code or 0)
    return region if region in phonenumbers.SUPPORTED_REGIONS else None


def example_phone(region: str | None) -> str:
    """A number to show, as people there write it abroad."""
    if region in (None, "US"):
        return "+1 202 555 0100"  # one that nobody has
    number = phonenumbers.example_number_for_type(region, PhoneNumberType.MOBILE)
    if number is None:
        return example_phone(None)
    return str(phonenumbers.format_number(number, PhoneNumberFormat.INTERNATIONAL))
