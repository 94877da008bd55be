"""Mountain ranges, hills, dunes: ridges one behind the other, paler with distance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.engines.painting.canvas import Canvas, Pixels
from tasks.engines.painting.light import Colour, rgb
from tasks.engines.painting.noise import Field, smoothstep


@dataclass(frozen=True, slots=True)
class Ridge:
    """`foot` and `height` in picture heights; `nearness` 0 (horizon) to 1 (before our feet); `snow` 0 to 1."""

    layer: str
    foot: float
    height: float
    frequency: float
    nearness: float
    low: Colour
    high: Colour
    sharp: bool = True
    snow: float = 0.0


ROCK, FOREST, GRASS, DRY = rgb("6f6a70"), rgb("2f4a38"), rgb("6f8f4a"), rgb("8a7a5c")
SKIRT = 0.25  # picture heights below a ridge's foot by which something nearer has taken over
SAND, SAND_HIGH, SNOW, SCREE = rgb("d09a5c"), rgb("e6bd84"), rgb("eef2fa"), rgb("8d8580")


def mountain_ridges(canvas: Canvas, horizon: float) -> list[Ridge]:
    snow = 0.9 if "snow" in canvas.scene else 0.45
    low = SNOW * 0.9 if "snow" in canvas.scene else FOREST
    return [
        Ridge("range-0", horizon + 0.01, 0.46, 0.9, 0.06, ROCK, SCREE, snow=snow),
        Ridge("range-1", horizon + 0.01, 0.27, 1.5, 0.12, low, ROCK, snow=snow * 0.7),
        Ridge("range-2", horizon + 0.012, 0.11, 2.4, 0.22, low, low * 1.25, snow=snow * 0.2),
    ]


def hill_ridges(canvas: Canvas, horizon: float) -> list[Ridge]:
    low, high = (SAND, SAND_HIGH) if "desert" in canvas.scene else (FOREST, GRASS)
    if "snow" in canvas.scene and "desert" not in canvas.scene:
        low, high = SNOW * 0.86, SNOW
    steps = ((0.02, 0.10, 1.0, 0.16), (0.10, 0.13, 0.8, 0.34), (0.24, 0.20, 0.6, 0.6))
    return [
        Ridge(f"hill-{i}", horizon + drop, height, frequency, nearness, low, high, sharp="desert" in canvas.scene)
        for i, (drop, height, frequency, nearness) in enumerate(steps)
    ]


def paint_headland(canvas: Canvas, horizon: float) -> Field:
    """A tongue of land that comes in from the right, and its crest."""
    foot = horizon + 0.055
    ground = SNOW * 0.8 if "snow" in canvas.scene else FOREST
    ridge = Ridge("headland", foot, 0.17, 1.5, 0.45, ground * 0.8, ground * 1.1 if "snow" in canvas.scene else GRASS)
    x = canvas.across(ridge.nearness)
    rise = smoothstep(0.18, 1.05, x)
    line = np.asarray(foot - rise * (0.6 * (foot - crest(canvas, ridge)) + 0.05), dtype=np.float32)
    shore = foot + 0.012 * canvas.noise("headland-shore").fractal(x * 9, np.zeros_like(x), 3)
    alpha = canvas.below(line) * (1 - canvas.below(shore)) * (rise > 0)
    _cover(canvas, ridge, line, alpha)
    return line


def crest(canvas: Canvas, ridge: Ridge) -> Field:
    """Picture y of the ridge line for each column, (1, width)."""
    noise = canvas.noise(ridge.layer)
    x = canvas.across(ridge.nearness) * ridge.frequency + 40
    y = np.zeros_like(x)
    shape = noise.ridged(x * 1.6, y, 6, 0.46) if ridge.sharp else noise.fractal(x * 1.4, y, 3, 0.35)
    swell = noise.fractal(x * 0.45, y + 9, 2)
    return np.asarray(ridge.foot - ridge.height * (0.15 + 1.1 * shape * (0.45 + swell)), dtype=np.float32)


def paint_ridge(canvas: Canvas, ridge: Ridge, bowl: float = 0.0) -> Field:
    """Paint it and give its crest back, for what stands on it. `bowl` raises it toward the sides of the view."""
    line = crest(canvas, ridge) - bowl * np.clip(canvas.across(ridge.nearness) ** 2, 0, 2)
    _cover(canvas, ridge, line, canvas.below(line))
    return line


def _cover(canvas: Canvas, ridge: Ridge, line: Field, alpha: Field) -> None:
    """Only the rows it can be seen in: what is nearer covers it some way below its foot."""
    first = int(np.clip(line.min() * canvas.height - 1, 0, canvas.height))
    last = int(np.clip((ridge.foot + SKIRT) * canvas.height, first, canvas.height))
    rows = slice(first, last)
    patch = canvas.pixels[rows]
    patch += alpha[rows, :, None] * (_surface(canvas, ridge, line, canvas.down()[rows]) - patch)


def _surface(canvas: Canvas, ridge: Ridge, line: Field, down: Field) -> Pixels:
    light = canvas.light
    noise = canvas.noise(ridge.layer + "-stone")
    x, y = canvas.across(ridge.nearness) * ridge.frequency * 5, (down - line * 0.6) * ridge.frequency * 7
    relief = noise.ridged if ridge.sharp else noise.fractal
    octaves = 5 if ridge.sharp else 4
    here = relief(x + 0.35 * y, y, octaves, 0.52)
    side = -0.16 if light.disc_at[0] < 0 else 0.16
    slope = here - relief(x + side + 0.35 * y, y - 0.05, octaves, 0.52)
    lit = np.clip(0.42 + (3.4 if ridge.sharp else 2.2) * slope, 0, 1)
    height = np.clip((ridge.foot - down) / (1.15 * ridge.height), 0, 1)
    grown = smoothstep(0.12, 0.62, height + 0.5 * (here - 0.5))[..., None]
    ground = ridge.low + grown * (ridge.high - ridge.low)
    if ridge.snow:
        white = smoothstep(0.86 - 0.6 * ridge.snow, 1.0 - 0.5 * ridge.snow, height + 0.55 * (here - 0.45))
        ground = ground + (white * (0.55 + 0.45 * lit))[..., None] * (SNOW - ground)
    colour = ground * (light.shade * 0.85 + lit[..., None] * light.direct * 0.95)
    # Air between us and the ridge, thicker at its foot where the mist lies.
    mist = np.exp(-np.clip(ridge.foot - down, 0, None) / 0.045) * (0.65 if "fog" in canvas.scene else 0.22)
    air = np.clip(0.72 * (1 - ridge.nearness) ** 5 + mist * (1 - ridge.nearness), 0, 0.92)[..., None]
    return np.asarray(colour + air * (light.haze - colour), dtype=np.float32)
