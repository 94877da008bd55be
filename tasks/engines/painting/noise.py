"""Value noise on an endless lattice: the same point of the same layer of the same seed always has the same value."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.floating[Any]]

CELLS = 256


def generator(seed: int, layer: str) -> np.random.Generator:
    """Random numbers of one layer. Each has its own, so that a word added to the prompt moves nothing else."""
    return np.random.default_rng([seed & 0xFFFF_FFFF, zlib.crc32(layer.encode())])


class Noise:
    def __init__(self, seed: int, layer: str) -> None:
        self._lattice = generator(seed, layer).random((CELLS, CELLS), dtype=np.float32)

    def at(self, x: Field, y: Field) -> Field:
        """0..1, smooth over one unit. x and y broadcast, so a row and a column make a picture."""
        x0, y0 = np.floor(x), np.floor(y)
        fx, fy = _ease(x - x0), _ease(y - y0)
        left, top = x0.astype(np.int32), y0.astype(np.int32)
        right, bottom = (left + 1) % CELLS, (top + 1) % CELLS * CELLS
        left, top = left % CELLS, top % CELLS * CELLS
        cells = self._lattice.ravel()
        upper = _mix(cells.take(top + left), cells.take(top + right), fx)
        lower = _mix(cells.take(bottom + left), cells.take(bottom + right), fx)
        return _mix(upper, lower, fy)

    def fractal(self, x: Field, y: Field, octaves: int = 5, gain: float = 0.5) -> Field:
        """0..1, detail upon detail."""
        return self._sum(x, y, octaves, gain, ridged=False)

    def ridged(self, x: Field, y: Field, octaves: int = 5, gain: float = 0.5) -> Field:
        """0..1 with sharp crests, as mountains have."""
        return self._sum(x, y, octaves, gain, ridged=True)

    def _sum(self, x: Field, y: Field, octaves: int, gain: float, *, ridged: bool) -> Field:
        total: Field = np.zeros((1, 1), np.float32)
        for octave in range(octaves):
            scale = 2**octave
            value = self.at(x * scale + 17.3 * octave, y * scale + 31.7 * octave)
            total = total + gain**octave * ((1 - np.abs(2 * value - 1)) ** 2 if ridged else value)
        return np.asarray(total / sum(gain**octave for octave in range(octaves)), dtype=np.float32)


def _mix(a: Field, b: Field, share: Field) -> Field:
    b -= a
    b *= share
    b += a
    return b


def _ease(t: Field) -> Field:
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)


def smoothstep(low: float, high: float, x: Field) -> Field:
    return _ease(np.clip((x - low) / (high - low), 0, 1).astype(np.float32))
