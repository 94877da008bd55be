"""A sea or lake that mirrors what is painted above it."""

from __future__ import annotations

import cv2
import numpy as np

from tasks.engines.painting.canvas import Canvas
from tasks.engines.painting.noise import smoothstep

NEAR = 0.35


def paint_water(canvas: Canvas, horizon: float) -> None:
    light, height = canvas.light, canvas.height
    first = round(horizon * height)
    y = canvas.down()[first:]
    off = y - y[0] + 0.5 / height
    depth = 1 / (off + 0.035)
    x = canvas.across(NEAR)
    waves = canvas.noise("waves")
    # The same waves at every distance: wide before our feet, thin lines at the horizon.
    ripple = waves.fractal(x * depth * 0.55, depth * 2.6 + np.zeros_like(x), 4, 0.55) - 0.5
    shake = ripple * (0.010 + 0.16 * off)
    rows = first - 1 - off * height * 0.92 + shake * height * 1.6
    columns = np.arange(canvas.width, dtype=np.float32)[None] + shake * height * 0.35
    mirrored = cv2.remap(
        canvas.pixels,
        np.broadcast_to(columns, rows.shape).astype(np.float32),
        np.clip(rows, 0, first - 1).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    steep = smoothstep(0.0, 0.55, off)[..., None]
    body = light.water * (1 + 1.1 * ripple[..., None])
    colour = mirrored * (0.90 - 0.42 * steep) + body * (0.10 + 0.50 * steep)
    sun = np.abs(canvas.across(0.04) - light.disc_at[0]) / (0.035 + 0.42 * off)
    glint = np.exp(-(sun**2)) * smoothstep(0.02, 0.20, ripple) * light.glow * (0.4 if "storm" in canvas.scene else 1.0)
    colour = colour + glint[..., None] * light.disc * 0.85
    edge = smoothstep(0, 0.012, off)[..., None]
    haze = light.haze + edge * (colour - light.haze)
    canvas.pixels[first:] = (0.35 * haze + 0.65 * colour).astype(np.float32)
