"""The time, and how pages and commands say it."""

import time
from datetime import UTC, datetime

from flask import Flask

MINUTE, HOUR, DAY = 60, 3600, 86_400


def now() -> int:
    return int(time.time())


def say_span(seconds: int) -> str:
    """As a person would say it: "5 min", "3 h", "2 days"."""
    for size, unit in ((DAY, "day"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= size:
            count = (seconds + size // 2) // size
            return f"{count} {unit}{'s' if unit == 'day' and count > 1 else ''}"
    return "less than a minute"


def say_ago(seconds: int) -> str:
    return f"{say_span(seconds)} ago" if seconds >= MINUTE else "just now"


def say_day(seconds: int) -> str:
    """For times that are recorded once a day at most."""
    days = max(seconds, 0) // DAY
    return ("today", "yesterday")[days] if days < 2 else f"{days} days ago"


def say_date(at: int) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%-d %B %Y}"


def say_moment(at: int) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%-d %B %Y, %H:%M} UTC"


def say_iso(at: int) -> str:
    """For programs, as in the `datetime` of <time>."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


def add_times(app: Flask) -> None:
    """So that templates can say them: `{{ (now - line.at)|ago }}`."""
    app.jinja_env.filters |= {"span": say_span, "ago": say_ago, "day": say_day, "date": say_date}
    app.jinja_env.filters |= {"moment": say_moment, "iso": say_iso}
