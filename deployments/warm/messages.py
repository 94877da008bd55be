"""What worker and child say to each other: a JSON object a line, over the socket pair between them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

#: A line longer than this is no message of ours; the environment of a run is the largest part of one.
LONGEST_LINE = 4 * 1024 * 1024


M = TypeVar("M")


class BadMessage(ValueError):
    """The other side sent something that is no message."""

    def __init__(self, line: str | bytes, reason: str) -> None:
        self.line = line.decode(errors="replace") if isinstance(line, bytes) else line
        self.reason = reason
        super().__init__(f"not a message of the warm worker ({reason}): {self.line[:200]!r}")


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Prepare(_Message):
    """Parent to child, first and once: what to have in memory before a run comes."""

    kind: Literal["prepare"] = "prepare"
    lane_file: Path
    working_dir: Path | None = None
    preload: tuple[str, ...] = ()
    entrypoints: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    memory_bytes: int | None = Field(default=None, ge=0)
    start_seconds: float = Field(gt=0)
    orphan_seconds: float = Field(ge=0)
    grace_seconds: float = Field(ge=0)


class Run(_Message):
    """Parent to child: execute this flow run; `env` is what is added to the environment meanwhile."""

    kind: Literal["run"] = "run"
    flow_run_id: UUID
    entrypoint: str
    env: dict[str, str] = {}


class Cancel(_Message):
    """Parent to child: end this run as cancelled, or do not begin it, then exit."""

    kind: Literal["cancel"] = "cancel"
    flow_run_id: UUID


class Exit(_Message):
    """Parent to child: end, after the current run."""

    kind: Literal["exit"] = "exit"


class Ready(_Message):
    """Child to parent: runs can come. `seconds` is how long the start took, `models` what is loaded."""

    kind: Literal["ready"] = "ready"
    pid: int
    seconds: float
    models: tuple[str, ...] = ()


class Ended(_Message):
    """Child to parent: the run is over. Code 0: the engine has reported its end; otherwise nobody has."""

    kind: Literal["ended"] = "ended"
    flow_run_id: UUID
    code: int
    problem: str | None = None
    rss_bytes: int = 0
    models: tuple[str, ...] = ()

    @property
    def current_model(self) -> str | None:
        """The model used last."""
        return self.models[0] if self.models else None


class Problem(_Message):
    """Child to parent: it cannot start, and why, in a line."""

    kind: Literal["problem"] = "problem"
    text: str


ToChild = Annotated[Prepare | Run | Cancel | Exit, Field(discriminator="kind")]
ToParent = Annotated[Ready | Ended | Problem, Field(discriminator="kind")]
_TO_CHILD: TypeAdapter[Prepare | Run | Cancel | Exit] = TypeAdapter(ToChild)
_TO_PARENT: TypeAdapter[Ready | Ended | Problem] = TypeAdapter(ToParent)


def encode(message: _Message) -> bytes:
    return message.model_dump_json().encode() + b"\n"


def decode_for_child(line: str | bytes) -> Prepare | Run | Cancel | Exit:
    """Raises `BadMessage`."""
    return _decode(_TO_CHILD, line)


def decode_for_parent(line: str | bytes) -> Ready | Ended | Problem:
    """Raises `BadMessage`."""
    return _decode(_TO_PARENT, line)


def _decode(adapter: TypeAdapter[M], line: str | bytes) -> M:
    try:
        return adapter.validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise BadMessage(line, f"{where}: {first['msg']}" if where else first["msg"]) from None
