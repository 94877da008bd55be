"""The only table of task types: parameters, flow (= deployment), and the pool that can do the work."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

from tasks.errors import InvalidInput
from tasks.params.base import Params
from tasks.params.clips import ClipParams, FrameParams, ImageParams, InterpolateParams, JoinParams
from tasks.params.travel import SegmentParams, StitchParams, TravelParams

CONTROL, CPU, GPU, GPU_DOCKER = "control", "cpu", "gpu", "gpu-docker"
POOLS = (CONTROL, CPU, GPU)
Makes = Literal["video", "image"]
#: A pool that can do the tasks of another, by deployments of its own. Which of the two works is decided by which has a
#: worker; with one in each, both do.
STAND_INS = {GPU_DOCKER: GPU}


@dataclass(frozen=True, slots=True)
class Kind:
    task_type: str
    params: type[Params]
    pool: str
    aliases: tuple[str, ...] = ()
    makes: Makes | None = None  # by which of the site's engines

    @property
    def names(self) -> tuple[str, ...]:
        return (self.task_type, *self.aliases)

    @property
    def deployment(self) -> str:
        """Prefect's "flow/deployment": file, flow and deployment have one name."""
        return f"{self.task_type}/{self.task_type}"

    def deployment_in(self, pool: str) -> str:
        """As `deployment`; in a stand-in's pool it is named after the flow and what it runs in."""
        return self.deployment if pool == self.pool else f"{self.deployment}-{pool.rpartition('-')[2]}"

    @property
    def pools(self) -> tuple[str, ...]:
        """Its own, then those that stand in."""
        return (self.pool, *(pool for pool, other in STAND_INS.items() if other == self.pool))


KINDS = (
    Kind("travel_orchestrator", TravelParams, CONTROL),
    Kind("travel_segment", SegmentParams, GPU, makes="video"),
    Kind("travel_stitch", StitchParams, CPU),
    Kind("single_image", ImageParams, GPU, makes="image"),
    Kind("generate_video", ClipParams, GPU, aliases=("wgp",), makes="video"),
    Kind("interpolate_images", InterpolateParams, GPU, aliases=("rife_interpolate_images",), makes="video"),
    Kind("extract_frame", FrameParams, CPU),
    Kind("join_clips", JoinParams, GPU),
)
_BY_NAME = {name: kind for kind in KINDS for name in kind.names}


def find_kind(task_type: str) -> Kind:
    """Raises `InvalidInput` naming the nearest known type."""
    if task_type in _BY_NAME:
        return _BY_NAME[task_type]
    near = difflib.get_close_matches(task_type, _BY_NAME, n=1, cutoff=0)
    raise InvalidInput(
        f"task_type: there is no type {task_type[:80]!r}. Did you mean {near[0]!r}? Known: {', '.join(_BY_NAME)}."
    )


def types_of(pool: str) -> tuple[str, ...]:
    return tuple(name for kind in KINDS if pool in kind.pools for name in kind.names)


def is_known(task_type: str) -> bool:
    return task_type in _BY_NAME
