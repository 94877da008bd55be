"""Join segments into one film in which no cut shows, of exactly the promised length, in constant memory.

Frames outside the overlaps are copied bit for bit where a segment was encoded as ours are; only overlaps are decoded,
blended and encoded again. What does not fit is encoded anew, by itself, and the report says why.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from fractions import Fraction
from functools import lru_cache, partial
from pathlib import Path

from tasks.media.assembly import CopyPiece, EncodePiece, Piece, assemble, closed_range
from tasks.media.atomic import replacing
from tasks.media.encoding import BT709, VideoSpec, encoder, frame_rate, settings_hash
from tasks.media.errors import MediaError, SegmentError
from tasks.media.label import Encoded, Label, append_label, read_label
from tasks.media.memory import give_back_large_blocks
from tasks.media.mp4 import Mp4Writer
from tasks.media.probe import OpenFilms, VideoInfo, examine
from tasks.media.reading import read_packets, read_yuv
from tasks.media.seams import SeamOptions
from tasks.media.spans import Source, SpanReader
from tasks.media.timeline import Blend, Copy, Timeline
from tasks.media.verify import verify

OnStep = Callable[[int, int], None]
#: How overlaps between copied frames are encoded: every frame within 47 dB of the exact blend, white noise too, since a
#: quantiser's error hardly depends on what is coded. 13 costs 2% less, but small pictures with hard edges had 46.9 dB.
_SEAM_PRESET, _SEAM_QP = "superfast", 12


@dataclass(frozen=True, slots=True)
class StitchReport:
    """`mode` is "smart" where frames were copied as they are, and "stream" where every frame was encoded anew.

    `copied` and `encoded` count frames; `reasons` say why frames outside the overlaps had to be encoded.
    """

    frames: int
    width: int
    height: int
    fps: Fraction
    copied: int
    encoded: int
    reasons: tuple[str, ...] = ()

    @property
    def mode(self) -> str:
        return "smart" if self.copied else "stream"

    @property
    def duration(self) -> float:
        """Seconds."""
        return float(self.frames / self.fps)


@dataclass(frozen=True, slots=True)
class Segment(Source):
    info: VideoInfo
    label: Label | None


def stitch(
    paths: Sequence[str | Path | None],
    timeline: Timeline,
    out: str | Path,
    *,
    fps: Fraction | float | str,
    sharpen: float = 0.0,
    flow: bool = False,
    crf: float = 17,
    preset: str = "veryfast",
    travels: Collection[str] = (),
    previous: str | Path | None = None,
    on_step: OnStep | None = None,
) -> StitchReport:
    """Write the film the timeline promises, or nothing.

    Raises SegmentError naming every segment that is missing, empty, cut off, damaged, of another size or length than
    the first one or the timeline says, or, by its label, another segment or of a travel that is not among `travels`.
    `sharpen` is `crossfade_sharp_amt`; `flow` aligns what two takes show in different places. `previous` is an earlier
    film of most of these segments: overlaps that are as they were come from it. `on_step(done, total)` counts film
    frames and may raise to stop; then `out` is untouched.
    """
    give_back_large_blocks()
    with OpenFilms() as films:
        segments = _inspect(paths, timeline, travels, films)
        first = segments[0].info
        spec = _like(segments, VideoSpec(first.width, first.height, frame_rate(fps), crf, preset))
        reasons = {at: why for at, segment in enumerate(segments) if (why := _unlike(segment, spec))}
        fitting = {at: segment.packets for at, segment in enumerate(segments) if at not in reasons}
        pieces = assemble(timeline.spans(), fitting)
        _decode_unproven(segments, pieces)
        said, earlier = list(_reasons(segments, reasons, pieces)), None
        try:
            earlier = _earlier(Path(previous), spec) if previous else None
        except MediaError as error:
            said.append(f"overlaps are not taken from the earlier film: {error}")
        making = _Making(segments, spec, SeamOptions(flow, sharpen), earlier, films)
        film = making.write(pieces, Path(out), partial(_tell, on_step, timeline.length))
    return replace(film, reasons=tuple(said))


def _tell(on_step: OnStep | None, total: int, done: int) -> None:
    if on_step:
        on_step(done, total)


def _inspect(
    paths: Sequence[str | Path | None], timeline: Timeline, travels: Collection[str], films: OpenFilms
) -> list[Segment]:
    """Look at all segments before any work. One list of everything that is wrong saves a round for each."""
    problems = dict[int, str]()
    segments = list[Segment]()
    for at in range(max(len(paths), len(timeline.segments))):
        try:
            segment = _segment(paths, timeline, at, films)
            _check(segment, timeline.segments[at], segments[0] if segments else segment, travels)
            segments.append(segment)
        except MediaError as error:
            problems[timeline.index(at)] = str(error)
    if problems:
        raise SegmentError(problems)
    return segments


def _segment(paths: Sequence[str | Path | None], timeline: Timeline, at: int, films: OpenFilms) -> Segment:
    path = paths[at] if at < len(paths) else None
    if not path:
        raise MediaError("it is missing")
    if at >= len(timeline.segments):
        raise MediaError(f"the timeline has {len(timeline.segments)} segments, {path} is one too many")
    info, packets = examine(path, films)
    return Segment(timeline.index(at), Path(path), packets, info, read_label(Path(path)))


def _check(segment: Segment, frames: int, first: Segment, travels: Collection[str]) -> None:
    path, info, label = segment.path, segment.info, segment.label
    if label and label.packets != segment.packets.digest:
        raise MediaError(f"{path} is damaged: it does not hold the packets that were written into it")
    if label and label.segment not in (None, segment.index):
        raise MediaError(f"{path} says that it is segment {label.segment}; the segments may have been swapped")
    if label and label.travel and travels and label.travel not in travels:
        raise MediaError(f"{path} says that it belongs to travel {label.travel}, not to {' or '.join(travels)}")
    if info.frames != frames:
        raise MediaError(f"{path} has {info.frames} frames, the timeline says {frames}")
    if (info.width, info.height) != (first.info.width, first.info.height):
        raise MediaError(f"{path} is {info.width}×{info.height}, the first is {first.info.width}×{first.info.height}")


def _like(segments: Sequence[Segment], spec: VideoSpec) -> VideoSpec:
    """With B-frames or without, as the segments are; with, where there are both kinds or neither."""
    found = {segment.packets.parameters for segment in segments}
    for candidate in (spec, replace(spec, bframes=0)):
        if _parameters(candidate) in found:
            return candidate
    return spec


@lru_cache(maxsize=4)
def _parameters(spec: VideoSpec) -> bytes:
    return bytes(encoder(spec).extradata or b"")


def _unlike(segment: Segment, spec: VideoSpec) -> str:
    """Why no packet of the segment can stand in the film; empty where they can."""
    info = segment.info
    if (info.codec, info.pix_fmt, info.colour.matrix) != ("h264", "yuv420p", BT709):
        return f"is {info.codec} {info.pix_fmt} with colour matrix {info.colour.matrix}"
    if info.fps != spec.fps:
        return f"was made for {float(info.fps):g} frames a second, the film has {float(spec.fps):g}"
    if segment.packets.parameters != _parameters(spec):
        return "was encoded with other settings than ours"
    if not segment.packets.order:
        return "has an edit list or parameter sets inside, so its packets cannot be moved"
    return ""


def _reasons(segments: Sequence[Segment], unlike: Mapping[int, str], pieces: Sequence[Piece]) -> Iterator[str]:
    yield from (f"segment {segments[at].index} {why}" for at, why in sorted(unlike.items()))
    spans = [span for piece in pieces if isinstance(piece, EncodePiece) for span in piece.spans]
    for span in spans:
        if isinstance(span, Copy) and span.segment not in unlike:
            index, last = segments[span.segment].index, span.hi - 1
            yield f"frames {span.lo} to {last} of segment {index} are not a whole number of closed groups"
    if not any(isinstance(span, Copy) for span in spans) and not any(isinstance(piece, CopyPiece) for piece in pieces):
        yield "every frame lies in an overlap"


def _decode_unproven(segments: Sequence[Segment], pieces: Sequence[Piece]) -> None:
    """Frames that will be copied from a film without a label, which nobody has seen decode without an error."""
    problems = dict[int, str]()
    for piece in pieces:
        if isinstance(piece, CopyPiece) and not (segment := segments[piece.source]).label:
            try:
                for _ in read_yuv(segment.path, piece.lo, piece.hi, packets=segment.packets):
                    pass
            except MediaError as error:
                problems[segment.index] = str(error)
    if problems:
        raise SegmentError(problems)


@dataclass(frozen=True, slots=True)
class _Earlier:
    """A film whose encoded runs can be had for nothing: its frames by the recipe of the run."""

    source: Source
    runs: Mapping[str, tuple[int, int]]


def _earlier(path: Path, spec: VideoSpec) -> _Earlier:
    """Raises MediaError for a film that has nothing to give."""
    (_, packets), label = examine(path), read_label(path)
    if not label or label.packets != packets.digest:
        raise MediaError(f"{path} does not say how it was made, or has been changed since")
    if packets.parameters != _parameters(spec):
        raise MediaError(f"{path} was encoded with other settings, or has another size or rate")
    runs = {run.recipe: (run.start, run.start + run.count) for run in label.encoded}
    whole = {recipe: run for recipe, run in runs.items() if closed_range(packets, *run) == run}
    return _Earlier(Source(0, path, packets), whole)


@dataclass(frozen=True, slots=True)
class _Making:
    segments: Sequence[Segment]
    spec: VideoSpec
    seam: SeamOptions
    earlier: _Earlier | None
    films: OpenFilms

    def write(self, pieces: Sequence[Piece], out: Path, on_frame: Callable[[int], None]) -> StitchReport:
        made, runs = list[tuple[int, int]](), list[Encoded]()
        with replacing(out) as part:
            with Mp4Writer.open(part, self.spec, on_frame) as writer:
                for piece in pieces:
                    begin = writer.frames
                    if isinstance(piece, CopyPiece):
                        self._copy(self.segments[piece.source], piece.lo, piece.hi, writer)
                        continue
                    recipe = self._recipe(piece)
                    run = self.earlier.runs.get(recipe) if self.earlier else None
                    if self.earlier and run and run[1] - run[0] == piece.count:
                        self._copy(self.earlier.source, *run, writer)
                    else:
                        frames = SpanReader(dict(enumerate(self.segments)), self.spec, self.films, self.seam)
                        writer.encode(frames.frames(piece.spans), self._spec_of(piece))
                        made.append((begin, writer.frames))
                    runs.append(Encoded(start=begin, count=writer.frames - begin, recipe=recipe))
            promised = sum(piece.count for piece in pieces)
            written = verify(part, self.spec, promised, writer.digest, decode=made, name=out)
            settings = settings_hash(self.spec)
            label = Label(frames=promised, packets=writer.digest, settings=settings, encoded=tuple(runs))
            append_label(part, label)
        encoded = sum(hi - lo for lo, hi in made)
        return StitchReport(promised, written.width, written.height, written.fps, promised - encoded, encoded)

    def _copy(self, source: Source, lo: int, hi: int, writer: Mp4Writer) -> None:
        base = writer.frames
        for packet, frame in read_packets(source.path, source.packets, lo, hi, self.films):
            writer.put(packet, base + frame - lo)

    def _spec_of(self, piece: EncodePiece) -> VideoSpec:
        blended = sum(span.count for span in piece.spans if isinstance(span, Blend))
        return replace(self.spec, preset=_SEAM_PRESET, qp=_SEAM_QP) if 2 * blended > piece.count else self.spec

    def _recipe(self, piece: EncodePiece) -> str:
        """Of the packets that go in, and of all that is done to them."""
        ingredients = [(*map(self._digest, _segments_of(span)), astuple(span)) for span in piece.spans]
        text = json.dumps([ingredients, astuple(self.seam), settings_hash(self._spec_of(piece))])
        return hashlib.sha256(text.encode()).hexdigest()

    def _digest(self, position: int) -> str:
        """With what they are decoded by: the same packets look otherwise under other colour tags."""
        info, packets = self.segments[position].info, self.segments[position].packets
        return f"{packets.digest} {packets.parameters.hex()} {info.pix_fmt} {info.colour}"


def _segments_of(span: Copy | Blend) -> tuple[int, ...]:
    return (span.segment,) if isinstance(span, Copy) else (span.left, span.right)
