"""What ruff cannot say about our tests."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
TREES = {path.relative_to(TESTS): ast.parse(path.read_text(encoding="utf-8")) for path in TESTS.rglob("*.py")}
LOOPS = (ast.While, ast.For, ast.AsyncFor)
#: No tests, but what tests run: to take long, or for ever, is what these are for.
SUBJECTS = {Path("warm/sample.py"), Path("warm/slow_module.py"), Path("flows/hanging.py")}


def test_a_test_sleeps_only_between_two_looks_at_a_condition() -> None:
    found = [f"{path}:{call.lineno}" for path, tree in TREES.items() if path not in SUBJECTS for call in sleeps(tree)]
    assert not found, "advance a clock, or wait in a loop with a deadline"


def sleeps(node: ast.AST, *, in_loop: bool = False) -> Iterator[ast.Call]:
    """Calls of sleep outside of any loop."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call) and ast.unparse(child.func).endswith("sleep") and not in_loop:
            yield child
        yield from sleeps(child, in_loop=in_loop or isinstance(child, LOOPS))


def test_a_test_is_named_by_more_than_the_thing_it_tests() -> None:
    functions = [
        (path, node.name)
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert not [one for one in functions if one[1].startswith("test_") and len(one[1].split("_")) < 3]
