"""Where a picture is painted: coordinates in picture heights, a camera that can move aside, layer upon layer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.engines.painting.light import Light
from tasks.engines.painting.noise import Field, Noise
from tasks.engines.painting.scene import Scene

Pixels = NDArray[np.floating[Any]]


@dataclass(slots=True)
class Canvas:
    """`pan` moves the camera aside, in picture heights: what is near moves by all of it, what is far by less."""

    width: int
    height: int
    seed: int
    scene: Scene
    light: Light
    pan: float = 0.0
    pixels: Pixels = field(init=False)

    def __post_init__(self) -> None:
        self.pixels = np.zeros((self.height, self.width, 3), np.float32)

    def across(self, nearness: float = 0.0) -> Field:
        """World x of each column (1, width) for a layer; 0 is the middle while the camera has not moved."""
        columns = (np.arange(self.width, dtype=np.float32) + 0.5 - self.width / 2) / self.height
        return np.asarray(columns + self.pan * nearness, dtype=np.float32)[None]

    def down(self) -> Field:
        """Picture y of each row (height, 1): 0 at the top, 1 at the bottom."""
        rows = (np.arange(self.height, dtype=np.float32) + 0.5) / self.height
        return np.asarray(rows, dtype=np.float32)[:, None]

    def column(self, x: float, nearness: float) -> float:
        """Pixel column of world x."""
        return (x - self.pan * nearness) * self.height + self.width / 2

    def noise(self, layer: str) -> Noise:
        return Noise(self.seed, layer)

    def cover(self, colour: Pixels, alpha: Field) -> None:
        """Lay a colour over the picture, as far as alpha (height, width) says."""
        self.pixels += alpha[..., None] * (colour - self.pixels)

    def below(self, edge: Field) -> Field:
        """Alpha of everything below a line given by its y for each column, smooth over one pixel."""
        return np.asarray(np.clip((self.down() - edge) * self.height + 0.5, 0, 1), dtype=np.float32)
