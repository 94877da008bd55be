"""Which frames of a film are copied as they are, and which are encoded. No pixels here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tasks.media.probe import Packets
from tasks.media.timeline import Blend, Copy

Span = Copy | Blend


@dataclass(frozen=True, slots=True)
class CopyPiece:
    """Frames lo..hi-1 of the film `source`, packet by packet: a closed group begins at `lo` and another at `hi`."""

    source: int
    lo: int
    hi: int

    @property
    def count(self) -> int:
        return self.hi - self.lo


@dataclass(frozen=True, slots=True)
class EncodePiece:
    """Spans that are decoded, blended where they overlap, and encoded in one run."""

    spans: tuple[Span, ...]

    @property
    def count(self) -> int:
        return sum(span.count for span in self.spans)


Piece = CopyPiece | EncodePiece


def assemble(spans: Iterable[Span], sources: Mapping[int, Packets]) -> tuple[Piece, ...]:
    """The film in order. `sources` are the segments whose packets fit into it; other segments are encoded."""
    pieces, waiting = list[Piece](), list[Span]()

    def encode_waiting() -> None:
        if waiting:
            pieces.append(EncodePiece(tuple(waiting)))
            waiting.clear()

    for span in spans:
        packets = sources.get(span.segment) if isinstance(span, Copy) else None
        closed = closed_range(packets, span.lo, span.hi) if packets and isinstance(span, Copy) else None
        if closed is None or not isinstance(span, Copy):
            waiting.append(span)
            continue
        lo, hi = closed
        waiting += _unless_empty(Copy(span.segment, span.lo, lo))
        encode_waiting()
        pieces.append(CopyPiece(span.segment, lo, hi))
        waiting += _unless_empty(Copy(span.segment, hi, span.hi))
    encode_waiting()
    return tuple(pieces)


def _unless_empty(span: Copy) -> Sequence[Span]:
    return [span] if span.count else []


def closed_range(packets: Packets, lo: int, hi: int) -> tuple[int, int] | None:
    """The longest run within frames lo..hi-1 that can be cut out: from one closed group's beginning to another's.

    A film's end is as good as a beginning. None where no closed group is as short as that.
    """
    begins = sorted(frame for frame in packets.closed if lo <= frame <= hi)
    ends = [*begins, hi] if hi == len(packets.order) and hi not in packets.closed else begins
    if len(ends) < 2 or ends[0] == ends[-1] or not begins:
        return None
    first, last = begins[0], ends[-1]
    if set(cut(packets, first, last)) != set(range(first, last)):
        return None  # a group is open after all: packets between these refer across
    return first, last


def cut(packets: Packets, lo: int, hi: int) -> Sequence[int]:
    """Frames of the packets from the one that holds `lo` up to the one that holds `hi`, in the order of the file."""
    order = packets.order
    return order[order.index(lo) : order.index(hi) if hi < len(order) else len(order)]
