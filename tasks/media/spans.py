"""The frames of a film's spans, decoded, and blended where two segments overlap."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from av.video.frame import VideoFrame

from tasks.media.assembly import Span
from tasks.media.encoding import ToYuv, VideoSpec
from tasks.media.errors import MediaError, SegmentError
from tasks.media.interpolation import frame_of, planes_of
from tasks.media.probe import OpenFilms, Packets
from tasks.media.reading import read_yuv
from tasks.media.seams import DEFAULT, SeamOptions, faded
from tasks.media.timeline import Copy


@dataclass(frozen=True, slots=True)
class Source:
    """A segment's file. `index` is what its user calls it."""

    index: int
    path: Path
    packets: Packets


@dataclass(frozen=True, slots=True)
class SpanReader:
    """Segments are read forwards only; each stays open from its first span to its last."""

    sources: Mapping[int, Source]
    spec: VideoSpec
    films: OpenFilms
    seam: SeamOptions = DEFAULT

    def frames(self, spans: Sequence[Span]) -> Iterator[VideoFrame]:
        readers, ends = dict[int, _Reader](), _ends(spans)

        def reader(position: int, lo: int) -> _Reader:
            if position not in readers or lo < readers[position].next:
                source, to_yuv = self.sources[position], ToYuv(self.spec)
                readers[position] = _Reader(source, to_yuv, lo, ends[position], self.films)
            return readers[position]

        try:
            for span in spans:
                for done in [position for position in readers if position < _first(span)]:
                    readers.pop(done).close()
                if isinstance(span, Copy):
                    yield from reader(span.segment, span.lo).frames(span.lo, span.hi)
                else:
                    left = reader(span.left, span.left_lo).frames(span.left_lo, span.left_lo + span.count)
                    right = reader(span.right, span.right_lo).frames(span.right_lo, span.right_lo + span.count)
                    yield from map(frame_of, faded(map(planes_of, left), map(planes_of, right), span.count, self.seam))
        finally:
            for each in readers.values():
                each.close()


def _first(span: Span) -> int:
    return span.segment if isinstance(span, Copy) else min(span.left, span.right)


def _ends(spans: Sequence[Span]) -> dict[int, int]:
    """Up to which frame each segment is needed."""
    ends = dict[int, int]()
    for span in spans:
        if isinstance(span, Copy):
            used = [(span.segment, span.hi)]
        else:
            used = [(span.left, span.left_lo + span.count), (span.right, span.right_lo + span.count)]
        for segment, end in used:
            ends[segment] = max(end, ends.get(segment, 0))
    return ends


class _Reader:
    """One segment, read forwards; frames between two requests are passed over."""

    def __init__(self, source: Source, to_yuv: ToYuv, lo: int, hi: int, films: OpenFilms) -> None:
        self._frames = read_yuv(source.path, lo, hi, packets=source.packets, films=films)
        self._index = source.index
        self._to_yuv = to_yuv
        self.next = lo

    def frames(self, lo: int, hi: int) -> Iterator[VideoFrame]:
        skip, self.next = lo - self.next, hi
        try:
            for frame in islice(self._frames, skip, skip + hi - lo):
                yield self._to_yuv(frame)
        except MediaError as error:
            raise SegmentError({self._index: str(error)}) from error

    def close(self) -> None:
        self._frames.close()
