"""Which free child gets a run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

from deployments.warm.plan import Want


class Free(Protocol):
    """A ready child: models in its memory, the travel it worked on last, and since when it has been idle."""

    @property
    def models(self) -> tuple[str, ...]: ...
    @property
    def travel(self) -> str | None: ...
    @property
    def idle_since(self) -> float: ...


C = TypeVar("C", bound=Free)


def choose(free: Iterable[C], want: Want) -> C | None:
    """One that has the run's models; among those the one that made the travel's last segment; else the longest idle.

    It only chooses among the free: to wait for a busy child that has the model would cost more than to load it in
    the long run, and would leave a GPU idle.
    """

    def order(child: C) -> tuple[bool, bool, float]:
        has_models = bool(want.models) and want.models <= set(child.models)
        same_travel = want.travel is not None and child.travel == want.travel
        return (not has_models, not same_travel, child.idle_since)

    return min(free, key=order, default=None)
