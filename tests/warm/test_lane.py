"""The state machine of one lane, in any order of events."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from deployments.warm.lane import IllegalEvent, Lane, RunDied, RunEnded, State

RUNNING = (State.BUSY, State.STOPPING)


class Lanes(RuleBasedStateMachine):
    """Every legal event in every order; what is illegal in a state is tried there too and must change nothing."""

    @initialize()
    def start(self) -> None:
        self.lane = Lane()
        self.begun: list[uuid.UUID] = []
        self.outcomes: dict[uuid.UUID, object] = {}
        self.stop_asked = False

    def _try(self, legal: bool, event: object, *arguments: object) -> None:
        before = vars(self.lane).copy()
        if legal:
            event(*arguments)  # type: ignore[operator]
            return
        with pytest.raises(IllegalEvent):
            event(*arguments)  # type: ignore[operator]
        assert vars(self.lane) == before

    @rule()
    def ready(self) -> None:
        stopped_idle = self.lane.state is State.STOPPING and self.lane.run is None
        self._try(self.lane.state is State.STARTING or stopped_idle, self.lane.ready)

    @rule()
    def begin(self) -> None:
        run = uuid.uuid4()
        legal = self.lane.state is State.READY
        self._try(legal, self.lane.begin, run)
        if legal:
            self.begun.append(run)

    @rule(code=st.integers(0, 3))
    def ended(self, code: int) -> None:
        run = self.lane.run
        self._try(run is not None and self.lane.state in RUNNING, self.lane.ended, run or uuid.uuid4(), code)
        if run:
            self.outcomes[run] = self.lane.outcome
            assert self.lane.outcome == RunEnded(code)

    @precondition(lambda self: self.lane.run is not None)
    @rule()
    def another_run_ended(self) -> None:
        self._try(False, self.lane.ended, uuid.uuid4(), 0)

    @rule()
    def cannot_start(self) -> None:
        self._try(self.lane.state in (State.STARTING, State.STOPPING), self.lane.cannot_start, "no such module")

    @rule()
    def stop(self) -> None:
        self.lane.stop()
        self.stop_asked = True

    @rule(code=st.integers(-15, 3))
    def exited(self, code: int) -> None:
        run, legal = self.lane.run, self.lane.state is not State.DEAD
        self._try(legal, self.lane.exited, code)
        if run and legal:
            self.outcomes[run] = self.lane.outcome
            assert self.lane.outcome == RunDied(code)

    @invariant()
    def a_run_is_under_way_or_has_one_outcome(self) -> None:
        under_way = {self.lane.run} - {None}
        assert set(self.begun) == under_way | set(self.outcomes)
        assert not under_way & set(self.outcomes)

    @invariant()
    def only_a_busy_or_a_stopping_lane_has_a_run(self) -> None:
        assert self.lane.run is None or self.lane.state in RUNNING

    @invariant()
    def none_gets_ready_again_after_it_was_told_to_stop(self) -> None:
        assert not self.stop_asked or self.lane.state in (State.STOPPING, State.DEAD)


TestLane = Lanes.TestCase


def test_a_child_that_exits_while_starting_leaves_a_reason() -> None:
    lane = Lane()
    lane.exited(-9)
    assert lane.problem == "its process ended with signal 9 (SIGKILL) before it was ready"


def test_a_child_that_was_told_to_stop_while_starting_leaves_none() -> None:
    lane = Lane()
    lane.stop()
    lane.exited(0)
    assert lane.problem is None
