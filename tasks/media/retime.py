"""The same film at another frame rate: as long in seconds, with views between its frames where there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

from av.video.frame import VideoFrame

from tasks.media.encoding import ToYuv, VideoSpec, frame_rate
from tasks.media.interpolation import Views, frame_of, planes_of
from tasks.media.video import VideoInfo, probe, read_yuv, write_video

OnStep = Callable[[int, int], None]

NEAR = 0.05  # of a frame: nobody sees it, and a frame as it is beats one made up
#: Two frames of which less is found in each other are a cut. Neighbours in films have 0.8 and more, cuts 0.05.
CUT = 0.3


def retimed(
    video: str | Path,
    out: str | Path,
    *,
    fps: Fraction | float | str,
    crf: float = 17,
    preset: str = "veryfast",
    on_step: OnStep | None = None,
) -> VideoInfo:
    """Write the film at `fps` frames a second: `retimed_length` frames, first and last as they were, no sound.

    What moved between two frames is shown on its way; nothing is made up across a cut. `on_step(done, total)` may
    raise to stop, and then `out` is untouched. Raises MediaError for a film or a rate that cannot be used.
    """
    info, rate = probe(video), frame_rate(fps)
    spec = VideoSpec(info.width, info.height, rate, crf, preset)
    count = retimed_length(info.frames, info.fps, rate)

    def frames() -> Iterator[VideoFrame]:
        times = _times(info.frames, info.fps, rate)
        for done, frame in enumerate(_film(map(ToYuv(spec), read_yuv(video)), times), start=1):
            yield frame
            if on_step:
                on_step(done, count)

    return write_video(frames(), out, spec, count=count)


def retimed_length(frames: int, old: Fraction, new: Fraction) -> int:
    """Frames at the rate `new` that last as long as these at `old`, to the nearest, and at least one."""
    return max(1, round(frames * new / old))


def _times(frames: int, old: Fraction, new: Fraction) -> Iterator[Fraction]:
    """Where in the film each frame to be shown is, in its frames. Sound stays in step: nothing is stretched."""
    count = retimed_length(frames, old, new)
    for i in range(count - 1):
        # What is shown after the last frame began is the last frame, as it was before.
        yield min(i * old / new, Fraction(frames - 1))
    yield Fraction(frames - 1 if count > 1 else 0)


def _film(frames: Iterator[VideoFrame], times: Iterator[Fraction]) -> Iterator[VideoFrame]:
    at, here, ahead, views = 0, next(frames), next(frames, None), None
    for time in times:
        while at + 1 <= time:
            assert ahead, "times end at the last frame"
            at, here, ahead, views = at + 1, ahead, next(frames, None), None
        t = float(time - at)
        if ahead is None or t <= NEAR:
            yield here
        elif t >= 1 - NEAR:
            yield ahead
        else:
            views = views or Views(planes_of(here), planes_of(ahead))
            if views.agreement < CUT:
                yield here if t < 0.5 else ahead
            else:
                yield frame_of(views.at(t))
