"""What a flow run works with: the site it finds in the workspace block, and the task it holds."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from blocks.engine import EngineChoice
from blocks.queue.errors import QueueUnavailable, UnknownTask
from blocks.queue.model import Outcome, Task
from blocks.queue.protocol import RUNNING_LEASE, TaskQueue
from blocks.storage.protocol import Storage
from blocks.workspace import STALL_SECONDS, WORKSPACE, Workspace
from tasks.claims import Hold
from tasks.dispatch import Dispatcher
from tasks.errors import InvalidInput
from tasks.files import WorkFolder
from tasks.params.base import Params

Logger = logging.Logger | logging.LoggerAdapter[logging.Logger]
P = TypeVar("P", bound=Params)
R = TypeVar("R")
A = ParamSpec("A")


@dataclass(frozen=True, slots=True)
class Output:
    """What a body made: where it is, and what the row's result says of it."""

    location: str | None
    result: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Site:
    """What a flow run finds in the workspace block, opened."""

    queue: TaskQueue
    storage: Storage
    engines: EngineChoice
    work_dir: Path
    stall_seconds: float = STALL_SECONDS

    @staticmethod
    @contextlib.asynccontextmanager
    async def open() -> AsyncIterator[Site]:
        workspace = cast(Workspace, await Workspace.aload(WORKSPACE))
        queue = await asyncio.to_thread(workspace.queue.open)
        try:
            yield Site(queue, workspace.storage.open(), workspace.engines, workspace.work_dir, workspace.stall_seconds)
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
    #: What the body holds for as long as the run lasts.
    until_end: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

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
        """An input as a local file, read on behalf of the task's owner."""
        return await asyncio.to_thread(self.site.storage.fetch, location, self.folder.path, owner=self.task.user_id)

    async def end(self, verb: Callable[..., Outcome], *args: Any, **kwargs: Any) -> Outcome:
        """The body's last act: a verb of the queue that gives the claim up, called with task id and token first."""
        self.held.seal()
        return await persist(verb, self.task.id, self.held.claim.token, *args, **kwargs)

    async def compute(self, body: Callable[A, R], *args: A.args, **kwargs: A.kwargs) -> R:
        """Run blocking work in a thread, so that signals and other coroutines are served meanwhile."""

        def run() -> R:
            with self.held.computing():
                return body(*args, **kwargs)

        return await asyncio.to_thread(run)


async def persist(verb: Callable[A, R], *args: A.args, **kwargs: A.kwargs) -> R:
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
