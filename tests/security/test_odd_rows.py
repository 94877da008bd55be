"""Rows that a user may write or hold, and that must not stop the dispatcher: it serves everybody.

Params are checked by no database, and a holder may note any flow run for a row.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from blocks.queue.memory import MemoryQueue
from blocks.queue.model import Status, TaskSpec
from deployments.cli.screen import Screen
from tasks.dispatch import Dispatcher, settle_run
from tasks.labels import run_name
from tasks.rescue import rescue_once
from tests.tasks.test_dispatch import API, FakePrefect, dispatcher, prefect  # noqa: F401  (fixtures)


@pytest.fixture
def clock() -> list[datetime]:
    return [datetime(2026, 1, 1, tzinfo=UTC)]


@pytest.fixture
def queue(clock: list[datetime]) -> MemoryQueue:
    return MemoryQueue(clock=lambda: clock[0])


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        ("travel_segment", {"segment_index": "abc"}),
        ("travel_segment", {"segment_index": None}),
        ("travel_segment", {"segment_index": [1]}),
        ("travel_segment", {"segment_index": 1e308}),
        ("travel_segment", {"segment_index": "9" * 5000}),
        ("travel_orchestrator", {"orchestrator_details": "x"}),
        ("travel_orchestrator", {"orchestrator_details": {"input_image_paths_resolved": 5}}),
    ],
)
async def test_odd_params_fail_in_their_run_and_not_in_the_dispatcher(
    prefect: FakePrefect,  # noqa: F811
    queue: MemoryQueue,
    dispatcher: Dispatcher,  # noqa: F811
    kind: str,
    params: dict[str, Any],
) -> None:
    odd, other = (entry.task for entry in queue.enqueue(TaskSpec(kind, params), TaskSpec(kind, {"segment_index": 1})))
    assert len(run_name(odd, 1)) < 200
    pool = "gpu" if kind == "travel_segment" else "control"
    prefect.limit = 4
    assert await dispatcher.fill(pool) == 2
    assert queue.get(other.id).flow_run_id is not None


async def test_a_parent_that_names_no_run_keeps_nobodys_task_from_starting(
    prefect: FakePrefect,  # noqa: F811
    queue: MemoryQueue,
    dispatcher: Dispatcher,  # noqa: F811
) -> None:
    prefect.mock.post(f"{API}/task_runs/").respond(409, json={"detail": "Data integrity conflict."})
    [parent] = queue.enqueue(TaskSpec("travel_orchestrator", {}))
    [claim] = queue.claim("mine", task_ids=[parent.task.id])
    queue.dispatched(parent.task.id, claim.token, str(uuid4()))
    queue.enqueue(TaskSpec("single_image", {}, parent_id=parent.task.id), TaskSpec("single_image", {}))
    assert await dispatcher.fill("gpu") == 2


async def test_a_lost_row_that_names_no_run_keeps_nobody_from_being_rescued(
    prefect: FakePrefect,  # noqa: F811
    queue: MemoryQueue,
    dispatcher: Dispatcher,  # noqa: F811
    clock: list[datetime],
) -> None:
    prefect.mock.post(f"{API}/flow_runs/filter").respond(json=[])
    prefect.mock.get(url__regex=f"{API}/flow_runs/[0-9a-f-]+").respond(404, json={"detail": "not found"})
    queue.enqueue(TaskSpec("single_image", {}), TaskSpec("single_image", {}))
    for claim in queue.claim("mine", limit=2, lease=1.0):
        queue.dispatched(claim.task.id, claim.token, str(uuid4()), lease=1.0)
    clock[0] += timedelta(minutes=1)
    assert await rescue_once(dispatcher) == 2


async def test_a_row_that_names_the_run_of_another_task_moves_it_nowhere(
    prefect: FakePrefect,  # noqa: F811
    queue: MemoryQueue,
    dispatcher: Dispatcher,  # noqa: F811
) -> None:
    mine, other = (entry.task for entry in queue.enqueue(TaskSpec("single_image", {}), TaskSpec("single_image", {})))
    [claim] = queue.claim("mine", task_ids=[mine.id])
    run = str(uuid4())
    queue.dispatched(mine.id, claim.token, run)
    ended = queue.cancel(mine.id).task
    assert (ended.status, ended.flow_run_id) == (Status.CANCELLED, run)
    orders = prefect.play_run(ended, "SCHEDULED", 0)
    _tag(prefect, run, other.id)
    await settle_run(dispatcher.client, ended)
    assert orders == []
    _tag(prefect, run, mine.id)
    await settle_run(dispatcher.client, ended)
    assert len(orders) == 1


def _tag(prefect: FakePrefect, run: str, task_id: str) -> None:  # noqa: F811
    found = {"type": "SCHEDULED", "name": "Scheduled", "timestamp": "2026-01-01T00:00:00Z", "id": str(uuid4())}
    said = {"id": run, "flow_id": str(uuid4()), "state": found, "run_count": 0, "tags": [f"task:{task_id}"]}
    prefect.mock.get(f"{API}/flow_runs/{run}").respond(json=said)


def test_what_a_user_wrote_does_not_steer_the_operators_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    screen, text = Screen(as_json=False), "out of memory\x1b]0;title\x07\x1b[2J\x9b2J\r\x08"
    screen.table(["error"], [[text]])
    screen.say(text)
    screen.warn(text)
    said = "".join(capsys.readouterr())
    assert said.count("out of memory") == 3
    assert not set("\x1b\x07\x9b\r\x08") & set(said)
