"""What the embedded stores keep, and the little they must be able to do: the verbs are in `embedded.py`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from blocks.queue.model import CompletedSegment, Counts, Task, TaskFilter, Worker


@dataclass(frozen=True, slots=True)
class Row:
    """A task and what only the queue may know of it."""

    task: Task
    digest: str
    #: Held: the fencing token. Ended under a holder by somebody else: still there, so that the holder can be told.
    claim_token: str | None = None
    #: The token with which the holder itself completed, failed or handed on: its repetition gets the same answer.
    closed_token: str | None = None
    claim_request_id: str | None = None
    #: Set by `start`, never by a claim: tells a claim that was taken over.
    start_request_id: str | None = None

    @property
    def is_held(self) -> bool:
        return self.task.lease_expires_at is not None


class Rows(Protocol):
    """The rows inside one transaction. Readers answer in the order of enqueue unless they say otherwise."""

    def get(self, task_id: str) -> Row | None: ...

    def by_correlation(self, user_id: str, correlation_id: str) -> Row | None: ...

    def by_claim_request(self, request_id: str) -> list[Row]: ...

    def children(self, parent_id: str) -> list[Task]: ...

    def dependents(self, task_id: str) -> list[Task]: ...

    def ended_because_of(self, root_task_id: str) -> list[Task]: ...

    def completed_segments(self, run_id: str) -> list[CompletedSegment]: ...

    def counts(self, now: datetime) -> Counts: ...

    def ready_by_type(self, now: datetime) -> Mapping[str, int]: ...

    def ready(
        self,
        now: datetime,
        *,
        limit: int | None = None,
        task_types: Sequence[str] | None = None,
        task_ids: Sequence[str] | None = None,
    ) -> list[str]:
        """Ids of eligible tasks (I4), highest priority first, then oldest. Needs a write transaction."""
        ...

    def expired(self, now: datetime, limit: int) -> list[str]:
        """Held rows whose lease has run out, longest ago first."""
        ...

    def ended_before(self, moment: datetime) -> Iterator[Task]:
        """Ended longest ago first. Nothing may be written while it is read."""
        ...

    def insert(self, rows: Sequence[Row]) -> None:
        """Append rows that are not there yet; they may name each other."""
        ...

    def put(self, row: Row) -> None:
        """Store the new version of a row. What the client said about it never changes."""
        ...

    def delete(self, task_ids: Sequence[str]) -> None: ...

    def register_worker(self, worker_id: str, now: datetime) -> None:
        """Once: a known worker costs a look-up, no write."""
        ...

    def put_worker(self, worker: Worker) -> None: ...

    def workers(self, limit: int) -> Sequence[Worker]:
        """Those that were heard of last come first."""
        ...

    def list(self, where: TaskFilter) -> list[Task]:
        """Newest first."""
        ...
