from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.media.assembly import CopyPiece, EncodePiece, assemble, closed_range, cut
from tasks.media.probe import Packets
from tasks.media.timeline import Blend, Copy, Timeline


def film(frames, closed=(0,), order=None):
    return Packets(tuple(range(frames)), {}, tuple(order or range(frames)), frozenset(closed))


def ours(timeline):
    """Segments as the worker cuts them."""
    return {i: film(n, (0, *timeline.cuts(i))) for i, n in enumerate(timeline.segments)}


def test_bodies_are_copied_and_overlaps_encoded():
    timeline = Timeline((9, 9), (4,))
    assert assemble(timeline.spans(), ours(timeline)) == (
        CopyPiece(0, 0, 5),
        EncodePiece((Blend(0, 5, 1, 0, 4),)),
        CopyPiece(1, 4, 9),
    )


def test_a_segment_that_does_not_fit_is_encoded_in_one_run_with_the_overlaps_beside_it():
    timeline = Timeline((9, 9, 9), (2, 2))
    sources = ours(timeline)
    del sources[1]
    assert assemble(timeline.spans(), sources) == (
        CopyPiece(0, 0, 7),
        EncodePiece((Blend(0, 7, 1, 0, 2), Copy(1, 2, 7), Blend(1, 7, 2, 0, 2))),
        CopyPiece(2, 2, 9),
    )


def test_what_lies_before_and_behind_the_closed_groups_is_encoded():
    assert assemble([Copy(0, 2, 11)], {0: film(12, (0, 4, 8))}) == (
        EncodePiece((Copy(0, 2, 4),)),
        CopyPiece(0, 4, 8),
        EncodePiece((Copy(0, 8, 11),)),
    )


@pytest.mark.parametrize(
    ("lo", "hi", "found"),
    [
        (0, 12, (0, 12)),  # the film's end is as good as a beginning
        (0, 11, (0, 8)),
        (1, 12, (4, 12)),
        (5, 12, (8, 12)),
        (4, 8, (4, 8)),
        (5, 8, None),
        (5, 7, None),
        (9, 12, None),
        (9, 11, None),
    ],
)
def test_a_closed_range_is_the_longest_that_can_be_cut_out(lo, hi, found):
    assert closed_range(film(12, (0, 4, 8)), lo, hi) == found


def test_a_group_that_others_refer_into_is_not_cut_out():
    """Frame 3 is shown before 4 and stands behind it: an open group, whatever the film says of 4."""
    assert closed_range(film(8, (0, 4), order=[0, 1, 2, 4, 3, 5, 6, 7]), 0, 4) is None


def test_packets_that_cannot_be_moved_are_never_copied():
    assert assemble([Copy(0, 0, 8)], {0: Packets(tuple(range(8)), {0: 0})}) == (EncodePiece((Copy(0, 0, 8),)),)


def test_a_cut_reaches_to_the_end():
    assert list(cut(film(6, (0, 3), order=[0, 2, 1, 3, 5, 4]), 3, 6)) == [3, 5, 4]


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=5).flatmap(
        lambda frames: st.tuples(
            st.tuples(*[st.integers(0, min(pair)) for pair in itertools.pairwise(frames)]),
            st.tuples(*[st.frozensets(st.integers(0, n - 1)) for n in frames]),
        ).map(lambda drawn: (Timeline(tuple(frames), drawn[0]), drawn[1]))
    )
)
def test_whatever_groups_the_segments_have_every_frame_is_there_once_and_in_order(drawn):
    timeline, closed = drawn
    sources = {i: film(n, closed[i] | {0}) for i, n in enumerate(timeline.segments)}
    pieces = assemble(timeline.spans(), sources)
    assert sum(piece.count for piece in pieces) == timeline.length
    assert list(shown(pieces)) == list(shown([EncodePiece(timeline.spans())]))
    for piece in pieces:
        if isinstance(piece, CopyPiece):
            assert piece.lo in sources[piece.source].closed
            assert piece.hi in sources[piece.source].closed | {timeline.segments[piece.source]}
    assert not any(isinstance(a, EncodePiece) and isinstance(b, EncodePiece) for a, b in itertools.pairwise(pieces))


def shown(pieces):
    for piece in pieces:
        for span in [Copy(piece.source, piece.lo, piece.hi)] if isinstance(piece, CopyPiece) else piece.spans:
            for k in range(span.count):
                if isinstance(span, Copy):
                    yield span.segment, span.lo + k
                else:
                    yield span.left, span.left_lo + k, span.right, span.right_lo + k
