"""What an engine is: load once, generate many times, say what you can do. Frames are RGB uint8 arrays (H, W, 3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
#: Called with (steps done, steps in all); raises to stop the generation within a step.
OnStep = Callable[[int, int], None]


class EngineError(Exception):
    """The engine cannot do what was asked; asking again will not help. The message says what to change."""


class EngineOutOfMemory(EngineError):
    """Every rung of the memory ladder was tried; a later attempt on a freer machine may succeed."""


class ModelUnavailable(Exception):
    """The model could not be fetched now. No `EngineError`: asking again later may help."""


@dataclass(frozen=True, slots=True)
class Setup:
    """How the operator wants models to run on this machine. It never changes what a request asks for.

    `dtype`, `cache`, `compile` and the seams of `vae_tiling` in large pictures may change pixels a little; the others
    trade time for memory. An engine without weights ignores all of it.
    """

    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"  # auto: bfloat16 on a GPU, float32 on a CPU
    device: str = "auto"  # auto: cuda, mps or cpu, the first there is; or a torch device such as "cuda:1"
    offload: Literal["none", "model", "sequential"] = "none"
    vae_tiling: bool = False
    vae_slicing: bool = False
    cache: Literal["none", "first_block", "taylorseer", "pyramid"] = "none"
    compile: bool = False
    offline: bool = False  # only what is on this machine: nothing is downloaded


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
    oldest first: the clip begins with their continuation. `loras` are verified local files and their strengths.
    `options` carries steps, guidance_scale, flow_shift and, for images with a start, strength.
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


DEFAULT_SETUP = Setup()


class Engine(Protocol):
    name: str
    capabilities: Capabilities

    def check(self, model: str, request: Request) -> None:
        """Raises `EngineError` for what can be refused without loading anything: sizes, lengths, missing pictures."""
        ...

    def weigh(self, model: str, setup: Setup) -> int:
        """Bytes that the model will take once loaded; 0 where nothing is known before. Nothing is downloaded."""
        ...

    def load(self, model: str, setup: Setup = DEFAULT_SETUP) -> None:
        """Make `model` ready; a second call with the same model and setup is free.

        Raises `EngineError` where it cannot be had or trusted, `EngineOutOfMemory` where it does not fit.
        """
        ...

    def size(self) -> int:
        """Bytes of the loaded weights, 0 without any."""
        ...

    def generate(self, request: Request, on_step: OnStep) -> Iterator[Frame]:
        """Yield exactly `request.frames` frames. With anchors, the clip begins and ends on them.

        Without weights they are equal to the anchors; a diffusion model comes as near as it can. Raises `EngineError`
        before any work for a request it cannot honour. Same request, same frames. What `on_step` raises ends it.
        """
        ...

    def unload(self) -> None:
        """Let go of the model, so that its memory can be collected. The engine can be loaded again."""
        ...
