"""How the house is laid out, and that every feature is whole."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

import pytest

from .cast import ALL_SENTENCES, ROOT, Group

# Each may import from itself and from those before it. The foundation has six floors, and below
# them what one process holds in memory.
FLOORS = ["words", "typed", "storage", "vonage", "web", "cli"]
ROOMS = ["foundation.running", *(f"foundation.{floor}" for floor in FLOORS), "app", "features"]
ROOMS += ["wsgi"]
MODULES = [
    path
    for path in (
        *ROOT.glob("*.py"),
        ROOT / "foundation" / "running.py",
        *ROOT.glob("foundation/*/*.py"),
        *ROOT.glob("features/**/*.py"),
    )
    if path.name != "conftest.py"
]
NAMED = (ast.FunctionDef, ast.ClassDef)
NAME = re.compile(r"[a-z]+(-[a-z0-9]+)+")  # of a sentence
CALLS = {"Mistake": 1, "say": 0, "VonageRefused": 0, "render_error": 0}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT).with_suffix("")).replace("/", ".").removesuffix(".__init__")


def room_of(module: str) -> int:
    """The place of a module in ROOMS; -1 for other people's modules."""
    return next((n for n, room in enumerate(ROOMS) if f"{module}.".startswith(f"{room}.")), -1)


def feature_of(module: str) -> str:
    """A feature may be a package, whose rooms import each other."""
    return ".".join(module.split(".")[:2])


def imports(tree: ast.AST) -> Iterator[str]:
    """Also those inside functions, but not those for types only."""
    types = [node for node in ast.walk(tree) if is_for_types(node)]
    skipped = {id(node) for block in types for node in ast.walk(block)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "no relative imports"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)  # may be modules


def is_for_types(node: ast.AST) -> TypeGuard[ast.If]:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def test_only_what_lies_below_all_floors_names_types_of_those_above() -> None:
    """Elsewhere, that would hide a circle."""
    for path in MODULES:
        for block in filter(is_for_types, ast.walk(ast.parse(path.read_text()))):
            named = [module for module in imports(ast.Module(block.body, [])) if "." in module]
            assert path.name == "running.py" or not any(room_of(one) >= 0 for one in named)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_run_one_way(path: Path) -> None:
    name = name_of(path)
    own = room_of(name)

    found = [module for module in imports(ast.parse(path.read_text())) if room_of(module) >= 0]

    assert own >= 0
    assert [module for module in found if room_of(module) > own] == []
    if ROOMS[own] == "features":  # a feature that goes takes no other with it
        others = [module for module in found if room_of(module) == own]
        assert {feature_of(module) for module in others} <= {feature_of(name)}


def test_the_floors_are_all_there_is() -> None:
    assert {path.name for path in ROOT.glob("foundation/*/")} - {"__pycache__"} == set(FLOORS)
    files = {path.name for path in ROOT.glob("foundation/*.py")}
    assert files == {"__init__.py", "running.py"}


def test_there_is_no_circle() -> None:
    needs = {name_of(p): {*imports(ast.parse(p.read_text()))} for p in MODULES}
    needs = {name: needed & {*needs} - {name} for name, needed in needs.items()}

    while free := {name for name, needed in needs.items() if not needed}:
        needs = {name: needed - free for name, needed in needs.items() if name not in free}

    assert needs == {}


def test_no_two_functions_have_one_name() -> None:
    trees = [ast.parse(path.read_text()) for path in MODULES if path.name != "wsgi.py"]

    names = [node.name for tree in trees for node in tree.body if isinstance(node, NAMED)]

    assert [name for name, count in Counter(names).items() if count > 1] == []


def test_app_py_reads_in_one_go() -> None:
    lines = (ROOT / "app.py").read_text().splitlines()

    assert len(lines) <= 1450
    assert next(n for n, line in enumerate(lines) if "# Inviting" in line) < 200


def test_there_is_one_door_in_and_one_door_out() -> None:
    code = "\n".join(path.read_text() for path in MODULES)
    assert re.findall(r"INSERT (?:OR \w+ )?INTO sessions\b", code) == ["INSERT INTO sessions"]
    assert re.findall(r"DELETE FROM sessions\b", code) == ["DELETE FROM sessions"]


def test_no_shell_is_started_and_no_text_is_run() -> None:
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("eval", "exec", "compile", "os.system", "os.popen"), path
                assert "shell" not in [keyword.arg for keyword in node.keywords], path


def test_every_sentence_that_is_named_exists() -> None:
    named = set()
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                place = CALLS.get(node.func.id)
                if place is not None and len(node.args) > place:
                    argument = node.args[place]
                    named |= {
                        part.value
                        for part in ast.walk(argument)
                        if isinstance(part, ast.Constant) and NAME.fullmatch(str(part.value))
                    }

    assert len(named) > 20
    assert named - ALL_SENTENCES.keys() == set()


@pytest.mark.parametrize("path", sorted((ROOT / "tests").glob("test_*.py")), ids=lambda p: p.name)
def test_every_assertion_can_fail(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Assert):
            test = node.test
            ways = [test.test, test.body, test.orelse] if isinstance(test, ast.IfExp) else [test]
            ways += test.values if isinstance(test, ast.BoolOp) else []
            fixed = [way for way in ways if isinstance(way, ast.Constant)]
            assert fixed == [], ast.unparse(node)


def test_app_alone_is_the_whole_journey(settings: dict[str, str], group: Group) -> None:
    """Without the features: no devices, no commands, but everything between invite and home."""
    import app

    alone = Group(app.create_app(settings), group.vonage)
    group.invite("12025550100", "ada")
    assert alone.text("12025550100") == 204
    ada = alone.browser()
    pin = alone.vonage.pin_of("12025550100")
    assert ada.sign_up("12025550100", "ada", pin).status_code == 303
    assert ada.get("/auth").headers["Remote-User"] == "ada"
    assert ada.get("/auth?program=wiki").status_code == 403  # nobody here can judge that
    assert ada.get("/admin").status_code == 200
    assert "/account" not in ada.get("/").text
    assert ada.get("/account").status_code == 404
    assert ada.post("/invite", phone="+12025550101").status_code == 303
    assert ada.post("/logout").status_code == 303
