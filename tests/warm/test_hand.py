"""A run in hand that nobody wants any more before a child has it."""

from __future__ import annotations

import uuid
from typing import Any, cast

import pytest

from deployments.warm.hand import NotStarted, RunInHand
from deployments.warm.lane import Lane, RunEnded
from deployments.warm.lanes import Lanes
from deployments.warm.messages import Run
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


class CannotExecute:
    """A child that ends its run at once, unreported, and is then free for others."""

    pid = 1

    def __init__(self) -> None:
        self.lane, self.stopped = Lane(), False
        self.lane.ready()

    async def run(self, run: Run, _travel: str | None) -> RunEnded:
        self.lane.begin(run.flow_run_id)
        self.lane.ended(run.flow_run_id, 1)
        return RunEnded(1)

    def stop(self, cancelled: uuid.UUID) -> None:
        self.stopped = True


class CancelledMeanwhile(Told):
    """Somebody cancels the run while its crash is on its way to Prefect."""

    hand: RunInHand

    async def crashed(self, flow_run: uuid.UUID, message: str) -> None:
        self.hand.cancel()
        self.ends.append("reported")


async def test_a_cancel_after_the_end_does_not_stop_the_child_which_may_have_another_run() -> None:
    told, child, run = CancelledMeanwhile(), CannotExecute(), uuid.uuid4()

    class One:
        closing = False

        async def acquire(self, want: Want) -> object:
            return child

    told.hand = RunInHand(run, told)
    await told.hand.carry_out(cast(Lanes, One()), Want(run, "a.b"), {}, lambda _place: None)
    assert (told.ends, child.stopped) == (["reported"], False)
