"""The blend inside an overlap, on planes of 8-bit samples."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.uint8]


def blend(a: Plane, b: Plane, weight: float) -> Plane:
    """Round((1 − weight)·a + weight·b), exact for every pair of samples and the same on every machine.

    Written as a + round(weight·(b − a)): there are only 511 differences, so each is worked out once in double
    precision; vectorised float code would round differently from one processor to the next.
    """
    shift = np.floor(weight * np.arange(-255, 256) + 0.5).astype(np.int16)
    difference = np.subtract(b, a, dtype=np.int16)
    difference += 255
    mixed = shift.take(difference)  # five times as fast as shift[difference]
    mixed += a
    return np.asarray(mixed, dtype=np.uint8)


def sharpened(base: Plane, amount: float, sigma: float = 3.0) -> Plane:
    """(1 + amount)·base − amount·blur(base), clipped to 0..255. The filter is affine, so it may run on Y, U and V."""
    if amount <= 0:
        return base
    wide = base.astype(np.float32)
    blur = cv2.GaussianBlur(wide, (0, 0), sigma)
    return np.clip(np.rint((1 + amount) * wide - amount * blur), 0, 255).astype(np.uint8)
