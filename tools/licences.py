"""Writes docs/licences.md and docs/parts.cdx.json: what `make install` installs, and under which
licence each comes; the second one in the form that scanners read (CycloneDX). `make lock` runs it.
"""

import json
import re
from collections.abc import Iterator
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "licences.md"
PARTS = ROOT / "docs" / "parts.cdx.json"


def read_locked(file: Path) -> dict[str, str]:
    """The versions in a requirements.txt, by name."""
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", file.read_text(), re.M))


def find_licence(package: str) -> str:
    """As its author says it: an SPDX expression, else a classifier, else words of their own."""
    facts: dict[str, Any] = dict(metadata(package).json)
    if expression := facts.get("license_expression"):
        return str(expression)
    classifiers = facts.get("classifier", [])
    named = [line.split(" :: ")[-1] for line in classifiers if line.startswith("License :: ")]
    named = [name for name in named if name != "OSI Approved"]
    return " or ".join(named) or str(facts.get("license", "not said")).splitlines()[0]


def write_page() -> Iterator[str]:
    yield "# Licences\n"
    yield "What `make install` installs, and the licence that each package names. (`make lock`"
    yield "writes this page.) The program itself is under the [MIT licence](../LICENSE).\n"
    yield "| package | version | licence |"
    yield "|---|---|---|"
    for package, version in sorted(read_locked(ROOT / "requirements.txt").items()):
        yield f"| {package} | {version} | {find_licence(package)} |"


def text_of_page() -> str:
    return "\n".join(write_page()) + "\n"


def describe_part(package: str, version: str) -> dict[str, Any]:
    """A component, by CycloneDX 1.6. The hashes of its files are in requirements.txt."""
    purl = f"pkg:pypi/{package}@{version}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": package,
        "version": version,
        "licenses": [{"license": {"name": find_licence(package)}}],
        "purl": purl,
    }


def text_of_parts() -> str:
    packages = sorted(read_locked(ROOT / "requirements.txt").items())
    program = {"type": "application", "bom-ref": "trusted-group", "name": "trusted-group"}
    told = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": program},
        "components": [describe_part(*package) for package in packages],
        "dependencies": [
            {"ref": "trusted-group", "dependsOn": [f"pkg:pypi/{n}@{v}" for n, v in packages]}
        ],
    }
    return json.dumps(told, indent=1) + "\n"


if __name__ == "__main__":
    PAGE.write_text(text_of_page())
    PARTS.write_text(text_of_parts())
