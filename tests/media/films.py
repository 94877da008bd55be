"""Small films whose every frame can be recognised: for tests of counts and of what is shown when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.media.timeline import Timeline
from tasks.media.video import VideoSpec, write_video

Frame = NDArray[np.uint8]
WIDTH, HEIGHT = 64, 48


def marked(value: int, width: int = WIDTH, height: int = HEIGHT) -> Frame:
    """A grey frame of one brightness: after encoding still within a step or two of `value`."""
    return np.full((height, width, 3), value, np.uint8)


def ramp(frames: int, first: int = 20, step: int = 2) -> Iterator[Frame]:
    return (marked(first + step * i) for i in range(frames))


def moving(frames: int, width: int = WIDTH, height: int = HEIGHT, seed: int = 0) -> Iterator[Frame]:
    """Texture that slides, so that the encoder has something to decide."""
    texture = np.random.default_rng(seed).integers(0, 255, (height // 4, (width + frames) // 4 + 2, 3), dtype=np.uint8)
    wide = texture.repeat(4, 0).repeat(4, 1)
    return (np.ascontiguousarray(wide[:height, i : i + width]) for i in range(frames))


def make_segments(folder: Path, timeline: Timeline, values: Sequence[int] | None = None) -> list[Path]:
    """One film for each segment, encoded as the worker does; with `values`, of one brightness each."""
    paths = list[Path]()
    for i, frames in enumerate(timeline.segments):
        content = moving(frames, seed=i) if values is None else (marked(values[i]) for _ in range(frames))
        paths.append(folder / f"segment-{i}.mp4")
        write_video(content, paths[-1], VideoSpec(WIDTH, HEIGHT), idr_at=timeline.cuts(i), count=frames)
    return paths
