"""The time, and how pages and commands say it."""

import time
from datetime import UTC, datetime, timedelta

from flask import Flask
from flask_babel import format_date, format_timedelta

from foundation.words.languages import current_language, translate, translate_count

MINUTE, HOUR, DAY = 60, 3600, 86_400


def now() -> int:
    return int(time.time())


# How a page says it. `language` is the template's, which is the visitor's; templates pass it on by
# themselves (see templates.py). Without one it is looked up, which takes longer than to say it in
# English; the other languages are said by Babel.


def say_span(seconds: int, language: str | None = None) -> str:
    if is_english(language):
        return say_english_span(seconds)
    return str(format_timedelta(timedelta(seconds=max(seconds, MINUTE)), threshold=1))


def say_english_span(seconds: int) -> str:
    """As a person would say it: "5 min", "3 h", "2 days"."""
    for size, unit in ((DAY, "day"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= size:
            count = (seconds + size // 2) // size
            return f"{count} {unit}{'s' if unit == 'day' and count > 1 else ''}"
    return "less than a minute"


def say_ago(seconds: int, language: str | None = None) -> str:
    if seconds < MINUTE:
        return translate("just now", language)
    return f"{say_english_span(seconds)} ago" if is_english(language) else say_distance(-seconds)


def say_ahead(seconds: int, language: str | None = None) -> str:
    if seconds < MINUTE:
        return translate("in less than a minute", language)
    return f"in {say_english_span(seconds)}" if is_english(language) else say_distance(seconds)


def say_day(seconds: int, language: str | None = None) -> str:
    """For times that are recorded once a day at most."""
    days = max(seconds, 0) // DAY
    if days < 2:
        return translate("yesterday", language) if days else translate("today", language)
    return f"{days} days ago" if is_english(language) else say_distance(-days * DAY)


def say_date(at: int, language: str | None = None) -> str:
    """English as it's written outside the USA, too."""
    moment = datetime.fromtimestamp(at, UTC)
    return f"{moment:%-d %B %Y}" if is_english(language) else str(format_date(moment, "long"))


def say_moment(at: int, language: str | None = None) -> str:
    moment = datetime.fromtimestamp(at, UTC)
    if is_english(language):
        return f"{moment:%-d %B %Y, %H:%M} UTC"
    return f"{say_date(at, language)}, {moment:%H:%M} UTC"


def say_days(count: int, language: str | None = None) -> str:
    """Such as "30 days"."""
    return translate_count("%(count)s day", "%(count)s days", count, language) % {"count": count}


def is_english(language: str | None) -> bool:
    return (language or current_language()) == "en"


def say_distance(seconds: int) -> str:
    """From now on; the past is negative."""
    return str(format_timedelta(timedelta(seconds=seconds), threshold=1, add_direction=True))


def say_iso(at: int) -> str:
    """For programs, as in the `datetime` of <time>."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


TIMES = {"span": say_span, "ago": say_ago, "ahead": say_ahead, "day": say_day, "days": say_days}
TIMES |= {"date": say_date, "moment": say_moment}


def add_times(app: Flask) -> None:
    """So that templates can say them: `{{ (now - line.at)|ago }}`."""
    app.jinja_env.filters |= {**TIMES, "iso": say_iso}
