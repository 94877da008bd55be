"""The life of a row as pure functions: each answers with the next version of the row.

They hold what must be true of a row in a status (SQLite states the same as CHECK constraints); who may ask for a
step, and what follows from it for other rows, is decided by the verbs.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from blocks.queue.model import LOCAL_USER, JsonObject, Status, Task
from blocks.queue.policy import Admitted
from blocks.queue.rows import Row


def queued(admitted: Admitted, task_id: str, now: datetime) -> Row:
    spec = admitted.spec
    task = Task(
        id=task_id,
        task_type=spec.task_type,
        params=spec.params,
        status=Status.QUEUED,
        project_id=spec.project_id,
        user_id=LOCAL_USER,
        depends_on=spec.depends_on,
        parent_id=spec.parent_id,
        priority=spec.priority,
        attempts=0,
        max_attempts=spec.max_attempts,
        waiting=False,
        worker_id=None,
        lease_expires_at=None,
        scheduled_at=spec.scheduled_at,
        output_location=None,
        result=None,
        error_message=None,
        root_task_id=None,
        tick=None,
        max_ticks=spec.max_ticks,
        mandate=spec.mandate,
        correlation_id=spec.correlation_id,
        brief_id=spec.brief_id,
        flow_run_id=None,
        created_at=now,
        updated_at=now,
        generation_started_at=None,
        generation_processed_at=None,
    )
    return Row(task, admitted.digest)


def claimed(row: Row, worker_id: str, request_id: str | None, lease: float, now: datetime, *, start: bool) -> Row:
    task = replace(
        row.task,
        status=Status.IN_PROGRESS,
        attempts=row.task.attempts + 1,
        worker_id=worker_id,
        lease_expires_at=now + timedelta(seconds=lease),
        scheduled_at=None,
        tick=None,
        flow_run_id=None,
        generation_started_at=now if start else None,
        updated_at=now,
    )
    return Row(task, row.digest, claim_token=str(uuid4()), claim_request_id=request_id)


def started(
    row: Row, worker_id: str, flow_run_id: str | None, request_id: str | None, lease: float, now: datetime
) -> Row:
    task = replace(
        row.task,
        worker_id=worker_id,
        flow_run_id=flow_run_id or row.task.flow_run_id,
        lease_expires_at=now + timedelta(seconds=lease),
        generation_started_at=now,
        updated_at=now,
    )
    return replace(row, task=task, claim_token=str(uuid4()), start_request_id=request_id or str(uuid4()))


def dispatched(row: Row, flow_run_id: str, lease: float, now: datetime) -> Row:
    expires = now + timedelta(seconds=lease)
    return replace(row, task=replace(row.task, flow_run_id=flow_run_id, lease_expires_at=expires, updated_at=now))


def renewed(row: Row, lease: float, tick: int | None, max_ticks: int | None, now: datetime) -> Row:
    ticks = [each for each in (row.task.tick, tick) if each is not None]
    task = replace(
        row.task,
        lease_expires_at=now + timedelta(seconds=lease),
        tick=max(ticks, default=None),
        max_ticks=row.task.max_ticks if max_ticks is None else max_ticks,
        updated_at=now,
    )
    return replace(row, task=task)


def handed_to_children(row: Row, now: datetime) -> Row:
    task = replace(row.task, waiting=True, worker_id=None, lease_expires_at=None, updated_at=now)
    return _closed(replace(row, task=task))


def put_back(row: Row, error: str, due: datetime | None, now: datetime, *, by_holder: bool) -> Row:
    """Queued again, the attempt spent; its worker, run and ticks stay visible until the next claim."""
    task = replace(
        row.task,
        status=Status.QUEUED,
        lease_expires_at=None,
        scheduled_at=due,
        error_message=error,
        updated_at=now,
    )
    return _closed(replace(row, task=task)) if by_holder else replace(row, task=task, claim_token=None)


def released(row: Row, now: datetime) -> Row:
    """Queued again as if it had not been claimed."""
    task = replace(
        row.task,
        status=Status.QUEUED,
        attempts=row.task.attempts - 1,
        worker_id=None,
        lease_expires_at=None,
        tick=None,
        flow_run_id=None,
        generation_started_at=None,
        updated_at=now,
    )
    return replace(row, task=task, claim_token=None)


def completed(
    row: Row, output: str | None, result: JsonObject | None, root: str | None, now: datetime, *, by_holder: bool
) -> Row:
    kept = {"output_location": output, "result": result, "error_message": None}
    return _ended(row, Status.COMPLETE, root, now, kept, by_holder=by_holder)


def ended(row: Row, status: Status, error: str, root: str | None, now: datetime, *, by_holder: bool) -> Row:
    """Failed or Cancelled. Old clients read the text of a failure from output_location."""
    kept = {"error_message": error, "output_location": error if status is Status.FAILED else None}
    return _ended(row, status, root, now, kept, by_holder=by_holder)


def dead_letter(row: Row, error: str, now: datetime) -> Row:
    """Failed after the last attempt was lost; its holder, should it still live, is stale."""
    return replace(ended(row, Status.FAILED, error, None, now, by_holder=False), claim_token=None)


def _closed(row: Row) -> Row:
    return replace(row, claim_token=None, closed_token=row.claim_token)


def _ended(row: Row, status: Status, root: str | None, now: datetime, kept: dict[str, Any], *, by_holder: bool) -> Row:
    task = replace(
        row.task,
        status=status,
        waiting=False,
        lease_expires_at=None,
        scheduled_at=None,
        root_task_id=root,
        generation_processed_at=now,
        updated_at=now,
        **kept,
    )
    row = replace(row, task=task)
    return _closed(row) if by_holder else replace(row, closed_token=None)


def renamed(row: Row, status: Status, error: str, root: str, now: datetime) -> Row:
    """Stays ended since when it was, but because of another task from now on."""
    task = replace(
        row.task,
        status=status,
        root_task_id=root,
        error_message=error,
        output_location=error if status is Status.FAILED else None,
        updated_at=now,
    )
    return replace(row, task=task, claim_token=None, closed_token=None)


def given_attempts(row: Row, more: int) -> Row:
    return replace(row, task=replace(row.task, max_attempts=row.task.attempts + more))


def revived(row: Row, now: datetime, *, waiting: bool) -> Row:
    """Queued, or waiting for its children. The attempts go on counting, and there is at least one more."""
    task = replace(
        row.task,
        status=Status.IN_PROGRESS if waiting else Status.QUEUED,
        waiting=waiting,
        max_attempts=max(row.task.max_attempts, row.task.attempts + 1),
        worker_id=None,
        output_location=None,
        error_message=None,
        root_task_id=None,
        generation_processed_at=None,
        updated_at=now,
    )
    return replace(row, task=task, claim_token=None, closed_token=None)
