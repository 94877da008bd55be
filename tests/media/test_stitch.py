from __future__ import annotations

import av
import numpy as np
import pytest

from tasks.media.crossfade import blend
from tasks.media.errors import SegmentError
from tasks.media.stitch import stitch
from tasks.media.timeline import crossfade_weight, expand
from tasks.media.video import VideoSpec, probe, read_frames, write_video
from tests.media.films import HEIGHT, WIDTH, make_segments, marked, moving


def brightness(path):
    return [float(frame.mean()) for frame in read_frames(path)]


@pytest.mark.parametrize(
    ("frames", "overlaps"),
    [([17, 17, 17], [4, 6]), ([21], []), ([9, 9], [0]), ([21, 5, 21], [8, 8]), ([3, 4, 5], [1, 2]), ([9, 9], [9])],
)
def test_the_film_has_exactly_the_promised_frames(tmp_path, frames, overlaps):
    timeline = expand(frames, overlaps)
    report = stitch(make_segments(tmp_path, timeline), timeline, tmp_path / "film.mp4", fps=16)
    film = probe(tmp_path / "film.mp4")
    assert (report.frames, film.frames, film.constant_rate) == (timeline.length, timeline.length, True)


@pytest.mark.parametrize("fps", [12.5, 16, 24, 25, 29.97])
@pytest.mark.parametrize("overlap", [0, 4, 6])
def test_counts_are_exact_at_every_rate(tmp_path, fps, overlap):
    timeline = expand([13, 13, 13], [overlap, overlap])
    report = stitch(make_segments(tmp_path, timeline), timeline, tmp_path / "film.mp4", fps=fps)
    assert report.frames == timeline.length == 39 - 2 * overlap


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


def test_planes_are_blended_without_a_way_through_rgb(tmp_path):
    timeline = expand([9, 9], [4])
    paths = make_segments(tmp_path, timeline)
    stitch(paths, timeline, tmp_path / "film.mp4", fps=16, crf=1)
    film, left, right = (planes(path) for path in (tmp_path / "film.mp4", *paths))
    exact = [blend(left[5 + k], right[k], crossfade_weight(k, 4)) for k in range(4)]
    assert np.abs(np.array(film[5:9]).astype(int) - np.array(exact).astype(int)).mean() < 0.6


def planes(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray() for frame in container.decode(video=0)]


def test_sharpening_is_off_unless_asked_for(tmp_path):
    timeline = expand([9, 9], [4])
    paths = make_segments(tmp_path, timeline)
    soft, hard = tmp_path / "soft.mp4", tmp_path / "hard.mp4"
    stitch(paths, timeline, soft, fps=16)
    stitch(paths, timeline, hard, fps=16, sharpen=0.8)
    plain, harder = (np.std(np.array(planes(path)[5:9]).astype(float)) for path in (soft, hard))
    assert harder > plain


def test_the_film_is_tagged_and_as_large_as_its_segments(tmp_path):
    timeline = expand([5, 5], [2])
    report = stitch(make_segments(tmp_path, timeline), timeline, tmp_path / "film.mp4", fps=16)
    assert (report.width, report.height, report.mode, report.reasons) == (WIDTH, HEIGHT, "smart", ())
    assert probe(tmp_path / "film.mp4").colour.matrix == 1


def broken(kind, path):
    if kind == "missing":
        path.unlink()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "cut off":
        path.write_bytes(path.read_bytes()[:-300])
    elif kind == "too short":
        write_video(moving(8), path, VideoSpec(WIDTH, HEIGHT))
    elif kind == "other size":
        write_video((marked(9, 32, 32) for _ in range(9)), path, VideoSpec(32, 32))
    return path


@pytest.mark.parametrize("kind", ["missing", "empty", "cut off", "too short", "other size"])
def test_a_bad_segment_is_refused_by_its_index(tmp_path, kind):
    timeline = expand([9, 9, 9], [2, 2])
    paths = make_segments(tmp_path, timeline)
    broken(kind, paths[1])
    with pytest.raises(SegmentError, match="segment 1:") as refusal:
        stitch(paths, timeline, tmp_path / "film.mp4", fps=16)
    assert list(refusal.value.problems) == [1]
    assert not (tmp_path / "film.mp4").exists()


def test_all_missing_segments_are_named_at_once(tmp_path):
    timeline = expand([9, 9, 9], [2, 2])
    first = make_segments(tmp_path, timeline)[0]
    with pytest.raises(SegmentError) as refusal:
        stitch([first, None], timeline, tmp_path / "film.mp4", fps=16)
    assert sorted(refusal.value.problems) == [1, 2]


def test_a_segment_damaged_inside_is_refused_by_its_index(tmp_path):
    timeline = expand([33, 33], [4])
    paths = make_segments(tmp_path, timeline)
    content = bytearray(paths[1].read_bytes())
    middle = content.find(b"mdat") + 3000
    content[middle : middle + 400] = np.random.default_rng(0).bytes(400)
    paths[1].write_bytes(content)
    with pytest.raises(SegmentError, match=r"segment 1:.*damaged"):
        stitch(paths, timeline, tmp_path / "film.mp4", fps=16)
    assert not (tmp_path / "film.mp4").exists()


def test_a_continued_video_is_segment_minus_one(tmp_path):
    timeline = expand([9], [4], preceding=9)
    paths = make_segments(tmp_path, timeline)
    paths[0].unlink()
    with pytest.raises(SegmentError, match="segment -1:"):
        stitch(paths, timeline, tmp_path / "film.mp4", fps=16)


def test_a_foreign_video_is_converted_and_named(tmp_path):
    timeline = expand([9], [4], preceding=10)
    paths = make_segments(tmp_path, timeline)
    foreign(paths[0], 10)
    report = stitch(paths, timeline, tmp_path / "film.mp4", fps=16)
    assert report.frames == 15
    assert "segment -1 is mpeg4 yuv420p" in report.reasons[-1]


def foreign(path, frames):
    """Made by another tool: another codec, another rate, no colour tags."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for frame in moving(frames):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        output.mux(stream.encode(None))


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


def test_a_stitch_that_is_stopped_leaves_nothing_behind(tmp_path):
    timeline = expand([9, 9], [4])
    paths = make_segments(tmp_path, timeline)

    def stop(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stitch(paths, timeline, tmp_path / "film.mp4", fps=16, on_step=stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["segment-0.mp4", "segment-1.mp4"]


def test_the_same_segments_give_the_same_bytes(tmp_path):
    timeline = expand([9, 9], [4])
    paths = make_segments(tmp_path, timeline)
    for name in ("a.mp4", "b.mp4"):
        stitch(paths, timeline, tmp_path / name, fps=16)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
