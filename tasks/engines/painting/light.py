"""The light of a time of day: colours of the sky from zenith to horizon, of sun, shade and haze."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.engines.painting.scene import Scene

Colour = NDArray[np.floating[Any]]


def rgb(text: str) -> Colour:
    return np.array([int(text[i : i + 2], 16) / 255 for i in (0, 2, 4)], np.float32)


@dataclass(frozen=True, slots=True)
class Light:
    """`sky`: zenith, upper, lower, horizon. `disc_at`: sun or moon, in picture heights from the middle and the top."""

    sky: tuple[Colour, ...]
    disc: Colour
    disc_at: tuple[float, float]
    disc_size: float
    glow: float
    direct: Colour
    shade: Colour
    haze: Colour
    water: Colour
    cloud: tuple[Colour, Colour]
    stars: float
    lamps: float


def _light(
    sky: str, disc: str, at: tuple[float, float], size: float, glow: float, rest: str, stars: float, lamps: float
) -> Light:
    zenith, upper, lower, horizon = map(rgb, sky.split())
    direct, shade, haze, water, lit, dark = map(rgb, rest.split())
    tones = (zenith, upper, lower, horizon)
    return Light(tones, rgb(disc), at, size, glow, direct, shade, haze, water, (lit, dark), stars, lamps)


LIGHTS = {
    "dawn": _light(
        "5b7fb5 a9a9cf f0b9ae ffdcae", "fff1d0", (-0.42, 0.36), 0.026, 0.75,
        "ffcf9e 6f6a92 f3c4b0 3f5f86 ffd9c4 a793b8", 0.0, 0.15,
    ),
    "noon": _light(
        "2f74c4 5f9fdc 9fcbec d6ebf3", "fffbe8", (0.38, 0.10), 0.024, 0.35,
        "fff4dc 6a86a8 c3dcea 1f6a92 ffffff b9cbdc", 0.0, 0.0,
    ),
    "dusk": _light(
        "2b2f66 7a4a86 e0725f ffb45e", "ffe2a0", (0.30, 0.40), 0.030, 0.9,
        "ff9c62 4a3f70 e08a6a 2a3a66 ff9e76 5a3f6e", 0.25, 0.8,
    ),
    "night": _light(
        "060b20 0d1838 1c2f5c 3d5484", "f4f1e2", (0.10, 0.17), 0.034, 0.30,
        "8fa6d6 141d3a 2c406c 0a1834 5b6f9c 1a2444", 1.0, 1.0,
    ),
}  # fmt: skip


def light_of(scene: Scene) -> Light:
    """The light of the scene's time, dimmed and greyed by its weather."""
    light = LIGHTS[scene.time]
    if "storm" not in scene:
        return light
    return replace(
        light,
        sky=tuple(_dull(tone) for tone in light.sky),
        direct=_dull(light.direct) * 0.7,
        shade=_dull(light.shade),
        haze=_dull(light.haze),
        water=_dull(light.water),
        cloud=(_dull(light.cloud[0]), _dull(light.cloud[1]) * 0.6),
        glow=light.glow * 0.4,
        stars=0.0,
    )


def _dull(colour: Colour) -> Colour:
    grey = np.float32(colour @ np.array([0.3, 0.6, 0.1], np.float32))
    return np.asarray((0.3 * colour + 0.7 * grey) * 0.62, dtype=np.float32)
