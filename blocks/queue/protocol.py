"""The queue's specification: the verbs, what each promises and what it refuses.

Every backend (`memory`, `sqlite`, `supabase`) passes `tests/queue/suite.py`, which is this page as sentences.
Backends are synchronous and safe to share between threads; async callers use `asyncio.to_thread`.
Every verb is one transaction: it happens whole or not at all, also under `kill -9`.
A lease is in seconds. Errors are in `errors.py`; any verb may raise `QueueUnavailable`, and `InvalidTask` for an
argument that no row could hold (a lease of 0, a negative tick, a result that is no JSON object).

Words of the promises below. *Held*: In Progress under a token with a lease. *To end badly*: Failed or Cancelled.
A lease that has run out still holds until `rescue` takes it, so slow work that comes in time is not lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Protocol

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
    Task,
    TaskFilter,
    TaskSpec,
    Worker,
)

#: A dispatcher has this long to get a run started before the claim comes back.
DISPATCH_LEASE = 30.0
#: A run that Prefect knows has this long to start: its process imports for seconds, and a slot may free late.
START_LEASE = 120.0
#: A run renews at a third of this; a dead one is noticed after at most this long.
RUNNING_LEASE = 60.0


class TaskQueue(Protocol):
    def enqueue(self, *specs: TaskSpec) -> list[Enqueued]:
        """Store all specs or none, and answer in their order.

        Same id and same body: the stored task, `created=False` (I8), whatever has become of it or its parent. Without
        an id, the same correlation_id and body mean the same task. Dependencies may be in the batch. A task whose
        dependency has already ended badly is stored and ends the same way at once, and its parent with it (I6).
        Refuses: `InvalidTask` (naming the field: bad id, priority, params not an object, over 256 KB or carrying a
        secret), `UnknownDependency`, `DependencyCycle` (also: on its own parent or another ancestor),
        `TaskConflict` (same id or correlation_id, other body), `TaskEnded` (its parent has ended, also Complete).
        """
        ...

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
        """Take up to `limit` eligible tasks, highest priority first, then oldest (I1, I4).

        Atomically: In Progress, attempts + 1, a new token, the lease, the worker registered if unknown, the former
        attempt's worker, tick, flow run and start time cleared. `start=True` starts them in the same step (for old
        clients). `task_types` and `task_ids` narrow the choice; given and empty, they match nothing.
        The same `request_id` again, from the same worker, answers with the claims it made that still stand and that
        no `start` has taken over, and takes no other, even if none stands (I3).
        Refuses: `InvalidTask` (worker id empty, over 128 characters or not printable).
        """
        ...

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
        """The run takes over a claim: a fresh token, the running lease, the start time. The first one wins.

        The same `request_id` again answers with the same claim.
        Refuses: `StaleClaim` (another attempt, already started, waiting, not In Progress), `UnknownTask`.
        """
        ...

    def dispatched(self, task_id: str, token: str, flow_run_id: str, *, lease: float = START_LEASE) -> None:
        """Note the Prefect flow run that was created for this claim, and give it `lease` seconds from now to start.

        Refuses: `StaleClaim`, `UnknownTask`.
        """
        ...

    def renew(
        self,
        task_id: str,
        token: str,
        *,
        lease: float = RUNNING_LEASE,
        tick: int | None = None,
        max_ticks: int | None = None,
    ) -> Renewal:
        """Extend the lease from now and report progress. A tick lower than the stored one is ignored.

        A holder whose task was cancelled gets `cancelled=True` and no lease.
        Refuses: `StaleClaim` (rescued, taken over, or ended in any other way), `UnknownTask`.
        """
        ...

    def wait(self, task_id: str, token: str) -> Outcome:
        """Hand an orchestrator to its children: In Progress, no holder, no lease; the token is void.

        When all are Complete, now or later, the task completes with the output and result of the child that no sibling
        depends on (the stitch); of several such children, the one enqueued last. Repeated while it waits, `wait` gets
        the same answer.
        Refuses: `TaskEnded` (a child's failure or a cancel has ended it under this very claim), `StaleClaim`,
        `UnknownTask`, `InvalidTask` (it has no children: complete it instead).
        """
        ...

    def complete(
        self,
        task_id: str,
        token: str,
        *,
        output_location: str | None = None,
        result: JsonObject | None = None,
    ) -> Outcome:
        """End it as Complete and make its dependents ready; the last child of a waiting parent completes the parent.

        A parent that completes so names this task as its `root_task_id` and is in `ended`; what its end makes ready is
        in `ready` too. The output must be readable before (I9). The holder repeating its own complete gets the same
        answer (I2), except that `ready` leaves out what has been claimed meanwhile.
        Refuses: `StaleClaim`, `TaskEnded` (Failed or Cancelled under this very claim), `UnknownTask`.
        """
        ...

    def fail(self, task_id: str, token: str, error: str, *, retry: bool, delay: float | None = None) -> Outcome:
        """With `retry` and attempts left: back to Queued after a backoff (or `delay` seconds), error kept.

        Otherwise Failed, and with it all that depends on it, its orchestrator, and that orchestrator's children which
        are Queued, and so on from each of these, each naming this task and its error (I6). Output_location carries the
        message too. Children In Progress run to their end; one that would go back to Queued (by fail, release or
        rescue) under a parent that has ended badly ends like the parent instead.
        The holder repeating its own fail gets the same answer. Refuses: `StaleClaim`, `TaskEnded`, `UnknownTask`.
        """
        ...

    def release(self, task_id: str, token: str) -> Outcome:
        """Hand back unharmed: Queued, the attempt returned, its place kept. Refuses: `StaleClaim`, `UnknownTask`."""
        ...

    def cancel(self, task_id: str) -> Outcome:
        """Cancelled, with its children (also running ones), its dependents and its orchestrator, and so on (I6).

        A holder learns of it from `renew`. Cancelling a Cancelled task answers the same.
        Refuses: `TaskEnded` (Complete or Failed), `UnknownTask`.
        """
        ...

    def retry(self, task_id: str, *, attempts: int = 3) -> Outcome:
        """Give a Failed or Cancelled task `attempts` more attempts and revive all that ended because of it.

        A task that ended because of another is retried at that root, which gets the attempts. Attempt numbers go on
        counting, since run keys and output paths carry them. A revived orchestrator that has run and has children is
        In Progress and waiting, and completes at once if all of them are Complete; any other row is Queued.
        Rows that another end still holds down stay ended and name that one; the root itself can be among them, and
        then comes back with that one. `ended` lists the other rows that came back, `ready` what can be claimed now.
        Refuses: `NotRetryable` (Queued, In Progress or Complete), `UnknownTask`.
        """
        ...

    def rescue(self, *, lost: Sequence[tuple[str, int]] = (), limit: int = 100) -> list[Rescued]:
        """Put expired claims back with backoff and jitter, or fail them as dead letter after the last attempt (I7).

        `lost` names (task_id, attempt) whose run is known to be dead: rescued without waiting for the lease, and
        without counting against `limit`. A waiting orchestrator has no lease and is never rescued.
        """
        ...

    def prune(self, older_than: timedelta, *, limit: int = 100) -> list[Task]:
        """Delete tasks that ended before now - older_than, whole families at a time, and answer with the deleted rows.

        A row is kept while its parent, a child or a dependent is kept. `limit` may be exceeded by the last family.
        """
        ...

    def note_worker(self, worker_id: str, current_model: str | None, metadata: JsonObject) -> None:
        """A worker says that it lives, which model it has loaded (None: none), and facts of itself.

        Replaces what it said before, metadata as a whole; an unknown worker is registered. No task depends on it.
        Every user of a store with many names workers for himself, and sees these; the service sees all.
        Refuses: `InvalidTask` (worker id as in `claim`; a model of over 1000 characters; metadata that is no JSON
        object of at most 16 KB).
        """
        ...

    def workers(self, *, limit: int = 100) -> Sequence[Worker]:
        """Those that were heard of last come first."""
        ...

    def get(self, task_id: str) -> Task:
        """Refuses: `UnknownTask`."""
        ...

    def children(self, parent_id: str) -> list[Task]:
        """In the order they were enqueued; empty for a task without children."""
        ...

    def counts(self) -> Counts:
        """Every task in exactly one of the totals: blocked also if delayed, waiting rather than in_progress."""
        ...

    def ready_by_type(self) -> Mapping[str, int]:
        """The part of `counts` that a dispatcher needs; its cost does not grow with the history."""
        ...

    def predecessors(self, task_id: str) -> list[Predecessor]:
        """Its dependencies in the order given at enqueue. Refuses: `UnknownTask`."""
        ...

    def completed_segments(self, *, run_id: str) -> list[CompletedSegment]:
        """Complete `travel_segment` tasks whose params carry `orchestrator_run_id` = run_id, or whose parent it is.

        By segment_index, the newest for each index, no cap.
        """
        ...

    def changed(self) -> object:
        """A cheap value that differs after another connection or process changed the queue (a wake-up hint)."""
        ...

    def address(self) -> Mapping[str, Any] | None:
        """How another process opens the same queue (`blocks.queue.address.open_queue`), or None if it cannot.

        May carry secrets: hand it over by pipe, never by argument or environment.
        """
        ...

    def close(self) -> None: ...

    def list(self, where: TaskFilter | None = None) -> list[Task]:
        """Newest first."""
        ...
