"""Dispatch when Prefect's API is slow, full, forgetful or away. The queue is real; only Prefect's HTTP is played."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from math import inf
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import respx
from prefect.client.orchestration import PrefectClient
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from blocks.engine import EngineChoice
from blocks.queue.memory import MemoryQueue
from blocks.queue.model import Status, Task, TaskSpec
from tasks.dispatch import UNREACHABLE, Dispatcher, settle_run
from tasks.polling import Look, look_once

API = "http://prefect.test/api"
STAMP = "2026-01-01T00:00:00Z"


class FakePrefect:
    """The routes that dispatch calls, with a memory for idempotency keys."""

    def __init__(self, mock: respx.MockRouter) -> None:
        self.mock = mock
        self.limit: int | None = 2
        self.status = "READY"
        self.served = {"control", "cpu", "gpu"}
        self.on_their_way = 0
        self.created: dict[str, dict[str, Any]] = {}
        self.state = "SCHEDULED"
        mock.get(url__regex=f"{API}/admin/version").respond(json="3.8.8")
        mock.get(url__regex=f"{API}/csrf-token.*").respond(404)  # what a server without that protection says
        mock.get(url__regex=f"{API}/work_pools/.*").mock(side_effect=self._pool)
        mock.post(f"{API}/flow_runs/count").mock(side_effect=lambda _: httpx.Response(200, json=self.on_their_way))
        self.asked: list[str] = []
        mock.get(url__regex=f"{API}/deployments/name/.*").mock(side_effect=self._deployment)
        self.create = mock.post(url__regex=f"{API}/deployments/.*/create_flow_run").mock(side_effect=self._create)

    def play_run(self, task: Task, state: str, run_count: int) -> list[httpx.Request]:
        """Let the task's run be in this state; answers with the orders it will get."""
        orders: list[httpx.Request] = []
        found = {"type": state, "name": state.title(), "timestamp": STAMP, "id": str(uuid4())}
        run = {"id": task.flow_run_id, "flow_id": str(uuid4()), "state": found, "run_count": run_count}
        run["tags"] = [f"task:{task.id}"]
        self.mock.get(f"{API}/flow_runs/{task.flow_run_id}").respond(json=run)

        def order(request: httpx.Request) -> httpx.Response:
            orders.append(request)
            return httpx.Response(201, json={"status": "ACCEPT", "details": {"type": "accept_details"}, "state": found})

        self.mock.post(url__regex=f"{API}/flow_runs/{task.flow_run_id}/.*").mock(side_effect=order)
        return orders

    def _pool(self, request: httpx.Request) -> httpx.Response:
        name = request.url.path.rsplit("/", 1)[-1]
        queue = str(uuid4())
        status = self.status if name in self.served else "NOT_READY"
        pool = {"id": str(uuid4()), "name": name, "type": "process", "default_queue_id": queue}
        return httpx.Response(200, json={**pool, "concurrency_limit": self.limit, "status": status})

    def _deployment(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path.partition("/name/")[2])
        return httpx.Response(200, json={"id": str(uuid4()), "name": "single_image", "flow_id": str(uuid4())})

    def _create(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        run = self.created.setdefault(body["idempotency_key"], {"id": str(uuid4()), "asked": body})
        state = {"type": self.state, "name": self.state.title(), "timestamp": STAMP, "id": str(uuid4())}
        self.state = "SCHEDULED"
        return httpx.Response(
            201, json={"id": run["id"], "flow_id": str(uuid4()), "state": state, "created": STAMP, "updated": STAMP}
        )


@pytest.fixture
def prefect() -> Iterator[FakePrefect]:
    with respx.mock(assert_all_called=False) as mock:
        yield FakePrefect(mock)


@pytest.fixture
def queue() -> MemoryQueue:
    return MemoryQueue()


@pytest.fixture
async def dispatcher(prefect: FakePrefect, queue: MemoryQueue) -> AsyncIterator[Dispatcher]:
    # Prefect's client tries again by itself, with pauses; what we do afterwards is the subject here.
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
        async with PrefectClient(API) as client:
            yield Dispatcher(queue, client, EngineChoice(), "dispatcher_test")


def enqueue(queue: MemoryQueue, count: int = 1) -> list[Task]:
    specs = [TaskSpec("single_image", {"prompt": f"picture {i}"}) for i in range(count)]
    return [entry.task for entry in queue.enqueue(*specs)]


async def test_a_dispatched_run_gets_ids_and_nothing_else(
    prefect: FakePrefect, queue: MemoryQueue, dispatcher: Dispatcher
) -> None:
    [task] = enqueue(queue)
    assert await dispatcher.fill("gpu") == 1
    [(key, run)] = prefect.created.items()
    assert key == f"task:{task.id}:1"
    assert run["asked"]["parameters"] == {"task_id": task.id, "attempt": 1}
    assert {f"task:{task.id}", "attempt:1", "type:single_image", f"project:{task.project_id}"} <= set(
        run["asked"]["tags"]
    )
    assert queue.get(task.id).flow_run_id == run["id"]


async def test_a_worker_for_containers_gets_the_gpus_tasks_by_the_deployments_for_containers(
    prefect: FakePrefect, queue: MemoryQueue, dispatcher: Dispatcher
) -> None:
    prefect.served = {"gpu-docker"}
    enqueue(queue)
    assert (await look_once(Look(dispatcher, rescued_at=inf)), len(prefect.created)) == (1, 1)
    assert prefect.asked == ["single_image/single_image-docker"]


async def test_warm_workers_are_filled_before_containers(
    prefect: FakePrefect, queue: MemoryQueue, dispatcher: Dispatcher
) -> None:
    prefect.served = {"gpu", "gpu-docker"}
    enqueue(queue, 3)
    assert await look_once(Look(dispatcher, rescued_at=inf)) == 3
    assert prefect.asked == ["single_image/single_image", "single_image/single_image-docker"]


async def test_a_slot_that_frees_in_a_pool_without_workers_takes_nothing(
    prefect: FakePrefect, queue: MemoryQueue, dispatcher: Dispatcher
) -> None:
    prefect.served = set()
    [task] = enqueue(queue)
    assert await dispatcher.start_ready([task.id], leaving="gpu") == 0


async def test_no_more_is_claimed_than_the_pool_has_room_for(
    prefect: FakePrefect, queue: MemoryQueue, dispatcher: Dispatcher
) -> None:
    enqueue(queue, 5)
    prefect.on_their_way = 1
    assert await dispatcher.fill("gpu") == 1
    assert queue.counts().ready == 4


@pytest.mark.parametrize(("limit", "on_their_way"), [(2, 2), (1, 3), (None, 10)])
async def test_a_full_pool_gets_nothing(
    prefect: FakePrefect, queue: MemoryQueue, dispatcher: Dispatcher, limit: int | None, on_their_way: int
) -> None:
    enqueue(queue)
    prefect.limit, prefect.on_their_way = limit, on_their_way
    assert await dispatcher.fill("gpu") == 0
    assert queue.counts().ready == 1


async def test_a_pool_without_a_worker_costs_no_attempt(
    prefect: FakePrefect, queue: MemoryQueue, dispatcher: Dispatcher
) -> None:
    [task] = enqueue(queue)
    prefect.status = "NOT_READY"
    assert await dispatcher.fill("gpu") == 0
    assert queue.get(task.id).attempts == 0


@pytest.mark.parametrize("answer", [httpx.ConnectError("refused"), httpx.Response(422), httpx.ReadTimeout("slow")])
async def test_a_claim_that_could_not_be_dispatched_is_released(
    prefect: FakePrefect, queue: MemoryQueue, dispatcher: Dispatcher, answer: Any
) -> None:
    [task] = enqueue(queue)
    prefect.create.mock(side_effect=answer if isinstance(answer, Exception) else lambda _: answer)
    with pytest.raises(UNREACHABLE):
        await dispatcher.fill("gpu")
    row = queue.get(task.id)
    assert (row.status, row.attempts) == (Status.QUEUED, 0)


async def test_when_one_dispatch_fails_the_rest_of_its_batch_is_released_too(
    prefect: FakePrefect, queue: MemoryQueue, dispatcher: Dispatcher
) -> None:
    tasks = enqueue(queue, 2)
    prefect.create.mock(side_effect=httpx.ConnectError("refused"))
    with pytest.raises(UNREACHABLE):
        await dispatcher.fill("gpu")
    assert [(row.status, row.attempts) for row in (queue.get(task.id) for task in tasks)] == [(Status.QUEUED, 0)] * 2


async def test_an_attempt_that_was_handed_back_gets_a_run_of_its_own(
    prefect: FakePrefect, queue: MemoryQueue, dispatcher: Dispatcher
) -> None:
    """Prefect answers a known key with the old run, whatever became of it; that one will never do this work."""
    [task] = enqueue(queue)
    prefect.state = "CRASHED"
    await dispatcher.fill("gpu")
    first, second = prefect.created
    assert second.startswith(f"{first}:")
    assert queue.get(task.id).flow_run_id == prefect.created[second]["id"]


async def test_the_same_claim_dispatched_twice_is_one_run(
    prefect: FakePrefect, queue: MemoryQueue, dispatcher: Dispatcher
) -> None:
    enqueue(queue)
    [claim] = queue.claim("dispatcher_test")
    runs = [await dispatcher.start(claim, "gpu"), await dispatcher.start(claim, "gpu")]
    assert runs[0].id == runs[1].id == UUID(next(iter(prefect.created.values()))["id"])


async def test_a_run_that_was_faster_than_its_dispatcher_keeps_its_own_id(
    prefect: FakePrefect, queue: MemoryQueue, dispatcher: Dispatcher
) -> None:
    [task] = enqueue(queue)
    inner, own = prefect._create, str(uuid4())

    def create(request: httpx.Request) -> httpx.Response:
        queue.start(task.id, 1, "run_1", flow_run_id=own)
        return inner(request)

    prefect.create.mock(side_effect=create)
    await dispatcher.fill("gpu")
    assert queue.get(task.id).flow_run_id == own


@pytest.mark.parametrize(
    ("state", "run_count", "told"),
    [
        ("PAUSED", 1, "resume"),  # a suspended orchestrator sums up
        ("SCHEDULED", 1, None),  # one that was resumed already is on its way to that
        ("SCHEDULED", 0, "set_state"),  # a run that has not begun has nothing to do any more
        ("RUNNING", 1, None),  # its heartbeat tells it
        ("COMPLETED", 1, None),
    ],
)
async def test_the_run_of_an_ended_task_is_brought_to_its_end(
    prefect: FakePrefect, queue: MemoryQueue, dispatcher: Dispatcher, state: str, run_count: int, told: str | None
) -> None:
    [task] = enqueue(queue)
    await dispatcher.fill("gpu")
    queue.cancel(task.id)
    asked = prefect.play_run(queue.get(task.id), state, run_count)
    await settle_run(dispatcher.client, queue.get(task.id))
    assert [request.url.path.rsplit("/", 1)[-1] for request in asked] == ([told] if told else [])
