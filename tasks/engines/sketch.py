"""Pictures without weights: landscapes painted from the words of the prompt, the rest left to the seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from tasks.engines.painting.canvas import Canvas
from tasks.engines.painting.foreground import (
    paint_birds,
    paint_boat,
    paint_city,
    paint_lighthouse,
    paint_shore,
    paint_trees,
)
from tasks.engines.painting.land import hill_ridges, mountain_ridges, paint_headland, paint_ridge
from tasks.engines.painting.light import light_of
from tasks.engines.painting.noise import generator
from tasks.engines.painting.scene import read_prompt
from tasks.engines.painting.sky import paint_sky
from tasks.engines.painting.water import paint_water
from tasks.engines.protocol import DEFAULT_SETUP, Capabilities, EngineError, Frame, OnStep, Request, Setup

SIDES = (16, 4096)
HORIZON = 0.56
Layer = Callable[[Canvas], None]


class SketchEngine:
    """One picture a request, drawn on the CPU in about a second. The same prompt, seed and size give the same bytes.

    `options["pan"]` moves the camera aside by that share of the picture's height: what is near moves further than what
    is far. With one seed and two prompts that differ in the time of day only, the place stays the same.
    """

    name = "sketch"
    capabilities = Capabilities(
        frame_grid=(1, 0),
        size_multiple=1,
        makes_video=False,
        makes_images=True,
        end_anchor=False,
        chaining=False,
        default_model="landscape",
    )

    def check(self, model: str, request: Request) -> None:  # noqa: ARG002 (its only model)
        _check(request)

    def weigh(self, model: str, setup: Setup) -> int:  # noqa: ARG002 (there are no weights)
        return 0

    def load(self, model: str, setup: Setup = DEFAULT_SETUP) -> None:  # noqa: ARG002
        if model not in ("", self.capabilities.default_model):
            raise EngineError(f"The sketch engine has no model {model!r}, only {self.capabilities.default_model!r}.")

    def size(self) -> int:
        return 0

    def unload(self) -> None:
        """There is nothing to let go of."""

    def understood(self, prompt: str) -> tuple[str, ...]:
        """The words of a prompt that decide something here; all others change nothing."""
        return read_prompt(prompt, 0)[1]

    def generate(self, request: Request, on_step: OnStep) -> Iterator[Frame]:
        _check(request)
        return _generate(request, on_step)


def _check(request: Request) -> None:
    low, high = SIDES
    if request.frames != 1:
        raise EngineError(f"The sketch engine makes single pictures, not {request.frames} frames; ask for 1.")
    if not (low <= request.width <= high and low <= request.height <= high):
        raise EngineError(f"A sketch of {request.width}×{request.height} cannot be made; sides are {low} to {high}.")


def _generate(request: Request, on_step: OnStep) -> Iterator[Frame]:
    scene, _ = read_prompt(request.prompt, request.seed)
    pan = float(request.options.get("pan", 0.0))
    canvas = Canvas(request.width, request.height, request.seed, scene, light_of(scene), pan)
    layers = list(_layers(canvas))
    for done, layer in enumerate(layers, start=1):
        layer(canvas)
        on_step(done, len(layers))
    yield _develop(canvas)


def _layers(canvas: Canvas) -> Iterator[Layer]:
    """From the back to the front."""
    scene = canvas.scene
    yield lambda c: paint_sky(c, HORIZON)
    if scene.places & {"mountains", "forest", "sea"} and "desert" not in scene:
        for ridge in mountain_ridges(canvas, HORIZON):
            yield lambda c, r=ridge: paint_ridge(c, r)  # type: ignore[misc]
    if "city" in scene:
        yield lambda c: paint_city(c, HORIZON + 0.012)
    if "sea" in scene or "city" in scene:
        yield _sea
    else:
        yield _land
    if "birds" in scene:
        yield lambda c: paint_birds(c, HORIZON)
    yield paint_shore


def _sea(canvas: Canvas) -> None:
    paint_water(canvas, HORIZON + 0.01)
    if "boat" in canvas.scene:
        paint_boat(canvas, HORIZON)
    if "city" not in canvas.scene:
        line = paint_headland(canvas, HORIZON)
        paint_trees(canvas, line, "headland-trees", 0.45, from_x=0.62)
        if "lighthouse" in canvas.scene:
            paint_lighthouse(canvas, line, 0.47, 0.45)


def _land(canvas: Canvas) -> None:
    wooded = "forest" in canvas.scene
    for ridge in hill_ridges(canvas, HORIZON):
        line = paint_ridge(canvas, ridge)
        if wooded:
            paint_trees(canvas, line, ridge.layer + "-trees", ridge.nearness)


def _develop(canvas: Canvas) -> Frame:
    """A little darker toward the corners, a little grain against banding, 8 bits."""
    x, y = canvas.across() * canvas.height / canvas.width * 2, canvas.down() * 2 - 1
    corners = 1 - 0.10 * np.clip(x**2 + y**2 - 0.6, 0, None)
    grain = generator(canvas.seed, "grain").normal(0, 0.004, (canvas.height, canvas.width, 1))
    picture = np.clip(canvas.pixels, 0, None) * corners[..., None]
    picture = np.where(picture < 0.8, picture, 0.8 + 0.2 * np.tanh((picture - 0.8) / 0.2))  # highlights roll off
    return np.clip(np.rint((picture + grain) * 255), 0, 255).astype(np.uint8)
