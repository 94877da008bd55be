"""Leases against the clock and against run states: what died comes back, what has ended is told so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Crashed

from blocks.queue.errors import QueueError, UnknownTask
from blocks.queue.model import Outcome, Rescued, Status, TaskFilter
from blocks.queue.protocol import TaskQueue
from tasks.dispatch import Dispatcher, follow_up, run_of, settle_run
from tasks.errors import InvalidInput
from tasks.kinds import find_kind, is_known
from tasks.labels import TAG

log = logging.getLogger(__name__)

_PAGE = 200
_UNFINISHED = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED, StateType.CANCELLING]


async def rescue_once(dispatcher: Dispatcher) -> int:
    """One look at everything that can have been left behind; the number of claims that came back."""
    queue, client = dispatcher.queue, dispatcher.client
    await refuse_unknown_types(queue)
    lost, cancelled = await _ended_runs(queue, client)
    for task_id in cancelled:
        await _cancel(dispatcher, task_id)
    rescued = await asyncio.to_thread(queue.rescue, lost=lost)
    for one in rescued:
        log.warning("task_rescued task_id=%s attempt=%s dead_letter=%s", one.task.id, one.attempt, one.dead_letter)
        await _end_run_of(client, one)
        await follow_up(dispatcher, Outcome(one.task, ended=one.ended))
    await settle_runs(queue, client)
    return len(rescued)


async def refuse_unknown_types(queue: TaskQueue) -> None:
    """Nothing would ever claim a type that no deployment serves: fail it, naming the nearest."""
    ready = await asyncio.to_thread(queue.ready_by_type)
    unknown = [name for name in ready if not is_known(name)]
    if not unknown:
        return
    for claim in await asyncio.to_thread(queue.claim, "dispatcher_unknown_types", limit=_PAGE, task_types=unknown):
        try:
            find_kind(claim.task.task_type)
        except InvalidInput as error:
            await asyncio.to_thread(queue.fail, claim.task.id, claim.token, str(error), retry=False)


async def settle_runs(queue: TaskQueue, client: PrefectClient) -> None:
    """Runs that outlived their rows: suspended orchestrators whose end is decided, runs of cancelled tasks."""
    for run in await _runs(client, _UNFINISHED):
        task_id = _task_id(run)
        if task_id is None:
            continue
        try:
            task = await asyncio.to_thread(queue.get, task_id)
        except UnknownTask:
            continue
        if task.flow_run_id == str(run.id):
            await settle_run(client, task)


async def _ended_runs(queue: TaskQueue, client: PrefectClient) -> tuple[list[tuple[str, int]], list[str]]:
    """Rows In Progress whose run is over: (those to take back now, those that a person cancelled in Prefect)."""
    rows = await asyncio.to_thread(queue.list, TaskFilter(status=[Status.IN_PROGRESS], limit=_PAGE))
    held = {UUID(row.flow_run_id): row for row in rows if row.flow_run_id and not row.waiting}
    waiting = {UUID(row.flow_run_id): row for row in rows if row.flow_run_id and row.waiting}
    lost: list[tuple[str, int]] = []
    cancelled: list[str] = []
    for run in await _runs_by_id(client, [*held, *waiting]):
        if run.state is None or not run.state.is_final():
            continue
        if run.state.is_cancelled():
            cancelled.append({**held, **waiting}[run.id].id)
        elif run.id in held:
            lost.append((held[run.id].id, held[run.id].attempts))
    return lost, cancelled


async def _cancel(dispatcher: Dispatcher, task_id: str) -> None:
    """A person ended the run in Prefect: so the task is cancelled, not tried again."""
    try:
        outcome = await asyncio.to_thread(dispatcher.queue.cancel, task_id)
    except QueueError as error:
        log.info("cancel_not_needed task_id=%s reason=%s", task_id, error)
        return
    await follow_up(dispatcher, outcome)


async def _end_run_of(client: PrefectClient, rescued: Rescued) -> None:
    """The run that lost its claim may look alive for ever and hold a slot; its token is refused everywhere."""
    if rescued.flow_run_id is None:
        return
    run = await run_of(client, rescued.task.id, rescued.flow_run_id)
    if run and run.state and not run.state.is_final():
        await client.set_flow_run_state(
            run.id, Crashed(message="Its lease ended: the task was taken back."), force=True
        )


async def _runs(client: PrefectClient, states: list[StateType]) -> list[FlowRun]:
    wanted = FlowRunFilter(
        tags=FlowRunFilterTags(all_=[TAG]), state=FlowRunFilterState(type=FlowRunFilterStateType(any_=states))
    )
    return await client.read_flow_runs(flow_run_filter=wanted, limit=_PAGE)


async def _runs_by_id(client: PrefectClient, ids: Iterable[UUID]) -> list[FlowRun]:
    wanted = list(ids)
    if not wanted:
        return []
    return await client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=wanted)), limit=_PAGE)


def _task_id(run: FlowRun) -> str | None:
    return next((tag.removeprefix("task:") for tag in run.tags if tag.startswith("task:")), None)
