"""What the queue stores and answers: plain frozen data, the same for every backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

#: Owner and project of every task in a single-user store.
LOCAL_USER = "00000000-0000-4000-8000-000000000001"
LOCAL_PROJECT = "00000000-0000-4000-8000-000000000002"

JsonObject = Mapping[str, Any]


class Status(StrEnum):
    QUEUED = "Queued"
    IN_PROGRESS = "In Progress"
    COMPLETE = "Complete"
    FAILED = "Failed"
    CANCELLED = "Cancelled"

    @property
    def is_terminal(self) -> bool:
        return self in TERMINAL


TERMINAL = frozenset({Status.COMPLETE, Status.FAILED, Status.CANCELLED})


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """What a client asks for. Everything that is not here belongs to the server.

    `id` may be supplied (a UUID), which makes enqueue idempotent (I8); None lets the store choose.
    `depends_on` may name stored tasks or others of the same batch, in any order.
    """

    task_type: str
    params: JsonObject
    id: str | None = None
    project_id: str = LOCAL_PROJECT
    depends_on: tuple[str, ...] = ()
    parent_id: str | None = None
    priority: int = 0
    scheduled_at: datetime | None = None
    max_attempts: int = 3
    correlation_id: str | None = None
    brief_id: str | None = None
    mandate: str | None = None
    max_ticks: int | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """A row. Timestamps are aware UTC datetimes. The claim token is not part of it: only a `Claim` carries one."""

    id: str
    task_type: str
    params: JsonObject
    status: Status
    project_id: str
    user_id: str
    depends_on: tuple[str, ...]
    parent_id: str | None
    priority: int
    attempts: int
    max_attempts: int
    waiting: bool
    worker_id: str | None
    lease_expires_at: datetime | None
    scheduled_at: datetime | None
    output_location: str | None
    result: JsonObject | None
    error_message: str | None
    root_task_id: str | None  # the task whose end ended this one (I6); None if it ended by itself
    tick: int | None
    max_ticks: int | None
    mandate: str | None
    correlation_id: str | None
    brief_id: str | None
    flow_run_id: str | None
    created_at: datetime
    updated_at: datetime
    generation_started_at: datetime | None
    generation_processed_at: datetime | None

    @property
    def dependant_on(self) -> str | None:
        """The sole dependency, for old clients that read a scalar."""
        return self.depends_on[0] if len(self.depends_on) == 1 else None


@dataclass(frozen=True, slots=True)
class Enqueued:
    """`created` is False when the same id and body were there already (I8)."""

    task: Task
    created: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to act on one attempt of a task. `token` fences every write; keep it out of logs."""

    task: Task
    attempt: int
    token: str = field(repr=False)
    lease_expires_at: datetime


@dataclass(frozen=True, slots=True)
class Renewal:
    """Answer to a heartbeat. `cancelled`: the task was cancelled under this claim; stop the body."""

    lease_expires_at: datetime | None
    cancelled: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one write changed.

    `task`: the row after it. `ready`: ids that this completion made eligible. `ended`: the other rows that ended
    with it (dependents, orchestrator, children), so that their runs can be stopped or resumed.
    """

    task: Task
    ready: tuple[str, ...] = ()
    ended: tuple[Task, ...] = ()


@dataclass(frozen=True, slots=True)
class Rescued:
    """One expired claim: back to Queued, or Failed as dead letter. `flow_run_id` is the run that held it."""

    task: Task
    attempt: int
    flow_run_id: str | None
    dead_letter: bool
    ended: tuple[Task, ...] = ()


@dataclass(frozen=True, slots=True)
class Counts:
    """Totals by one predicate (I4). `ready` is exactly what a claim without filters could take now."""

    ready: int
    blocked: int
    delayed: int
    in_progress: int
    waiting: int
    complete: int
    failed: int
    cancelled: int
    ready_by_type: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Predecessor:
    """A dependency and its output; `output_location` is None until it is Complete."""

    id: str
    status: Status
    output_location: str | None


@dataclass(frozen=True, slots=True)
class CompletedSegment:
    segment_index: int
    task_id: str
    output_location: str


@dataclass(frozen=True, slots=True)
class Worker:
    """Who has claimed, and what it last said of itself. `last_heartbeat` is when it said so, or first claimed."""

    id: str
    last_heartbeat: datetime
    current_model: str | None
    metadata: JsonObject


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """For listing; newest first. None means any."""

    status: Sequence[Status] | None = None
    task_type: Sequence[str] | None = None
    project_id: str | None = None
    parent_id: str | None = None
    limit: int = 50
