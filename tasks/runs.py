"""One flow run's part in the life of a task: take the claim over, hold it around the body, end it exactly once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.exceptions import TerminationSignal
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed

from blocks.queue.errors import QueueError, QueueUnavailable, StaleClaim, TaskEnded, UnknownTask
from blocks.queue.model import Claim, Outcome, Status
from blocks.queue.protocol import TaskQueue
from blocks.storage.protocol import StorageError, StorageUnavailable
from tasks import story
from tasks.claims import hold
from tasks.dispatch import UNREACHABLE, Dispatcher, follow_up
from tasks.engines.protocol import EngineError, EngineOutOfMemory
from tasks.engines.store import SHARED
from tasks.errors import InvalidInput, Stopped
from tasks.kinds import find_kind
from tasks.media.errors import MediaError
from tasks.work import Output, Site, Work, persist

#: Asking again would give the same answer: fail at once.
_HOPELESS = (InvalidInput, MediaError, EngineError, StorageError)
_WORTH_A_RETRY = (EngineOutOfMemory, StorageUnavailable)


Body = Callable[[Work], Awaitable[Output]]
#: A body that ends its row itself, such as an orchestrator that hands it to its children, answers with the outcome.
Ending = Callable[[Work], Awaitable[Outcome]]


async def perform(task_id: str, attempt: int, body: Body) -> State[Any]:
    """Run `body` for one attempt of a task and complete or fail the row. The state tells Prefect how it went."""

    async def complete(work: Work) -> Outcome:
        what = f"{work.task.task_type} {task_id}, attempt {attempt}"
        async with story.shown_progress(task_id, what, lambda: work.held.progress):
            output = await body(work)
        return await work.end(work.site.queue.complete, output_location=output.location, result=output.result)

    async with Site.open() as site:
        return await perform_ending(site, task_id, attempt, complete)


async def perform_ending(site: Site, task_id: str, attempt: int, body: Ending) -> State[Any]:
    """As `perform`, for a body that ends its row itself."""
    async with get_client() as client:
        log = get_run_logger()
        try:
            claim = await asyncio.to_thread(
                site.queue.start, task_id, attempt, _worker(), flow_run_id=flow_run.id, request_id=flow_run.id
            )
        except (StaleClaim, UnknownTask) as gone:
            log.info("run_superseded task_id=%s attempt=%s reason=%s", task_id, attempt, gone)
            if await asyncio.to_thread(_is_cancelled, site.queue, task_id):
                return Cancelled(message=f"The task was cancelled before it began: {gone}")
            return Completed(name="Superseded", message=f"Nothing to do: {gone}")
        dispatcher = Dispatcher(site.queue, client, site.engines)
        async with hold(site.queue, claim, stall=site.stall_seconds) as held:
            work = Work(claim.task, attempt, site, held, dispatcher, log)
            with work.until_end, story.engine_log():
                state = await _conclude(work, claim, body)
            if find_kind(claim.task.task_type).makes:
                await asyncio.to_thread(_note_models, work)
            return state


def _note_models(work: Work) -> None:
    """Tell the queue which models this process has loaded now, for whoever looks at its workers."""
    models = SHARED.loaded()
    if not models:
        return
    metadata = {"host": socket.gethostname(), "pid": os.getpid(), "models": [asdict(model) for model in models]}
    try:
        work.site.queue.note_worker(_worker(), models[0].name, metadata)
    except QueueError as error:
        work.log.warning("worker_not_noted reason=%s", error)


def _is_cancelled(queue: TaskQueue, task_id: str) -> bool:
    with contextlib.suppress(UnknownTask):
        return queue.get(task_id).status is Status.CANCELLED
    return False


async def _conclude(work: Work, claim: Claim, body: Ending) -> State[Any]:
    """Every way a body can end, and what becomes of the row and the run."""
    queue, task_id = work.site.queue, claim.task.id
    log = work.log
    log.info("task_started task_id=%s attempt=%s type=%s", task_id, work.attempt, claim.task.task_type)
    try:
        outcome = await _stoppable(work, body)
    except (Stopped, StaleClaim, TaskEnded) as gone:
        log.warning("task_stopped task_id=%s attempt=%s reason=%s", task_id, work.attempt, gone)
        return Cancelled(message=f"Stopped: {gone}")
    except (asyncio.CancelledError, TerminationSignal, KeyboardInterrupt):
        await _hand_back(work, claim)
        raise
    except Exception as error:  # noqa: BLE001  (the outermost loop of a task: whatever it is, the row must learn of it)
        return await _failed(work, claim, error)
    log.info("task_completed task_id=%s attempt=%s status=%s", task_id, work.attempt, outcome.task.status)
    if outcome.task.status is Status.COMPLETE:
        work.folder.remove()
    await story.travel_progress(work.dispatcher.client, queue, outcome.task)
    await follow_up(work.dispatcher, outcome, leaving=_pool_of_this_run() or find_kind(claim.task.task_type).pool)
    return Completed(message=outcome.task.output_location or f"{outcome.task.status}")


def _pool_of_this_run() -> str | None:
    """Whose slot is about to be free; None outside a pool."""
    context = FlowRunContext.get()
    return context.flow_run.work_pool_name if context and context.flow_run else None


async def _stoppable(work: Work, body: Ending) -> Outcome:
    """The body as a task of its own, ended when the claim is gone."""
    loop = asyncio.get_running_loop()
    running = asyncio.ensure_future(body(work))

    def stop() -> None:
        loop.call_soon_threadsafe(running.cancel)

    work.held.when_stopped(stop)
    try:
        return await running
    except asyncio.CancelledError:
        if work.held.stopped and running.cancelled():
            raise work.held.stopped from None
        running.cancel()
        raise


async def _failed(work: Work, claim: Claim, error: Exception) -> State[Any]:
    hopeless = isinstance(error, _HOPELESS) and not isinstance(error, _WORTH_A_RETRY)
    work.log.error("task_failed task_id=%s attempt=%s", claim.task.id, work.attempt, exc_info=not hopeless)
    message = str(error) if hopeless else f"{type(error).__name__}: {error}"
    try:
        outcome = await persist(work.site.queue.fail, claim.task.id, claim.token, message, retry=not hopeless)
    except (StaleClaim, TaskEnded) as gone:
        return Cancelled(message=f"Stopped: {gone}; before that: {message}")
    await follow_up(work.dispatcher, outcome)
    again = outcome.task.status is Status.QUEUED
    note = f" It will be tried again at {outcome.task.scheduled_at}." if again else ""
    return Failed(message=f"Attempt {work.attempt} of {claim.task.max_attempts}: {message}{note}")


async def _hand_back(work: Work, claim: Claim) -> None:
    """The process was told to end: a run cancelled by a person cancels its task, else the attempt is returned."""
    queue, task_id = work.site.queue, claim.task.id
    try:
        if await _cancelled_in_prefect(work.dispatcher.client):
            await follow_up(work.dispatcher, await asyncio.to_thread(queue.cancel, task_id))
        else:
            await asyncio.to_thread(queue.release, task_id, claim.token)
    except (StaleClaim, TaskEnded, QueueUnavailable) as gone:
        work.log.warning("hand_back_failed task_id=%s reason=%s", task_id, gone)


async def _cancelled_in_prefect(client: PrefectClient) -> bool:
    try:
        run = await client.read_flow_run(flow_run.id)
    except UNREACHABLE:
        return False  # nobody can have cancelled it there; at worst the rescue finds the run Cancelled
    return run.state is not None and (run.state.is_cancelling() or run.state.is_cancelled())


def _worker() -> str:
    return f"run_{socket.gethostname()}_{os.getpid()}"[:128]
