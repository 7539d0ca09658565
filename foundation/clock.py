"""The time, and how pages and commands say it."""

import time
from datetime import UTC, datetime, timedelta

from flask import Flask
from flask_babel import format_date, format_timedelta

from foundation.languages import current_language, translate, translate_count

MINUTE, HOUR, DAY = 60, 3600, 86_400


def now() -> int:
    return int(time.time())


def say_span(seconds: int) -> str:
    """As a person would say it: "5 min", "3 h", "2 days"."""
    if not is_english():
        return str(format_timedelta(timedelta(seconds=max(seconds, MINUTE)), threshold=1))
    for size, unit in ((DAY, "day"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= size:
            count = (seconds + size // 2) // size
            return f"{count} {unit}{'s' if unit == 'day' and count > 1 else ''}"
    return "less than a minute"


def say_ago(seconds: int) -> str:
    if seconds < MINUTE:
        return translate("just now")
    return f"{say_span(seconds)} ago" if is_english() else say_distance(-seconds)


def say_ahead(seconds: int) -> str:
    if seconds < MINUTE:
        return translate("in less than a minute")
    return f"in {say_span(seconds)}" if is_english() else say_distance(seconds)


def say_day(seconds: int) -> str:
    """For times that are recorded once a day at most."""
    days = max(seconds, 0) // DAY
    if days < 2:
        return translate("yesterday") if days else translate("today")
    return f"{days} days ago" if is_english() else say_distance(-days * DAY)


def say_date(at: int) -> str:
    return say_date_of(datetime.fromtimestamp(at, UTC))


def say_date_of(moment: datetime) -> str:
    """English as it's written outside the USA, too, and without Babel, which takes its time."""
    return f"{moment:%-d %B %Y}" if is_english() else str(format_date(moment, "long"))


def say_moment(at: int) -> str:
    moment = datetime.fromtimestamp(at, UTC)
    return f"{say_date_of(moment)}, {moment:%H:%M} UTC"


def say_days(count: int) -> str:
    """Such as "30 days"."""
    return translate_count("%(count)s day", "%(count)s days", count) % {"count": count}


def is_english() -> bool:
    return current_language() == "en"


def say_distance(seconds: int) -> str:
    """From now on; the past is negative."""
    return str(format_timedelta(timedelta(seconds=seconds), threshold=1, add_direction=True))


def say_iso(at: int) -> str:
    """For programs, as in the `datetime` of <time>."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


def add_times(app: Flask) -> None:
    """So that templates can say them: `{{ (now - line.at)|ago }}`."""
    app.jinja_env.filters |= {"span": say_span, "ago": say_ago, "ahead": say_ahead, "day": say_day}
    app.jinja_env.filters |= {"date": say_date, "moment": say_moment, "iso": say_iso}
    app.jinja_env.filters["days"] = say_days
