"""The supply chain: every package is named, pinned and hashed, and its licence is known."""

import ast
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import Distribution, distributions, packages_distributions
from pathlib import Path
from sysconfig import get_path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.licences import PAGE, PARTS, read_locked, text_of_page, text_of_parts

from .cast import ROOT, require_executable

LISTS = ["requirements", "tests/requirements", "tests/lock", "tests/synapse", "tests/allauth"]
LISTS += ["tests/oldest_pip"]
# What each folder may import: what its own list names, and those before it.
NAMED_IN = {
    "program": ("requirements",),
    "tests": ("requirements", "tests/requirements"),
    "bench": ("requirements", "tests/requirements"),
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


def test_every_install_takes_the_list_and_nothing_else() -> None:
    text = (ROOT / "Makefile").read_text() + (ROOT / "Containerfile").read_text()
    installs = re.findall(r"pip install (?:.*\\\n)*.*", text)
    assert len(installs) == 2
    for command in installs:
        for flag in ("--no-deps", "--require-hashes", "--only-binary :all:"):
            assert flag in command, command


def make_newer(lines: Iterable[Requirement], folder: Path) -> None:
    """Wheels as an index would have them after each package's next release."""
    for one in lines:
        name = one.name.replace("-", "_")
        facts = f"{name}-{NEWER}.dist-info"
        with ZipFile(folder / f"{name}-{NEWER}-py3-none-any.whl", "w") as wheel:
            about = f"Metadata-Version: 2.1\nName: {one.name}\nVersion: {NEWER}\n"
            wheel.writestr(f"{facts}/METADATA", about)
            wheel.writestr(f"{facts}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            wheel.writestr(f"{facts}/RECORD", "")


NEWER = "9999.1"


def read_flags() -> list[str]:
    """With which flags the makefile installs a list."""
    found = re.search(r"^PIP_INSTALL = -m pip (.*)$", (ROOT / "Makefile").read_text(), re.M)
    assert found
    return found[1].split()


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="Python 3.12 came with a newer pip")
@pytest.mark.parametrize("what", LISTS)
def test_the_oldest_pip_installs_each_list_next_year(what: str, tmp_path: Path) -> None:
    """When each package has had another release. Then nothing that a package asks for is missing,
    with the extras that it asks for."""
    pip = ROOT / ".venv" / "oldest-pip"
    if not pip.exists():
        require_executable("the oldest pip")
    locked = {name: f"=={version}" for name, version in read_locked(ROOT / f"{what}.txt").items()}
    make_newer((Requirement(name + version) for name, version in locked.items()), tmp_path)
    command = [sys.executable, "-m", "pip", *read_flags(), "--quiet", "--no-compile"]
    command += ["--target", str(tmp_path / "there"), "--find-links", str(tmp_path)]
    found = subprocess.run(
        [*command, "-r", f"{what}.txt"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(pip)},
        capture_output=True,
        text=True,
        timeout=600,
    )

    assert found.returncode == 0, found.stderr
    there = distributions(path=[str(tmp_path / "there")])
    installed = {str(canonicalize_name(one.name)): one for one in there}
    assert {name: f"=={one.version}" for name, one in installed.items()} == locked
    missing = {
        (name, str(wanted))
        for name, one in installed.items()
        for wanted in find_needs(one, asked_extras(installed.values(), name))
        if not fits(wanted, installed)
    }
    assert missing == set()


def find_needs(package: Distribution, extras: Iterable[str] = ()) -> Iterator[Requirement]:
    """What it needs on this machine, with those extras."""
    for one in map(Requirement, package.requires or []):
        if one.marker is None or any(one.marker.evaluate({"extra": e}) for e in ("", *extras)):
            yield one


def asked_extras(installed: Iterable[Distribution], name: str) -> set[str]:
    """The extras of a package that another one asks for."""
    wanted = (need for one in installed for need in find_needs(one))
    return {extra for one in wanted if canonicalize_name(one.name) == name for extra in one.extras}


def fits(wanted: Requirement, installed: Mapping[str, Distribution]) -> bool:
    found = installed.get(canonicalize_name(wanted.name))
    return found is not None and wanted.specifier.contains(found.version, prereleases=True)


def source_files(part: str) -> list[Path]:
    if part != "program":
        return [*(ROOT / part).glob("*.py")]
    folders = ("foundation", "features", "simulator", "tools")
    return [*ROOT.glob("*.py"), *(file for one in folders for file in (ROOT / one).rglob("*.py"))]


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


def test_another_python_gets_its_own_packages(tmp_path: Path) -> None:
    """After an upgrade of Debian, .venv's Python is gone, or a newer one without packages."""
    for name in ("Makefile", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path)
    environment = tmp_path / ".venv"
    for folder in ("bin", f"lib/python{VERSION}"):
        (environment / folder).mkdir(parents=True)
    python = environment / "bin" / "python"
    python.symlink_to(sys.executable)
    shutil.copytree(ROOT / "foundation" / "cli", tmp_path / "foundation" / "cli")
    for stamp in (f"installed-{VERSION}", "own-flask", "translated"):
        (environment / stamp).touch()
    assert plan_install(tmp_path) == "make: Nothing to be done for 'install'.\n"

    (environment / f"installed-{VERSION}").rename(environment / "installed-3.0")
    assert "-m venv $([ -d .venv/lib/python" in plan_install(tmp_path)
    (environment / "installed-3.0").rename(environment / f"installed-{VERSION}")
    python.unlink()
    python.symlink_to("/nowhere/python")
    assert ".venv/lib/pythonnone ] || echo --clear) .venv" in plan_install(tmp_path)


def test_flask_says_the_version_of_the_program(tmp_path: Path) -> None:
    """In any folder; and it is Flask's in all else."""
    flask = Path(sys.executable).with_name("flask")
    newest = read_newest_version()
    python = platform.python_version()
    done = subprocess.run([flask, "--version"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (f"Trusted Group {newest}, on Python {python}\n", "")
    ours, flasks = (
        subprocess.run([*command, "--help"], cwd=ROOT, capture_output=True, text=True).stdout
        for command in ([flask], [sys.executable, "-m", "flask"])
    )
    assert ours.replace("Show the version and exit.", "Show the Flask version.") == flasks.replace(
        "python -m flask", "flask"
    )


def test_pip_may_write_its_script_again(tmp_path: Path) -> None:
    """As for a newer Flask. A full disk leaves that script."""
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    packages = Path(environment, "lib", f"python{VERSION}", "site-packages")
    (packages / "those.pth").write_text(get_path("purelib") + "\n")
    python, script = environment / "bin" / "python", environment / "bin" / "flask"
    own = ROOT / "foundation" / "cli" / "trusted_group_flask.py"
    pips = (
        "import sys\nfrom flask.cli import main\nif __name__ == '__main__':\n    sys.exit(main())\n"
    )
    for _ in "12":
        script.write_text(pips)
        full = ["bash", "-c", f"ulimit -f 0; exec '{python}' '{own}'"]
        assert subprocess.run(full, stderr=subprocess.DEVNULL).returncode != 0
        assert script.read_text() == pips
        subprocess.run([python, own], check=True, cwd=tmp_path)
        done = subprocess.run([python, script, "--version"], capture_output=True, text=True)
        assert done.stdout.startswith("Trusted Group "), done
        before = script.stat().st_mtime_ns
        subprocess.run([python, own], check=True)
        assert script.stat().st_mtime_ns == before


def read_newest_version() -> str:
    found = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert found
    return found[1]


VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"


def plan_install(folder: Path) -> str:
    """What `make install` would do, also where make runs the tests."""
    return subprocess.run(
        ["make", "-n", "install"],
        cwd=folder,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_every_licence_is_listed() -> None:
    assert PAGE.read_text() == text_of_page()
    assert "not said" not in PAGE.read_text()


def test_the_list_of_parts_is_the_list_that_is_installed() -> None:
    assert PARTS.read_text() == text_of_parts()
    parts = json.loads(PARTS.read_text())["components"]
    locked = read_locked(ROOT / "requirements.txt")
    assert {part["name"]: part["version"] for part in parts} == locked
