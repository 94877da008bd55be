"""One segment that is not like ours among others that are: it is encoded anew, they are copied, and we are told why."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tasks.media.encoding import ToYuv, encoder_settings
from tasks.media.stitch import stitch
from tasks.media.timeline import Timeline
from tasks.media.video import VideoSpec, probe, read_frames, write_video
from tests.media.films import HEIGHT, SPEC, WIDTH, foreign, make_segments, moving
from tests.media.strict import check_bodies, check_film, check_overlaps, complaints, packets, without_label

TIMELINE = Timeline((17, 17, 17), (4, 3))
WHOLE = 4 + 10 + 3  # frames of segment 1, overlaps and body

#: Overlaps and body of a segment whose film is otherwise ours.
BORDERS = TIMELINE.cuts(1)


def other_codec(path):
    foreign(path, moving(17, seed=5), "mpeg4")


def other_settings(path):
    foreign(path, moving(17, seed=5), options={"preset": "medium", "crf": "12"})


def no_b_frames(path):
    write_video(moving(17, seed=5), path, VideoSpec(WIDTH, HEIGHT, bframes=0), idr_at=BORDERS)


def other_rate(path):
    write_video(moving(17, seed=5), path, VideoSpec(WIDTH, HEIGHT, Fraction(25)), idr_at=BORDERS)


def full_range(path):
    foreign(path, moving(17, seed=5), full_range=True, options={"crf": "5"})


def bt601(path):
    foreign(path, moving(17, seed=5), matrix=6, options={"crf": "5"})


def untagged_mpeg_4(path):
    foreign(path, moving(17, seed=5), "mpeg4", matrix=2, options={"b": "4000000"})


def parameter_sets_inside(path):
    """Ours in all else; avc3 is the name for such tracks."""
    ours_otherwise(path, ":repeat-headers=1")


def open_groups(path):
    ours_otherwise(path, ":open-gop=1:keyint=4:min-keyint=1")


def ours_otherwise(path, x264_params):
    settings = encoder_settings(SPEC)
    options = settings.pop("options")
    options["x264-params"] += ":annexb=0" + x264_params
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=16, options=options)
        for name, value in settings.items():
            setattr(stream.codec_context, name, value)
        to_yuv = ToYuv(SPEC)
        for i, frame in enumerate(moving(17, seed=5)):
            picture = to_yuv(frame)
            picture.pts, picture.time_base = i, Fraction(1, 16)
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))


def transport_stream(path):
    """Ours, in the other format of packets: mixed into an mp4 they would be mangled without an error."""
    ours = path.with_name("ours.mp4")
    write_video(moving(17, seed=5), ours, SPEC, idr_at=BORDERS)
    with av.open(str(ours)) as source, av.open(str(path), "w", format="mpegts") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                output.mux(packet)
    ours.unlink()


def edit_list(path):
    """Of 21 frames the first four are hidden; they are still in the file, since the others are decoded from them."""
    ours = path.with_name("ours.mp4")
    write_video(moving(21, seed=5), ours, SPEC, idr_at=(8, 18))
    options = {"avoid_negative_ts": "disabled"}
    with av.open(str(ours)) as source, av.open(str(path), "w", container_options=options) as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                hidden = int(4 / (16 * packet.time_base))
                packet.pts, packet.dts, packet.stream = packet.pts - hidden, packet.dts - hidden, stream
                output.mux(packet)
    ours.unlink()


def no_closed_groups(path):
    write_video(moving(17, seed=5), path, SPEC)


MADE = [
    (other_codec, "segment 1 is mpeg4 yuv420p with colour matrix"),
    (other_settings, "segment 1 was encoded with other settings than ours"),
    (no_b_frames, "segment 1 was encoded with other settings than ours"),
    (other_rate, "segment 1 was made for 25 frames a second, the film has 16"),
    (full_range, "segment 1 is h264 yuvj420p"),
    (bt601, "segment 1 is h264 yuv420p with colour matrix 6"),
    (untagged_mpeg_4, "segment 1 is mpeg4 yuv420p with colour matrix 2"),
    (parameter_sets_inside, "segment 1 has an edit list or parameter sets inside"),
    (open_groups, "frames 4 to 13 of segment 1 are not a whole number of closed groups"),
    (transport_stream, "segment 1 was encoded with other settings than ours"),
    (edit_list, "segment 1 has an edit list or parameter sets inside"),
    (no_closed_groups, "frames 4 to 13 of segment 1 are not a whole number of closed groups"),
]


@pytest.mark.parametrize(("make", "reason"), MADE, ids=[make.__name__ for make, _ in MADE])
def test_one_that_does_not_fit_is_encoded_and_the_others_are_copied(tmp_path, make, reason):
    segments, film = make_segments(tmp_path, TIMELINE), tmp_path / "film.mp4"
    make(segments[1])
    report = stitch(segments, TIMELINE, film, fps=16)
    assert (report.frames, report.encoded, report.copied) == (44, WHOLE, 27)
    assert report.mode == "smart"
    assert len(report.reasons) == 1
    assert report.reasons[0].startswith(reason)
    check_film(film, 44)
    check_bodies(film, segments, TIMELINE, but=[1])
    assert complaints(film) == ""
    shown, own = np.array([*read_frames(film, 17, 27)], int), np.array([*read_frames(segments[1], 4, 14)], int)
    assert np.abs(shown - own).mean() < 6 < np.abs(shown[1:] - own[:-1]).mean()  # each frame in its place


ALL_STREAM = [make for make, _ in MADE if make is not no_b_frames]  # three of those are a film of their kind


@pytest.mark.parametrize("make", ALL_STREAM, ids=[make.__name__ for make in ALL_STREAM])
def test_a_film_of_nothing_that_fits_has_the_same_length_and_tags(tmp_path, make):
    film, smart = tmp_path / "film.mp4", tmp_path / "smart.mp4"
    stitch(make_segments(tmp_path, TIMELINE), TIMELINE, smart, fps=16)
    paths = [tmp_path / f"{i}.mp4" for i in range(3)]
    for path in paths:
        make(path)
    assert stitch(paths, TIMELINE, film, fps=16).mode == "stream"
    check_film(film, 44)
    found, wanted = probe(film), probe(smart)
    assert replace(found, keyframes=()) == replace(wanted, keyframes=())


@pytest.mark.parametrize("colour", [(30, 200, 60), (200, 40, 30), (60, 70, 220)])
@pytest.mark.parametrize(
    "foreign_by",
    [
        {"full_range": True},
        {"matrix": 6},
        {"codec": "mpeg4", "matrix": 2, "options": {"b": "4000000"}},
    ],
    ids=["full range", "BT.601", "not tagged"],
)
def test_colours_stay_what_they_were_whatever_the_others_film_is_tagged_with(tmp_path, foreign_by, colour):
    timeline, film = Timeline((9, 9), (2,)), tmp_path / "film.mp4"
    picture = np.full((HEIGHT, WIDTH, 3), colour, np.uint8)
    segments = make_segments(tmp_path, timeline)
    foreign(segments[1], [picture] * 9, **foreign_by)
    stitch(segments, timeline, film, fps=16)
    reader = cv2.VideoCapture(str(film))  # a second reader that honours the tag
    shown = [reader.read()[1][..., ::-1] for _ in range(16)][12]
    assert np.abs(shown.astype(int) - colour).max() <= 5


def test_two_foreign_neighbours_are_encoded_in_one_run_with_their_overlap(tmp_path):
    timeline, film = Timeline((17, 13, 13, 17), (4, 3, 4)), tmp_path / "film.mp4"
    segments = make_segments(tmp_path, timeline)
    foreign(segments[1], moving(13), "mpeg4")
    foreign(segments[2], moving(13, seed=1), "mpeg4")
    report = stitch(segments, timeline, film, fps=16)
    assert (report.frames, report.encoded, len(report.reasons)) == (49, 4 + 6 + 3 + 6 + 4, 2)
    check_film(film, 49)
    check_bodies(film, segments, timeline, but=[1, 2])


def test_a_group_border_inside_a_body_saves_part_of_it(tmp_path):
    """A film that is continued has its own key frames, not those that the overlap would like."""
    timeline, film = Timeline((40, 17), (5,), continued=True), tmp_path / "film.mp4"
    segments = make_segments(tmp_path, timeline)
    write_video(moving(40), segments[0], SPEC, idr_at=(12, 24))
    report = stitch(segments, timeline, film, fps=16)
    assert (report.copied, report.encoded) == (24 + 12, 11 + 5)
    assert report.reasons == ("frames 24 to 34 of segment -1 are not a whole number of closed groups",)
    check_film(film, 52)
    assert [p.content for p in packets(film)[:24]] == [p.content for p in packets(segments[0])[:24]]


def test_a_foreign_video_is_continued_by_our_segments(tmp_path):
    timeline, film = Timeline((10, 9), (4,), continued=True), tmp_path / "film.mp4"
    segments = make_segments(tmp_path, timeline)
    foreign(segments[0], moving(10), "mpeg4", rate=25)
    report = stitch(segments, timeline, film, fps=16)
    assert (report.frames, report.copied) == (15, 5)
    assert report.reasons[-1].startswith("segment -1 is mpeg4 yuv420p")


def test_overlaps_with_a_foreign_segment_are_blended_from_its_own_samples(tmp_path):
    timeline, film = Timeline((17, 9), (8,)), tmp_path / "film.mp4"
    segments = make_segments(tmp_path, timeline)
    foreign(segments[1], moving(9, seed=3), options={"crf": "5"})
    assert stitch(segments, timeline, film, fps=16).copied == 9
    check_overlaps(film, segments, timeline)


def test_a_label_makes_no_difference_to_what_is_written(tmp_path):
    segments = make_segments(tmp_path, TIMELINE)
    foreign(segments[1], moving(17, seed=5), "mpeg4")
    stitch(segments, TIMELINE, tmp_path / "labelled.mp4", fps=16)
    without_label(segments[0])
    stitch(segments, TIMELINE, tmp_path / "film.mp4", fps=16)
    assert Path(tmp_path, "film.mp4").read_bytes() == Path(tmp_path, "labelled.mp4").read_bytes()
