"""What the documents say exists, and what exists is in the documents."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from cyclopts import App

from blocks.queue.errors import QueueError
from deployments.cli.main import app
from deployments.stack.errors import StackError
from docs.generate import REFERENCE, pages

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
README = (ROOT / "README.md").read_text(encoding="utf-8")
CODE = re.compile(r"^ {4,}(.+)$|`([^`\n]+)`", re.MULTILINE)


def snippets(text: str) -> Iterator[str]:
    """Indented lines and what stands between backticks, without comments."""
    for indented, quoted in CODE.findall(text):
        yield re.split(r"\s#\s", indented or quoted)[0].strip()


def commands(text: str, program: str) -> list[list[str]]:
    """The arguments of each call of `program`."""
    calls = (re.sub(r"^(?:\w+=\S+ +)*(?:\.venv/bin/)?", "", snippet) for snippet in snippets(text))
    return [shlex.split(call)[1:] for call in calls if call == program or call.startswith(f"{program} ")]


@pytest.mark.parametrize("name", sorted(pages()))
def test_a_generated_page_is_up_to_date(name: str) -> None:
    assert (REFERENCE / name).read_text(encoding="utf-8") == pages()[name], "write it anew with: make docs"


def test_the_readme_has_at_most_600_words() -> None:
    assert len(README.split()) <= 600


def test_the_readme_begins_with_the_two_commands_and_a_picture() -> None:
    first = [line.strip() for line in README.splitlines() if line.strip()][:5]
    assert first[0] == "# Longtake"
    assert first[1].startswith("make demo")
    assert first[2].startswith("make test")
    assert any(line.startswith("![") for line in first[3:])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_longtake_command_and_option_of_a_document_exists(document: Path) -> None:
    for arguments in commands(document.read_text(encoding="utf-8"), "longtake"):
        command, depth = resolve(arguments)
        for option in (argument for argument in arguments[depth:] if argument.startswith("--")):
            assert option.partition("=")[0] in options_of(command), f"{option} in {arguments}"


def resolve(arguments: list[str]) -> tuple[App, int]:
    """(command, how many words name it). `…` and names that are placeholders end a command."""
    command = app
    for depth, word in enumerate(arguments):
        if command.default_command or word.startswith("-") or word in ("…", "|"):
            return command, depth
        for name in word.split("|"):
            assert name in command, f"longtake has no {' '.join(arguments)!r}"
        command = command[word.split("|")[0]]
    return command, len(arguments)


def options_of(command: App) -> set[str]:
    if not command.default_command:
        return {"--help", "--version", "--json"}
    return {"--help", *(name for argument in command.assemble_argument_collection() for name in argument.names)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_make_target_of_a_document_exists(document: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for arguments in commands(document.read_text(encoding="utf-8"), "make"):
        assert {word for word in arguments if "=" not in word} <= targets


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_of_a_document_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (document.parent / target).exists(), target


def test_every_error_code_is_in_the_reference() -> None:
    page = (REFERENCE / "errors.md").read_text(encoding="utf-8")
    for error in subclasses(QueueError):
        assert f"`{error.code}`" in page
    for error in subclasses(StackError):
        if error.__module__.startswith("deployments."):
            assert f"`{re.sub('(?<=[a-z])(?=[A-Z])', '_', error.__name__).lower()}`" in page


def subclasses(base: type) -> Iterator[type]:
    yield base
    for one in base.__subclasses__():
        yield from subclasses(one)


def test_every_direct_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    page = (REFERENCE / "dependencies.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| `([^`]+)` \| \S", page, re.MULTILINE)
    assert sorted(told) == sorted(re.split(r"[<>=!~\[; ]", one)[0] for one in wanted)
