"""A painted scene seen from places between pixels: the true view between two of its frames is known."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.media.encoding import ToYuv, VideoSpec
from tasks.media.interpolation import Planes, planes_of

Frame = NDArray[np.uint8]
WIDTH, HEIGHT = 160, 96


def scene(x: float, y: float = 0.0, *, seed: int = 3, grain: float = 0.0) -> Frame:
    """Soft ground and hard-edged things, from a camera that stands x pixels further right and y further down."""
    rng = np.random.default_rng(seed)
    world = cv2.resize(rng.uniform(40, 200, (12, 20, 3)).astype(np.float32), (320, 192), interpolation=cv2.INTER_CUBIC)
    for _ in range(14):
        corner, colour = rng.integers(10, (290, 160)), [float(value) for value in rng.integers(20, 235, 3)]
        cv2.rectangle(world, corner.tolist(), (corner + rng.integers(8, 40, 2)).tolist(), colour, -1)
    place = np.array([[1, 0, -x - 80], [0, 1, -y - 48]], np.float32)
    seen = cv2.warpAffine(world, place, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)
    if grain:
        seen = seen + np.random.default_rng(round(x * 100)).normal(0, grain, seen.shape)
    return np.clip(np.rint(seen), 0, 255).astype(np.uint8)


def yuv(frame: Frame) -> Planes:
    height, width = frame.shape[:2]
    return planes_of(ToYuv(VideoSpec(width, height))(frame))


def decibels(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio."""
    error = float(((a.astype(np.float64) - b) ** 2).mean())
    return 10 * float(np.log10(255**2 / max(error, 1e-9)))
