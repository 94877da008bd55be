"""A film stitched again: what is as it was comes from the earlier one."""

from __future__ import annotations

from dataclasses import replace

import av
import numpy as np
import pytest

from tasks.media.label import Encoded, append_label, read_label
from tasks.media.stitch import stitch
from tasks.media.timeline import Blend, Timeline
from tasks.media.video import write_video
from tests.media.films import SPEC, foreign, make_segments, moving
from tests.media.strict import boxes, check_bodies, check_film, check_overlaps, packets, planes, without_label

TIMELINE = Timeline((17, 13, 21, 17, 13), (4, 5, 4, 3))
SEAMS = 16


@pytest.fixture
def segments(tmp_path):
    return make_segments(tmp_path, TIMELINE)


@pytest.fixture
def earlier(tmp_path, segments):
    stitch(segments, TIMELINE, tmp_path / "earlier.mp4", fps=16)
    return tmp_path / "earlier.mp4"


def made_again(path, position, seed=99):
    frames = TIMELINE.segments[position]
    write_video(moving(frames, seed=seed), path, SPEC, idr_at=TIMELINE.cuts(position), count=frames)


def stitched(segments, folder, **options):
    """With what is given and from nothing: the same film, to the byte."""
    report = stitch(segments, TIMELINE, folder / "film.mp4", fps=16, **options)
    options.pop("previous")
    stitch(segments, TIMELINE, folder / "from-nothing.mp4", fps=16, **options)
    assert (folder / "film.mp4").read_bytes() == (folder / "from-nothing.mp4").read_bytes()
    return report


def test_the_same_film_again_encodes_nothing(tmp_path, segments, earlier):
    report = stitched(segments, tmp_path, previous=earlier)
    assert (report.encoded, report.copied, report.mode) == (0, TIMELINE.length, "smart")
    assert (tmp_path / "film.mp4").read_bytes() == earlier.read_bytes()


@pytest.mark.parametrize(("position", "seams"), [(0, 4), (1, 9), (2, 9), (4, 3)])
def test_one_segment_made_again_costs_its_seams_alone(tmp_path, segments, earlier, position, seams):
    made_again(segments[position], position)
    report = stitched(segments, tmp_path, previous=earlier)
    assert (report.encoded, report.frames, report.reasons) == (seams, TIMELINE.length, ())
    film = tmp_path / "film.mp4"
    check_film(film, TIMELINE.length)
    check_bodies(film, segments, TIMELINE)
    check_overlaps(film, segments, TIMELINE)


def test_all_but_the_new_segment_is_the_earlier_film_packet_for_packet(tmp_path, segments, earlier):
    made_again(segments[2], 2)
    stitch(segments, TIMELINE, tmp_path / "film.mp4", fps=16, previous=earlier)
    new = range(TIMELINE.starts()[2], TIMELINE.starts()[2] + TIMELINE.segments[2])
    before, after = packets(earlier), packets(tmp_path / "film.mp4")
    assert [p for p in before if p.shown not in new] == [p for p in after if p.shown not in new]
    old, made = planes(earlier), planes(tmp_path / "film.mp4")
    assert not any(np.array_equal(old[at], made[at]) for at in new)


def test_a_film_may_take_the_place_of_the_earlier_one(segments, earlier):
    made_again(segments[1], 1)
    report = stitch(segments, TIMELINE, earlier, fps=16, previous=earlier)
    assert report.encoded == 9
    check_film(earlier, TIMELINE.length)
    check_overlaps(earlier, segments, TIMELINE)


def test_a_film_made_again_and_again_is_still_the_same(tmp_path, segments, earlier):
    for round_ in range(3):
        made_again(segments[round_], round_)
        stitch(segments, TIMELINE, earlier, fps=16, previous=earlier)
    stitch(segments, TIMELINE, tmp_path / "from-nothing.mp4", fps=16)
    assert earlier.read_bytes() == (tmp_path / "from-nothing.mp4").read_bytes()


def test_overlaps_sharpened_otherwise_are_made_again(tmp_path, segments, earlier):
    report = stitched(segments, tmp_path, previous=earlier, sharpen=0.5)
    assert report.encoded == SEAMS


