from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tasks.media.encoding import PRESETS
from tasks.media.errors import MediaError
from tasks.media.video import VideoSpec, probe, read_frame, read_frames, read_frames_at, write_video
from tests.media.films import HEIGHT, WIDTH, marked, moving, ramp

SPEC = VideoSpec(WIDTH, HEIGHT)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    write_video(ramp(41), path, SPEC, idr_at=(12, 29), count=41)
    return path


@pytest.mark.parametrize("fps", [12.5, 16, 24, 25, 29.97, Fraction(30000, 1001)])
@pytest.mark.parametrize("frames", [1, 2, 33])
def test_a_film_has_exactly_its_frames_at_a_constant_rate(tmp_path, fps, frames):
    written = write_video(moving(frames), tmp_path / "a.mp4", VideoSpec(WIDTH, HEIGHT, fps), count=frames)
    assert written == probe(tmp_path / "a.mp4")
    assert (written.frames, written.constant_rate) == (frames, True)
    assert written.fps == (Fraction(30000, 1001) if fps == 29.97 else Fraction(fps))


def test_a_film_is_tagged_bt709_limited_range(film):
    colour = probe(film).colour
    assert (colour.primaries, colour.transfer, colour.matrix, colour.range) == (1, 1, 1, 1)


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (30, 60, 220), (128, 128, 128)])
def test_colours_are_converted_by_the_matrix_the_tags_name(tmp_path, colour):
    frame = np.full((HEIGHT, WIDTH, 3), colour, np.uint8)
    write_video([frame] * 3, tmp_path / "c.mp4", SPEC)
    ours = read_frame(tmp_path / "c.mp4", 1)
    other = cv2.VideoCapture(str(tmp_path / "c.mp4")).read()[1][..., ::-1]  # a second decoder that honours the tag
    assert np.abs(ours[20, 20].astype(int) - colour).max() <= 4
    assert np.abs(other[20, 20].astype(int) - colour).max() <= 4


def test_luma_is_that_of_bt709(tmp_path):
    write_video([np.full((HEIGHT, WIDTH, 3), (0, 255, 0), np.uint8)], tmp_path / "g.mp4", SPEC)
    with av.open(str(tmp_path / "g.mp4")) as container:
        luma = next(container.decode(video=0)).to_ndarray()[10, 10]
    assert abs(int(luma) - 173) <= 2  # BT.601 would give 145


@pytest.mark.parametrize("size", [(64, 48), (192, 128), (416, 240)])
def test_the_same_frames_give_the_same_bytes(tmp_path, size):
    files = set[bytes]()
    for _ in range(8):  # x264 on AVX-512 gave another file in one run of four
        write_video(moving(9, *size), tmp_path / "a.mp4", VideoSpec(*size))
        files.add((tmp_path / "a.mp4").read_bytes())
    assert len(files) == 1


def test_others_may_read_the_file(tmp_path):
    mask = os.umask(0o022)
    try:
        write_video(ramp(3), tmp_path / "m.mp4", SPEC)
    finally:
        os.umask(mask)
    assert (tmp_path / "m.mp4").stat().st_mode & 0o777 == 0o644


def test_the_index_stands_in_front(film):
    head = film.read_bytes()
    assert 0 < head.find(b"moov") < head.find(b"mdat")


def test_key_frames_stand_where_they_were_asked_for(film):
    assert probe(film).keyframes == (0, 12, 29)


def test_key_frames_may_follow_each_other_at_once(tmp_path):
    write_video(ramp(6), tmp_path / "k.mp4", SPEC, idr_at=(1, 2, 5))
    assert probe(tmp_path / "k.mp4").keyframes == (0, 1, 2, 5)
    assert [brightness(frame) for frame in read_frames(tmp_path / "k.mp4", 1, 4)] == pytest.approx([22, 24, 26], abs=2)


