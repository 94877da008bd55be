"""What rings the bell, and how often it is answered."""

from __future__ import annotations

import asyncio
import logging
import uuid
from datetime import UTC, datetime

import pytest
from prefect.events import Event, Resource

from deployments.warm.wakeup import CANCELLING, SCHEDULED, Bell, PoolEvents

LOG = logging.getLogger("tests.warm")
RUN = uuid.uuid4()


async def nothing() -> None:
    """No gap to fill."""


def event(name: str) -> Event:
    resource = Resource({"prefect.resource.id": f"prefect.flow-run.{RUN}"})
    return Event(event=name, resource=resource, occurred=datetime.now(UTC))


def test_scheduled_and_cancelling_runs_are_named() -> None:
    heard: list[object] = []
    events = PoolEvents(
        uuid.uuid4(),
        on_scheduled=lambda run: heard.append(("scheduled", run)),
        on_cancelling=heard.append,
        on_gap=nothing,
        log=LOG,
    )
    events.hear(event(SCHEDULED))
    events.hear(event(CANCELLING))
    assert heard == [("scheduled", RUN), RUN]


async def test_rings_during_an_answer_are_answered_once_more() -> None:
    bell, answers = Bell(), asyncio.Queue[int]()

    async def answer() -> None:
        if answers.empty():
            bell.ring()
            bell.ring()
        answers.put_nowait(1)

    task = asyncio.create_task(bell.answer(answer, LOG))
    bell.ring()
    for _ in range(50):  # turns of the loop, many more than three answers would take
        await asyncio.sleep(0)
    task.cancel()
    assert answers.qsize() == 2


async def test_an_answer_that_fails_does_not_end_the_answering(caplog: pytest.LogCaptureFixture) -> None:
    bell, calls = Bell(), asyncio.Queue[int]()

    async def answer() -> None:
        calls.put_nowait(1)
        raise ConnectionError("the server is away")

    task = asyncio.create_task(bell.answer(answer, LOG))
    for _ in range(2):
        bell.ring()
        await asyncio.wait_for(calls.get(), 5)
    task.cancel()
    assert "the server is away" in caplog.text
