"""One life of one child: the state machine of `lane.py` driven by a real process."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from uuid import UUID

import anyio
import anyio.abc

from deployments.warm.lane import IllegalEvent, Lane, Outcome, RunDied, State, describe_exit
from deployments.warm.messages import BadMessage, Cancel, Ended, Exit, Prepare, Problem, Ready, Run
from deployments.warm.plan import Limits, Plan
from deployments.warm.process import ChildProcess

Logger = logging.Logger | logging.LoggerAdapter[logging.Logger]


class Life:
    """`changed` is called after every event; `models`, `travel` and `idle_since` are for the choice of a child."""

    def __init__(self, name: str, plan: Plan, limits: Limits, log: Logger, changed: Callable[[], None]) -> None:
        self.name, self.plan, self.lane = name, plan, Lane()
        self.models: tuple[str, ...] = ()
        self.travel: str | None = None
        self.begun = self.idle_since = time.monotonic()
        self._limits, self._log, self._changed = limits, log, changed
        self._child: ChildProcess | None = None
        self._tasks: anyio.abc.TaskGroup | None = None
        self._ended, self._over, self._ready, self._dead = (anyio.Event() for _ in range(4))

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    async def live(self, prepare: Prepare, env: Mapping[str, str]) -> None:
        """From the start of the process until nothing of it is left."""
        try:
            self._child = await ChildProcess.start(prepare, env)
        except OSError as error:
            self.lane.cannot_start(f"no process can be started: {error}")
            self._end(-1)
            return
        code = -1
        try:
            async with anyio.create_task_group() as self._tasks:
                if self.lane.state is State.STOPPING:
                    self._tasks.start_soon(self._stop, False, None)
                self._tasks.start_soon(self._watch_start)
                self._tasks.start_soon(self._read)
                code = await self._child.wait()
                with anyio.move_on_after(self._limits.grace_seconds):
                    await self._over.wait()  # its last words are read
                self._tasks.cancel_scope.cancel()
        finally:
            self._child.kill_group()
            self._child.close()
            self._end(code)

    async def run(self, run: Run, travel: str | None = None) -> Outcome:
        """Hand it over to the ready child and wait for the end."""
        assert self._child
        self.lane.begin(run.flow_run_id)
        self.travel, self._ended = travel, anyio.Event()
        self._changed()
        await self._child.send(run)
        await self._ended.wait()
        assert self.lane.outcome
        return self.lane.outcome

    async def gone(self) -> None:
        """Wait until nothing of it is left."""
        await self._dead.wait()

    def stop(self, cancelled: UUID | None = None) -> None:
        """Ask it to end, and kill its group after the grace. A run under way is cancelled or, if not, crashes."""
        if self.lane.state is State.DEAD:
            return
        busy = self.lane.run is not None
        self.lane.stop()
        self._changed()
        if self._tasks:  # otherwise it is on its way to have some, and looks then
            self._tasks.start_soon(self._stop, busy, cancelled)

    async def _stop(self, busy: bool, cancelled: UUID | None) -> None:
        assert self._child
        if cancelled:
            await self._child.send(Cancel(flow_run_id=cancelled))
        elif busy or not self._ready.is_set():
            self._child.terminate()
        else:
            await self._child.send(Exit())
        await anyio.sleep(self._limits.grace_seconds)
        self._child.kill_group()

    async def _watch_start(self) -> None:
        # The child gives up by itself, and better knows why; this is for one that cannot even do that.
        allowed = self._limits.start_seconds + 1.0
        with anyio.move_on_after(allowed):
            await self._ready.wait()
            return
        if self.lane.state is State.STARTING:
            self._fail(f"it was not ready within {self._limits.start_seconds:g} s (start_seconds)")

    async def _read(self) -> None:
        assert self._child
        try:
            async for message in self._child.messages():
                self._hear(message)
        except (BadMessage, IllegalEvent) as error:
            self._log.error("warm_child_misspoke lane=%s %s", self.name, error)
            self._child.kill_group()
        finally:
            self._over.set()

    def _hear(self, message: Ready | Ended | Problem) -> None:
        match message:
            case Ready():
                self.lane.ready()
                self.models = message.models
                self._ready.set()
                self._log.info(
                    "warm_child_ready lane=%s pid=%s seconds=%.1f models=%s",
                    *(self.name, message.pid, message.seconds, ",".join(message.models) or "-"),
                )
            case Problem():
                self._fail(message.text)
            case Ended():
                self.lane.ended(message.flow_run_id, message.code, message.problem)
                self.models = message.models
                self._ended.set()
                if self._limits.worn(self.lane.runs, message.rss_bytes) and self.lane.state is State.READY:
                    self._log.info(
                        "warm_child_recycled lane=%s pid=%s runs=%s rss=%s",
                        *(self.name, self.pid, self.lane.runs, message.rss_bytes),
                    )
                    self.stop()
        self.idle_since = time.monotonic()
        self._changed()

    def _fail(self, problem: str) -> None:
        self.lane.cannot_start(problem)
        if self._tasks and self._child:
            self._tasks.start_soon(self._stop, False, None)

    def _end(self, code: int) -> None:
        if self.lane.state is not State.DEAD:
            self.lane.exited(code)
        if isinstance(self.lane.outcome, RunDied):
            self._log.warning("warm_child_died lane=%s pid=%s %s", self.name, self.pid, describe_exit(code))
        self._ended.set()
        self._over.set()
        self._dead.set()
        self._changed()
