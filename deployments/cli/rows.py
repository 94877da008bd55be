"""Rows as a program and as a person read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from blocks.queue.model import Predecessor, Status, Task
from tasks.labels import run_name

SHORT_ID = 8


def task_document(task: Task) -> dict[str, Any]:
    """Every field of the row under its own name; moments in ISO 8601."""
    return {field.name: _plain(getattr(task, field.name)) for field in fields(task)}


def family_document(task: Task, children: Sequence[Task], before: Sequence[Predecessor] = ()) -> dict[str, Any]:
    return {
        "task": task_document(task),
        "children": [task_document(child) for child in children],
        "dependencies": [
            {"id": one.id, "status": str(one.status), "output_location": one.output_location} for one in before
        ],
    }


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return value.isoformat()
        case Status():
            return str(value)
        case tuple() | list():
            return [_plain(item) for item in value]
        case Mapping():
            return {key: _plain(item) for key, item in value.items()}
    return value


def title(task: Task) -> str:
    """Such as "segment 2": the words of its run name without the id."""
    return run_name(task, 1).partition(" · ")[0]


def progress(task: Task, children: Sequence[Task] = ()) -> str:
    """Such as "12/49"; a task that waits for its children counts those that are done."""
    if children:
        done = sum(child.status is Status.COMPLETE for child in children)
        return f"{done}/{len(children)} parts"
    # A tick is reported now and then; the last one of a finished task may be missing.
    if task.tick is None or task.status is Status.COMPLETE:
        return ""
    return f"{task.tick}/{task.max_ticks}" if task.max_ticks else str(task.tick)


def age(moment: datetime, now: datetime | None = None) -> str:
    """Such as "5m": the largest whole unit since then."""
    seconds = int(((now or datetime.now(UTC)) - moment).total_seconds())
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{max(0, seconds)}s"


def status_words(task: Task) -> str:
    """The status, and why a task that looks idle is not stuck."""
    if task.waiting:
        return f"{task.status} (waits for its parts)"
    if task.status is Status.QUEUED and task.scheduled_at and task.scheduled_at > datetime.now(UTC):
        return f"{task.status} (due {task.scheduled_at.astimezone():%Y-%m-%d %H:%M:%S})"
    return str(task.status)
