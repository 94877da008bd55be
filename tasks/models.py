"""Which engine and model a task is made with: the model it names, where the operator lets it, else the operator's."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from blocks.engine import EngineChoice
from tasks.engines.registry import capabilities
from tasks.errors import InvalidInput
from tasks.kinds import Makes, find_kind

#: The parameters by which the kinds of tasks name a model.
_FIELDS = ("model", "model_name")


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """What a process loads. Its text is such as "wan:Wan-AI/Wan2.1-FLF2V-14B-720P-diffusers"."""

    engine: str
    model: str

    def __str__(self) -> str:
        return f"{self.engine}:{self.model}"


def choose(engines: EngineChoice, makes: Makes, named: str | None = None) -> ModelChoice:
    """Raises `UnknownEngine`."""
    engine, own = (engines.video, engines.video_model) if makes == "video" else (engines.image, engines.image_model)
    return ModelChoice(engine, named or own or capabilities(engine).default_model)


def chosen_by(task_type: str, params: Mapping[str, Any], engines: EngineChoice) -> ModelChoice | None:
    """The choice of a task of this type, None where no model is loaded. Raises `InvalidInput`, `UnknownEngine`."""
    kind = find_kind(task_type)
    if kind.makes is None:
        return None
    read = kind.params.read(params)
    named = next((getattr(read, name) for name in _FIELDS if name in type(read).model_fields), None)
    return choose(engines, kind.makes, named)


def check_allowed(named: str | None, engines: EngineChoice, makes: Makes, *, local_paths: bool) -> None:
    """Raises `InvalidInput` for a model that no task may name here. The site's own may always be named.

    A folder of the machine that runs the task is allowed by a pattern that is a path itself, or where `local_paths`
    says that whoever enqueues owns the machine: else a user could have any of its folders read.
    """
    if not named or named == choose(engines, makes).model:
        return
    patterns, is_path = engines.allowed_models, _is_path(named)
    if is_path:
        patterns = [pattern for pattern in patterns if pattern.startswith(("/", "~"))]
    if any(fnmatchcase(named, pattern) for pattern in patterns) and ".." not in Path(named).parts:
        return
    advice = "Leave it out to get this site's own, or ask its operator to add it to allowed_models."
    if engines.allowed_models:
        allowed = ", ".join(engines.allowed_models)
        raise InvalidInput(f"The model {named[:200]!r} is none that tasks may name here ({allowed}). {advice}")
    if is_path and not local_paths:
        raise InvalidInput(
            f"The model {named[:200]!r} is a folder of some machine, which tasks of this queue may not name. "
            f"Name one on the hub, such as 'owner/model'. {advice}"
        )


def _is_path(model: str) -> bool:
    """Whether an engine may take it for a path: also a name on the hub, if there is a folder of that name."""
    path = Path(model)
    if path.is_absolute() or model.startswith(("~", ".")) or ".." in path.parts:
        return True
    with contextlib.suppress(OSError, ValueError):  # too long for a path, or with a zero byte
        return path.exists()
    return False
