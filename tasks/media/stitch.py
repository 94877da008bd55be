"""Join segments into one film in which no cut shows, of exactly the promised length, in constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
from av.video.frame import VideoFrame

from tasks.media.crossfade import Plane, blend, sharpened
from tasks.media.encoding import ToYuv, VideoSpec, frame_rate
from tasks.media.errors import MediaError, SegmentError
from tasks.media.probe import VideoInfo, probe
from tasks.media.timeline import Blend, Copy, Timeline, crossfade_weight
from tasks.media.video import read_yuv, write_video

OnStep = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class StitchReport:
    """`mode` is "stream": every frame was encoded anew. `reasons`: which segments are not as our encoder makes them."""

    frames: int
    width: int
    height: int
    fps: Fraction
    encoded: int
    mode: str = "stream"
    reasons: tuple[str, ...] = ()

    @property
    def duration(self) -> float:
        """Seconds."""
        return float(self.frames / self.fps)


def stitch(
    paths: Sequence[str | Path | None],
    timeline: Timeline,
    out: str | Path,
    *,
    fps: Fraction | float | str,
    sharpen: float = 0.0,
    crf: float = 17,
    preset: str = "veryfast",
    on_step: OnStep | None = None,
) -> StitchReport:
    """Write the film the timeline promises, or nothing.

    Raises SegmentError naming every segment that is missing, empty, cut off, or of another size or length than the
    first one or the timeline says. `sharpen` is `crossfade_sharp_amt`. `on_step(done, total)` counts film frames and
    may raise to stop; then `out` is untouched.
    """
    infos = _inspect(paths, timeline)
    spec = VideoSpec(infos[0].width, infos[0].height, frame_rate(fps), crf, preset)
    frames = _counted(_film([Path(path) for path in paths if path], timeline, spec, sharpen), timeline.length, on_step)
    written = write_video(frames, out, spec, count=timeline.length)
    return StitchReport(
        frames=written.frames,
        width=written.width,
        height=written.height,
        fps=written.fps,
        encoded=written.frames,
        reasons=_reasons(infos, timeline, spec),
    )


def _inspect(paths: Sequence[str | Path | None], timeline: Timeline) -> list[VideoInfo]:
    """Look at all segments before any work. One list of everything that is wrong saves a round for each."""
    problems = dict[int, str]()
    infos = list[VideoInfo]()
    for at in range(max(len(paths), len(timeline.segments))):
        try:
            infos.append(_segment(paths, timeline, at, infos[0] if infos else None))
        except MediaError as error:
            problems[timeline.index(at)] = str(error)
    if problems:
        raise SegmentError(problems)
    return infos


def _segment(paths: Sequence[str | Path | None], timeline: Timeline, at: int, first: VideoInfo | None) -> VideoInfo:
    path = paths[at] if at < len(paths) else None
    if not path:
        raise MediaError("it is missing")
    if at >= len(timeline.segments):
        raise MediaError(f"the timeline has {len(timeline.segments)} segments, {path} is one too many")
    info = probe(path)
    if info.frames != timeline.segments[at]:
        raise MediaError(f"{path} has {info.frames} frames, the timeline says {timeline.segments[at]}")
    if first and (info.width, info.height) != (first.width, first.height):
        raise MediaError(f"{path} is {info.width}×{info.height}, the first is {first.width}×{first.height}")
    return info


def _reasons(infos: Sequence[VideoInfo], timeline: Timeline, spec: VideoSpec) -> tuple[str, ...]:
    """Which segments' frames had to be converted, or play at another speed than they were made for."""
    said = list[str]()
    for at, info in enumerate(infos):
        name = f"segment {timeline.index(at)}"
        if info.fps != spec.fps:
            said.append(f"{name} was made for {float(info.fps):g} frames a second, the film has {float(spec.fps):g}")
        if (info.codec, info.pix_fmt, info.colour.matrix) != ("h264", "yuv420p", 1):
            said.append(f"{name} is {info.codec} {info.pix_fmt} with colour matrix {info.colour.matrix}")
    return tuple(said)


def _film(paths: Sequence[Path], timeline: Timeline, spec: VideoSpec, sharp: float) -> Iterator[VideoFrame]:
    """The spans in order. Segments are read forwards only; each stays open from its first span to its last."""
    readers = dict[int, _Reader]()

    def reader(position: int) -> _Reader:
        if position not in readers:
            readers[position] = _Reader(paths[position], timeline.index(position), ToYuv(spec))
        return readers[position]

    for span in timeline.spans():
        first = span.segment if isinstance(span, Copy) else span.left
        for done in [position for position in readers if position < first]:
            readers.pop(done).close()
        if isinstance(span, Copy):
            yield from reader(span.segment).frames(span.lo, span.hi)
        else:
            left = reader(span.left).frames(span.left_lo, span.left_lo + span.count)
            right = reader(span.right).frames(span.right_lo, span.right_lo + span.count)
            yield from _fade(left, right, span, sharp)


def _fade(left: Iterator[VideoFrame], right: Iterator[VideoFrame], span: Blend, sharp: float) -> Iterator[VideoFrame]:
    for k, (a, b) in enumerate(zip(left, right, strict=True)):
        weight = crossfade_weight(k, span.count)
        mixed = VideoFrame(a.width, a.height, "yuv420p")
        for plane, (old, new, target) in enumerate(zip(_planes(a), _planes(b), _planes(mixed), strict=True)):
            # The blur is as wide in the picture on every plane; chroma planes have half the samples.
            target[:] = sharpened(blend(old, new, weight), sharp * weight, 1.5 if plane else 3.0)
        mixed.colorspace, mixed.color_range = a.colorspace, a.color_range
        yield mixed


def _planes(frame: VideoFrame) -> list[Plane]:
    """Views of Y, U and V without the padding at each line's end."""
    return [
        np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
        for plane in frame.planes
    ]


class _Reader:
    """One segment, read forwards; frames between two requests are passed over."""

    def __init__(self, path: Path, index: int, to_yuv: ToYuv) -> None:
        self._source = read_yuv(path)
        self._index = index
        self._to_yuv = to_yuv
        self._next = 0

    def frames(self, lo: int, hi: int) -> Iterator[VideoFrame]:
        skip, self._next = lo - self._next, hi
        try:
            for frame in islice(self._source, skip, skip + hi - lo):
                yield self._to_yuv(frame)
        except MediaError as error:
            raise SegmentError({self._index: str(error)}) from error

    def close(self) -> None:
        self._source.close()


def _counted(frames: Iterator[VideoFrame], total: int, on_step: OnStep | None) -> Iterator[VideoFrame]:
    for done, frame in enumerate(frames, start=1):
        yield frame
        if on_step:
            on_step(done, total)
