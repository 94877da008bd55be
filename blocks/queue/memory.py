"""The queue in memory: the readable backend and the fast test double.

It finds what is ready by looking at every row and its dependencies, as the definition says (I4). SQLite keeps a
counter and indexes for that; that the two always agree is tested.
"""

from __future__ import annotations

import copy
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from random import Random
from typing import Any

from blocks.queue.embedded import Clock, EmbeddedQueue, utc_now
from blocks.queue.model import CompletedSegment, Counts, Status, Task, TaskFilter, Worker
from blocks.queue.rows import Row


class MemoryQueue(EmbeddedQueue):
    def __init__(self, *, clock: Clock = utc_now, random: Random | None = None) -> None:
        super().__init__(clock=clock, random=random)
        self._rows = MemoryRows()
        self._lock = threading.RLock()
        self._version = 0

    @contextmanager
    def _write(self) -> Iterator[MemoryRows]:
        with self._lock:
            before = dict(self._rows.by_id)  # rows are frozen, so this is a snapshot
            try:
                yield self._rows
            except BaseException:
                self._rows.by_id = before
                raise
            self._version += 1

    @contextmanager
    def _read(self) -> Iterator[MemoryRows]:
        with self._lock:
            yield self._rows

    def changed(self) -> object:
        return self._version

    def address(self) -> Mapping[str, Any] | None:
        return None

    def close(self) -> None:
        pass


class MemoryRows:
    def __init__(self) -> None:
        self.by_id: dict[str, Row] = {}  # in the order of enqueue
        self.by_worker: dict[str, Worker] = {}

    def get(self, task_id: str) -> Row | None:
        row = self.by_id.get(task_id)
        return None if row is None else _own(row)

    def by_correlation(self, user_id: str, correlation_id: str) -> Row | None:
        found = (
            row
            for row in self.by_id.values()
            if row.task.user_id == user_id and row.task.correlation_id == correlation_id
        )
        return next(map(_own, found), None)

    def by_claim_request(self, request_id: str) -> list[Row]:
        return [_own(row) for row in self.by_id.values() if row.claim_request_id == request_id]

    def children(self, parent_id: str) -> list[Task]:
        return [_own_task(task) for task in self._tasks() if task.parent_id == parent_id]

    def dependents(self, task_id: str) -> list[Task]:
        return [_own_task(task) for task in self._tasks() if task_id in task.depends_on]

    def ended_because_of(self, root_task_id: str) -> list[Task]:
        return [_own_task(task) for task in self._tasks() if task.root_task_id == root_task_id]

    def completed_segments(self, run_id: str) -> list[CompletedSegment]:
        newest: dict[int, CompletedSegment] = {}
        for task in self._tasks():
            index = task.params.get("segment_index")
            of_run = run_id in (task.params.get("orchestrator_run_id"), task.parent_id)
            is_segment = task.task_type == "travel_segment" and task.status is Status.COMPLETE
            if is_segment and of_run and type(index) is int and task.output_location is not None:
                newest[index] = CompletedSegment(index, task.id, task.output_location)
        return [newest[index] for index in sorted(newest)]

    def counts(self, now: datetime) -> Counts:
        tasks = list(self._tasks())
        ready = [task for task in tasks if self._is_ready(task, now)]
        queued = [task for task in tasks if task.status is Status.QUEUED]
        blocked = [task for task in queued if self._is_blocked(task)]

        def having(status: Status) -> int:
            return sum(task.status is status for task in tasks)

        waiting = sum(task.waiting for task in tasks)
        return Counts(
            ready=len(ready),
            blocked=len(blocked),
            delayed=len(queued) - len(ready) - len(blocked),
            in_progress=having(Status.IN_PROGRESS) - waiting,
            waiting=waiting,
            complete=having(Status.COMPLETE),
            failed=having(Status.FAILED),
            cancelled=having(Status.CANCELLED),
            ready_by_type=self.ready_by_type(now),
        )

    def ready_by_type(self, now: datetime) -> dict[str, int]:
        return dict(sorted(Counter(task.task_type for task in self._tasks() if self._is_ready(task, now)).items()))

    def ready(
        self,
        now: datetime,
        *,
        limit: int | None = None,
        task_types: Sequence[str] | None = None,
        task_ids: Sequence[str] | None = None,
    ) -> list[str]:
        wanted = None if task_ids is None else {task_id.lower() for task_id in task_ids}
        eligible = [
            task
            for task in self._tasks()
            if self._is_ready(task, now)
            and (task_types is None or task.task_type in task_types)
            and (wanted is None or task.id in wanted)
        ]
        return [task.id for task in sorted(eligible, key=lambda task: -task.priority)][:limit]

    def _is_ready(self, task: Task, now: datetime) -> bool:
        is_due = task.scheduled_at is None or task.scheduled_at <= now
        return task.status is Status.QUEUED and is_due and not self._is_blocked(task)

    def _is_blocked(self, task: Task) -> bool:
        return any(self.by_id[each].task.status is not Status.COMPLETE for each in task.depends_on)

    def expired(self, now: datetime, limit: int) -> list[str]:
        leases = [(task.lease_expires_at, task.id) for task in self._tasks() if task.lease_expires_at is not None]
        return [task_id for lease, task_id in sorted(leases, key=lambda each: each[0]) if lease <= now][:limit]

    def ended_before(self, moment: datetime) -> Iterator[Task]:
        ended = [(task.generation_processed_at, task) for task in self._tasks() if task.generation_processed_at]
        for at, task in sorted(ended, key=lambda each: each[0]):
            if at < moment:
                yield _own_task(task)

    def insert(self, rows: Sequence[Row]) -> None:
        self.by_id |= {row.task.id: _own(row) for row in rows}

    def put(self, row: Row) -> None:
        self.by_id[row.task.id] = _own(row)

    def delete(self, task_ids: Sequence[str]) -> None:
        for task_id in task_ids:
            del self.by_id[task_id]

    def register_worker(self, worker_id: str, now: datetime) -> None:
        self.by_worker.setdefault(worker_id, Worker(worker_id, now, None, {}))

    def put_worker(self, worker: Worker) -> None:
        self.by_worker[worker.id] = worker

    def workers(self, limit: int) -> Sequence[Worker]:
        known = sorted(self.by_worker.values(), key=lambda each: each.id)
        known.sort(key=lambda each: each.last_heartbeat, reverse=True)
        return [replace(each, metadata=copy.deepcopy(each.metadata)) for each in known[:limit]]

    def _tasks(self) -> Iterator[Task]:
        """The stored ones, for looking only."""
        return (row.task for row in self.by_id.values())

    def list(self, where: TaskFilter) -> list[Task]:
        found = [task for task in self._tasks() if _matches(task, where)]
        return [_own_task(task) for task in found[::-1][: max(where.limit, 0)]]


def _own(row: Row) -> Row:
    return replace(row, task=_own_task(row.task))


def _own_task(task: Task) -> Task:
    """A copy whose JSON nobody else can change: a caller may do with a task what it likes."""
    return replace(task, params=copy.deepcopy(task.params), result=copy.deepcopy(task.result))


def _matches(task: Task, where: TaskFilter) -> bool:
    return (
        (where.status is None or task.status in where.status)
        and (where.task_type is None or task.task_type in where.task_type)
        and (where.project_id is None or task.project_id == where.project_id)
        and (where.parent_id is None or task.parent_id == where.parent_id)
    )
