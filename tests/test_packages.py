"""The supply chain: every package is named, pinned and hashed, and its licence is known."""

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from docs.licences import PAGE, read_locked, text_of_page

from .conftest import ROOT

LISTS = ("requirements", "tests/requirements", "tests/lock", "tests/synapse", "bench/requirements")
# What each folder may import: what its own list names, and those before it.
NAMED_IN = {
    "program": ("requirements",),
    "tests": ("requirements", "tests/requirements"),
    "bench": ("requirements", "tests/requirements", "bench/requirements"),
}


def read_names(what: str) -> set[str]:
    """The packages that a .in file names."""
    lines = (ROOT / f"{what}.in").read_text().splitlines()
    wanted = [Requirement(line) for line in lines if line and line[0] not in "#-"]
    extras = {f"{one.name}-{extra}" for one in wanted for extra in one.extras}
    return {canonicalize_name(name) for name in {one.name for one in wanted} | extras}


def read_locked_names(what: str) -> set[str]:
    return {canonicalize_name(name) for name in read_locked(ROOT / f"{what}.txt")}


@pytest.mark.parametrize("what", LISTS)
def test_every_package_is_pinned_and_hashed(what: str) -> None:
    text = (ROOT / f"{what}.txt").read_text().replace("\\\n", "")
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    assert lines
    for line in lines:
        assert re.fullmatch(r"[a-z0-9._-]+==\S+( +--hash=sha256:[0-9a-f]{64})+", line), line
    assert read_names(what) - {"ua-parser-builtins"} <= read_locked_names(what)


def test_what_a_package_needs_is_pinned_too() -> None:
    """Of what is installed for the program, whatever it asks for on this machine."""
    locked = read_locked_names("requirements")
    needed = {
        canonicalize_name(one.name)
        for package in locked
        for one in map(Requirement, requires(package) or [])
        if one.marker is None or one.marker.evaluate({"extra": ""})
    }
    assert needed
    assert needed <= locked


def test_every_install_demands_the_hashes() -> None:
    text = (ROOT / "Makefile").read_text() + (ROOT / "Containerfile").read_text()
    installs = re.findall(r"pip install .*|\$\(INSTALL\) .*", text)
    assert len(installs) >= 6
    for line in installs:
        assert "--require-hashes" in line or line.startswith("$(INSTALL)"), line


def source_files(part: str) -> list[Path]:
    if part != "program":
        return [*(ROOT / part).glob("*.py")]
    folders = ("foundation", "features", "simulator", "docs")
    return [*ROOT.glob("*.py"), *(file for one in folders for file in (ROOT / one).glob("*.py"))]


def imported(file: Path) -> Iterator[str]:
    """The first part of each name that the file imports, except relative ones."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("part", NAMED_IN)
def test_nothing_is_imported_that_is_not_named(part: str) -> None:
    """A package that only another one brings goes when that one no longer needs it."""
    ours = {path.stem for path in ROOT.iterdir()}
    packages = packages_distributions()
    named = {name for what in NAMED_IN[part] for name in read_names(what)}
    found = {name for file in source_files(part) for name in imported(file)}
    foreign = found - ours - set(sys.stdlib_module_names) - {"__future__"}
    assert foreign
    for module in foreign:
        owners = {canonicalize_name(name) for name in packages.get(module, [module])}
        assert owners & named, f"{module} is imported, and no list names it"


def test_every_licence_is_listed() -> None:
    assert PAGE.read_text() == text_of_page()
    assert "not said" not in PAGE.read_text()
