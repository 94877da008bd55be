"""Gradient, sun or moon, stars, clouds."""

from __future__ import annotations

import numpy as np

from tasks.engines.painting.canvas import Canvas
from tasks.engines.painting.noise import Field, generator, smoothstep

FAR = 0.04  # the sky hardly moves when the camera does
STOPS = (0.0, 0.42, 0.78, 1.0)


def paint_sky(canvas: Canvas, horizon: float) -> None:
    light = canvas.light
    t = np.clip(canvas.down()[:, 0] / horizon, 0, 1)
    tones = np.stack([np.interp(t, STOPS, [tone[c] for tone in light.sky]) for c in range(3)], axis=-1)
    canvas.pixels[:] = tones[:, None].astype(np.float32)
    if light.stars or "stars" in canvas.scene:
        _stars(canvas, horizon, max(light.stars, 0.6 if "stars" in canvas.scene else 0))
    _disc(canvas)
    _clouds(canvas, horizon)


def _distance(canvas: Canvas) -> Field:
    """Of every pixel from the middle of sun or moon."""
    x, y = canvas.light.disc_at
    return np.asarray(np.hypot(canvas.across(FAR) - x, canvas.down() - y), dtype=np.float32)


def _disc(canvas: Canvas) -> None:
    light, away = canvas.light, _distance(canvas)
    halo = light.glow * (0.55 * np.exp(-away / 0.10) + 0.45 * np.exp(-away / 0.42))
    canvas.cover(light.disc * 0.98, np.clip(halo, 0, 0.95).astype(np.float32))
    if "storm" in canvas.scene:
        return
    face = np.clip((light.disc_size - away) * canvas.height + 0.5, 0, 1).astype(np.float32)
    colour = light.disc[None, None]
    if canvas.scene.time == "night":
        spots = canvas.noise("moon").fractal(canvas.across(FAR) * 40, canvas.down() * 40, 3)
        colour = colour * (0.82 + 0.24 * spots[..., None])
    canvas.cover(colour, face)


def _stars(canvas: Canvas, horizon: float, strength: float) -> None:
    rng = generator(canvas.seed, "stars")
    size = max(0.55, canvas.height / 900)
    count = 520
    x, y = rng.uniform(-1.4, 1.4, count), rng.uniform(0, horizon, count)
    bright = strength * rng.random(count) ** 3 * (1 - (y / horizon) ** 2)
    warm = rng.uniform(0.82, 1.0, (count, 3))
    spread = np.arange(-2, 3)
    for i in np.flatnonzero(bright > 0.02):
        column, row = canvas.column(x[i], FAR), y[i] * canvas.height
        xs, ys = int(column) + spread, int(row) + spread
        if xs[0] < 0 or ys[0] < 0 or xs[-1] >= canvas.width or ys[-1] >= canvas.height:
            continue
        away = (xs[None] - column) ** 2 + (ys[:, None] - row) ** 2
        spot = bright[i] * 1.6 * np.exp(-away / (2 * (size * (0.6 + bright[i])) ** 2))
        canvas.pixels[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1] += (spot[..., None] * warm[i]).astype(np.float32)


def _clouds(canvas: Canvas, horizon: float) -> None:
    scene, light = canvas.scene, canvas.light
    cover = 0.85 if "storm" in scene else 0.66 if "clouds" in scene else 0.50
    noise = canvas.noise("clouds")
    rows = int(min(canvas.height, np.ceil(horizon * canvas.height)))
    y = canvas.down()[:rows]
    # Clouds lie on a ceiling: the nearer the horizon, the smaller and flatter they look.
    depth = 1 / (horizon - y + 0.10)
    wide, deep = canvas.across(FAR) * depth * 0.62, depth * 1.25 + np.zeros_like(canvas.across())
    density = noise.fractal(wide, deep, 6, 0.55)
    toward = 0.07 * np.tanh((light.disc_at[0] - canvas.across(FAR)) / 0.3)
    shadow = noise.fractal(wide + toward * depth * 0.6, deep + 0.10, 4, 0.55)
    threshold = 0.80 - 0.48 * cover
    alpha = smoothstep(threshold, threshold + 0.24, density) * smoothstep(0, 0.12, horizon - y) * (0.55 + 0.4 * cover)
    lit = np.clip(0.5 + 3.2 * (density - shadow), 0, 1)[..., None]
    near_sun = np.exp(-_distance(canvas)[:rows] / 0.35)[..., None] * light.glow * 0.6
    bright, dark = light.cloud
    colour = dark + lit * (bright - dark) + near_sun * (light.disc - dark) * lit
    patch = canvas.pixels[:rows]
    patch += alpha[..., None] * (colour.astype(np.float32) - patch)
