"""One lane of a worker as a state machine: pure, so that every order of events can be tried.

    starting --ready--> ready --begin--> busy --ended--> ready
        |                 |               |
        +------- stop ----+------ stop ---+--> stopping --exited--> dead

The process may exit in any state; a run that was under way then has died with it. What is not drawn is a mistake of
the caller and raises, except where two sides may cross: an order to stop reaches a child that says something first.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from enum import Enum
from uuid import UUID


class State(Enum):
    STARTING = "starting"
    READY = "ready"
    BUSY = "busy"
    STOPPING = "stopping"
    DEAD = "dead"


class IllegalEvent(RuntimeError):
    """This event cannot happen in this state."""

    def __init__(self, state: State, event: str) -> None:
        self.state, self.event = state, event
        super().__init__(f"a lane that is {state.value} cannot hear {event!r}")


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The child said so. Code 0: the engine has told Prefect how."""

    code: int
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class RunDied:
    """The process went away under the run, with this exit code (negative: the signal)."""

    code: int


Outcome = RunEnded | RunDied


class Lane:
    """One life of one child. A new child is a new lane."""

    def __init__(self) -> None:
        self.state = State.STARTING
        self.run: UUID | None = None
        self.outcome: Outcome | None = None
        self.problem: str | None = None
        self.runs = 0

    def ready(self) -> None:
        if self.state is State.STOPPING and self.run is None:
            return  # it got ready while it was told to stop
        self._only("ready", State.STARTING)
        self.state = State.READY

    def begin(self, run: UUID) -> None:
        self._only("begin", State.READY)
        self.state, self.run, self.outcome = State.BUSY, run, None
        self.runs += 1

    def ended(self, run: UUID, code: int, problem: str | None = None) -> None:
        self._only("ended", State.BUSY, State.STOPPING)
        if run != self.run:
            raise IllegalEvent(self.state, f"ended {run}")
        self.run, self.outcome = None, RunEnded(code, problem)
        if self.state is State.BUSY:
            self.state = State.READY

    def cannot_start(self, problem: str) -> None:
        """The child said why, or its time was up. It is expected to exit."""
        if self.state is State.STOPPING:
            return
        self._only("cannot start", State.STARTING)
        self.state, self.problem = State.STOPPING, problem

    def stop(self) -> None:
        """No run any more; the one under way may still say how it ended."""
        if self.state is not State.DEAD:
            self.state = State.STOPPING

    def exited(self, code: int) -> None:
        self._only("exited", State.STARTING, State.READY, State.BUSY, State.STOPPING)
        if self.state is State.STARTING:
            self.problem = f"its process ended with {describe_exit(code)} before it was ready"
        if self.run is not None:
            self.run, self.outcome = None, RunDied(code)
        self.state = State.DEAD

    def _only(self, event: str, *states: State) -> None:
        if self.state not in states:
            raise IllegalEvent(self.state, event)


def describe_exit(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"signal {-code}"
