from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.media.errors import MediaError
from tasks.media.timeline import Blend, Copy, Timeline, crossfade_weight, expand, quantise

TABLE = [
    ([81, 81, 81], [12, 12], [12, 12], 219),
    ([48, 48], [10], [10], 88),
    ([80], [], [], 81),
    ([81, 17, 81], [20, 20], [17, 17], 145),
    ([3, 4, 5], [1, 2], [0, 2], 9),
    ([81, 81], [13], [12], 150),
]

lengths = st.lists(st.integers(1, 60), min_size=1, max_size=7)
wishes = st.lists(st.integers(0, 70), max_size=6)
timelines = st.builds(
    lambda frames, overlaps, before: expand(frames, overlaps[: len(frames) - (before is None)], preceding=before),
    lengths,
    wishes,
    st.none() | st.integers(1, 50),
)
loops = st.builds(
    lambda frames, overlaps, wrap: expand(frames, overlaps[: len(frames) - 1], wrap=wrap),
    lengths,
    wishes,
    st.integers(0, 70),
)


@pytest.mark.parametrize(("frames", "wished", "made", "length"), TABLE)
def test_expansion_and_length_follow_the_contract(frames, wished, made, length):
    timeline = expand(frames, wished)
    assert (list(timeline.overlaps), timeline.length) == (made, length)


def test_lengths_go_to_the_grid_of_the_engine():
    assert [quantise(f) for f in (1, 3, 4, 80, 81, 83)] == [1, 1, 5, 81, 81, 81]
    assert quantise(48, (8, 1)) == 49


def film(timeline):
    """(segment, frame) pairs of every film frame, as the spans show them."""
    for span in timeline.spans():
        for k in range(span.count):
            if isinstance(span, Copy):
                yield [(span.segment, span.lo + k)]
            else:
                yield [(span.left, span.left_lo + k), (span.right, span.right_lo + k)]


@given(timelines | loops)
def test_the_spans_fill_the_film_exactly(timeline):
    assert sum(span.count for span in timeline.spans()) == timeline.length == len(list(film(timeline)))


@given(timelines | loops)
def test_every_frame_shown_is_inside_its_segment(timeline):
    assert all(0 <= frame < timeline.segments[segment] for shown in film(timeline) for segment, frame in shown)


@given(timelines)
def test_every_segment_stays_where_the_overlaps_put_it(timeline):
    starts = timeline.starts()
    shown = [(at, segment, frame) for at, parts in enumerate(film(timeline)) for segment, frame in parts]
    assert all(at == starts[segment] + frame for at, segment, frame in shown)


@given(timelines | loops)
def test_no_frame_is_blended_twice(timeline):
    blends = [parts for parts in film(timeline) if len(parts) == 2]
    uses = Counter(part for parts in blends for part in parts)
    assert all(count == 1 for count in uses.values())


@given(timelines)
def test_a_blend_joins_neighbours_and_segments_come_in_order(timeline):
    blends = [span for span in timeline.spans() if isinstance(span, Blend)]
    assert all(span.right == span.left + 1 for span in blends)
    order = [max(segment for segment, _ in parts) for parts in film(timeline)]
    assert order == sorted(order)


@given(st.lists(st.integers(30, 60), min_size=2, max_size=5), st.integers(0, 14))
def test_overlaps_that_do_not_meet_are_blended_whole(frames, overlap):
    timeline = expand(frames, [overlap] * (len(frames) - 1))
    blended = [span.count for span in timeline.spans() if isinstance(span, Blend)]
    assert blended == [o for o in timeline.overlaps if o]


@given(timelines | loops)
def test_copied_spans_begin_and_end_where_a_group_of_pictures_begins(timeline):
    for span in timeline.spans():
        if isinstance(span, Copy):
            borders = {0, *timeline.cuts(span.segment), timeline.segments[span.segment]}
            assert {span.lo, span.hi} <= borders


def test_no_overlap_is_a_plain_concatenation():
    spans = expand([9, 5, 9], []).spans()
    assert spans == (Copy(0, 0, 9), Copy(1, 0, 5), Copy(2, 0, 9))


def test_a_segment_covered_twice_is_shared_in_the_middle():
    spans = expand([81, 17, 81], [20, 20]).spans()
    assert spans == (Copy(0, 0, 64), Blend(0, 64, 1, 0, 8), Blend(1, 8, 2, 8, 9), Copy(2, 17, 81))


def test_a_single_segment_ignores_overlaps():
    assert expand([5], [12]).spans() == (Copy(0, 0, 5),)


def test_segments_of_one_frame_still_give_a_film():
    assert len(list(film(expand([1, 1, 5, 1], [8, 8, 8])))) == expand([1, 1, 5, 1], [8, 8, 8]).length


def test_a_continued_video_keeps_its_length_and_is_segment_minus_one():
    timeline = expand([80], [12], preceding=100)
    assert (timeline.segments, timeline.length, timeline.index(0)) == ((100, 81), 169, -1)


def test_cuts_lie_at_the_borders_of_what_is_copied():
    timeline = expand([81, 81, 81], [12, 12])
    assert [timeline.cuts(i) for i in range(3)] == [(69,), (12, 69), (12,)]


@pytest.mark.parametrize("bad", [lambda: expand([0], []), lambda: expand([], []), lambda: expand([5, 5], [2, 2])])
def test_an_impossible_timeline_is_refused(bad):
    with pytest.raises(MediaError):
        bad()


def test_an_overlap_longer_than_its_segments_is_refused():
    with pytest.raises(MediaError, match="Overlap 0 of 6"):
        Timeline((5, 9), (6,))


@given(st.integers(1, 40))
def test_the_fade_rises_evenly_and_wastes_no_frame(n):
    weights = [crossfade_weight(k, n) for k in range(n)]
    assert all(0 < w < 1 for w in weights)
    assert weights == sorted(weights)
    assert weights[0] == pytest.approx(1 - weights[-1])


def test_a_loop_begins_behind_the_overlap_with_its_end_and_ends_with_it():
    timeline = expand([9, 9], [2], wrap=4)
    assert timeline.length == 18 - 2 - 4
    assert timeline.spans() == (Copy(0, 4, 7), Blend(0, 7, 1, 0, 2), Copy(1, 2, 5), Blend(1, 5, 0, 0, 4))


def test_one_segment_can_be_a_loop():
    assert expand([9], [], wrap=12).spans() == (Copy(0, 4, 5), Blend(0, 5, 0, 0, 4))


@given(loops)
def test_a_loop_goes_on_from_its_last_frame_to_its_first(timeline):
    if timeline.wrap:
        *_, last = film(timeline)
        assert last[-1] == (0, timeline.wrap - 1)
        assert timeline.starts()[0] + timeline.wrap == 0


def test_an_overlap_that_would_close_a_loop_over_others_is_refused():
    with pytest.raises(MediaError, match="others fade there"):
        Timeline((9, 9), (8,), wrap=2)
