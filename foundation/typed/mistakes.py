"""What people type, as values: a line, a day, a PIN. Or else a mistake, with what to tell them."""

import re
import unicodedata
from datetime import date, datetime

from foundation.words.clock import DAY, now, say_iso


class Mistake(Exception):
    """A form field was filled in wrongly, or asks for something that isn't possible now.

    `sentence` is the name of what to tell the person, `field` is where to show it, `wait` says in
    how many seconds the same input will be fine, `instead` is what would be fine now, and `about`
    is what {name} in the sentence stands for.
    """

    def __init__(
        self,
        field: str,
        sentence: str,
        wait: int | None = None,
        instead: tuple[str, ...] = (),
        about: str = "",
    ) -> None:
        super().__init__(sentence)
        self.field = field
        self.sentence = sentence
        self.wait = wait
        self.instead = instead
        self.about = about


CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")  # all but tabs and new lines


def has_control(text: str) -> bool:
    return CONTROL.search(text) is not None


def drop_control(text: str) -> str:
    """Without NUL and its like, which nobody types and no page may have."""
    return CONTROL.sub("", text)


def drop_invisible(text: str) -> str:
    """Phones paste invisible marks (the writing direction) along with a text."""
    return "".join(c for c in text if unicodedata.category(c) != "Cf")


def holds_number(text: str) -> bool:
    """Whether it may be a phone number or a PIN in a wrong field: those are kept nowhere."""
    return re.search(r"\d{6}", re.sub(r"[\W_]", "", text)) is not None


MAX_WHO = 60


def parse_who(text: str) -> str:
    """Whom an invite is for, in the inviter's own words, such as "Grace from chess". Raises Mistake
    for a phone number, which nothing here keeps."""
    return parse_line("who", text, MAX_WHO, "who-too-long")


def parse_line(field: str, text: str, longest: int, unreadable: str) -> str:
    """One line in somebody's own words, with no phone number in it. Raises Mistake."""
    line = " ".join(text.split())
    if len(line) > longest or not line.isprintable():
        raise Mistake(field, unreadable)
    if holds_number(line):
        raise Mistake(field, "line-number")
    return line


def parse_last_day(text: str) -> str:
    """A day as date fields send it, or "". Raises Mistake."""
    try:
        return date.fromisoformat(text.strip()).isoformat() if text.strip() else ""
    except ValueError:
        raise Mistake("ends_on", "day-unreadable") from None


def parse_coming_day(text: str) -> str:
    """Today or later, or "". Raises Mistake."""
    day = parse_last_day(text)
    if day and end_of_day(day) <= now():
        raise Mistake("ends_on", "day-over")
    return day


def end_of_day(day: str) -> int:
    """In UTC."""
    return int(datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp()) + DAY


def last_day_of(ends_at: int | None) -> str:
    """The other way round, as a date field shows it."""
    return say_iso(ends_at - 1)[:10] if ends_at else ""


def drop_signs(text: str) -> str:
    """Without spaces, dashes and invisible characters; full-width letters as usual ones."""
    kept = drop_invisible(unicodedata.normalize("NFKC", text))
    return "".join(c for c in kept if not c.isspace() and unicodedata.category(c) != "Pd")


def read_digits(text: str) -> str:
    """Digits of any script as 0 to 9, anything else as "?". Spaces and invisible characters don't
    matter."""
    kept = drop_invisible(unicodedata.normalize("NFKC", text))
    return "".join(str(unicodedata.decimal(c, "?")) for c in kept if not c.isspace())


def parse_pin(text: str) -> str:
    """Six digits; dashes don't matter, either."""
    digits = read_digits(drop_signs(text))
    if not re.fullmatch(r"[0-9]{6}", digits):
        raise Mistake("pin", "pin-unreadable" if digits else "pin-missing")
    return digits
