from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks.media.encoding import frame_rate
from tasks.media.stitch import stitch
from tasks.media.timeline import Blend, Timeline, crossfade_weight, expand
from tasks.media.video import VideoSpec, probe, read_frames, write_video
from tests.media.films import HEIGHT, SPEC, WIDTH, make_segments, moving, noise
from tests.media.strict import check_bodies, check_film, check_overlaps, complaints, packets, planes

TIMELINES = {
    "one segment": Timeline((21,), ()),
    "two segments": Timeline((17, 17), (4,)),
    "no overlaps": Timeline((9, 13, 9), (0, 0)),
    "overlaps of one": Timeline((9, 9, 9), (1, 1)),
    "overlaps of two": Timeline((9, 9, 9), (2, 2)),
    "uneven": Timeline((13, 9, 21, 11), (1, 6, 3)),
    "a whole segment": Timeline((13, 5, 13), (5, 0)),
    "overlaps that meet": Timeline((17, 9, 17), (4, 5)),
    "overlaps that share frames": Timeline((21, 5, 21), (5, 5)),
    "nothing but overlaps": Timeline((9, 9), (9,)),
    "bodies of one frame": Timeline((5, 9, 5), (4, 4)),
    "segments of one frame": Timeline((1, 1, 1), (0, 0)),
    "a loop": Timeline((13, 13), (4,), wrap=6),
    "a loop of one": Timeline((13,), (), wrap=4),
    "twenty-three": Timeline((9,) * 23, (2,) * 22),
}
shapes = pytest.mark.parametrize("timeline", TIMELINES.values(), ids=TIMELINES)


@pytest.mark.parametrize("bframes", [0, 3])
@shapes
def test_a_film_is_exact_copied_outside_its_overlaps_and_blended_within(tmp_path, timeline, bframes):
    film = tmp_path / "film.mp4"
    segments = make_segments(tmp_path, timeline, spec=replace(SPEC, bframes=bframes))
    report = stitch(segments, timeline, film, fps=16)
    blended = sum(span.count for span in timeline.spans() if isinstance(span, Blend))
    assert (report.frames, report.encoded, report.copied) == (timeline.length, blended, timeline.length - blended)
    assert report.mode == ("smart" if report.copied else "stream")
    check_film(film, timeline.length)
    check_bodies(film, segments, timeline)
    check_overlaps(film, segments, timeline)


@shapes
def test_a_strict_reader_has_nothing_to_say(tmp_path, timeline):
    stitch(make_segments(tmp_path, timeline), timeline, tmp_path / "film.mp4", fps=16)
    assert complaints(tmp_path / "film.mp4") == ""


@pytest.mark.parametrize("fps", [12.5, 16, 24, 25, 29.97])
@pytest.mark.parametrize("bframes", [0, 3])
@pytest.mark.parametrize("overlap", [0, 1, 6])
def test_a_film_is_exact_at_every_rate(tmp_path, fps, bframes, overlap):
    timeline, film = Timeline((13, 13, 13), (overlap, overlap)), tmp_path / "film.mp4"
    segments = make_segments(tmp_path, timeline, spec=VideoSpec(WIDTH, HEIGHT, frame_rate(fps), bframes=bframes))
    report = stitch(segments, timeline, film, fps=fps)
    assert (report.frames, report.encoded) == (39 - 2 * overlap, 2 * overlap)
    check_film(film, timeline.length, fps)
    check_bodies(film, segments, timeline)


timelines = st.builds(
    lambda frames, overlaps: Timeline(
        tuple(frames), tuple(min(o, *pair) for o, *pair in zip(overlaps, frames, frames[1:], strict=False))
    ),
    st.lists(st.integers(1, 12), min_size=1, max_size=5),
    st.lists(st.integers(0, 12), min_size=4, max_size=4),
)


@settings(max_examples=15, deadline=None)
@given(timelines, st.sampled_from([0, 3]))
@example(Timeline((1, 1, 4, 8), (0, 1, 3)), 3)  # of all frames the farthest from its exact blend
def test_any_timeline_gives_its_film(timeline, bframes):
    with tempfile.TemporaryDirectory() as folder:
        film = Path(folder, "film.mp4")
        segments = make_segments(Path(folder), timeline, spec=VideoSpec(32, 32, bframes=bframes))
        stitch(segments, timeline, film, fps=16)
        check_film(film, timeline.length)
        check_bodies(film, segments, timeline)
        check_overlaps(film, segments, timeline)


