"""All children of a worker: one kept alive on each place, and the choice of one for a run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import anyio

from deployments.warm.affinity import choose
from deployments.warm.lane import State
from deployments.warm.lanefile import FOLDER, running_flow_runs
from deployments.warm.life import Life, Logger
from deployments.warm.places import Place
from deployments.warm.plan import Limits, Plan, Want, preparation

__all__ = ["CannotStart", "Lanes", "Slot", "running_flow_runs"]

_LONGEST_PAUSE = 60.0


class CannotStart(RuntimeError):
    """The warm child of a lane cannot start."""

    def __init__(self, lane: str, problem: str) -> None:
        self.lane, self.problem = lane, problem
        super().__init__(f"the warm child of lane {lane} cannot start: {problem}")


@dataclass(slots=True)
class Slot:
    """A place, the child that lives there now, and what the next one is to be."""

    place: Place
    plan: Plan
    life: Life | None = None
    reserved: UUID | None = None  # the next child is started for this run
    failures: int = 0  # starts that failed, all together
    in_a_row: int = 0

    @property
    def state(self) -> State:
        return self.life.lane.state if self.life else State.DEAD

    @property
    def pause(self) -> float:
        """Before the next start, so that a child that cannot start does not burn a core."""
        return min(_LONGEST_PAUSE, 2.0 ** (self.in_a_row - 1)) if self.in_a_row else 0.0


class Lanes:
    """Use it as a context manager; leaving it ends every child, a run under way included.

    Its children are looked after by tasks of their own and not by a task group: a worker whose server was away at
    the start enters it from another task than the one that leaves it.
    """

    def __init__(
        self, places: Sequence[Place], plan: Plan, limits: Limits, home: Path, env: Mapping[str, str], log: Logger
    ) -> None:
        self.slots = [Slot(place, plan) for place in places]
        self._plan, self._limits, self._log = plan, limits, log
        self._folder = home / FOLDER
        self._env = dict(env)
        self._changed = anyio.Event()
        self._closing = anyio.Event()
        self._keepers: list[asyncio.Task[None]] = []
        self._known: dict[str, tuple[str, float]] = {}  # entrypoint: version, and since when

    async def __aenter__(self) -> Lanes:
        self._keepers = [asyncio.create_task(self._keep(slot)) for slot in self.slots]
        return self

    async def __aexit__(self, *error: object) -> None:
        self.close()
        with anyio.CancelScope(shield=True):
            await asyncio.gather(*self._keepers)

    def close(self) -> None:
        """End all children: a run under way has the grace."""
        self._closing.set()
        for slot in self.slots:
            if slot.life:
                slot.life.stop()
        self._notify()

    @property
    def closing(self) -> bool:
        return self._closing.is_set()

    async def idle(self) -> None:
        """Wait until no run is under way."""
        while any(slot.life and slot.life.lane.run for slot in self.slots):
            await self._changed.wait()

    async def acquire(self, want: Want) -> Life:
        """A ready child for this run; hand the run over at once. Raises `CannotStart`."""
        self._note_version(want)
        before = sum(slot.failures for slot in self.slots)
        try:
            while True:
                if life := self._find(want):
                    return life
                self._refuse_if_hopeless(want, before)
                await self._changed.wait()
        finally:
            for slot in self.slots:
                if slot.reserved == want.run:
                    self._free(slot)

    def _free(self, slot: Slot) -> None:
        """Its run got another child, or does not want one any more."""
        slot.reserved = None
        if slot.life and slot.state is State.STARTING and slot.plan != self._plan:
            slot.plan = self._plan
            slot.life.stop()

    def _find(self, want: Want) -> Life | None:
        ready = {slot.life: slot for slot in self.slots if slot.life and slot.state is State.READY}
        mine = [life for life, slot in ready.items() if slot.reserved == want.run and self._fits(life, want)]
        free = [life for life, slot in ready.items() if slot.reserved is None]
        if found := choose(mine or [life for life in free if self._fits(life, want)], want):
            return found
        if free and not any(slot.reserved == want.run for slot in self.slots):
            self._replace(ready[min(free, key=lambda life: life.idle_since)], want)
        return None

    def _replace(self, slot: Slot, want: Want) -> None:
        """Its child was prepared for other runs, or has loaded code that is no longer deployed."""
        assert slot.life
        self._log.info("warm_child_replaced lane=%s pid=%s for=%s", slot.place.name, slot.life.pid, want.run)
        slot.reserved, slot.plan = want.run, want.plan
        slot.life.stop()

    def _fits(self, life: Life, want: Want) -> bool:
        _, since = self._known.get(want.entrypoint, ("", 0.0))
        return life.plan == want.plan and life.begun >= since

    def _note_version(self, want: Want) -> None:
        """A deployment's version changed: a child that was started before has the former code in memory."""
        if want.version is None:
            return
        known = self._known.get(want.entrypoint)
        if known is None:
            self._known[want.entrypoint] = (want.version, 0.0)
        elif known[0] != want.version:
            self._known[want.entrypoint] = (want.version, time.monotonic())

    def _refuse_if_hopeless(self, want: Want, failures_before: int) -> None:
        """Somebody failed since the run began to wait, and nobody is left who may become ready for it."""
        if self.closing:
            raise CannotStart("of this worker", "the worker is being stopped")
        mine = [slot for slot in self.slots if slot.reserved == want.run] or self.slots
        failed = [slot for slot in mine if slot.life and slot.life.lane.problem]
        if len(failed) == len(mine) and sum(slot.failures for slot in self.slots) > failures_before:
            slot = failed[-1]
            assert slot.life
            raise CannotStart(slot.place.name, slot.life.lane.problem or "")

    async def _keep(self, slot: Slot) -> None:
        while True:
            await self._until_needed(slot)
            if self.closing:
                return
            life = slot.life = Life(slot.place.name, slot.plan, self._limits, self._log, self._notify)
            prepare = preparation(slot.plan, self._limits, self._folder / f"{slot.place.name}.json")
            await life.live(prepare, self._environment(slot))
            if life.lane.problem is None:
                slot.in_a_row = 0
                continue
            slot.failures, slot.in_a_row, slot.plan = slot.failures + 1, slot.in_a_row + 1, self._plan
            self._log.error("warm_child_cannot_start lane=%s %s", slot.place.name, life.lane.problem)
            self._notify()
            with anyio.move_on_after(slot.pause):
                await self._closing.wait()

    async def _until_needed(self, slot: Slot) -> None:
        """Of CPU slots one child stands by, and the next is started when that one gets a run: each takes 150 MB.

        A GPU's child is started at once, since loading its models takes long and nothing else may use the GPU.
        """
        while not self.closing and not slot.place.gpu and slot.reserved is None:
            if not any(other.state in (State.STARTING, State.READY) for other in self.slots if other is not slot):
                return
            await self._changed.wait()

    def _environment(self, slot: Slot) -> dict[str, str]:
        merged: dict[str, str | None] = {**self._env, **dict(slot.plan.env), **slot.place.environment}
        # PREFECT__…: what the worker or the run that started it tells its own calls of the API
        return {k: v for k, v in merged.items() if v is not None and not k.startswith("PREFECT__")}

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
