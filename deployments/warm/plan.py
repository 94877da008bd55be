"""What a child is prepared with, and what a run asks of the child that gets it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from deployments.warm.messages import Prepare


@dataclass(frozen=True, slots=True)
class Plan:
    """Runs with equal plans may share a child. `env`: pairs of name and value, None to unset."""

    working_dir: Path | None = None
    preload: tuple[str, ...] = ()
    entrypoints: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    memory_bytes: int | None = None
    env: tuple[tuple[str, str | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """How long things may take, in seconds, and when a child is worn. 0 runs or bytes: no limit."""

    start_seconds: float = 120.0
    grace_seconds: float = 5.0
    drain_seconds: float = 30.0
    recycle_after_runs: int = 0
    recycle_above_bytes: int = 0

    def worn(self, runs: int, rss_bytes: int) -> bool:
        return 0 < self.recycle_after_runs <= runs or 0 < self.recycle_above_bytes < rss_bytes


def preparation(plan: Plan, limits: Limits, lane_file: Path) -> Prepare:
    return Prepare(
        lane_file=lane_file,
        working_dir=plan.working_dir,
        preload=plan.preload,
        entrypoints=plan.entrypoints,
        models=plan.models,
        memory_bytes=plan.memory_bytes,
        start_seconds=limits.start_seconds,
        orphan_seconds=limits.drain_seconds,
        grace_seconds=limits.grace_seconds,
    )


@dataclass(frozen=True, slots=True)
class Want:
    """A run that looks for a child. `models` and `travel` come from its tags; they are wishes, the rest is not."""

    run: UUID
    entrypoint: str
    version: str | None = None
    plan: Plan = field(default_factory=Plan)
    models: frozenset[str] = frozenset()
    travel: str | None = None


def wishes(tags: Iterable[str]) -> tuple[frozenset[str], str | None]:
    """Models (`model:<engine>:<model>`) and travel (`travel:<id>`) that a run's tags name."""
    tags = list(tags)
    models = frozenset(tag.removeprefix("model:") for tag in tags if tag.startswith("model:"))
    travel = next((tag.removeprefix("travel:") for tag in tags if tag.startswith("travel:")), None)
    return models, travel
