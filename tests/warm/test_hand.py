"""A run in hand that nobody wants any more before a child has it."""

from __future__ import annotations

import uuid
from typing import Any, cast

import pytest

from deployments.warm.hand import NotStarted, RunInHand
from deployments.warm.lanes import Lanes
from deployments.warm.plan import Want


class Told:
    """What Prefect hears."""

    def __init__(self) -> None:
        self.ends: list[str] = []

    async def crashed(self, flow_run: uuid.UUID, message: str) -> None:
        self.ends.append(message)

    async def cancelled(self, flow_run: uuid.UUID) -> None:
        self.ends.append("cancelled")


class ReadyAtOnce:
    """Lanes with a ready child: nobody has to wait, so nobody can be interrupted in waiting."""

    async def acquire(self, want: Want) -> object:
        return object()


@pytest.mark.parametrize(
    ("verb", "end"), [("cancel", "cancelled"), ("give_up", "The worker was stopped before the run could begin.")]
)
async def test_it_is_not_started_even_if_a_child_is_ready(verb: str, end: str) -> None:
    told, started, run = Told(), cast(list[Any], []), uuid.uuid4()
    hand = RunInHand(run, told)
    getattr(hand, verb)()
    await hand.carry_out(cast(Lanes, ReadyAtOnce()), Want(run, "a.b"), {}, started.append)
    assert told.ends == [end]
    assert isinstance(started[0], NotStarted)
