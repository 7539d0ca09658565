"""`make mutants`: small faults, one at a time, in the modules that decide who gets in; the tests
must notice. Of each module as many as asked for, drawn at random, but the same ones each time. Says
which were not noticed, and the share of those that were, with its 95 % interval.
"""

import argparse
import ast
import math
import os
import random
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
# By module, the tests that are about it. (Of app.py, the part that signs up and in.)
CORE = {
    "foundation/web/guards.py": "security signup languages pages sessions programs",
    "foundation/web/sessions.py": "sessions devices members forward_auth openid gaps ways_in",
    "foundation/storage/digests.py": "secrets sessions signup own_words",
    "foundation/typed/usernames.py": "names signup invites random_walks",
    "foundation/typed/phones.py": "phones invites replies",
    "foundation/vonage/inbound.py": "webhooks replies attacks own_words journal delivery",
    "foundation/web/forward_auth.py": "forward_auth programs app_passwords door circles",
    "app.py": "signup attacks names vonage_failures invites pin_ledger random_walks",
    "features/another_device.py": "another_device sessions journal notices",
    "features/app_passwords.py": "app_passwords programs sessions door log",
    "features/passkeys/ceremony.py": "passkeys openid",
    "features/passkeys/challenges.py": "passkeys log",
    "features/passkeys/own.py": "passkeys account ways_in notices",
    "features/passkeys/using.py": "passkeys ways_in openid",
    "features/openid/addresses.py": "openid openid_apps openid_checklist programs",
    "features/openid/clients.py": "openid openid_apps openid_checklist app_requests",
    "features/openid/end_session.py": "openid openid_apps openid_checklist",
    "features/openid/endpoints.py": "openid openid_apps openid_checklist app_requests",
    "features/openid/keys.py": "openid openid_apps",
    "features/openid/logouts.py": "openid outbox door",
    "features/openid/people.py": "openid openid_apps circles app_requests account",
    "features/openid/provider.py": "openid openid_apps openid_checklist app_requests",
    "features/openid/refusals.py": "openid openid_apps",
}
PART_OF_APP = ("# Signing up and in ---", "# Home ---")
# Loaded once, before each fault gets a process of its own.
LIBRARIES = (
    "flask flask_session vonage vonage_sms vonage_verify phonenumbers webauthn authlib joserfc"
    " babel requests segno granian markupsafe cbor2 cryptography yaml"
)
SECONDS = 240  # a fault that makes the tests hang is noticed


class Mutant(NamedTuple):
    module: str
    line: int
    what: str  # before -> after
    text: str  # of the whole module

    @property
    def name(self) -> str:
        return f"{self.module}:{self.line}: {self.what}"


# Making them --------------------------------------------------------------------------------------

COMPARED = {
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
}
IN_SQL = {
    " AND ": " OR ",
    " IS NULL": " IS NOT NULL",
    " IS NOT NULL": " IS NULL",
    " > ": " >= ",
    " >= ": " > ",
    " < ": " <= ",
    " <= ": " < ",
    " = ": " != ",
}
SQL = re.compile(r"\b(SELECT|UPDATE|DELETE|INSERT|WHERE|AND|FROM|IS NULL)\b")


class Change(NamedTuple):
    """In bytes, as Python counts the columns."""

    start: int
    end: int
    new: str


class Finder(ast.NodeVisitor):
    """All changes of a module; none in annotations and docstrings."""

    def __init__(self, text: str) -> None:
        self.text = text.encode()
        lengths = [len(line) for line in self.text.splitlines(keepends=True)]
        self.starts = [sum(lengths[:n]) for n in range(len(lengths) + 1)]
        self.changes: list[Change] = []
        self.visit(ast.parse(text))

    def place(self, node: ast.AST) -> tuple[int, int]:
        assert isinstance(node, ast.expr | ast.stmt)
        start = self.starts[node.lineno - 1] + node.col_offset
        return start, self.starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)

    def change(self, node: ast.AST, new: str) -> None:
        self.changes.append(Change(*self.place(node), new))

    def between(self, one: ast.AST, other: ast.AST, new: str) -> None:
        """Keeps parentheses and line ends."""
        start, end = self.place(one)[1], self.place(other)[0]
        sign = re.search(rb"[^\s()\\#]+( not| in)?", self.text[start:end])
        if sign:
            self.changes.append(Change(start + sign.start(), start + sign.end(), new))

    def source(self, node: ast.AST) -> str:
        start, end = self.place(node)
        return self.text[start:end].decode()

    def generic_visit(self, node: ast.AST) -> None:
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns"):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    self.visit(child)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for decorator in node.decorator_list:
            start, end = self.place(decorator)
            self.changes.append(Change(start - 1, end, ""))
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        if len(node.ops) == 1:
            self.between(node.left, node.comparators[0], COMPARED[type(node.ops[0])])
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        new = "or" if isinstance(node.op, ast.And) else "and"
        for one, other in zip(node.values, node.values[1:], strict=False):
            self.between(one, other, new)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if isinstance(node.op, ast.Add | ast.Sub):
            self.between(node.left, node.right, "-" if isinstance(node.op, ast.Add) else "+")
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            self.change(node, f"({self.source(node.operand)})")
        self.generic_visit(node)

    def visit_If(self, node: ast.If | ast.IfExp) -> None:
        self.change(node.test, f"(not ({self.source(node.test)}))")
        self.generic_visit(node)

    visit_IfExp = visit_If

    def visit_Return(self, node: ast.Return) -> None:
        if node.value and not (isinstance(node.value, ast.Constant) and node.value.value is None):
            self.change(node, "return None")
        self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        self.change(node, "pass")

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant):
            return  # a docstring
        self.change(node, "pass")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, bool):
            self.change(node, str(not node.value))
        elif isinstance(node.value, int):
            self.change(node, str(node.value + 1))
        elif isinstance(node.value, str) and SQL.search(node.value):
            start, end = self.place(node)
            for old, new in IN_SQL.items():
                for found in re.finditer(re.escape(old.encode()), self.text[start:end]):
                    place = start + found.start()
                    self.changes.append(Change(place, place + len(old), new))

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Before Python 3.12, the parts of one don't say where they stand."""


