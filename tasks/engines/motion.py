"""Clips without weights or GPU: real motion between two pictures by optical flow, or a camera push into one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tasks.engines.morph import Morph, Warp, push_field
from tasks.engines.protocol import DEFAULT_SETUP, Capabilities, EngineError, Frame, OnStep, Request, Setup

SIDES = (64, 4096)
MOST_FRAMES = 100_000
TRAVEL = 0.10  # how far a camera push goes in one clip: a tenth nearer
ROOM = 8  # frames a chained clip needs after its context to reach its end anchor without a jerk


class MotionEngine:
    """The CPU engine. It takes Wan's frame grid and sizes, so that a film rehearsed on it has its final length.

    First and last frame equal the anchors. A chained clip shows its context again, then goes on from its last frame.
    """

    name = "motion"
    capabilities = Capabilities(default_model="flow", needs_anchor=True)

    def check(self, model: str, request: Request) -> None:  # noqa: ARG002 (its only model)
        _check(request, self.capabilities)

    def weigh(self, model: str, setup: Setup) -> int:  # noqa: ARG002 (there are no weights)
        return 0

    def load(self, model: str, setup: Setup = DEFAULT_SETUP) -> None:  # noqa: ARG002
        if model not in ("", self.capabilities.default_model):
            raise EngineError(f"The motion engine has no model {model!r}, only {self.capabilities.default_model!r}.")

    def size(self) -> int:
        return 0

    def unload(self) -> None:
        """There is nothing to let go of."""

    def generate(self, request: Request, on_step: OnStep) -> Iterator[Frame]:
        _check(request, self.capabilities)
        return _generate(request, on_step)


def _check(request: Request, able: Capabilities) -> None:
    step, offset = able.frame_grid
    low, high = SIDES
    if request.frames < 1 or request.frames > MOST_FRAMES or (request.frames - offset) % step:
        raise EngineError(f"Clips have {step}n+{offset} frames, not {request.frames}; quantise the length first.")
    for side in (request.width, request.height):
        if side % able.size_multiple or not low <= side <= high:
            size, unit = f"{request.width}×{request.height}", able.size_multiple
            raise EngineError(f"A clip of {size} cannot be made: sides are multiples of {unit} from {low} to {high}.")
    pictures = {"start": request.start, "end": request.end}
    pictures |= {f"context {i}": frame for i, frame in enumerate(request.context)}
    for name, picture in pictures.items():
        if picture is not None and (picture.shape != _shape(request) or picture.dtype != np.uint8):
            have, want = f"{picture.shape} {picture.dtype}", f"{_shape(request)} uint8"
            raise EngineError(f"The {name} picture is {have}, the clip is {want}; fit the picture first.")
    if all(picture is None for picture in pictures.values()):
        raise EngineError("The motion engine moves pictures; give a start, an end or context frames.")


def _shape(request: Request) -> tuple[int, int, int]:
    return request.height, request.width, 3


def _generate(request: Request, on_step: OnStep) -> Iterator[Frame]:
    for done, frame in enumerate(_clip(request), start=1):
        on_step(done, request.frames)
        yield frame


def _clip(request: Request) -> Iterator[Frame]:
    """Context frames as they are, then the way from the last of them (or from the start) to the end."""
    kept = request.context[: _kept(request)]
    yield from (frame.copy() for frame in kept)
    start = kept[-1] if kept else request.start
    # The picture the way begins on is the last kept frame, which has been shown.
    shown = 1 if kept else 0
    count = request.frames - len(kept) + shown
    if start is not None and request.end is not None:
        way = _between(start, request.end, count)
    elif start is not None:
        way = _push(start, count, request.seed, backwards=False)
    else:
        assert request.end is not None, "checked: there is a picture"
        way = _push(request.end, count, request.seed, backwards=True)
    for i, frame in enumerate(way):
        if i >= shown:
            yield frame


def _kept(request: Request) -> int:
    """How many context frames are shown again: all, unless too little of the clip would be left to reach the end.

    What is cut short still meets the predecessor smoothly: the stitch cross-fades over the whole overlap.
    """
    if request.end is None:
        return min(len(request.context), request.frames)
    room = min(ROOM, request.frames - 1)
    return min(len(request.context), max(1, request.frames - room))


def _between(start: Frame, end: Frame, count: int) -> Iterator[Frame]:
    if count == 1:
        yield start.copy()
        return
    morph = Morph(start, end)
    for i in range(count):
        yield morph.at(_pace(i / (count - 1)))


def _pace(t: float) -> float:
    """Slower near the anchors, without standing still: at a standstill every anchor would show as a stop."""
    return (t * t * (3 - 2 * t) + t) / 2


def _push(picture: Frame, count: int, seed: int, *, backwards: bool) -> Iterator[Frame]:
    """A camera that moves into the picture and a little aside, or out of it and ends on it."""
    height, width = picture.shape[:2]
    warp = Warp(width, height)
    angle = np.random.default_rng(seed & 0xFFFF_FFFF).uniform(0, 2 * np.pi)
    aside = np.array([np.cos(angle), 0.5 * np.sin(angle)], np.float32) * 0.015 * width
    field = TRAVEL * push_field(picture, warp) + aside
    for i in range(count):
        t = i / max(1, count - 1)
        t = 1 - t if backwards else t
        yield warp(picture, (t * field).astype(np.float32)) if t else picture.copy()
