"""What an engine is: load once, generate many times, say what you can do. Frames are RGB uint8 arrays (H, W, 3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
#: Called with (steps done, steps in all); raises to stop the generation within a step.
OnStep = Callable[[int, int], None]


class EngineError(Exception):
    """The engine cannot do what was asked; asking again will not help. The message says what to change."""


class EngineOutOfMemory(EngineError):
    """Every rung of the memory ladder was tried; a later attempt on a freer machine may succeed."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a request must fit. `frame_grid` (step, offset): lengths are step*n + offset, such as Wan's (4, 1)."""

    frame_grid: tuple[int, int] = (4, 1)
    size_multiple: int = 16
    makes_video: bool = True
    makes_images: bool = False
    end_anchor: bool = True
    chaining: bool = True
    needs_anchor: bool = False  # it moves pictures and cannot make one from a prompt
    default_model: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """One clip or one image (`frames == 1`, no anchors needed). Sizes in pixels, already on the engine's grid.

    `start` and `end` are anchors of the request's size; `context` holds the predecessor's last frames when chained,
    oldest first: the clip begins with their continuation. `options` carries steps, guidance_scale, flow_shift.
    """

    width: int
    height: int
    frames: int
    seed: int
    prompt: str = ""
    negative_prompt: str = ""
    start: Frame | None = None
    end: Frame | None = None
    context: Sequence[Frame] = ()
    loras: Mapping[str, float] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


class Engine(Protocol):
    name: str
    capabilities: Capabilities

    def load(self, model: str) -> None:
        """Make `model` ready; a second call with the same model is free."""
        ...

    def generate(self, request: Request, on_step: OnStep) -> Iterator[Frame]:
        """Yield exactly `request.frames` frames. With anchors, the first and the last equal them.

        Raises `EngineError` before any work for a request it cannot honour. Same request, same frames.
        """
        ...

    def unload(self) -> None: ...
