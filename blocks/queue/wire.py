"""The queue's words as JSON: what the functions of `supabase/migrations` take, answer and refuse."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from blocks.queue import errors
from blocks.queue.errors import QueueError
from blocks.queue.model import (
    Claim,
    CompletedSegment,
    Counts,
    Enqueued,
    Outcome,
    Predecessor,
    Renewal,
    Rescued,
    Status,
    Task,
    TaskSpec,
    Worker,
)

Json = Any

#: The private SQLSTATE of each refusal.
REFUSALS: Mapping[str, type[QueueError]] = {
    "LT001": errors.InvalidTask,
    "LT002": errors.UnknownTask,
    "LT003": errors.UnknownDependency,
    "LT004": errors.DependencyCycle,
    "LT005": errors.TaskConflict,
    "LT006": errors.StaleClaim,
    "LT007": errors.TaskEnded,
    "LT008": errors.NotRetryable,
    "LT009": errors.NotAllowed,
}
_BY_CODE = {error.code: error for error in REFUSALS.values()}
_TASK_FIELDS = [field.name for field in fields(Task)]
_MOMENTS = frozenset(
    {
        "lease_expires_at",
        "scheduled_at",
        "created_at",
        "updated_at",
        "generation_started_at",
        "generation_processed_at",
    }
)


def refusal(code: str, message: str, hint: str = "", data: Json = None) -> QueueError | None:
    """The error for a SQLSTATE or a public code, with its data; None if the code is not one of the queue's."""
    kind = REFUSALS.get(code) or _BY_CODE.get(code)
    if isinstance(data, str):
        try:
            data = json.loads(data)
        except ValueError:
            data = {}
    known = dict(data) if isinstance(data, Mapping) else {}
    if "status" in known:
        known["status"] = Status(known["status"])
    return kind(message, hint=hint, **known) if kind else None


def spec_json(spec: TaskSpec) -> Json:
    """One entry of `enqueue_tasks`; what is not set is left out."""
    entry = {field.name: getattr(spec, field.name) for field in fields(TaskSpec)}
    entry["depends_on"] = list(spec.depends_on)
    entry["scheduled_at"] = spec.scheduled_at and spec.scheduled_at.isoformat()
    return {name: value for name, value in entry.items() if value is not None}


def task(row: Json) -> Task:
    values = {name: row.get(name) for name in _TASK_FIELDS}
    for name in _MOMENTS:
        values[name] = moment(values[name])
    values["status"] = Status(values["status"])
    values["depends_on"] = tuple(values["depends_on"] or ())
    return Task(**values)


def tasks(rows: Sequence[Json]) -> list[Task]:
    return [task(row) for row in rows]


def enqueued(entry: Json) -> Enqueued:
    return Enqueued(task(entry["task"]), entry["created"])


def claim(entry: Json) -> Claim:
    expires = moment(entry["lease_expires_at"])
    assert expires is not None
    return Claim(task(entry["task"]), entry["attempt"], entry["claim_token"], expires)


def renewal(entry: Json) -> Renewal:
    return Renewal(moment(entry["lease_expires_at"]), entry["cancelled"])


def outcome(entry: Json) -> Outcome:
    return Outcome(task(entry["task"]), tuple(entry["ready"]), tuple(tasks(entry["ended"])))


def rescued(entry: Json) -> Rescued:
    return Rescued(
        task(entry["task"]), entry["attempt"], entry["flow_run_id"], entry["dead_letter"], tuple(tasks(entry["ended"]))
    )


def counts(entry: Json) -> Counts:
    return Counts(**{field.name: entry[field.name] for field in fields(Counts)})


def predecessor(entry: Json) -> Predecessor:
    return Predecessor(entry["id"], Status(entry["status"]), entry["output_location"])


def completed_segment(entry: Json) -> CompletedSegment:
    return CompletedSegment(int(entry["segment_index"]), entry["task_id"], entry["output_location"])


def worker(row: Json) -> Worker:
    heard = moment(row["last_heartbeat"])
    assert heard is not None
    return Worker(row["id"], heard, row["current_model"], row["metadata"])


def moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
