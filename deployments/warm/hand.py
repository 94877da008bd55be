"""One flow run of the worker, from the moment that it is ours until its end is reported."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol
from uuid import UUID

import anyio

from deployments.warm.lane import Outcome, RunDied, State, describe_exit
from deployments.warm.lanes import CannotStart, Lanes
from deployments.warm.life import Life
from deployments.warm.messages import Run
from deployments.warm.plan import Want

_STOPPED = "The worker was stopped before the run could begin."


class Reports(Protocol):
    """How Prefect hears of an end that the engine could not report. A run that has ended stays as it is."""

    def crashed(self, flow_run: UUID, message: str) -> Awaitable[None]: ...
    def cancelled(self, flow_run: UUID) -> Awaitable[None]: ...


class NotStarted(RuntimeError):
    """The run was cancelled, or the worker stopped, before a child had it."""


class RunInHand:
    def __init__(self, flow_run: UUID, reports: Reports) -> None:
        self.flow_run = flow_run
        self._reports = reports
        self._cancelled = self._given_up = False
        self._waiting = anyio.CancelScope()
        self._life: Life | None = None

    def cancel(self) -> None:
        """Stop it, whatever it is doing; `carry_out` then reports it as cancelled."""
        self._cancelled = True
        if self._life is None:
            self._waiting.cancel()
        elif self._life.lane.run == self.flow_run:  # otherwise it has ended there, and the child may have another one
            self._life.stop(cancelled=self.flow_run)

    @property
    def _unwanted(self) -> bool:
        return self._cancelled or self._given_up

    def give_up(self) -> None:
        """Do not start it any more. Nothing once it has started."""
        if self._life is None:
            self._given_up = True
            self._waiting.cancel()

    async def carry_out(
        self, lanes: Lanes, want: Want, env: Mapping[str, str], started: Callable[[str | Exception], None]
    ) -> tuple[str, int]:
        """Answers with the place (<host>:<pid>) and a status code, when all is reported. `started` hears the place."""
        try:
            with self._waiting:
                life = await lanes.acquire(want)
                if not self._unwanted:  # said before the waiting began, which then was none
                    self._life = life
        except CannotStart as error:
            await self._reports.crashed(self.flow_run, str(error))
            started(error)
            return "", 1
        if self._life is None:
            await self._report_unstarted()
            started(NotStarted(str(self.flow_run)))
            return "", 1
        place = f"{socket.gethostname()}:{self._life.pid}"
        ending = self._life.run(Run(flow_run_id=want.run, entrypoint=want.entrypoint, env=dict(env)), want.travel)
        started(place)
        return place, await self._report(await ending, lanes)

    async def _report_unstarted(self) -> None:
        if self._cancelled:
            await self._reports.cancelled(self.flow_run)
        else:
            await self._reports.crashed(self.flow_run, _STOPPED)

    async def _report(self, outcome: Outcome, lanes: Lanes) -> int:
        assert self._life
        if self._cancelled:
            if self._life.lane.state is State.STOPPING:
                await self._life.gone()  # Cancelled means that it has stopped
            await self._reports.cancelled(self.flow_run)
            return 0
        if isinstance(outcome, RunDied):
            when = "as the worker was stopped" if lanes.closing else "in the middle of the run"
            message = f"Its warm child (pid {self._life.pid}) ended with {describe_exit(outcome.code)} {when}."
            await self._reports.crashed(self.flow_run, message)
        elif outcome.code:
            problem = outcome.problem or describe_exit(outcome.code)
            message = f"It could not be executed, or its end not be reported: {problem}"
            await self._reports.crashed(self.flow_run, message)
        return outcome.code
