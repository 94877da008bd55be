"""Small films whose every frame can be recognised: for tests of counts and of what is shown when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from tasks.media.timeline import Timeline
from tasks.media.video import VideoSpec, write_video

Frame = NDArray[np.uint8]
WIDTH, HEIGHT = 64, 48
SPEC = VideoSpec(WIDTH, HEIGHT)


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


def noise(frames: int, width: int = WIDTH, height: int = HEIGHT, seed: int = 0) -> Iterator[Frame]:
    """White noise: of all pictures the hardest to encode."""
    draw = np.random.default_rng(seed)
    return (draw.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(frames))


def make_segments(
    folder: Path,
    timeline: Timeline,
    values: Sequence[int] | None = None,
    *,
    spec: VideoSpec = SPEC,
    travel: str | None = None,
) -> list[Path]:
    """One film for each segment, encoded as the worker does; with `values`, of one brightness each."""
    paths = list[Path]()
    for i, frames in enumerate(timeline.segments):
        size = spec.width, spec.height
        content = moving(frames, *size, seed=i) if values is None else (marked(values[i], *size) for _ in range(frames))
        paths.append(folder / f"segment-{i}.mp4")
        index = timeline.index(i) if travel else None
        cuts = timeline.cuts(i)
        write_video(content, paths[-1], spec, idr_at=cuts, count=frames, travel=travel, segment=index)
    return paths


def foreign(
    path: Path,
    frames: Iterable[Frame],
    codec: str = "libx264",
    *,
    rate: Fraction | int = 16,
    matrix: int = 1,
    full_range: bool = False,
    options: Mapping[str, str] | None = None,
) -> Path:
    """A film as another tool may make it. `matrix` (H.273) is the one its colours are converted by and tagged with."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=rate, options=dict(options or {}))
        stream.width, stream.height = WIDTH, HEIGHT
        stream.pix_fmt = "yuvj420p" if full_range else "yuv420p"
        stream.codec_context.colorspace = matrix
        stream.codec_context.color_range = 2 if full_range else 1
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(
                format=stream.pix_fmt, dst_colorspace=matrix, dst_color_range=stream.codec_context.color_range
            )
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
    return path
