"""Writes the pages of docs/reference that follow from the code. `make docs` runs it; a test proves them up to date."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cyclopts import App
from pydantic_core import PydanticUndefined

from blocks.engine import EngineChoice
from deployments.cli.exits import ExitCode
from deployments.cli.main import app
from deployments.settings import PREFIX, Settings
from tasks.kinds import KINDS
from tasks.params.base import Params
from tasks.params.travel import ChildParams, TravelDetails, TravelParams

REFERENCE = Path(__file__).parent / "reference"
NOTE = "<!-- Written by docs/generate.py from the code: `make docs`. -->"


def pages() -> dict[str, str]:
    """File name to content."""
    return {"cli.md": _cli(), "settings.md": _settings(), "task-types.md": _task_types()}


def main() -> None:
    for name, text in pages().items():
        (REFERENCE / name).write_text(text, encoding="utf-8")


def _page(*lines: str) -> str:
    return "\n".join((NOTE, "", *lines)).rstrip() + "\n"


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> list[str]:
    lines = [head, tuple("---" for _ in head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


# The command line


def _cli() -> str:
    return _page(
        "# `longtake`",
        "",
        "Every command has `--help`. With `--json`, stdout carries exactly one JSON document, and everything else goes "
        "to stderr. A refusal is one or two lines on stderr: what and why, then what to do; with `--json` also "
        '`{"error": {"code", "message", "hint", "exit_code"}}` on stdout. The codes are in [errors.md](errors.md).',
        "",
        "## Exit codes",
        "",
        *_table(("code", "means"), ((str(int(code)), code.meaning) for code in ExitCode)),
        "",
        "## Options of all commands",
        "",
        *_table(("option", "meaning"), iter(((f"`{name}`", _words(text)) for name, text in _common().items()))),
        "",
        "`up` has no `--json`: it runs until it is stopped, and `server.json` in the home says where its server is.",
        "",
        *(line for path, command in _commands(app, ("longtake",)) for line in _command(path, command)),
        "## JSON documents",
        "",
        *_table(
            ("command", "keys"),
            iter(
                (
                    ("`task create`", "`task`, `created`"),
                    ("`task list`", "`tasks`"),
                    ("`task show`", "`task`, `children`, `dependencies`"),
                    ("`task watch`", "the same, when the task has ended"),
                    ("`task cancel`, `task retry`", "`task`, `ended` (the other rows that changed with it), `ready`"),
                    ("`travel create`", "`task`, `created`, `film`, `warnings`; with `--watch` also `children`"),
                    ("`demo`", "`task` (its id), `output`, `seconds`"),
                    ("`doctor`", "`ok`, `checks` (each `name`, `ok`, `detail`, `fix`)"),
                    ("`setup`", "`api_url`, `steps`"),
                    ("`version`", "`longtake`, `python`, `prefect`, `platform`"),
                )
            ),
        ),
        "",
        "A `task` has every field of its row under the row's own name ([queue.md](queue.md)).",
    )


def _commands(parent: App, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], App]]:
    """Commands in the order of the help page; a group of commands is followed by its own."""
    for name in parent:
        if name.startswith("-"):
            continue
        command = parent[name]
        if command.default_command:
            yield (*path, name), command
        else:
            yield from _commands(command, (*path, name))


def _common() -> dict[str, str]:
    """Option to meaning, as `version` has them: it has no others."""
    arguments = app["version"].assemble_argument_collection(parse_docstring=True)
    return {argument.names[0]: argument.parameter.help or "" for argument in arguments if not argument.children}


def _command(path: tuple[str, ...], command: App) -> list[str]:
    arguments = command.assemble_argument_collection(parse_docstring=True)
    shown = [one for one in arguments if one.show and not one.children and one.names[0] not in _common()]
    positional = [argument for argument in shown if not argument.names[0].startswith("-")]
    options = [argument for argument in shown if argument.names[0].startswith("-")]
    usage = " ".join((*path, *(_positional(argument) for argument in positional), "[OPTIONS]"))
    rows = ((f"`{', '.join(option.names)}`", _words(option.parameter.help), _default(option)) for option in options)
    lines = [f"## `{usage}`", "", _words(command.default_command.__doc__), ""]
    lines += [line for argument in positional for line in (f"`{argument.names[0]}`: {argument.parameter.help}", "")]
    return lines + ([*_table(("option", "meaning", "default"), rows), ""] if options else [])


def _positional(argument: Any) -> str:
    many = argument.field_info.kind is argument.field_info.VAR_POSITIONAL
    return f"[{argument.names[0]}…]" if many else argument.names[0]


def _words(text: str | None) -> str:
    return " ".join((text or "").split())


def _default(option: Any) -> str:
    default = option.field_info.default
    if default in (None, False, (), ("",), option.field_info.empty):
        return ""
    if isinstance(default, tuple):
        return f"`{', '.join(map(str, default))}`"
    return f"`{_json(default)}`"


# Settings


def _settings() -> str:
    rows = (
        (f"`{PREFIX}{name.upper()}`", field.description or "", f"`{field.default}`", _bounds(field))
        for name, field in Settings.model_fields.items()
    )
    return _page(
        "# Settings",
        "",
        "Each setting is an environment variable. A name that begins with `LONGTAKE_` and is none of these is refused, "
        "with the nearest one, so that a slip of the finger cannot pass for a setting. An option of a command wins "
        "over the environment.",
        "",
        *_table(("variable", "meaning", "default", "allowed"), rows),
        "",
        "Prefect's own variables decide which server commands talk to: `PREFECT_API_URL` and "
        "`PREFECT_API_AUTH_STRING`. Without the first, it is the server that `longtake up` last started in the home; "
        "its address and auth string stand in `server.json` there, readable by its owner only.",
        "",
        "## What runs read",
        "",
        "The part `engines` of the Prefect block `longtake` (type *Longtake workspace*) says how and what its site "
        "generates. Change it in the Prefect UI: the next run reads it, and `longtake setup` leaves alone what is no "
        "variable above.",
        "",
        *_table(("field", "meaning", "default"), _engine_fields()),
    )


def _engine_fields() -> Iterator[tuple[str, ...]]:
    for name in EngineChoice.__annotations__:
        field = EngineChoice.model_fields[name]
        default = field.get_default(call_default_factory=True)
        yield f"`{name}`", field.description or "", f"`{_json(default)}`" if default not in ("", []) else ""


def _bounds(field: Any) -> str:
    low = next((one.ge for one in field.metadata if getattr(one, "ge", None) is not None), None)
    high = next((one.le for one in field.metadata if getattr(one, "le", None) is not None), None)
    return "" if low is None else f"{low:g} to {high:g}"


# Task types


def _task_types() -> str:
    meanings = tomllib.loads((REFERENCE / "task-fields.toml").read_text(encoding="utf-8"))
    sections = [line for kind in KINDS for line in _kind(kind, meanings)]
    return _page(
        "# Task types",
        "",
        "An unknown type is refused at enqueue, naming the nearest. So is a known field of the wrong type, with its "
        "name. A field that nothing reads is kept, ignored, and named in the log. Lists with one element for each "
        "segment (or join) may have a single element, which then goes for all.",
        "",
        "Paths and locations are absolute paths, or locations that the storage gave.",
        "",
        *_table(("type", "old names", "pool"), ((f"`{k.task_type}`", _code(k.aliases), f"`{k.pool}`") for k in KINDS)),
        "",
        *sections,
    )


def _kind(kind: Any, meanings: dict[str, dict[str, str]]) -> list[str]:
    lines = [f"## `{kind.task_type}`", ""]
    if issubclass(kind.params, ChildParams):
        lines += ["Made by the orchestrator; nobody else enqueues it.", ""]
    lines += [*_fields(kind.params, meanings), ""]
    if kind.params is TravelParams:
        lines += ["### `orchestrator_details`", "", *_fields(TravelDetails, meanings), ""]
    return lines


def _fields(model: type[Params], meanings: dict[str, dict[str, str]]) -> list[str]:
    schema = model.model_json_schema()["properties"]
    rows = (
        (f"`{name}`", _type(schema[name]), _field_default(field), _meaning(model, name, meanings))
        for name, field in model.model_fields.items()
    )
    return _table(("field", "type", "default", "meaning"), rows)


def _meaning(model: type[Params], field: str, meanings: dict[str, dict[str, str]]) -> str:
    """The words stand with the class that declares the field. KeyError: write them in task-fields.toml."""
    owner = next(base for base in model.__mro__ if field in meanings.get(base.__name__, {}))
    return meanings[owner.__name__][field]


def _field_default(field: Any) -> str:
    if field.is_required():
        return "required"
    default = field.default_factory() if field.default is PydanticUndefined else field.default
    return "" if default in (None, "", [], {}) else f"`{_json(default)}`"


def _json(value: Any) -> str:
    """As JSON writes it: true, and 16 for 16.0."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _type(schema: dict[str, Any]) -> str:
    """JSON's own words: "integer, 1 to 1000"."""
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"] if one != {"type": "null"})
    if "$ref" in schema:
        return "object"
    if "enum" in schema:
        return " or ".join(f'"{value}"' for value in schema["enum"])
    if schema["type"] == "array":
        return f"list of {_type(schema['items'])}"
    low, high = schema.get("minimum"), schema.get("maximum")
    limits = {
        (False, False): "",
        (True, False): f", at least {low}",
        (False, True): f", at most {high}",
        (True, True): f", {low} to {high}",
    }
    return schema["type"] + limits[low is not None, high is not None]


def _code(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    main()
