"""Start the deployment of a claimed task, no more than its pool has room for, and exactly once an attempt.

Prefect's idempotency key does the "exactly once"; the claim's short lease covers a dispatcher that dies in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Iterable
from typing import Any
from uuid import UUID, uuid4

import httpx
from prefect import Task as PrefectTask
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.exceptions import ObjectNotFound, PrefectException, PrefectHTTPStatusError
from prefect.states import Completed, Pending

from blocks.engine import EngineChoice
from blocks.queue.errors import QueueError, StaleClaim
from blocks.queue.model import Claim, Outcome, Status, Task
from blocks.queue.protocol import TaskQueue
from tasks.kinds import CONTROL, STAND_INS, find_kind, is_known, types_of
from tasks.labels import TAG, run_name
from tasks.tags import tags

log = logging.getLogger(__name__)

#: What may happen to a call of Prefect's API that is worth trying again later.
UNREACHABLE = (httpx.HTTPError, PrefectException, OSError)
_ON_THEIR_WAY = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
#: Slots of the control pool that poll and rescue themselves take.
_RESERVED = {CONTROL: 2}
_UNLIMITED = 10


class Dispatcher:
    """Turns claims into flow runs through one Prefect client. `worker_id` names it in the queue."""

    def __init__(
        self, queue: TaskQueue, client: PrefectClient, engines: EngineChoice, worker_id: str | None = None
    ) -> None:
        self.queue = queue
        self.client = client
        self.engines = engines
        self.worker_id = worker_id or f"dispatcher_{socket.gethostname()}_{os.getpid()}"
        self._deployments: dict[str, UUID] = {}

    async def fill(self, pool: str) -> int:
        """Claim and dispatch what `pool` has room for; the number dispatched."""
        room = await self.room(pool)
        return await self._claim_and_start(pool, room) if room > 0 else 0

    async def start_ready(self, task_ids: Iterable[str], *, leaving: str | None = None) -> int:
        """Dispatch those of these tasks that are ready and have room; `leaving`: a pool whose slot is about to free."""
        wanted = tuple(task_ids)
        if not wanted:
            return 0
        started = 0
        tasks = [task for task in await asyncio.to_thread(self._read, wanted) if is_known(task.task_type)]
        for pool in sorted({pool for task in tasks for pool in find_kind(task.task_type).pools}):
            room = await self.room(pool, leaving=1 if pool == leaving else 0)
            if room > 0:
                started += await self._claim_and_start(pool, room, wanted)
        return started

    async def room(self, pool: str, leaving: int = 0) -> int:
        """Free slots of a pool: its limit minus what is on its way and not `leaving`. 0 without a worker."""
        try:
            found = await self.client.read_work_pool(pool)
        except ObjectNotFound:
            if pool in STAND_INS:  # a server that an older version set up
                return 0
            raise
        if found.is_paused or (found.status is not None and found.status.value != "READY"):
            return 0
        limit = _UNLIMITED if found.concurrency_limit is None else found.concurrency_limit
        on_their_way = await self.client.count_flow_runs(
            flow_run_filter=FlowRunFilter(
                tags=FlowRunFilterTags(all_=[TAG]),
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_ON_THEIR_WAY)),
            ),
            work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])),
        )
        # A pool so small that the reserve would leave nothing still moves one run at a time.
        return max(1, limit - _RESERVED.get(pool, 0)) - on_their_way + leaving

    async def placeholder(self, parent_run: UUID, child: Task, attempt: int, state: State[Any] | None = None) -> UUID:
        """The node of a child in its orchestrator's graph: the same one each time it is asked for."""
        node: PrefectTask[[], None] = PrefectTask(fn=_nothing, name=run_name(child, attempt))
        node.task_key = "longtake.child"
        key = child.id if attempt <= 1 else f"{child.id}:{attempt}"
        created = await self.client.create_task_run(
            task=node, flow_run_id=parent_run, dynamic_key=key, name=run_name(child, attempt), state=state or Pending()
        )
        return created.id

    async def draw_children(self, parent_run: UUID, children: Iterable[Task]) -> None:
        """Put all children under their orchestrator's run, also those that an earlier run of it has finished."""
        for child in children:
            done: State[None] = Completed(message=f"Finished before: {child.output_location}")
            state = done if child.status is Status.COMPLETE else None
            await self.placeholder(parent_run, child, max(1, child.attempts), state)

    async def start(self, claim: Claim, pool: str) -> FlowRun:
        """Start the run of one claim; the same claim again finds the same run."""
        deployment = await self._deployment(find_kind(claim.task.task_type).deployment_in(pool))
        parent = await self._parent_node(claim)
        key = f"task:{claim.task.id}:{claim.attempt}"
        run = await self._create(deployment, claim, key, parent)
        while run.state and run.state.is_final():
            # This attempt was dispatched before and handed back: its key belongs to a run that is over.
            key = f"{key}:{run.id.hex[:8]}"
            run = await self._create(deployment, claim, key, parent)
        return run

    async def _create(self, deployment: UUID, claim: Claim, key: str, parent: UUID | None) -> FlowRun:
        return await self.client.create_flow_run_from_deployment(
            deployment,
            parameters={"task_id": claim.task.id, "attempt": claim.attempt},
            idempotency_key=key,
            name=run_name(claim.task, claim.attempt),
            tags=tags(claim.task, claim.attempt, self.engines),
            parent_task_run_id=parent,
        )

    async def _parent_node(self, claim: Claim) -> UUID | None:
        if claim.task.parent_id is None:
            return None
        orchestrator = await asyncio.to_thread(self.queue.get, claim.task.parent_id)
        if orchestrator.flow_run_id is None:
            return None
        try:
            return await self.placeholder(UUID(orchestrator.flow_run_id), claim.task, claim.attempt)
        except PrefectHTTPStatusError as error:
            if error.response.status_code >= 500:
                raise
            # Whoever held the row may have noted any run, and runs are deleted: a place in a picture is worth no task.
            log.warning("parent_run_unknown task_id=%s flow_run_id=%s", claim.task.id, orchestrator.flow_run_id)
            return None

    async def _deployment(self, name: str) -> UUID:
        if name not in self._deployments:
            self._deployments[name] = (await self.client.read_deployment_by_name(name)).id
        return self._deployments[name]

    async def _claim_and_start(self, pool: str, room: int, ids: tuple[str, ...] | None = None) -> int:
        types, request = types_of(pool), str(uuid4())
        claims = await asyncio.to_thread(
            self.queue.claim, self.worker_id, limit=room, task_types=types, task_ids=ids, request_id=request
        )
        for index, claim in enumerate(claims):
            try:
                await self._start_and_note(claim, pool)
            except UNREACHABLE as error:
                log.warning("dispatch_failed task_id=%s attempt=%s error=%s", claim.task.id, claim.attempt, error)
                await self._release(claims[index:])
                raise
        return len(claims)

    async def _release(self, claims: Iterable[Claim]) -> None:
        for claim in claims:
            with contextlib.suppress(StaleClaim):  # Prefect kept us waiting until the lease was over
                await asyncio.to_thread(self.queue.release, claim.task.id, claim.token)

    async def _start_and_note(self, claim: Claim, pool: str) -> None:
        run = await self.start(claim, pool)
        with contextlib.suppress(StaleClaim):  # the run was faster and has taken the claim over, with its own id
            await asyncio.to_thread(self.queue.dispatched, claim.task.id, claim.token, str(run.id))
        log.info("task_dispatched task_id=%s attempt=%s flow_run_id=%s", claim.task.id, claim.attempt, run.id)

    def _read(self, task_ids: Iterable[str]) -> list[Task]:
        return [self.queue.get(task_id) for task_id in task_ids]