@pytest.mark.parametrize("preset", [p for p in PRESETS if p not in ("slower", "veryslow")])
def test_all_presets_share_their_parameter_sets(tmp_path, preset):
    def parameter_sets(spec):
        write_video(moving(9, seed=len(spec.preset)), tmp_path / "p.mp4", spec)
        with av.open(str(tmp_path / "p.mp4")) as container:
            return bytes(container.streams.video[0].codec_context.extradata or b"")

    assert parameter_sets(VideoSpec(WIDTH, HEIGHT, preset=preset, crf=23)) == parameter_sets(SPEC)


def brightness(frame):
    return float(frame.mean())


def test_reading_from_the_middle_shows_the_frames_of_that_place(film):
    shown = [brightness(frame) for frame in read_frames(film, 17, 35)]
    assert shown == pytest.approx([20 + 2 * i for i in range(17, 35)], abs=2)


def test_the_tail_is_read_by_negative_indices(film):
    assert [brightness(frame) for frame in read_frames(film, -3)] == pytest.approx([96, 98, 100], abs=2)


@pytest.mark.parametrize("index", [0, 1, 12, 28, 40, -1, -41])
def test_one_frame_is_read_by_its_index(film, index):
    assert brightness(read_frame(film, index)) == pytest.approx(20 + 2 * (index % 41), abs=2)


@pytest.mark.parametrize("index", [41, -42])
def test_a_frame_the_film_does_not_have_is_refused(film, index):
    with pytest.raises(MediaError, match="there is no frame"):
        read_frame(film, index)


def test_some_frames_are_read_in_one_pass(film):
    assert [brightness(frame) for frame in read_frames_at(film, [30, 0, 7])] == pytest.approx([20, 34, 80], abs=2)


def test_odd_sides_are_refused_before_any_work():
    with pytest.raises(MediaError, match=r"even sides, not 65×48; use 64×48"):
        VideoSpec(65, 48)


@pytest.mark.parametrize("bad", [{"preset": "ultrafast"}, {"fps": 0}, {"fps": 1000}, {"width": 8}])
def test_what_cannot_be_encoded_is_refused(bad):
    with pytest.raises(MediaError):
        VideoSpec(**{"width": WIDTH, "height": HEIGHT, **bad})


def test_a_source_that_ends_early_leaves_the_old_film_alone(film):
    before = film.read_bytes()
    with pytest.raises(MediaError, match="4 frames came to be written, 5 were promised"):
        write_video(ramp(4), film, SPEC, count=5)
    assert film.read_bytes() == before
    assert [path.name for path in film.parent.iterdir()] == ["film.mp4"]


def test_a_frame_of_another_size_is_refused(tmp_path):
    with pytest.raises(MediaError, match="does not fit"):
        write_video([marked(1), marked(1, 32, 32)], tmp_path / "x.mp4", SPEC)


def test_a_film_cut_off_is_not_a_shorter_film(film):
    film.write_bytes(film.read_bytes()[:-900])
    with pytest.raises(MediaError, match=r"film\.mp4: the film is cut off"):
        probe(film)


@pytest.mark.parametrize("content", [b"", b"no film at all", b"#EXTM3U\n#EXTINF:1,\nother.mp4\n"])
def test_what_is_no_film_is_refused_by_name(tmp_path, content):
    path = tmp_path / "odd:name.mp4"
    path.write_bytes(content)
    with pytest.raises(MediaError, match=r"odd:name\.mp4"):
        probe(path)


def test_a_playlist_cannot_make_us_open_another_file(film):
    playlist = film.with_name("list.mp4")
    playlist.write_text(f"ffconcat version 1.0\nfile {film.name}\n")
    with pytest.raises(MediaError, match="not a film"):
        probe(playlist)


def test_a_missing_film_is_named(tmp_path):
    with pytest.raises(MediaError, match=r"gone\.mp4: there is no such film"):
        probe(tmp_path / "gone.mp4")