def test_a_segment_encoded_anew_comes_from_the_earlier_film_only_in_the_same_quality(tmp_path, segments):
    foreign(segments[2], moving(21), "mpeg4")
    earlier = tmp_path / "earlier.mp4"
    first = stitch(segments, TIMELINE, earlier, fps=16)
    assert stitched(segments, tmp_path, previous=earlier).encoded == 0 < first.encoded
    assert stitched(segments, tmp_path, previous=earlier, crf=30).encoded == 21


def spoilt(kind, path, segments):
    if kind == "missing":
        path.unlink()
    elif kind == "a directory":
        path.unlink()
        path.mkdir()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "cut off":
        path.write_bytes(path.read_bytes()[:-900])
    elif kind == "cut in its label":
        path.write_bytes(path.read_bytes()[:-9])
    elif kind == "damaged":
        content = bytearray(path.read_bytes())
        content[boxes(path)[-2][1] + 3000] ^= 1
        path.write_bytes(content)
    elif kind == "without a label":
        without_label(path)
    elif kind == "by another tool":
        path.unlink()
        foreign(path, moving(9), "mpeg4")
    elif kind == "of other segments":
        others = path.parent / "others"
        others.mkdir()
        write_video(moving(9), others / "other.mp4", SPEC)
        stitch([others / "other.mp4"], Timeline((9,), ()), path, fps=16)
    elif kind == "with runs that are not there":
        label = read_label(path)
        runs = tuple(Encoded(start=run.start + 1, count=run.count, recipe=run.recipe) for run in label.encoded)
        append_label(without_label(path), replace(label, encoded=tuple(runs)))
    elif kind == "with runs of other lengths":
        label = read_label(path)
        runs = tuple(Encoded(start=0, count=label.frames * 9, recipe=run.recipe) for run in label.encoded)
        append_label(without_label(path), replace(label, encoded=tuple(runs)))


KINDS = (
    "missing",
    "a directory",
    "empty",
    "cut off",
    "cut in its label",
    "damaged",
    "without a label",
    "by another tool",
    "of other segments",
    "with runs that are not there",
    "with runs of other lengths",
)


@pytest.mark.parametrize("kind", KINDS)
def test_an_earlier_film_that_cannot_be_trusted_is_not_used(tmp_path, segments, earlier, kind):
    spoilt(kind, earlier, segments)
    report = stitched(segments, tmp_path, previous=earlier)
    assert report.encoded == SEAMS
    if kind != "of other segments" and "runs" not in kind:
        assert report.reasons[0].startswith("overlaps are not taken from the earlier film: ")


def test_overlaps_are_made_again_for_a_segment_that_only_got_other_colour_tags(tmp_path, segments):
    """Its packets are the same; what they look like is not."""
    foreign(segments[1], moving(13), matrix=1)
    earlier = tmp_path / "earlier.mp4"
    stitch(segments, TIMELINE, earlier, fps=16)
    before = [packet.content for packet in packets(segments[1])]
    tagged(segments[1], matrix=6)
    assert [packet.content for packet in packets(segments[1])] == before
    assert stitched(segments, tmp_path, previous=earlier).encoded > 9


def tagged(path, matrix):
    """Without encoding anything, as `ffmpeg -bsf h264_metadata` does."""
    old = path.rename(path.with_name("old.mp4"))
    with av.open(str(old)) as source, av.open(str(path), "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        retag = av.BitStreamFilterContext(
            f"h264_metadata=matrix_coefficients={matrix}", source.streams.video[0], stream
        )
        for packet in source.demux(video=0):
            for each in retag.filter(packet if packet.dts is not None else None):
                each.stream = stream
                output.mux(each)
    old.unlink()


def test_what_an_overlap_was_made_from_is_kept_in_the_film(earlier):
    label = read_label(earlier)
    blends, at = [], 0
    for span in TIMELINE.spans():
        blends += [(at, span.count)] if isinstance(span, Blend) else []
        at += span.count
    assert [(run.start, run.count) for run in label.encoded] == blends
    assert label.frames == TIMELINE.length
