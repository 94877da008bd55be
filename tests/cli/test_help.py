from __future__ import annotations

import json
import subprocess
import sys

import pytest

#: Each of these costs more than a whole help page may.
EXPENSIVE = ("prefect", "cv2", "av", "numpy", "pydantic", "httpx", "PIL")
_LOADED = """
import contextlib, io, json, sys
from deployments.cli.main import run
with contextlib.redirect_stdout(io.StringIO()):
    code = run(json.loads(sys.argv[1]))
print(json.dumps([code, sorted(name.partition(".")[0] for name in sys.modules)]))
"""


def loaded_by(*arguments: str) -> tuple[int, set[str]]:
    """(exit code, top-level modules) of a new process that runs one command."""
    ran = subprocess.run([sys.executable, "-c", _LOADED, json.dumps(arguments)], capture_output=True, check=True)
    code, modules = json.loads(ran.stdout)
    return code, set(modules)


@pytest.mark.parametrize("command", [(), ("task",), ("task", "create"), ("travel", "create"), ("up",), ("demo",)])
def test_help_imports_nothing_expensive(command: tuple[str, ...]) -> None:
    code, modules = loaded_by(*command, "--help")
    assert code == 0
    assert modules.isdisjoint(EXPENSIVE)


def test_a_command_on_the_queue_imports_no_prefect(tmp_path) -> None:
    _, modules = loaded_by("task", "list", "--home", str(tmp_path))
    assert modules.isdisjoint({"prefect", "cv2", "av", "numpy"})


def test_the_installed_program_tells_its_version() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", "from deployments.cli.main import main; raise SystemExit(main())"],
        input="",
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0
    assert "longtake" in ran.stdout.lower()


def test_version_is_a_document_for_programs(longtake) -> None:
    assert set(longtake("version", "--json").document) == {"longtake", "python", "prefect", "platform"}


@pytest.mark.parametrize("arguments", [("tsk",), ("task", "creat"), ("task", "list", "--limi", "3"), ("task", "show")])
def test_wrong_usage_is_told_in_two_lines(longtake, arguments: tuple[str, ...]) -> None:
    answer = longtake(*arguments)
    assert answer.code == 2
    assert answer.err.startswith("error: ")
    assert "--help" in answer.err.splitlines()[1]


def test_wrong_usage_is_a_document_for_programs(longtake) -> None:
    answer = longtake("task", "show", "--json")
    assert answer.document["error"]["code"] == "usage"
    assert answer.document["error"]["exit_code"] == answer.code == 2