async def follow_up(dispatcher: Dispatcher, outcome: Outcome, *, leaving: str | None = None) -> None:
    """After a task has ended: start what that made ready, and tell the runs of those that ended with it.

    A failure here loses nothing: poll starts what is ready, and rescue finds what has ended.
    """
    try:
        for ended in outcome.ended:
            await settle_run(dispatcher.client, ended)
        await dispatcher.start_ready(outcome.ready, leaving=leaving)
    except (*UNREACHABLE, QueueError) as error:
        log.warning("follow_up_postponed task_id=%s error=%s", outcome.task.id, error)


async def settle_run(client: PrefectClient, task: Task) -> None:
    """Bring the run of an ended task to its end: resume a suspended orchestrator, cancel what has not begun."""
    if task.flow_run_id is None or not task.status.is_terminal:
        return
    run = await run_of(client, task.id, task.flow_run_id)
    state = run.state if run else None
    if run is None or state is None or state.is_final():
        return
    if state.is_paused():
        await client.resume_flow_run(run.id)
    elif (state.is_scheduled() or state.is_pending()) and run.run_count == 0:
        # One that has run before is an orchestrator on its way to sum up.
        await client.set_flow_run_state(
            run.id, State(type=StateType.CANCELLED, message=f"The task is {task.status}."), force=True
        )


async def run_of(client: PrefectClient, task_id: str, flow_run_id: str) -> FlowRun | None:
    """The run that a row names, if it is one of this task: the row's holder may have noted any."""
    try:
        run = await client.read_flow_run(UUID(flow_run_id))
    except ObjectNotFound:
        return None
    return run if f"task:{task_id}" in run.tags else None


def _nothing() -> None:
    """Body of a placeholder: the child's own run does the work."""
