"""From a request to a finished file: the engine's frames, corrected and encoded. Plain blocking functions."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path

from blocks.engine import EngineChoice
from tasks.engines.protocol import DEFAULT_SETUP, Capabilities, Frame, OnStep, Request, Setup
from tasks.engines.registry import capabilities, engine
from tasks.engines.store import SHARED
from tasks.errors import InvalidInput
from tasks.media.colour import adjust, match_to_anchors
from tasks.media.encoding import VideoSpec, frame_rate
from tasks.media.images import fit, read_image, write_image
from tasks.media.probe import VideoInfo, probe
from tasks.media.seams import Drift, corrected
from tasks.media.timeline import quantise
from tasks.media.video import read_frames, write_video
from tasks.params.base import Fit, floor_to, parse_size


@dataclass(frozen=True, slots=True)
class Finish:
    """What happens to a clip's frames between the engine and the encoder."""

    match_anchors: bool = False
    saturation: float = 1.0
    brightness: float = 0.0
    fit_seam: bool = False
    idr_at: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Maker:
    """An engine, the model it should have loaded (empty: the engine's default), and how it runs here."""

    engine: str
    model: str = ""
    setup: Setup = DEFAULT_SETUP

    @property
    def capabilities(self) -> Capabilities:
        return capabilities(self.engine)

    def frames(self, request: Request, on_step: OnStep) -> Iterator[Frame]:
        """Refuses what it can before a model is loaded; a model that this process has loaded is used again."""
        model = self.model or self.capabilities.default_model
        engine(self.engine).check(model, request)
        return SHARED.get(self.engine, model, self.setup).generate(request, on_step)


@dataclass(frozen=True, slots=True)
class Clip:
    maker: Maker
    request: Request
    fps: float
    finish: Finish = field(default_factory=Finish)
    travel: str | None = None
    segment: int | None = None


def setup_of(choice: EngineChoice) -> Setup:
    """The block has a field for each of the setup's, of the same name."""
    return Setup(**{each.name: getattr(choice, each.name) for each in fields(Setup)})


def make_clip(clip: Clip, out: Path, on_step: OnStep) -> VideoInfo:
    """Generate and encode exactly the frames asked for. `on_step` may raise; then `out` is untouched."""
    request = clip.request
    spec = VideoSpec(request.width, request.height, frame_rate(clip.fps))
    frames = _finished(clip.maker.frames(request, on_step), clip)
    idr_at, count = clip.finish.idr_at, request.frames
    return write_video(frames, out, spec, idr_at=idr_at, count=count, travel=clip.travel, segment=clip.segment)


def _finished(frames: Iterator[Frame], clip: Clip) -> Iterator[Frame]:
    finish = clip.finish
    if finish.fit_seam and clip.request.context:
        frames = _without_drift(frames, clip.request)
    if finish.match_anchors:
        # Measured at both ends, so the clip must be whole: one segment is in memory, never a film.
        frames = match_to_anchors(list(frames), clip.request.start, clip.request.end)
    if finish.saturation != 1.0 or finish.brightness != 0.0:
        return (adjust(frame, finish.saturation, finish.brightness) for frame in frames)
    return frames


def _without_drift(frames: Iterator[Frame], request: Request) -> Iterator[Frame]:
    """A segment whose first frames are to be its predecessor's last ones, in the predecessor's colours there."""
    first = list(islice(frames, len(request.context)))
    drift = Drift.measured(request.context[: len(first)], first)
    return corrected(chain(first, frames), drift, request.frames)


def make_image(maker: Maker, request: Request, out: Path, on_step: OnStep) -> None:
    write_image(next(iter(maker.frames(request, on_step))), out)


def size_for(maker: Maker, size: str) -> tuple[int, int]:
    """The engine's size for a wished one: each side down to its multiple."""
    return floor_to(parse_size(size), maker.capabilities.size_multiple)


def frames_for(maker: Maker, frames: int) -> int:
    return quantise(frames, maker.capabilities.frame_grid)


def anchor(path: Path, size: tuple[int, int], mode: Fit = "cover") -> Frame:
    """A picture as a frame of this size: upright, brought to it as `fit` says."""
    return fit(read_image(path), *size, mode)


def last_frames(path: Path, count: int, size: tuple[int, int]) -> tuple[Frame, ...]:
    """The end of a video, oldest first; fewer than `count` if it is shorter."""
    if count < 1:
        return ()
    total = probe(path).frames
    return tuple(fit(frame, *size) for frame in read_frames(path, max(0, total - count)))


def conformed(
    path: Path, size: tuple[int, int], fps: Fraction, out: Path, on_step: OnStep, *, idr_at: Sequence[int] = ()
) -> VideoInfo:
    """The same frames in another size, to stand beside ours. The rate is relabelled, not converted."""
    info = probe(path)

    def frames() -> Iterator[Frame]:
        for done, frame in enumerate(read_frames(path), 1):
            on_step(done, info.frames)
            yield fit(frame, *size)

    return write_video(frames(), out, VideoSpec(*size, fps), idr_at=idr_at, count=info.frames)


def chosen_seed(seed: int) -> int:
    """−1 means any: drawn now, and recorded with the result by whoever asks."""
    return secrets.randbelow(2**31) if seed < 0 else seed


def evenly(frames: Sequence[Frame], count: int) -> list[Frame]:
    """`count` of these frames, spread over all of them."""
    if not frames or count < 1:
        return []
    if len(frames) < count:
        raise InvalidInput(f"{count} frames were asked of {len(frames)}.")
    last = len(frames) - 1
    return [frames[round(i * last / max(1, count - 1))] for i in range(count)]
