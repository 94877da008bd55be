"""What the queue's tests do over and over: a clock to advance, tasks to enqueue, claims to hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from blocks.queue.model import Claim, Status, Task, TaskSpec
from blocks.queue.protocol import TaskQueue


class FakeClock:
    """Stands still until it is told."""

    def __init__(self) -> None:
        self.now = datetime(2030, 1, 1, 12, tzinfo=UTC)
        #: A store with a clock of its own is told here.
        self.on_move: Callable[[datetime], object] = lambda now: None

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.on_move(self.now)


class BackendTests:
    """A backend subclasses the suite and says how it is opened: empty, and reading time from `clock`."""

    def open_queue(self, clock: FakeClock) -> TaskQueue:
        raise NotImplementedError

    def new_project(self) -> str:
        """A second project of the same owner."""
        return fresh_id()

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def queue(self, clock: FakeClock) -> TaskQueue:
        return self.open_queue(clock)


def fresh_id() -> str:
    return str(uuid4())


def spec(**fields: Any) -> TaskSpec:
    return TaskSpec(**{"task_type": "single_image", "params": {"prompt": "the sea"}} | fields)


def enqueue(queue: TaskQueue, **fields: Any) -> str:
    (answer,) = queue.enqueue(spec(**fields))
    return answer.task.id


def hold(queue: TaskQueue, task_id: str, worker_id: str = "gpu-1") -> Claim:
    """Claim this very task, and start it."""
    (claim,) = queue.claim(worker_id, task_ids=[task_id])
    return queue.start(task_id, claim.attempt, worker_id)


def complete(queue: TaskQueue, task_id: str, output: str = "out.mp4") -> None:
    queue.complete(task_id, hold(queue, task_id).token, output_location=output)


def fail(queue: TaskQueue, task_id: str, error: str = "no more memory") -> None:
    """Fail for good."""
    queue.fail(task_id, hold(queue, task_id).token, error, retry=False)


def waiting_parent(queue: TaskQueue, *children: dict[str, Any]) -> tuple[str, list[str]]:
    """An orchestrator that has enqueued these children and waits for them."""
    parent = enqueue(queue, task_type="travel_orchestrator")
    claim = hold(queue, parent, "control-1")
    specs = [spec(**{"id": fresh_id(), "parent_id": parent} | child) for child in children]
    ids = [answer.task.id for answer in queue.enqueue(*specs)]
    queue.wait(parent, claim.token)
    return parent, ids


def status(queue: TaskQueue, task_id: str) -> Status:
    return queue.get(task_id).status


def statuses(queue: TaskQueue, task_ids: Sequence[str]) -> list[Status]:
    return [status(queue, each) for each in task_ids]


def ids(tasks: Sequence[Task]) -> set[str]:
    return {task.id for task in tasks}


def claimed_ids(claims: Sequence[Claim]) -> list[str]:
    return [claim.task.id for claim in claims]
