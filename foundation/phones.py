"""Phone numbers: from what a person types to what Vonage takes."""

import re
import unicodedata

import phonenumbers
from flask import current_app
from phonenumbers import PhoneNumberFormat, PhoneNumberType, ValidationResult

from foundation.forms import Mistake

REFUSED_NUMBERS = (
    PhoneNumberType.PREMIUM_RATE,
    PhoneNumberType.SHARED_COST,
    PhoneNumberType.PAGER,
    PhoneNumberType.UAN,
)


def parse_phone(text: str) -> str:
    """E.164 digits without the plus, as Vonage takes them. Raises Mistake.

    Letters are refused first: the library would read "+4477O0900001" as another, shorter number.
    """
    # Phones paste invisible marks (the writing direction) around a number.
    text = "".join(c for c in text if unicodedata.category(c) != "Cf").strip()
    if not text:
        raise Mistake("phone", "phone-missing")
    if len(text) > 40 or not re.fullmatch(r"[+\uFF0B]?[\d\s()./\u2010-\u2015\u2212-]+", text):
        raise Mistake("phone", "phone-unreadable")
    try:
        number = phonenumbers.parse(text, current_app.config["DEFAULT_REGION"])
    except phonenumbers.NumberParseException as error:
        national = error.error_type == error.INVALID_COUNTRY_CODE and text[0] not in "+\uff0b"
        raise Mistake("phone", "phone-no-country" if national else "phone-impossible") from None
    return require_reachable(number)


def require_reachable(number: phonenumbers.PhoneNumber) -> str:
    digits = phonenumbers.format_number(number, PhoneNumberFormat.E164).removeprefix("+")
    reason = phonenumbers.is_possible_number_with_reason(number)
    if reason != ValidationResult.IS_POSSIBLE or not 7 <= len(digits) <= 15:
        raise Mistake("phone", "phone-impossible")
    # The library also takes "+49 118 33" for a number.
    if phonenumbers.is_valid_short_number(number):
        raise Mistake("phone", "phone-impossible")
    if phonenumbers.number_type(number) in REFUSED_NUMBERS:
        raise Mistake("phone", "phone-costly")
    return digits