def find_mutants(module: str) -> list[Mutant]:
    text = (ROOT / module).read_text()
    finder = Finder(text)
    first, last = 0, len(finder.text)
    if module == "app.py":
        first, last = (finder.text.index(mark.encode()) for mark in PART_OF_APP)
    found = []
    for start, end, new in sorted(set(finder.changes)):
        changed = (finder.text[:start] + new.encode() + finder.text[end:]).decode()
        if first <= start < last and is_python(changed):
            line = finder.text[:start].count(b"\n") + 1
            what = f"`{shorten(finder.text[start:end])}` -> `{shorten(new.encode()) or 'nothing'}`"
            found.append(Mutant(module, line, what, changed))
    return found


def shorten(code: bytes) -> str:
    words = " ".join(code.decode().split())
    return words if len(words) <= 60 else f"{words[:57]}..."


def is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


# Trying them --------------------------------------------------------------------------------------


class Copies:
    """Of the program, one for each process that tries faults in it."""

    def __init__(self, folder: Path, count: int) -> None:
        ignored = shutil.ignore_patterns(".*", "node_modules", "__pycache__")
        self.free = [folder / f"copy-{n}" for n in range(count)]
        self.running: dict[int, tuple[Path, Mutant]] = {}
        for copy in self.free:
            shutil.copytree(ROOT, copy, ignore=ignored)

    def try_all(self, mutants: list[Mutant], tests: list[str]) -> Iterator[tuple[Mutant, bool]]:
        """Each with whether it was noticed, as they end."""
        waiting = mutants[::-1]
        while waiting or self.running:
            if waiting and self.free:
                copy, mutant = self.free.pop(), waiting.pop()
                (copy / mutant.module).write_text(mutant.text)
                self.running[run_tests(copy, tests)] = copy, mutant
                continue
            pid, status = os.wait()
            copy, mutant = self.running.pop(pid)
            shutil.copyfile(ROOT / mutant.module, copy / mutant.module)
            self.free.append(copy)
            yield mutant, status != 0


def run_tests(copy: Path, tests: list[str]) -> int:
    """In a process of its own, whose number it returns. It ends with 0 when all tests pass."""
    pid = os.fork()
    if pid:
        return pid
    signal.alarm(SECONDS)
    os.chdir(copy)
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]  # the copy has its own
    sys.path[:] = [str(copy), *(path for path in sys.path if path not in ("", str(ROOT)))]
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    code = 3
    try:
        words = ["-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", "-p", "no:xdist"]
        code = pytest.main([*words, *(f"tests/test_{name}.py" for name in tests)])
    finally:
        os._exit(code)


def interval(share: float, count: int) -> tuple[float, float]:
    """Wilson's, of 95 %."""
    z = 1.96
    middle = share + z * z / (2 * count)
    reach = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return (middle - reach) / (1 + z * z / count), (middle + reach) / (1 + z * z / count)


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.mutants", description=__doc__)
    parser.add_argument("modules", nargs="*", default=list(CORE))
    parser.add_argument("--each", type=int, default=40, help="of each module, at most")
    parser.add_argument("--at-once", type=int, default=os.cpu_count())
    asked = parser.parse_args()
    for library in LIBRARIES.split():
        __import__(library)
    memory = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None
    noticed_of_all, count_of_all, weighted, whole = 0, 0, 0.0, 0
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        copies = Copies(Path(folder), asked.at_once)
        for module in asked.modules:
            found, tests = find_mutants(module), CORE[module].split()
            right = Mutant(module, 0, "nothing", (ROOT / module).read_text())
            if any(is_noticed for _, is_noticed in copies.try_all([right], tests)):
                raise SystemExit(f"{module}: the tests fail where nothing is wrong.")
            chosen = random.Random(module).sample(found, min(asked.each, len(found)))
            noticed = 0
            for mutant, is_noticed in copies.try_all(chosen, tests):
                noticed += is_noticed
                if not is_noticed:
                    print(mutant.name, flush=True)
            low, high = interval(noticed / len(chosen), len(chosen))
            told = f"{noticed} of {len(chosen)} noticed ({100 * noticed / len(chosen):.0f} %"
            told += f", {100 * low:.0f} to {100 * high:.0f})" if len(chosen) < len(found) else ")"
            print(f"{module}: {told}; {len(found)} in all", flush=True)
            noticed_of_all, count_of_all = noticed_of_all + noticed, count_of_all + len(chosen)
            weighted, whole = weighted + len(found) * noticed / len(chosen), whole + len(found)
    print(f"{noticed_of_all} of {count_of_all} noticed; by size, {100 * weighted / whole:.1f} %")


if __name__ == "__main__":
    main()
