"""What a page costs in another language, beside English. In one process and without a server, since
it is the rendering that differs."""

import io
import timeit
from collections.abc import Callable
from typing import Any

from werkzeug.test import EnvironBuilder

from foundation.words.languages import LANGUAGES

from .world import World

PAGES = {
    "`GET /signup`": ("/signup", False),
    "`GET /`, signed in": ("/", True),
    "`GET /account`": ("/account", True),
    "`GET /admin`": ("/admin", True),
    "`GET /admin/members`": ("/admin/members", True),
    "`GET /admin/journal`": ("/admin/journal", True),
}


def measure_languages(world: World) -> str:
    """A table: microseconds in English, and how many times as much in each other language."""
    others = [language for language in LANGUAGES if language != "en"]
    rows = [["", "English", *others], ["---", *["---:"] * (len(others) + 1)]]
    for what, (path, is_member) in PAGES.items():
        english, *theirs = (
            time_page(world, path, is_member, language) for language in ("en", *others)
        )
        rows.append([what, f"{english:.0f} µs", *(f"{one / english:.2f}" for one in theirs)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def time_page(world: World, path: str, is_member: bool, language: str) -> float:
    """Microseconds: the best of seven times a hundred."""
    headers = {"Accept-Language": language} | ({"Cookie": world.cookie} if is_member else {})
    builder = EnvironBuilder(path, world.settings["BASE_URL"], headers=[*headers.items()])
    ask = asker(world.group.app, builder.get_environ())
    ask()
    return min(timeit.repeat(ask, number=100, repeat=7)) / 100 * 1e6


def asker(app: Callable[..., Any], environ: dict[str, Any]) -> Callable[[], None]:
    def start(status: str, headers: object, exc_info: object = None) -> None:
        assert status == "200 OK", status

    def ask() -> None:
        answer = app(environ | {"wsgi.input": io.BytesIO()}, start)
        b"".join(answer)
        answer.close()

    return ask
