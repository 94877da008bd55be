"""What one row's step writes into others: the decisions of `cascade.py`, carried out in the same transaction."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from blocks.queue import cascade, lifecycle
from blocks.queue.cascade import BADLY, Cause
from blocks.queue.errors import UnknownTask
from blocks.queue.model import Outcome, Status, Task
from blocks.queue.rows import Row, Rows


def known(rows: Rows, task_id: str) -> Row:
    row = rows.get(task_id.lower())
    if row is None:
        hint = "Check the id; it may have been pruned."
        raise UnknownTask(f"There is no task {task_id!r}.", hint=hint, task_id=task_id)
    return row


def end_others(rows: Rows, task_id: str, now: datetime) -> tuple[Task, ...]:
    """End all that falls with a row that has just ended badly; answers with the others."""
    first = known(rows, task_id).task
    cause = Cause.of(first)
    error = cascade.sentence(cause, known(rows, cause.root_task_id).task)
    fallen = []
    for task in cascade.falls_with(rows, first, first.status):
        row = lifecycle.ended(known(rows, task.id), cause.status, error, cause.root_task_id, now, by_holder=False)
        rows.put(row)
        fallen.append(row.task)
    return tuple(fallen)


def fall(rows: Rows, row: Row, cause: Cause, now: datetime) -> tuple[Task, ...]:
    """End a row that another end holds down, and all that falls with it."""
    error = cascade.sentence(cause, known(rows, cause.root_task_id).task)
    ended = lifecycle.ended(row, cause.status, error, cause.root_task_id, now, by_holder=False)
    rows.put(replace(ended, closed_token=row.closed_token))
    return end_others(rows, row.task.id, now)


def requeue(rows: Rows, row: Row, now: datetime) -> tuple[Task, ...]:
    """Store a row that goes back to Queued; under a parent that has ended meanwhile it ends like the parent."""
    cause = cascade.held_down(rows, row.task)
    if cause is not None:
        return fall(rows, row, cause, now)
    rows.put(row)
    return ()


def complete_upward(rows: Rows, task_id: str | None, root: str | None, now: datetime) -> list[Task]:
    """Complete a waiting task whose children are all Complete, then its parent, and so on; answers with these."""
    completed: list[Task] = []
    while task_id is not None:
        row = known(rows, task_id)
        children = rows.children(task_id) if row.task.waiting else []
        if not children or any(child.status is not Status.COMPLETE for child in children):
            break
        last = cascade.closing_child(children)
        row = lifecycle.completed(row, last.output_location, last.result, root, now, by_holder=False)
        rows.put(row)
        completed.append(row.task)
        root = root or task_id
        task_id = row.task.parent_id
    return completed


def outcome(rows: Rows, task_id: str, ended: list[Task], now: datetime) -> Outcome:
    """The answer of a verb that may have completed tasks: what these made ready is looked up now."""
    task = known(rows, task_id).task
    complete = [each.id for each in (task, *ended) if each.status is Status.COMPLETE]
    waiting_for_it = [dependent.id for each in complete for dependent in rows.dependents(each)]
    ready = rows.ready(now, task_ids=waiting_for_it) if waiting_for_it else []
    return Outcome(task, tuple(ready), tuple(ended))


def revive(rows: Rows, root_id: str, attempts: int, now: datetime) -> list[str]:
    """Retry a root: bring back all that ended because of it and is not held down by another end. Answers with ids."""
    root = lifecycle.given_attempts(known(rows, root_id), attempts)
    rows.put(root)
    fallen = [root.task, *(task for task in rows.ended_because_of(root_id) if task.status in BADLY)]
    down = cascade.still_down(rows, fallen)
    for task in fallen:
        row = known(rows, task.id)
        if cause := down.get(task.id):
            error = cascade.sentence(cause, known(rows, cause.root_task_id).task)
            rows.put(lifecycle.renamed(row, cause.status, error, cause.root_task_id, now))
        else:
            # One that never ran has not planned its children: it must run, and will find those it has.
            waiting = row.task.attempts > 0 and bool(rows.children(task.id))
            rows.put(lifecycle.revived(row, now, waiting=waiting))
    back = [task.id for task in fallen if task.id not in down]
    for task_id in back:
        complete_upward(rows, task_id, None, now)
    return back
