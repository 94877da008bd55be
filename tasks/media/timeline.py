"""Frame arithmetic of a travel: segment lengths, overlaps, and which frame of which segment the film shows when.

Pure functions, no files. Positions are frames; intervals are half open.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from tasks.media.errors import MediaError

#: (step, offset): an engine makes clips of step*n + offset frames. Wan and our CPU engine: 4n + 1.
Grid = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Copy:
    """Frames lo..hi-1 of one segment, shown as they are."""

    segment: int
    lo: int
    hi: int

    @property
    def count(self) -> int:
        return self.hi - self.lo


@dataclass(frozen=True, slots=True)
class Blend:
    """`count` frames that fade from segment `left` (from its frame left_lo) to `right` (from its frame right_lo)."""

    left: int
    left_lo: int
    right: int
    right_lo: int
    count: int


@dataclass(frozen=True, slots=True)
class Timeline:
    """Segment lengths and the overlap after each segment but the last. `continued`: segment 0 is an existing video.

    `wrap` is the overlap of the last segment's end with the first one's beginning, in a film that is a loop: the film
    then begins behind it and ends with it.
    """

    segments: tuple[int, ...]
    overlaps: tuple[int, ...]
    continued: bool = False
    wrap: int = 0

    def __post_init__(self) -> None:
        if not self.segments or min(self.segments) < 1:
            raise MediaError(f"A timeline needs segments of at least one frame each, not {list(self.segments)}.")
        if len(self.overlaps) != len(self.segments) - 1:
            wanted = len(self.segments) - 1
            raise MediaError(f"{len(self.segments)} segments have {wanted} overlaps, not {len(self.overlaps)}.")
        for i, (overlap, pair) in enumerate(zip(self.overlaps, pairwise(self.segments), strict=True)):
            if not 0 <= overlap <= min(pair):
                raise MediaError(f"Overlap {i} of {overlap} frames does not fit segments of {pair[0]} and {pair[1]}.")
        if not 0 <= self.wrap <= _room_to_wrap(self.segments, self.overlaps):
            raise MediaError(f"{self.wrap} frames cannot fade from the last segment to the first: others fade there.")

    @property
    def length(self) -> int:
        """Frames of the film: L = Σq − Σo', the overlap that closes a loop among them."""
        return sum(self.segments) - sum(self.overlaps) - self.wrap

    def index(self, position: int) -> int:
        """What users call the segment at this position: an existing video that is continued is segment −1."""
        return position - 1 if self.continued else position

    def starts(self) -> tuple[int, ...]:
        """Where in the film each segment's frame 0 falls; in a loop the first one's lies before the beginning."""
        gaps = (length - overlap for length, overlap in zip(self.segments, self.overlaps, strict=False))
        return tuple(accumulate(gaps, initial=-self.wrap))

    def windows(self) -> tuple[tuple[int, int], ...]:
        """Where in the film each join blends: the overlaps, cut in the middle where two of them share frames.

        Both ends of the overlaps grow from join to join (o' ≤ both neighbours), hence so do the cuts between them,
        and the windows come out ordered, disjoint and inside their overlaps: no frame is blended twice.
        """
        starts = self.starts()
        overlaps = [(start, start + overlap) for start, overlap in zip(starts[1:], self.overlaps, strict=True)]
        cuts = [(right[0] + left[1]) // 2 if right[0] < left[1] else None for left, right in pairwise(overlaps)]
        lows, highs = [None, *cuts], [*cuts, None]
        return tuple(
            (lo if cut_lo is None else max(lo, cut_lo), hi if cut_hi is None else min(hi, cut_hi))
            for (lo, hi), cut_lo, cut_hi in zip(overlaps, lows, highs, strict=False)
        )

    def spans(self) -> tuple[Copy | Blend, ...]:
        """The film in order. Their counts add up to `length`; an empty blend is a plain cut and is left out."""
        starts, spans, at = self.starts(), list[Copy | Blend](), 0
        for left, (lo, hi) in enumerate(self.windows()):
            right = left + 1
            spans.append(Copy(left, at - starts[left], lo - starts[left]))
            spans.append(Blend(left, lo - starts[left], right, lo - starts[right], hi - lo))
            at = hi
        last = len(self.segments) - 1
        end = self.segments[last] - self.wrap
        spans += [Copy(last, at - starts[last], end), Blend(last, end, 0, 0, self.wrap)]
        return tuple(span for span in spans if span.count)

    def cuts(self, position: int) -> tuple[int, ...]:
        """The frames of a segment that must begin a closed group of pictures, so that copied spans can be cut out.

        Frame 0 always begins one and is left out, as is the segment's end.
        """
        copies = (span for span in self.spans() if isinstance(span, Copy) and span.segment == position)
        borders = {border for span in copies for border in (span.lo, span.hi)}
        return tuple(sorted(borders - {0, self.segments[position]}))


def quantise(frames: int, grid: Grid = (4, 1)) -> int:
    """The engine's clip length for a wished one: q(f) = step·⌊f/step⌋ + offset. It may be one frame longer."""
    if frames < 1:
        raise MediaError(f"A segment of {frames} frames cannot be made; ask for at least 1.")
    step, offset = grid
    return max(1, step * (frames // step) + offset)


def expand(
    segment_frames: Sequence[int],
    overlaps: Sequence[int],
    grid: Grid = (4, 1),
    preceding: int | None = None,
    wrap: int = 0,
) -> Timeline:
    """Wished lengths and overlaps to the ones that will be made.

    o' = max(0, min(2·⌊o/2⌋, q left, q right)); a missing overlap is 0. `preceding` is the length of an existing video
    that is continued: it stays as it is and comes first, and the first overlap is the one after it. `wrap` is the
    wished overlap that closes a loop; it takes only frames that no other overlap does.
    """
    before = () if preceding is None else (preceding,)
    segments = (*before, *(quantise(frames, grid) for frames in segment_frames))
    joins = max(0, len(segments) - 1)
    if len(overlaps) > joins > 0:
        raise MediaError(f"{len(overlaps)} overlaps for {joins} joins; give one for each join or fewer.")
    wished = [*overlaps, *[0] * joins][:joins]
    made = tuple(max(0, min(2 * (o // 2), *pair)) for o, pair in zip(wished, pairwise(segments), strict=True))
    closing = 2 * (min(wrap, _room_to_wrap(segments, made)) // 2) if wrap > 0 else 0
    return Timeline(segments, made, continued=preceding is not None, wrap=closing)


def _room_to_wrap(segments: Sequence[int], overlaps: Sequence[int]) -> int:
    """Frames that both the first segment's beginning and the last one's end have free of other overlaps."""
    if not overlaps:
        return segments[0] // 2
    return max(0, min(segments[0] - overlaps[0], segments[-1] - overlaps[-1]))


def crossfade_weight(k: int, n: int) -> float:
    """Share of the incoming segment at frame k of an overlap of n: (1 − cos(π(k+1)/(n+1)))/2, never 0 nor 1."""
    return (1 - math.cos(math.pi * (k + 1) / (n + 1))) / 2
