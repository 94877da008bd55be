"""The queue of a Supabase project. The rules are in its SQL functions; here each verb becomes one call.

What stands in a call is checked here first where JSON could not carry it, or where a path into the params helps.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Protocol

from blocks.queue import policy, wire
from blocks.queue.errors import InvalidTask
from blocks.queue.model import (
    LOCAL_PROJECT,
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
from blocks.queue.protocol import DISPATCH_LEASE, RUNNING_LEASE, START_LEASE

#: What `longtake_schema_version` answers where these verbs are understood.
SCHEMA_VERSION = "20261124"
#: How often `changed` really asks; between two looks it answers from memory.
LOOK_EVERY = 1.0


class Transport(Protocol):
    """A way to call the functions of the queue: directly, over REST, or through edge functions."""

    def call(self, function: str, arguments: Mapping[str, Any]) -> Any:
        """The decoded JSON that `function` answers. Raises the queue's errors, `QueueUnavailable` among them."""
        ...

    def address(self) -> Mapping[str, Any] | None:
        """The fields of the `SupabaseAccess` that another process needs, or None if there is no other way in."""
        ...

    def close(self) -> None: ...


class SupabaseQueue:
    """`project_id` stands in for the local project, which a store with many owners does not have.

    Every claim, start and new task is named by an id that is made here if the caller made none: so a call whose answer
    was lost can be sent again, by any way, and is the same call.
    """

    def __init__(self, transport: Transport, *, project_id: str | None = None, look_every: float = LOOK_EVERY) -> None:
        self._transport = transport
        self._project_id = project_id
        self._look_every = look_every
        self._lock = threading.Lock()
        self._pulse: tuple[float, object] = (float("-inf"), None)

    # Enqueue

    def enqueue(self, *specs: TaskSpec) -> list[Enqueued]:
        batch = [policy.admit(self._at_home(spec)).spec for spec in specs]
        if not batch:
            return []
        answer = self._write("enqueue_tasks", p_tasks=[wire.spec_json(spec) for spec in batch])
        return [wire.enqueued(entry) for entry in answer]

    def _at_home(self, spec: TaskSpec) -> TaskSpec:
        """Refuses: `InvalidTask`."""
        if spec.id is None and spec.correlation_id is None:
            spec = replace(spec, id=str(uuid.uuid4()))
        if spec.project_id != LOCAL_PROJECT:
            return spec
        if self._project_id is None:
            raise InvalidTask(
                "The task names no project, and in a Supabase project every task belongs to one.",
                hint="Give its project_id, or set the project_id of the queue's block.",
                field="project_id",
            )
        return replace(spec, project_id=self._project_id)

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
        request = self._request(request_id)
        answer = self._write(
            "claim_tasks",
            p_worker_id=worker_id,
            p_limit=limit,
            p_task_types=None if task_types is None else list(task_types),
            p_task_ids=None if task_ids is None else list(task_ids),
            p_request_id=request,
            p_lease=lease,
            p_start=start,
        )
        return [wire.claim(entry) for entry in answer]

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
        request = self._request(request_id)
        if flow_run_id is not None:
            flow_run_id = policy.check_uuid("flow_run_id", flow_run_id)
        answer = self._write(
            "start_task",
            p_task_id=task_id,
            p_attempt=attempt,
            p_worker_id=worker_id,
            p_flow_run_id=flow_run_id,
            p_request_id=request,
            p_lease=lease,
        )
        return wire.claim(answer)

    def dispatched(self, task_id: str, token: str, flow_run_id: str, *, lease: float = START_LEASE) -> None:
        run = policy.check_uuid("flow_run_id", flow_run_id)
        self._write("dispatched_task", p_task_id=task_id, p_claim_token=token, p_flow_run_id=run, p_lease=lease)

    @staticmethod
    def _request(request_id: str | None) -> str:
        if request_id is None:
            return uuid.uuid4().hex
        policy.check_text("request_id", request_id, policy.MAX_NAME)
        return request_id

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
        answer = self._transport.call(
            "renew_task",
            {
                "p_task_id": task_id,
                "p_claim_token": token,
                "p_lease": lease,
                "p_tick": tick,
                "p_max_ticks": max_ticks,
            },
        )
        return wire.renewal(answer)

    def wait(self, task_id: str, token: str) -> Outcome:
        return wire.outcome(self._write("wait_task", p_task_id=task_id, p_claim_token=token))

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
        answer = self._write(
            "complete_task",
            p_task_id=task_id,
            p_claim_token=token,
            p_output_location=output_location,
            p_result=None if result is None else policy.check_result(result),
        )
        return wire.outcome(answer)

    def fail(self, task_id: str, token: str, error: str, *, retry: bool, delay: float | None = None) -> Outcome:
        if delay is not None:
            policy.check_seconds("delay", delay, zero=True)
        answer = self._write(
            "fail_task",
            p_task_id=task_id,
            p_claim_token=token,
            p_error=policy.tidy_error(error),
            p_retry=retry,
            p_delay=delay,
        )
        return wire.outcome(answer)

    def release(self, task_id: str, token: str) -> Outcome:
        return wire.outcome(self._write("release_task", p_task_id=task_id, p_claim_token=token))

    def cancel(self, task_id: str) -> Outcome:
        return wire.outcome(self._write("cancel_task", p_task_id=task_id))

    def retry(self, task_id: str, *, attempts: int = 3) -> Outcome:
        policy.check_int("attempts", attempts, 1, policy.MAX_MAX_ATTEMPTS)
        return wire.outcome(self._write("retry_task", p_task_id=task_id, p_attempts=attempts))

    # Look after

    def rescue(self, *, lost: Sequence[tuple[str, int]] = (), limit: int = 100) -> list[Rescued]:
        pairs = [list(pair) for pair in lost]
        return [wire.rescued(entry) for entry in self._write("rescue_tasks", p_lost=pairs, p_limit=limit)]

    def prune(self, older_than: timedelta, *, limit: int = 100) -> list[Task]:
        seconds = older_than.total_seconds()
        return wire.tasks(self._write("prune_tasks", p_older_than_seconds=seconds, p_limit=limit))

    def note_worker(self, worker_id: str, current_model: str | None, metadata: JsonObject) -> None:
        policy.check_worker_id(worker_id)
        if current_model is not None:
            policy.check_text("current_model", current_model, policy.MAX_MODEL)
        said = {"p_current_model": current_model, "p_metadata": policy.check_metadata(metadata)}
        self._transport.call("note_worker", {"p_worker_id": worker_id, **said})

    # Read

    def workers(self, *, limit: int = 100) -> Sequence[Worker]:
        return [wire.worker(row) for row in self._read("list_workers", p_limit=limit)]

    def get(self, task_id: str) -> Task:
        return wire.task(self._read("get_task", p_task_id=task_id))

    def children(self, parent_id: str) -> list[Task]:
        return wire.tasks(self._read("task_children", p_parent_id=parent_id))

    def counts(self) -> Counts:
        return wire.counts(self._read("task_counts"))

    def ready_by_type(self) -> Mapping[str, int]:
        ready: Mapping[str, int] = self._read("task_counts", p_history=False)["ready_by_type"]
        return ready

    def predecessors(self, task_id: str) -> list[Predecessor]:
        return [wire.predecessor(entry) for entry in self._read("task_predecessors", p_task_id=task_id)]

    def completed_segments(self, *, run_id: str) -> list[CompletedSegment]:
        return [wire.completed_segment(entry) for entry in self._read("completed_segments", p_run_id=run_id)]

    def changed(self) -> object:
        with self._lock:
            looked_at, seen = self._pulse
            if time.monotonic() - looked_at < self._look_every:
                return seen
        seen = self._transport.call("queue_pulse", {})
        with self._lock:
            self._pulse = (time.monotonic(), seen)
        return seen

    def address(self) -> Mapping[str, Any] | None:
        """Without the refresh token, which is good for one process: another one lives as long as the JWT in it."""
        access = self._transport.address()
        if access is None:
            return None
        return {"backend": "supabase", "access": {**access, "refresh_token": ""}, "project_id": self._project_id}

    def close(self) -> None:
        self._transport.close()

    def _read(self, function: str, **arguments: Any) -> Any:
        return self._transport.call(function, arguments)

    def _write(self, function: str, **arguments: Any) -> Any:
        """Our own writes are changes too: the next look asks again."""
        try:
            return self._transport.call(function, arguments)
        finally:
            with self._lock:
                self._pulse = (float("-inf"), None)

    def list(self, where: TaskFilter | None = None) -> list[Task]:
        where = where or TaskFilter()
        answer = self._read(
            "list_tasks",
            p_status=None if where.status is None else [str(each) for each in where.status],
            p_task_type=None if where.task_type is None else list(where.task_type),
            p_project_id=where.project_id,
            p_parent_id=where.parent_id,
            p_limit=where.limit,
        )
        return wire.tasks(answer)
