"""One flow run's part in the life of a task: take the claim over, hold it around the body, end it exactly once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import TerminationSignal
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from blocks.engine import EngineChoice
from blocks.queue.errors import QueueUnavailable, StaleClaim, TaskEnded, UnknownTask
from blocks.queue.model import Claim, Outcome, Status, Task
from blocks.queue.protocol import RUNNING_LEASE, TaskQueue
from blocks.storage.protocol import Storage, StorageError, StorageUnavailable
from blocks.workspace import WORKSPACE, Workspace
from tasks import story
from tasks.claims import Hold, hold
from tasks.dispatch import UNREACHABLE, Dispatcher, follow_up
from tasks.engines.protocol import EngineError, EngineOutOfMemory
from tasks.errors import InvalidInput, Stopped
from tasks.files import WorkFolder
from tasks.kinds import find_kind
from tasks.media.errors import MediaError
from tasks.params.base import Params

Logger = logging.Logger | logging.LoggerAdapter[logging.Logger]
P = TypeVar("P", bound=Params)
R = TypeVar("R")
A = ParamSpec("A")

#: Asking again would give the same answer: fail at once.
_HOPELESS = (InvalidInput, MediaError, EngineError, StorageError)
_WORTH_A_RETRY = (EngineOutOfMemory, StorageUnavailable)


@dataclass(frozen=True, slots=True)
class Output:
    """What a body made. `made_now` is False when an earlier attempt's finished file was used."""

    location: str | None
    result: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Site:
    """What a flow run finds in the workspace block, opened."""

    queue: TaskQueue
    storage: Storage
    engines: EngineChoice
    work_dir: Path

    @staticmethod
    @contextlib.asynccontextmanager
    async def open() -> AsyncIterator[Site]:
        workspace = cast(Workspace, await Workspace.aload(WORKSPACE))
        queue = await asyncio.to_thread(workspace.queue.open)
        try:
            yield Site(queue, workspace.storage.open(), workspace.engines, workspace.work_dir)
        finally:
            await asyncio.to_thread(queue.close)


@dataclass(frozen=True, slots=True)
class Work:
    """What a body gets: its task, the site, and the claim that it works under."""

    task: Task
    attempt: int
    site: Site
    held: Hold
    dispatcher: Dispatcher
    log: Logger

    @property
    def folder(self) -> WorkFolder:
        return WorkFolder(self.site.work_dir, self.task.id)

    def params(self, model: type[P]) -> P:
        """Raises `InvalidInput` naming the field; warns of what nothing reads."""
        params = model.read(self.task.params)
        if unknown := params.unknown():
            self.log.warning("params_ignored task_id=%s fields=%s", self.task.id, ",".join(unknown))
        return params

    async def orchestrator(self, task_id: str) -> Task:
        """The row that holds a child's payload."""
        try:
            return await asyncio.to_thread(self.site.queue.get, task_id)
        except UnknownTask:
            raise InvalidInput(f"orchestrator_task_id_ref: there is no task {task_id!r}.") from None

    async def fetch(self, location: str) -> Path:
        """An input as a local file."""
        return await asyncio.to_thread(self.site.storage.fetch, location, self.folder.path)

    async def end(self, verb: Callable[..., Outcome], *args: Any, **kwargs: Any) -> Outcome:
        """The body's last act: a verb of the queue that gives the claim up, called with task id and token first."""
        self.held.seal()
        return await _persist(verb, self.task.id, self.held.claim.token, *args, **kwargs)

    async def compute(self, body: Callable[A, R], *args: A.args, **kwargs: A.kwargs) -> R:
        """Run blocking work in a thread, so that signals and other coroutines are served meanwhile."""
        return await asyncio.to_thread(body, *args, **kwargs)


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
            return Completed(name="Superseded", message=f"Nothing to do: {gone}")
        dispatcher = Dispatcher(site.queue, client)
        async with hold(site.queue, claim) as held:
            work = Work(claim.task, attempt, site, held, dispatcher, log)
            return await _conclude(work, claim, body)


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
    await follow_up(work.dispatcher, outcome, leaving=find_kind(claim.task.task_type).pool)
    return Completed(message=outcome.task.output_location or f"{outcome.task.status}")


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
        outcome = await _persist(work.site.queue.fail, claim.task.id, claim.token, message, retry=not hopeless)
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


async def _persist(verb: Callable[A, R], *args: A.args, **kwargs: A.kwargs) -> R:
    """A write of the outcome, tried again while the store is away, for as long as the lease can hold."""
    async for attempt in AsyncRetrying(
        retry=retry_if_exception_type(QueueUnavailable),
        wait=wait_random_exponential(multiplier=0.2, max=5),
        stop=stop_after_delay(RUNNING_LEASE),
        reraise=True,
    ):
        with attempt:
            return await asyncio.to_thread(verb, *args, **kwargs)
    raise AssertionError("unreachable: the last attempt raises")


def _worker() -> str:
    return f"run_{socket.gethostname()}_{os.getpid()}"[:128]
