"""What a stitch does not take, and by which index it says so."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.media.errors import SegmentError
from tasks.media.stitch import stitch
from tasks.media.timeline import expand
from tasks.media.video import VideoSpec, write_video
from tests.media.films import HEIGHT, WIDTH, make_segments, marked, moving
from tests.media.strict import boxes, without_label

TIMELINE = expand([33, 33, 33], [4, 4])


@pytest.fixture
def segments(tmp_path):
    return make_segments(tmp_path, TIMELINE, travel="here")


@pytest.fixture
def film(tmp_path):
    return tmp_path / "film.mp4"


def refused(segments, film, **options):
    """What is said of each segment; nothing was written."""
    with pytest.raises(SegmentError) as refusal:
        stitch(segments, TIMELINE, film, fps=16, **options)
    assert not film.exists()
    assert all(f"segment {index}: {said}" in str(refusal.value) for index, said in refusal.value.problems.items())
    return refusal.value.problems


def broken(kind, path):
    if kind == "missing":
        path.unlink()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "directory":
        path.unlink()
        path.mkdir()
    elif kind == "text":
        path.write_text("no film")
    elif kind == "too short":
        write_video(moving(32), path, VideoSpec(WIDTH, HEIGHT))
    elif kind == "too long":
        write_video(moving(34), path, VideoSpec(WIDTH, HEIGHT))
    elif kind == "other size":
        write_video((marked(9, 32, 32) for _ in range(33)), path, VideoSpec(32, 32))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("missing", "there is no such film"),
        ("empty", "0 bytes"),
        ("directory", "there is no such film"),
        ("text", "not a film"),
        ("too short", "has 32 frames, the timeline says 33"),
        ("too long", "has 34 frames, the timeline says 33"),
        ("other size", "is 32×32, the first is 64×48"),
    ],
)
def test_a_bad_segment_is_refused_by_its_index(segments, film, kind, said):
    broken(kind, segments[1])
    problems = refused(segments, film)
    assert list(problems) == [1]
    assert said in problems[1]


def test_all_that_is_wrong_is_said_at_once(segments, film):
    segments[1].write_bytes(b"")
    assert sorted(refused([*segments[:2], None], film)) == [1, 2]
    assert sorted(refused(segments[:1], film)) == [1, 2]


def test_a_segment_too_many_is_refused(segments, film):
    assert "is one too many" in refused([*segments, segments[0]], film)[3]


def test_swapped_segments_are_refused_though_they_are_as_long(segments, film):
    problems = refused([segments[0], segments[2], segments[1]], film)
    assert "says that it is segment 2" in problems[1]
    assert "says that it is segment 1" in problems[2]


def test_a_segment_of_another_travel_is_refused_where_it_is_known_whose_they_are(tmp_path, segments, film):
    write_video(moving(33), segments[1], VideoSpec(WIDTH, HEIGHT), travel="there", segment=1)
    assert "belongs to travel there, not to here" in refused(segments, film, travels=["here"])[1]
    assert stitch(segments, TIMELINE, film, fps=16, travels=["here", "there"]).frames == TIMELINE.length


def test_a_continued_video_is_segment_minus_one(segments, film):
    segments[0].unlink()
    timeline = expand([33, 33], [4, 4], preceding=33)
    with pytest.raises(SegmentError, match="segment -1:"):
        stitch(segments, timeline, film, fps=16)


def damaged(path, at, length=400):
    """`at`: share of the packets in front of the damage."""
    (begin, end) = next((begin, end) for name, begin, end in boxes(path) if name == "mdat")
    content = bytearray(path.read_bytes())
    place = begin + 8 + int(at * (end - begin - 8))
    length = min(length, end - place)
    content[place : place + length] = np.random.default_rng(0).bytes(length)
    path.write_bytes(content)


@pytest.mark.parametrize("at", [0, 0.3, 0.6, 0.97])
def test_damage_inside_is_seen_without_decoding(segments, film, at):
    damaged(segments[1], at, length=1)
    problems = refused(segments, film)
    assert list(problems) == [1]
    assert "is damaged" in problems[1]


@pytest.mark.parametrize("at", [0, 0.1, 0.3, 0.5, 0.7, 0.95])
def test_a_segment_that_says_nothing_of_itself_is_decoded_and_damage_is_seen(segments, film, at):
    damaged(without_label(segments[1]), at)
    assert list(refused(segments, film)) == [1]


def test_a_segment_that_says_nothing_of_itself_and_is_whole_is_copied(tmp_path, segments, film):
    stitch(segments, TIMELINE, tmp_path / "labelled.mp4", fps=16)
    for path in segments:
        without_label(path)
    assert stitch(segments, TIMELINE, film, fps=16).mode == "smart"
    assert film.read_bytes() == (tmp_path / "labelled.mp4").read_bytes()


def cuts(path):
    """Lengths to which a download may have come: each border of a box, a byte beside it, and the middle of each box."""
    for _, begin, end in boxes(path):
        yield from (begin + 1, begin + 4, begin + 8, begin + 9, (begin + end) // 2, end - 1, end)


def test_a_segment_cut_off_anywhere_is_refused_or_whole(tmp_path, segments, film):
    """Whole: nothing but the label is gone."""
    stitch(segments, TIMELINE, tmp_path / "right.mp4", fps=16)
    right, whole = (tmp_path / "right.mp4").read_bytes(), segments[1].read_bytes()
    label = boxes(segments[1])[-1][1]
    lengths = sorted({*cuts(segments[1])} - {len(whole)})
    assert len(lengths) > 25
    for length in lengths:
        segments[1].write_bytes(whole[:length])
        if label <= length < label + 8:
            stitch(segments, TIMELINE, film, fps=16)
            assert film.read_bytes() == right
            film.unlink()
        else:
            problems = refused(segments, film)
            assert list(problems) == [1], length


@pytest.mark.parametrize("place", [1, 2])
def test_a_bad_segment_leaves_the_earlier_film_alone(segments, film, place):
    stitch(segments, TIMELINE, film, fps=16)
    before = film.read_bytes()
    damaged(without_label(segments[place]), 0.5)
    with pytest.raises(SegmentError):
        stitch(segments, TIMELINE, film, fps=16)
    assert film.read_bytes() == before
    assert sorted(path.name for path in film.parent.iterdir()) == ["film.mp4", *(path.name for path in segments)]
