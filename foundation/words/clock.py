"""The time, and how pages and commands say it."""

import functools
import time
from datetime import UTC, datetime, timedelta

from babel.dates import format_date, format_timedelta

from foundation.words.languages import current_language, locale_of, translate, translate_count

MINUTE, HOUR, DAY = 60, 3600, 86_400


def now() -> int:
    return int(time.time())


# How a page says it, in the visitor's language. Days stay days: "in 11 days", not "in 2 weeks".


def say_span(seconds: int) -> str:
    """Such as "5 minutes", "3 hours", "11 days"."""
    return say_delta(max(seconds, MINUTE))


def say_ago(seconds: int) -> str:
    return say_delta(-seconds, True) if seconds >= MINUTE else translate("just now")


def say_ahead(seconds: int) -> str:
    return say_delta(seconds, True) if seconds >= MINUTE else translate("in less than a minute")


def say_delta(seconds: int, from_now: bool = False) -> str:
    """`from_now`: as a moment; the past is negative."""
    unit = next(size for size in (DAY, HOUR, MINUTE) if abs(seconds) >= size)
    return say_units(round(seconds / unit), unit, from_now, find_locale())


@functools.lru_cache(maxsize=2000)  # a list says the same few again and again
def say_units(count: int, unit: int, from_now: bool, locale: str) -> str:
    return format_timedelta(
        timedelta(seconds=count * unit),
        granularity={DAY: "day", HOUR: "hour", MINUTE: "minute"}[unit],  # type: ignore[arg-type]
        threshold=float("inf"),  # from how many on Babel takes a larger unit
        add_direction=from_now,
        locale=locale,
    )


def say_day(seconds: int) -> str:
    """For times that are recorded once a day at most."""
    days = max(seconds, 0) // DAY
    if days < 2:
        return translate("yesterday") if days else translate("today")
    return say_delta(-days * DAY, True)


def say_date(at: int) -> str:
    return say_day_of_year(at // DAY, find_locale())


@functools.lru_cache(maxsize=2000)
def say_day_of_year(day: int, locale: str) -> str:
    return format_date(datetime.fromtimestamp(day * DAY, UTC), "long", locale)


def say_moment(at: int) -> str:
    return f"{say_date(at)}, {datetime.fromtimestamp(at, UTC):%H:%M} UTC"


def say_days(count: int) -> str:
    """Such as "30 days"."""
    return translate_count("%(count)s day", "%(count)s days", count) % {"count": count}


def find_locale() -> str:
    """English as it's written outside the USA, too."""
    language = current_language()
    return "en_GB" if language == "en" else locale_of(language)


def say_iso(at: int) -> str:
    """For programs, as in the `datetime` of <time>."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


TIMES = {"span": say_span, "ago": say_ago, "ahead": say_ahead, "day": say_day, "days": say_days}
TIMES |= {"date": say_date, "moment": say_moment, "iso": say_iso}
