"""The verbs, for stores that live in the caller's process: `memory` and `sqlite` give them rows and transactions.

`protocol.py` says what each verb promises; here stands how. Each verb is one transaction, which is undone when it
raises, so a verb may check and write in the order that reads best.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from random import Random

from blocks.queue import cascade, lifecycle, policy
from blocks.queue.admission import admit_batch
from blocks.queue.cascade import BADLY
from blocks.queue.consequences import complete_upward, end_others, fall, known, outcome, requeue, revive
from blocks.queue.errors import InvalidTask, NotRetryable, StaleClaim, TaskEnded
from blocks.queue.model import (
    Claim,
    CompletedSegment,
    Counts,
    Enqueued,
    JsonObject,
    Outcome,
    Predecessor,
    Renewal,
    Rescued,
    Status,
    Task,
    TaskFilter,
    TaskSpec,
    Worker,
)
from blocks.queue.protocol import DISPATCH_LEASE, RUNNING_LEASE, START_LEASE
from blocks.queue.rows import Row, Rows

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


class EmbeddedQueue(ABC):
    def __init__(self, *, clock: Clock = utc_now, random: Random | None = None) -> None:
        self._clock = clock
        self._random = random or Random()  # noqa: S311  jitter, no secret

    @abstractmethod
    def _write(self) -> AbstractContextManager[Rows]:
        """A transaction that nothing else writes beside; undone when the block raises."""

    @abstractmethod
    def _read(self) -> AbstractContextManager[Rows]:
        """One consistent view of the rows."""

    # Enqueue

    def enqueue(self, *specs: TaskSpec) -> list[Enqueued]:
        batch = [policy.admit(spec) for spec in specs]
        if not batch:
            return []
        with self._write() as rows:
            now = self._clock()
            answers = admit_batch(rows, batch, now)
            for task_id, created in answers:
                task = known(rows, task_id).task
                cause = cascade.held_down(rows, task) if created and task.status is Status.QUEUED else None
                if cause is not None:
                    fall(rows, known(rows, task_id), cause, now)
            return [Enqueued(known(rows, task_id).task, created) for task_id, created in answers]

    # Claim

    def claim(
        self,
        worker_id: str,
        *,
        limit: int = 1,
        task_types: Sequence[str] | None = None,
        task_ids: Sequence[str] | None = None,
        request_id: str | None = None,
        lease: float = DISPATCH_LEASE,
        start: bool = False,
    ) -> list[Claim]:
        policy.check_worker_id(worker_id)
        policy.check_seconds("lease", lease)
        if request_id is not None:
            policy.check_text("request_id", request_id, policy.MAX_NAME)
        with self._write() as rows:
            now = self._clock()
            made = [] if request_id is None else rows.by_claim_request(request_id)
            if made:
                in_order_of_claim = sorted(made, key=lambda row: -row.task.priority)
                return [_claim(row) for row in in_order_of_claim if _stands(row, worker_id)]
            eligible = rows.ready(now, limit=max(limit, 0), task_types=task_types, task_ids=task_ids)
            if eligible:
                rows.register_worker(worker_id, now)
            claims = []
            for task_id in eligible:
                row = lifecycle.claimed(known(rows, task_id), worker_id, request_id, lease, now, start=start)
                rows.put(row)
                claims.append(_claim(row))
            return claims

    def start(
        self,
        task_id: str,
        attempt: int,
        worker_id: str,
        *,
        flow_run_id: str | None = None,
        request_id: str | None = None,
        lease: float = RUNNING_LEASE,
    ) -> Claim:
        policy.check_worker_id(worker_id)
        policy.check_seconds("lease", lease)
        if request_id is not None:
            policy.check_text("request_id", request_id, policy.MAX_NAME)
        if flow_run_id is not None:
            flow_run_id = policy.check_uuid("flow_run_id", flow_run_id)
        with self._write() as rows:
            row = known(rows, task_id)
            if not row.is_held or row.task.attempts != attempt:
                raise _stale(row, f"Attempt {attempt} does not hold it.")
            if row.task.generation_started_at is not None:
                same = request_id is not None and row.start_request_id == request_id
                if same and row.task.worker_id == worker_id:
                    return _claim(row)
                raise _stale(row, f"Attempt {attempt} was started already.")
            now = self._clock()
            rows.register_worker(worker_id, now)
            row = lifecycle.started(row, worker_id, flow_run_id, request_id, lease, now)
            rows.put(row)
            return _claim(row)

    def dispatched(self, task_id: str, token: str, flow_run_id: str, *, lease: float = START_LEASE) -> None:
        flow_run_id = policy.check_uuid("flow_run_id", flow_run_id)
        with self._write() as rows:
            row = _held(known(rows, task_id), token)
            rows.put(lifecycle.dispatched(row, flow_run_id, lease, self._clock()))

    # Hold

    def renew(
        self,
        task_id: str,
        token: str,
        *,
        lease: float = RUNNING_LEASE,
        tick: int | None = None,
        max_ticks: int | None = None,
    ) -> Renewal:
        policy.check_seconds("lease", lease)
        if tick is not None:
            policy.check_int("tick", tick, 0, policy.MAX_TICK)
        if max_ticks is not None:
            policy.check_int("max_ticks", max_ticks, 1, policy.MAX_TICK)
        with self._write() as rows:
            row = known(rows, task_id)
            if row.claim_token == token and row.task.status is Status.CANCELLED:
                return Renewal(None, cancelled=True)
            row = lifecycle.renewed(_held(row, token), lease, tick, max_ticks, self._clock())
            rows.put(row)
            return Renewal(row.task.lease_expires_at, cancelled=False)

    def wait(self, task_id: str, token: str) -> Outcome:
        with self._write() as rows:
            row = known(rows, task_id)
            if row.closed_token == token and (row.task.waiting or row.task.status is Status.COMPLETE):
                return self._again(rows, row)
            row = _held(row, token, or_ended=True)
            children = rows.children(row.task.id)
            if not children:
                hint = "Complete it instead, or enqueue its children first."
                raise InvalidTask(f"Task {row.task.id} has no children to wait for.", hint=hint, field="task_id")
            now = self._clock()
            rows.put(lifecycle.handed_to_children(row, now))
            above = complete_upward(rows, row.task.id, None, now)
            return outcome(rows, row.task.id, above[1:], now)

    # End

    def complete(
        self,
        task_id: str,
        token: str,
        *,
        output_location: str | None = None,
        result: JsonObject | None = None,
    ) -> Outcome:
        if output_location is not None:
            policy.check_text("output_location", output_location, policy.MAX_TEXT)
        plain = None if result is None else policy.check_result(result)
        with self._write() as rows:
            row = known(rows, task_id)
            if row.closed_token == token and row.task.status is Status.COMPLETE:
                return self._again(rows, row)
            row = _held(row, token, or_ended=True)
            now = self._clock()
            rows.put(lifecycle.completed(row, output_location, plain, None, now, by_holder=True))
            above = complete_upward(rows, row.task.parent_id, row.task.id, now)
            return outcome(rows, row.task.id, above, now)

    def fail(self, task_id: str, token: str, error: str, *, retry: bool, delay: float | None = None) -> Outcome:
        if delay is not None:
            policy.check_seconds("delay", delay, zero=True)
        error = policy.tidy_error(error)
        with self._write() as rows:
            row = known(rows, task_id)
            if row.closed_token == token and row.task.status is not Status.COMPLETE and not row.task.waiting:
                return self._again(rows, row)
            row = _held(row, token, or_ended=True)
            now = self._clock()
            if retry and row.task.attempts < row.task.max_attempts:
                due = self._due(row.task, delay, now)
                ended = requeue(rows, lifecycle.put_back(row, error, due, now, by_holder=True), now)
            else:
                rows.put(lifecycle.ended(row, Status.FAILED, error, None, now, by_holder=True))
                ended = end_others(rows, row.task.id, now)
            return Outcome(known(rows, row.task.id).task, ended=ended)

    def release(self, task_id: str, token: str) -> Outcome:
        with self._write() as rows:
            row = _held(known(rows, task_id), token)
            now = self._clock()
            ended = requeue(rows, lifecycle.released(row, now), now)
            return Outcome(known(rows, row.task.id).task, ended=ended)

    def cancel(self, task_id: str) -> Outcome:
        with self._write() as rows:
            row = known(rows, task_id)
            if row.task.status is Status.CANCELLED:
                return self._again(rows, row)
            if row.task.status.is_terminal:
                raise _has_ended(row)
            now = self._clock()
            rows.put(lifecycle.ended(row, Status.CANCELLED, "Cancelled on request.", None, now, by_holder=False))
            ended = end_others(rows, row.task.id, now)
            return Outcome(known(rows, row.task.id).task, ended=ended)

    def retry(self, task_id: str, *, attempts: int = 3) -> Outcome:
        policy.check_int("attempts", attempts, 1, policy.MAX_MAX_ATTEMPTS)
        with self._write() as rows:
            row = known(rows, task_id)
            if row.task.status not in BADLY:
                hint = "Only a Failed or Cancelled task can be retried."
                raise NotRetryable(f"Task {row.task.id} is {row.task.status}.", hint=hint, task_id=row.task.id)
            now = self._clock()
            changed = revive(rows, row.task.root_task_id or row.task.id, attempts, now)
            others = tuple(known(rows, each).task for each in changed if each != row.task.id)
            ready = tuple(rows.ready(now, task_ids=changed))
            return Outcome(known(rows, row.task.id).task, ready, others)

    # Look after

    def rescue(self, *, lost: Sequence[tuple[str, int]] = (), limit: int = 100) -> list[Rescued]:
        with self._write() as rows:
            now = self._clock()
            dead = [task_id for task_id, attempt in lost if _is_held_by_attempt(rows, task_id, attempt)]
            rescued = []
            for task_id in dict.fromkeys([*dead, *rows.expired(now, max(limit, 0))]):
                row = known(rows, task_id)
                if row.is_held:  # else it fell with one that was rescued just before
                    rescued.append(self._rescue_one(rows, row, now))
            return rescued

    def _rescue_one(self, rows: Rows, row: Row, now: datetime) -> Rescued:
        task = row.task
        error = f"Attempt {task.attempts} was lost: worker {task.worker_id} stopped renewing its lease."
        dead_letter = task.attempts >= task.max_attempts
        if dead_letter:
            rows.put(lifecycle.dead_letter(row, error, now))
            ended = end_others(rows, task.id, now)
        else:
            due = self._due(task, None, now)
            ended = requeue(rows, lifecycle.put_back(row, error, due, now, by_holder=False), now)
        return Rescued(known(rows, task.id).task, task.attempts, task.flow_run_id, dead_letter, ended)

    def prune(self, older_than: timedelta, *, limit: int = 100) -> list[Task]:
        with self._write() as rows:
            before = self._clock() - older_than
            kept: set[str] = set()

            def is_prunable(task: Task) -> bool:
                ended_at = task.generation_processed_at
                return ended_at is not None and ended_at < before and task.id not in kept

            pruned: dict[str, Task] = {}
            for task in rows.ended_before(before):
                if len(pruned) >= limit:
                    break
                family = [] if task.id in pruned else cascade.goes_with(rows, task, is_prunable)
                if family is None:
                    kept.add(task.id)
                else:
                    pruned |= {each.id: each for each in family}
            rows.delete(list(pruned))
            return list(pruned.values())

    def note_worker(self, worker_id: str, current_model: str | None, metadata: JsonObject) -> None:
        policy.check_worker_id(worker_id)
        if current_model is not None:
            policy.check_text("current_model", current_model, policy.MAX_MODEL)
        plain = policy.check_metadata(metadata)
        with self._write() as rows:
            rows.put_worker(Worker(worker_id, self._clock(), current_model, plain))

    # Read

    def workers(self, *, limit: int = 100) -> Sequence[Worker]:
        with self._read() as rows:
            return rows.workers(max(limit, 0))

    def get(self, task_id: str) -> Task:
        with self._read() as rows:
            return known(rows, task_id).task

    def children(self, parent_id: str) -> list[Task]:
        with self._read() as rows:
            return rows.children(parent_id.lower())

    def counts(self) -> Counts:
        with self._read() as rows:
            return rows.counts(self._clock())

    def ready_by_type(self) -> Mapping[str, int]:
        with self._read() as rows:
            return rows.ready_by_type(self._clock())

    def predecessors(self, task_id: str) -> list[Predecessor]:
        with self._read() as rows:
            tasks = [known(rows, each).task for each in known(rows, task_id).task.depends_on]
        return [Predecessor(task.id, task.status, _output(task)) for task in tasks]

    def completed_segments(self, *, run_id: str) -> list[CompletedSegment]:
        with self._read() as rows:
            return rows.completed_segments(run_id)

    def list(self, where: TaskFilter | None = None) -> list[Task]:
        with self._read() as rows:
            return rows.list(where or TaskFilter())

    def _due(self, task: Task, delay: float | None, now: datetime) -> datetime | None:
        seconds = policy.backoff(task.attempts, self._random) if delay is None else delay
        return now + timedelta(seconds=seconds) if seconds > 0 else None

    def _again(self, rows: Rows, row: Row) -> Outcome:
        """The answer to a repeated verb, as far as it still stands."""
        return outcome(rows, row.task.id, rows.ended_because_of(row.task.id), self._clock())


def _claim(row: Row) -> Claim:
    assert row.claim_token is not None
    assert row.task.lease_expires_at is not None
    return Claim(row.task, row.task.attempts, row.claim_token, row.task.lease_expires_at)


def _stands(row: Row, worker_id: str) -> bool:
    """Still held by the claim that its request made: no run has taken it over, and the asker is who made it."""
    return row.is_held and row.start_request_id is None and row.task.worker_id == worker_id


def _is_held_by_attempt(rows: Rows, task_id: str, attempt: int) -> bool:
    row = rows.get(task_id.lower())
    return row is not None and row.is_held and row.task.attempts == attempt


def _held(row: Row, token: str, *, or_ended: bool = False) -> Row:
    """The row if `token` holds it (I2). With `or_ended`, one that ended under this token is refused by that name."""
    if row.claim_token == token and row.is_held:
        return row
    if or_ended and row.task.status.is_terminal and token in (row.claim_token, row.closed_token):
        raise _has_ended(row)
    raise _stale(row, "The claim token does not hold it.")


def _stale(row: Row, why: str) -> StaleClaim:
    task = row.task
    message = f"{why} Task {task.id} is {task.status}, attempt {task.attempts}, worker {task.worker_id}."
    return StaleClaim(message, hint="Stop working on it.", task_id=task.id, status=task.status)


def _has_ended(row: Row) -> TaskEnded:
    task = row.task
    hint = "Its end stands; retry a failed or cancelled task to run it again."
    return TaskEnded(f"Task {task.id} is {task.status}.", hint=hint, task_id=task.id, status=task.status)


def _output(task: Task) -> str | None:
    return task.output_location if task.status is Status.COMPLETE else None
