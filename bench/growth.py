"""How the cost grows with what is stored."""

import statistics
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from .world import World

HERE = Path(__file__).parent
Filled = Callable[[int, int], AbstractContextManager[World]]  # sessions, members
Points = dict[int, float]


def measure_growth(filled: Filled) -> str:
    """A table."""
    curves = {
        "`/auth` a second, by sessions": measure_auth(filled, [10**n for n in range(7)]),
        "whole sign-ups a second, by members": measure_sign_ups(filled, [10, 10**3, 10**5]),
        "`/admin`, ms, by members": measure_admin(filled, [10, 100, 10**3, 10**4]),
    }
    rows = [f"| {title} | {say(points)} |" for title, points in curves.items()]
    return "\n".join(["| what | figures |", "| --- | --- |", *rows])


def say(points: Points) -> str:
    return ", ".join(f"{count:,}: {value:,.0f}" for count, value in points.items())


def measure_auth(filled: Filled, sizes: list[int]) -> Points:
    """Requests a second, by a thousand of the sessions in turn. All sizes are served at once and
    measured in turn, five times."""
    with ExitStack() as stack:
        worlds = {size: stack.enter_context(filled(size, 100)) for size in sizes}
        servers = {size: stack.enter_context(world.served()) for size, world in worlds.items()}
        seen: dict[int, list[float]] = {size: [] for size in sizes}
        for _ in range(5):
            for size, world in worlds.items():
                words = ("-s", str(HERE / "many.lua"))
                load = servers[size].load(
                    "/auth", *words, seconds=2, script=[world.write_cookies(size)]
                )
                assert load.failed == 0
                seen[size].append(load.per_second)
        return {size: statistics.median(rates) for size, rates in seen.items()}


def measure_sign_ups(filled: Filled, sizes: list[int]) -> Points:
    points = {}
    for members in sizes:
        with filled(10, members) as world, world.served() as ours:
            world.sign_up_many(ours, 20)
            points[members] = world.sign_up_many(ours, 150).per_second
    return points


def measure_admin(filled: Filled, sizes: list[int]) -> Points:
    """Milliseconds until the whole page is there."""
    points = {}
    for members in sizes:
        with filled(members * 2, members) as world, world.served() as ours:
            points[members] = world.time_page(ours, "/admin")
    return points


LARGE = "10,000 members, 20,000 sessions, 10,000 open invites, 500,000 lines in the journal"
PAGES = (
    "/",
    "/admin",
    "/admin?page=200",
    "/admin/members",
    "/admin/members?page=200",
    "/admin/members?q=member-99",
    "/admin/journal",
)


def measure_large(filled: Filled, seconds: float) -> str:
    """What a group has that never tidied up."""
    with filled(20_000, 10_000) as world:
        world.fill_more(10_000, 500_000)
        with world.served() as ours:
            pages = [f"`{path}` {world.time_page(ours, path):.1f}" for path in PAGES]
            refused = ours.load("/login", "-s", str(HERE / "refused.lua"), seconds=seconds)
    return (
        f"With {LARGE}, milliseconds until the whole page is there: {', '.join(pages)}."
        f" `POST /login`, refused: {refused.per_second:,.0f} a second, p99 {refused.p99:.1f} ms."
    )
