"""What stands near: the shore, pines, a town, a lighthouse, a boat, birds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.engines.painting.canvas import Canvas
from tasks.engines.painting.land import DRY, FOREST, GRASS, SAND, SNOW, Ridge, paint_ridge
from tasks.engines.painting.light import Colour, rgb
from tasks.engines.painting.noise import Field, generator

Points = Sequence[tuple[float, float]]
LAMP = rgb("ffc978")
SHIFT = 4  # OpenCV draws at sixteenths of a pixel, so that a slow camera move does not make edges jump


def _mask(canvas: Canvas, polygons: Sequence[Points]) -> Field:
    """Alpha (height, width) of polygons given in pixels."""
    mask = np.zeros((canvas.height, canvas.width), np.uint8)
    shapes = [np.rint(np.array(points) * (1 << SHIFT)).astype(np.int32) for points in polygons]
    for shape in shapes:
        cv2.fillPoly(mask, [shape], 255, cv2.LINE_AA, SHIFT)
    return mask.astype(np.float32) / 255


def _at(canvas: Canvas, line: Field, column: float) -> float:
    return float(line[0, int(np.clip(column, 0, canvas.width - 1))]) * canvas.height


def paint_shore(canvas: Canvas) -> None:
    """The bank we stand on, lowest in the middle, with pines at its sides where there is a forest or a sea."""
    scene = canvas.scene
    ground = SNOW * 0.9 if "snow" in scene else SAND if "desert" in scene else GRASS * 0.8
    top = ground * 1.1 if "snow" in scene or "desert" in scene else DRY
    shore = Ridge("shore", 1.03, 0.13, 0.7, 1.0, ground, top, sharp=False)
    line = paint_ridge(canvas, shore, bowl=0.07)
    if "desert" not in scene and "city" not in scene:
        _pines(canvas, line, "shore-pines", 1.0, (0.16, 0.34), 34 if "forest" in scene else 22, lambda x: abs(x) > 0.5)


def paint_trees(canvas: Canvas, line: Field, layer: str, nearness: float, from_x: float = -2.0) -> None:
    """A forest along a ridge, right of `from_x`."""
    heights = (0.028 + 0.05 * nearness, 0.05 + 0.10 * nearness)
    _pines(canvas, line, layer, nearness, heights, int(260 - 150 * nearness), lambda x: x > from_x)


def _pines(
    canvas: Canvas,
    line: Field,
    layer: str,
    nearness: float,
    heights: tuple[float, float],
    count: int,
    stands: Callable[[float], bool],
) -> None:
    rng = generator(canvas.seed, layer)
    shapes = list[Points]()
    for _ in range(count):
        x, tall, lean = rng.uniform(-1.7, 1.7), rng.uniform(*heights), rng.uniform(-0.05, 0.05)
        jag = rng.uniform(0.75, 1.25, 7)
        if not stands(x):
            continue
        column = canvas.column(x, nearness)
        if -80 <= column <= canvas.width + 80:
            foot = _at(canvas, line, column) + 0.012 * canvas.height
            shapes.append(_pine(column, foot, tall * canvas.height, lean, jag))
    light = canvas.light
    ground = SNOW * 0.75 if "snow" in canvas.scene else FOREST * 0.75
    colour = ground * (light.shade * 0.75 + light.direct * 0.20)
    air = 0.72 * (1 - nearness) ** 5 + (0.35 * (1 - nearness) if "fog" in canvas.scene else 0.08 * (1 - nearness))
    canvas.cover((colour + air * (light.haze - colour))[None, None], _mask(canvas, shapes))


def _pine(column: float, foot: float, tall: float, lean: float, jag: NDArray[np.float64]) -> Points:
    """A trunk with tiers of branches, each tier wider than the one above it."""
    right, left = list[tuple[float, float]](), list[tuple[float, float]]()
    tiers = len(jag)
    for i, width in enumerate(jag):
        share = (i + 1) / tiers
        y = foot - tall * (1 - 0.90 * share)
        reach = 0.20 * tall * share * width
        middle = column + lean * tall * (1 - share)
        right += [(middle + reach, y), (middle + reach * 0.45, y - 0.035 * tall)]
        left += [(middle - reach, y), (middle - reach * 0.45, y - 0.035 * tall)]
    trunk = 0.025 * tall
    stem = [(column + trunk, foot - 0.1 * tall), (column + trunk, foot), (column - trunk, foot)]
    stem.append((column - trunk, foot - 0.1 * tall))
    return [(column + lean * tall, foot - tall), *right, *stem, *reversed(left)]


def paint_city(canvas: Canvas, horizon: float, layer: str = "city", nearness: float = 0.25, scale: float = 1.0) -> None:
    """A skyline on the horizon; windows light up as it gets dark."""
    rng = generator(canvas.seed, layer)
    light = canvas.light
    wall = rgb("7d8088") * (light.shade * 0.8 + light.direct * 0.5) + LAMP * 0.06 * light.lamps  # street light
    for x in np.sort(rng.uniform(-1.5, 1.5, int(120 / scale))):
        middle = np.exp(-((x / 0.6) ** 2))
        tall = scale * (0.02 + rng.random() ** 2 * (0.05 + 0.20 * middle))
        wide = scale * rng.uniform(0.018, 0.042)
        tone = rng.uniform(0.8, 1.1)
        lamps = rng.random((40, 12)) < 0.42
        _tower(canvas, (x, horizon, wide, tall), nearness, wall * tone, lamps)


def _tower(
    canvas: Canvas, box: tuple[float, float, float, float], nearness: float, wall: Colour, lamps: NDArray[np.bool_]
) -> None:
    x, foot, wide, tall = box
    left, right = canvas.column(x - wide / 2, nearness), canvas.column(x + wide / 2, nearness)
    if right < 0 or left >= canvas.width:
        return
    top, bottom = (foot - tall) * canvas.height, (foot + 0.004) * canvas.height
    light = canvas.light
    air = 0.38 if "fog" in canvas.scene else 0.12
    colour = wall + air * (light.haze - wall)
    canvas.cover(colour[None, None], _mask(canvas, [[(left, top), (right, top), (right, bottom), (left, bottom)]]))
    if not light.lamps:
        return
    step = 0.0105 * canvas.height
    rows, columns = int((bottom - top) / step) - 1, int((right - left) / step)
    windows = [
        [(wx, wy), (wx + step * 0.42, wy), (wx + step * 0.42, wy + step * 0.5), (wx, wy + step * 0.5)]
        for row in range(min(rows, 40))
        for column in range(min(columns, 12))
        if lamps[row, column]
        for wx, wy in [(left + (column + 0.3) * step, top + (row + 0.6) * step)]
    ]
    canvas.cover(LAMP[None, None], _mask(canvas, windows) * light.lamps * 0.9)


def paint_lighthouse(canvas: Canvas, line: Field, x: float, nearness: float) -> None:
    column, size = canvas.column(x, nearness), 0.17 * canvas.height
    foot = _at(canvas, line, column) + 0.01 * canvas.height
    light = canvas.light
    bright = light.shade * 0.6 + light.direct * 0.75
    for i, colour in enumerate([rgb("f2efe8"), rgb("b8463c")] * 2 + [rgb("f2efe8")]):
        upper, lower = 0.085 - 0.009 * (i + 1), 0.085 - 0.009 * i
        y0, y1 = foot - size * (i + 1) * 0.17, foot - size * i * 0.17
        band = [(column - size * lower, y1), (column + size * lower, y1)]
        band += [(column + size * upper, y0), (column - size * upper, y0)]
        canvas.cover((colour * bright)[None, None], _mask(canvas, [band]))
    top = foot - size * 0.85
    lamp = [(column - 0.03 * size, top), (column + 0.03 * size, top), (column + 0.03 * size, top - 0.08 * size)]
    canvas.cover(LAMP[None, None], _mask(canvas, [[*lamp, (column - 0.03 * size, top - 0.08 * size)]]))
    roof = [(column - 0.05 * size, top - 0.08 * size), (column + 0.05 * size, top - 0.08 * size)]
    canvas.cover((rgb("7a2e2a") * bright)[None, None], _mask(canvas, [[*roof, (column, top - 0.15 * size)]]))
    if light.lamps > 0.3:
        beam = np.hypot((canvas.across(nearness) - x), canvas.down() - (top - 0.04 * size) / canvas.height)
        canvas.cover(LAMP[None, None], (light.lamps * 0.8 * np.exp(-beam / 0.022)).astype(np.float32))


def paint_boat(canvas: Canvas, horizon: float) -> None:
    nearness, x, y = 0.5, -0.16, horizon + 0.075
    column, row, size = canvas.column(x, nearness), y * canvas.height, 0.062 * canvas.height
    bright = canvas.light.shade * 0.6 + canvas.light.direct * 0.7
    sail = [(column, row - 1.5 * size), (column + 0.62 * size, row - 0.16 * size), (column, row - 0.16 * size)]
    jib = [(column - 0.06 * size, row - 1.3 * size), (column - 0.06 * size, row - 0.16 * size)]
    hull = [(column - 0.62 * size, row - 0.1 * size), (column + 0.72 * size, row - 0.1 * size)]
    hull += [(column + 0.5 * size, row + 0.1 * size), (column - 0.45 * size, row + 0.1 * size)]
    echo = [(column, row + 1.1 * size), (column + 0.5 * size, row + 0.12 * size), (column, row + 0.12 * size)]
    canvas.cover((rgb("f4efe4") * bright)[None, None], _mask(canvas, [echo]) * 0.22)
    canvas.cover((rgb("f4efe4") * bright)[None, None], _mask(canvas, [sail]))
    canvas.cover(
        (rgb("e6dcc8") * bright)[None, None], _mask(canvas, [[*jib, (column - 0.5 * size, row - 0.16 * size)]])
    )
    canvas.cover((rgb("6b3b2a") * bright)[None, None], _mask(canvas, [hull]))


def paint_birds(canvas: Canvas, horizon: float) -> None:
    rng = generator(canvas.seed, "birds")
    shapes = list[Points]()
    for _ in range(9):
        x, y, size = rng.normal(0.25, 0.16), horizon * rng.uniform(0.42, 0.66), rng.uniform(0.008, 0.016)
        column, row, wing = canvas.column(x, 0.3), y * canvas.height, size * canvas.height
        flap = rng.uniform(0.25, 0.7) * wing
        shapes.append(
            [(column - wing, row - flap), (column, row), (column + wing, row - flap), (column, row + 0.22 * wing)]
        )
    canvas.cover((canvas.light.shade * 0.35)[None, None], _mask(canvas, shapes) * 0.85)
