"""docs/asvs.md: each line of the standard has its answer, and each answer can be looked up."""

import re
from typing import NamedTuple

import pytest

from .cast import ROOT, Browser

PAGE = (ROOT / "docs" / "asvs.md").read_text()
# Of ASVS 5.0, levels 1 and 2: by section, how many.
SECTIONS = """
1.1: 2, 1.2: 9, 1.3: 11, 1.4: 3, 1.5: 2, 2.1: 3, 2.2: 3, 2.3: 4, 2.4: 1, 3.2: 2, 3.3: 4, 3.4: 6,
3.5: 5, 3.7: 2, 4.1: 3, 4.2: 1, 4.3: 2, 4.4: 4, 5.1: 1, 5.2: 3, 5.3: 2, 5.4: 3, 6.1: 3, 6.2: 12,
6.3: 4, 6.4: 4, 6.5: 5, 6.6: 3, 6.8: 4, 7.1: 3, 7.2: 4, 7.3: 2, 7.4: 5, 7.5: 2, 7.6: 2, 8.1: 2,
8.2: 3, 8.3: 1, 8.4: 1, 9.1: 3, 9.2: 4, 10.1: 2, 10.2: 2, 10.3: 4, 10.4: 11, 10.5: 5, 10.6: 2,
10.7: 3, 11.1: 2, 11.2: 3, 11.3: 3, 11.4: 4, 11.5: 1, 11.6: 1, 12.1: 3, 12.2: 2, 12.3: 4, 13.1: 1,
13.2: 5, 13.3: 2, 13.4: 5, 14.1: 2, 14.2: 4, 14.3: 3, 15.1: 3, 15.2: 3, 15.3: 7, 16.1: 1, 16.2: 5,
16.3: 4, 16.4: 3, 16.5: 3, 17.1: 1, 17.2: 4, 17.3: 2
"""
EXPECTED = [
    f"{section}.{number}"
    for section, count in re.findall(r"([\d.]+): (\d+)", SECTIONS)
    for number in range(1, int(count) + 1)
]


class Line(NamedTuple):
    number: str
    answer: str
    where: str


LINES = [
    Line(*cells)
    for cells in re.findall(r"^\| ([\d.]+) \| (yes|no|not ours) \| (.+) \|$", PAGE, re.M)
]


def test_each_line_of_the_standard_is_answered_once() -> None:
    assert [line.number for line in LINES] == EXPECTED
    assert len(EXPECTED) == 253


def is_test(where: str) -> bool:
    found = re.fullmatch(r"`(test_\w+)::(test_\w+)`", where)
    if found is None:
        return False
    file = ROOT / "tests" / f"{found[1]}.py"
    return file.exists() and f"def {found[2]}(" in file.read_text()


def is_place(where: str) -> bool:
    found = re.fullmatch(r"\[.+\]\((.*)#(.+)\)", where)
    if found is None:
        return False
    page = (ROOT / "docs" / (found[1] or "asvs.md")).read_text()
    headings = re.findall(r"^#+ (.+)$", page, re.M)
    return found[2] in [re.sub(r"[^\w-]", "", h.lower().replace(" ", "-")) for h in headings]


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.number)
def test_each_answer_can_be_looked_up(line: Line) -> None:
    if line.answer == "yes":
        assert is_test(line.where) or is_place(line.where)
    else:
        assert line.where.endswith(".")


def test_no_is_said_twelve_times_at_most() -> None:
    assert 0 < [line.answer for line in LINES].count("no") <= 12


@pytest.mark.parametrize("where", sorted(set(re.findall(r"`test_\w+::test_\w+`", PAGE))))
def test_each_test_that_is_named_exists(where: str) -> None:
    assert is_test(where)


PATHS = [
    "/",
    "/signup",
    "/healthz",
    "/nowhere",
    "/static/style.css",
    "/openid/jwks",
    "/robots.txt",
    "/admin",
]


@pytest.mark.parametrize("path", [*PATHS, "/admin/members.csv", "/manifest.webmanifest"])
def test_every_answer_says_what_it_is(ada: Browser, path: str) -> None:
    answer = ada.get(path)
    kind = answer.headers["Content-Type"]
    answer.close()
    is_text = kind.startswith("text/")
    assert kind.endswith("; charset=utf-8") if is_text else kind.startswith("application/")