@pytest.mark.parametrize(("width", "height"), [(64, 48), (208, 120)])
def test_an_overlap_of_white_noise_is_as_near_to_the_exact_blend(tmp_path, width, height):
    timeline, film = Timeline((9, 9), (5,)), tmp_path / "film.mp4"
    segments = [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    for i, path in enumerate(segments):
        write_video(noise(9, width, height, seed=i), path, VideoSpec(width, height), idr_at=timeline.cuts(i))
    assert stitch(segments, timeline, film, fps=16).mode == "smart"
    check_overlaps(film, segments, timeline)


@pytest.mark.parametrize(("preset", "crf"), [("superfast", 30), ("medium", 5), ("slow", 40)])
def test_segments_of_any_preset_and_quality_are_copied_beside_each_other(tmp_path, preset, crf):
    timeline, film = Timeline((13, 13), (4,)), tmp_path / "film.mp4"
    segments = make_segments(tmp_path, timeline)
    other = VideoSpec(WIDTH, HEIGHT, crf=crf, preset=preset)
    write_video(moving(13, seed=7), segments[1], other, idr_at=timeline.cuts(1))
    assert stitch(segments, timeline, film, fps=16).reasons == ()
    check_film(film, 22)
    check_bodies(film, segments, timeline)


def test_the_seams_settings_do_not_show_in_the_parameter_sets(tmp_path):
    """One set for the whole film: the mp4's, none among the packets."""
    timeline, film = Timeline((13, 13), (4,)), tmp_path / "film.mp4"
    stitch(make_segments(tmp_path, timeline), timeline, film, fps=16)
    for packet in packets(film):
        assert not {7, 8} & set(unit_types(packet.content))


def test_every_frame_is_one_slice(tmp_path):
    timeline, film = Timeline((13, 13), (4,)), tmp_path / "film.mp4"
    stitch(make_segments(tmp_path, timeline, spec=VideoSpec(208, 120)), timeline, film, fps=16)
    for packet in packets(film):
        assert sum(kind in (1, 5) for kind in unit_types(packet.content)) == 1


def unit_types(packet):
    """Of the parts of a packet, each of which stands behind its length in four bytes."""
    at, found = 0, []
    while at < len(packet):
        found.append(packet[at + 4] & 31)
        at += 4 + int.from_bytes(packet[at : at + 4], "big")
    assert at == len(packet)
    return found


def brightness(path):
    return [float(frame.mean()) for frame in read_frames(path)]


def test_an_overlap_fades_along_the_cosine(tmp_path):
    timeline = expand([17, 17], [8])
    stitch(make_segments(tmp_path, timeline, [40, 200]), timeline, tmp_path / "film.mp4", fps=16)
    fade = [40 + 160 * crossfade_weight(k, 8) for k in range(8)]
    assert brightness(tmp_path / "film.mp4") == pytest.approx([40] * 9 + fade + [200] * 9, abs=2.5)


def test_no_overlap_shows_a_plain_cut(tmp_path):
    timeline = expand([5, 5], [])
    stitch(make_segments(tmp_path, timeline, [40, 200]), timeline, tmp_path / "film.mp4", fps=16)
    assert brightness(tmp_path / "film.mp4") == pytest.approx([40] * 5 + [200] * 5, abs=2.5)


def test_a_segment_covered_by_both_overlaps_is_blended_once_on_each_side(tmp_path):
    timeline = expand([13, 5, 13], [8, 8])
    stitch(make_segments(tmp_path, timeline, [40, 120, 200]), timeline, tmp_path / "film.mp4", fps=16)
    shown = brightness(tmp_path / "film.mp4")
    assert len(shown) == timeline.length
    assert shown == sorted(shown)


def test_a_loop_fades_from_its_end_into_its_beginning(tmp_path):
    timeline = expand([13, 13], [2], wrap=6)
    stitch(make_segments(tmp_path, timeline, [40, 200]), timeline, tmp_path / "film.mp4", fps=16)
    shown = brightness(tmp_path / "film.mp4")
    assert shown[0] == pytest.approx(40, abs=2.5)
    assert shown[-6:] == pytest.approx([200 - 160 * crossfade_weight(k, 6) for k in range(6)], abs=2.5)


def test_sharpening_is_off_unless_asked_for(tmp_path):
    timeline = expand([9, 9], [4])
    paths = make_segments(tmp_path, timeline)
    soft, hard = tmp_path / "soft.mp4", tmp_path / "hard.mp4"
    stitch(paths, timeline, soft, fps=16)
    stitch(paths, timeline, hard, fps=16, sharpen=0.8)
    plain, harder = (np.std(np.array(planes(path)[5:9]).astype(float)) for path in (soft, hard))
    assert harder > plain


def test_the_film_is_as_large_as_its_segments(tmp_path):
    timeline = expand([5, 5], [2])
    report = stitch(make_segments(tmp_path, timeline), timeline, tmp_path / "film.mp4", fps=16)
    assert (report.width, report.height, report.fps, report.duration) == (WIDTH, HEIGHT, 16, 0.5)


def test_a_film_that_is_all_overlap_says_so(tmp_path):
    timeline = TIMELINES["nothing but overlaps"]
    report = stitch(make_segments(tmp_path, timeline), timeline, tmp_path / "film.mp4", fps=16)
    assert (report.mode, report.reasons) == ("stream", ("every frame lies in an overlap",))


def test_a_film_is_there_whole_or_not_at_all_and_others_may_read_it(tmp_path):
    timeline, film = expand([5, 5], [2]), tmp_path / "film.mp4"
    segments = make_segments(tmp_path, timeline)
    stitch(segments, timeline, film, fps=16)
    assert film.stat().st_mode & 0o777 == segments[0].stat().st_mode & 0o777
    content = film.read_bytes()
    assert 0 < content.find(b"moov") < content.find(b"mdat")


def test_progress_counts_the_films_frames(tmp_path):
    timeline = expand([9, 9], [4])
    seen = []
    stitch(
        make_segments(tmp_path, timeline),
        timeline,
        tmp_path / "film.mp4",
        fps=16,
        on_step=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(i, 14) for i in range(1, 15)]


@pytest.mark.parametrize("moment", [3, 7, 14])
def test_a_stitch_that_is_stopped_leaves_nothing_behind(tmp_path, moment):
    timeline = expand([9, 9], [4])
    paths = make_segments(tmp_path, timeline)

    def stop(done, total):
        if done == moment:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stitch(paths, timeline, tmp_path / "film.mp4", fps=16, on_step=stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["segment-0.mp4", "segment-1.mp4"]


def test_the_same_segments_give_the_same_bytes(tmp_path):
    timeline = expand([17, 17], [12])
    paths = make_segments(tmp_path, timeline, spec=VideoSpec(208, 120))
    films = set[bytes]()
    for _ in range(4):
        stitch(paths, timeline, tmp_path / "film.mp4", fps=16)
        films.add((tmp_path / "film.mp4").read_bytes())
    assert len(films) == 1


@pytest.mark.skipif(not shutil.which("ffprobe"), reason="ffprobe is not installed (Debian package ffmpeg)")
def test_ffprobe_counts_and_reads_what_we_say(tmp_path):
    timeline, film = TIMELINES["uneven"], tmp_path / "film.mp4"
    spec = VideoSpec(WIDTH, HEIGHT, Fraction(30000, 1001))
    stitch(make_segments(tmp_path, timeline, spec=spec), timeline, film, fps=29.97)
    wanted = {
        "codec_tag_string": "avc1",
        "profile": "High",
        "width": "64",
        "height": "48",
        "has_b_frames": "2",
        "pix_fmt": "yuv420p",
        "color_range": "tv",
        "color_space": "bt709",
        "color_transfer": "bt709",
        "color_primaries": "bt709",
        "r_frame_rate": "30000/1001",
        "avg_frame_rate": "30000/1001",
        "nb_frames": "44",
        "nb_read_frames": "44",
        "nb_read_packets": "44",
    }
    entries = ["-show_entries", f"stream={','.join(wanted)}", "-of", "default=noprint_wrappers=1"]
    counted = ["-v", "warning", "-count_frames", "-count_packets", *entries]
    said = subprocess.run(["ffprobe", *counted, film], capture_output=True, text=True, check=True)
    assert said.stderr == ""
    assert dict(line.split("=") for line in said.stdout.split()) == wanted


def test_a_film_can_be_a_segment_of_another_and_is_copied_again(tmp_path):
    timeline = expand([13, 13], [4])
    segments = make_segments(tmp_path, timeline)
    stitch(segments, timeline, tmp_path / "film.mp4", fps=16)
    longer, tail = Timeline((22, 13), (0,)), segments[1]
    report = stitch([tmp_path / "film.mp4", tail], longer, tmp_path / "longer.mp4", fps=16)
    assert (report.copied, report.encoded, probe(tmp_path / "longer.mp4").frames) == (35, 0, 35)
    check_bodies(tmp_path / "longer.mp4", [tmp_path / "film.mp4", tail], longer)
