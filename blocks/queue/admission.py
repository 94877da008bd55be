"""Enqueue for the embedded stores: what is there already, what may come in (I5, I8), and what ends at once (I6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from graphlib import CycleError, TopologicalSorter
from uuid import uuid4

from blocks.queue import cascade, lifecycle
from blocks.queue.errors import DependencyCycle, TaskConflict, TaskEnded, UnknownDependency
from blocks.queue.model import LOCAL_USER
from blocks.queue.policy import Admitted
from blocks.queue.rows import Row, Rows


def admit_batch(rows: Rows, batch: Sequence[Admitted], now: datetime) -> list[tuple[str, bool]]:
    """Insert what is new. Answers with (id, created) for each spec, in order."""
    fresh: dict[str, Row] = {}
    answers = []
    for admitted in batch:
        known = _stored(rows, fresh, admitted)
        if known is None:
            row = lifecycle.queued(admitted, admitted.spec.id or str(uuid4()), now)
            fresh[row.task.id] = row
        answers.append(((known or row).task.id, known is None))
    _refuse_unknown(rows, fresh)
    _refuse_cycle(rows, fresh)
    _refuse_ended_parent(rows, fresh)
    rows.insert(list(fresh.values()))
    return answers


def _stored(rows: Rows, fresh: Mapping[str, Row], admitted: Admitted) -> Row | None:
    """The row of the same id, or of the same correlation_id, if it has the same body."""
    spec = admitted.spec
    row = None
    if spec.id is not None:
        row = fresh.get(spec.id) or rows.get(spec.id)
        if row is not None and row.digest != admitted.digest:
            hint = "Use a new id, or send the first body again to get its task."
            raise TaskConflict(f"Task {spec.id} exists with another body.", hint=hint, field="id", task_id=spec.id)
    if row is None and spec.correlation_id is not None:
        row = _by_correlation(rows, fresh, spec.correlation_id)
        if row is not None and (row.digest != admitted.digest or spec.id is not None):
            raise TaskConflict(
                f"correlation_id {spec.correlation_id!r} belongs to task {row.task.id}, which has another id or body.",
                hint="Use a new correlation_id, or send the first body again without an id.",
                field="correlation_id",
                task_id=row.task.id,
            )
    return row


def _by_correlation(rows: Rows, fresh: Mapping[str, Row], correlation_id: str) -> Row | None:
    in_batch = (row for row in fresh.values() if row.task.correlation_id == correlation_id)
    return next(in_batch, None) or rows.by_correlation(LOCAL_USER, correlation_id)


def _refuse_unknown(rows: Rows, fresh: Mapping[str, Row]) -> None:
    for row in fresh.values():
        named = [("depends_on", each) for each in row.task.depends_on]
        named += [("parent_id", row.task.parent_id)] if row.task.parent_id else []
        for field, task_id in named:
            if task_id not in fresh and rows.get(task_id) is None:
                hint = "Enqueue it first, or in the same batch."
                raise UnknownDependency(f"{field} names {task_id}, which is no task.", hint=hint, field=field)


def _refuse_cycle(rows: Rows, fresh: Mapping[str, Row]) -> None:
    """A task waits for its dependencies, and an orchestrator for its children: together they must form no cycle.

    Stored rows never depend on new ones. So beyond the batch a cycle can only lead through a stored parent of a new
    task: whatever waits for that parent waits for the new child too.
    """
    waits: dict[str, set[str]] = {row.task.id: set(row.task.depends_on) for row in fresh.values()}
    children_of: dict[str, set[str]] = {}
    for row in fresh.values():
        if row.task.parent_id is not None:
            children_of.setdefault(row.task.parent_id, set()).add(row.task.id)
    for parent_id, children in children_of.items():
        waiting = [parent_id] if parent_id in fresh else [task.id for task in cascade.waits_for(rows, parent_id)]
        for waiter in waiting:
            waits.setdefault(waiter, set()).update(children)
    try:
        TopologicalSorter(waits).prepare()
    except CycleError as cycle:
        path = " -> ".join(reversed(cycle.args[1]))
        raise DependencyCycle(
            f"These tasks would wait for each other for ever: {path}.",
            hint="A task waits for its dependencies, and a parent for its children. Drop one of these links.",
            field="depends_on",
        ) from None


def _refuse_ended_parent(rows: Rows, fresh: Mapping[str, Row]) -> None:
    for row in fresh.values():
        parent = rows.get(row.task.parent_id) if row.task.parent_id else None
        if parent is not None and parent.task.status.is_terminal:
            raise TaskEnded(
                f"parent_id names {parent.task.id}, which is {parent.task.status}: it can have no more children.",
                hint="Retry the parent if it failed, or enqueue without a parent.",
                field="parent_id",
                task_id=parent.task.id,
            )
