from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from tasks.media.crossfade import blend
from tasks.media.errors import MediaError
from tasks.media.retime import retimed, retimed_length
from tasks.media.video import VideoSpec, probe, read_frames, write_video
from tests.media import scenes
from tests.media.films import HEIGHT, WIDTH, marked, ramp
from tests.media.scenes import decibels, scene, yuv

SCENE = VideoSpec(scenes.WIDTH, scenes.HEIGHT, crf=1)


def grey_film(path, frames, fps=16):
    write_video(ramp(frames), path, VideoSpec(WIDTH, HEIGHT, Fraction(fps)))
    return path


def planes(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray() for frame in container.decode(video=0)]


@pytest.mark.parametrize("fps", [8, 12.5, 16, 24, 29.97, 30, 60])
@pytest.mark.parametrize("frames", [1, 2, 17])
def test_the_film_lasts_as_long_at_every_rate(tmp_path, fps, frames):
    film = retimed(grey_film(tmp_path / "film.mp4", frames), tmp_path / "out.mp4", fps=fps)
    assert film.frames == retimed_length(frames, Fraction(16), film.fps)
    assert abs(film.duration - frames / 16) <= max(0.5 / film.fps, 1 / film.fps - frames / 16)
    assert (film.constant_rate, film.colour.matrix) == (True, 1)


@pytest.mark.parametrize("fps", [8, 10, 24, 60])
def test_first_and_last_frame_stay(tmp_path, fps):
    retimed(grey_film(tmp_path / "film.mp4", 18), tmp_path / "out.mp4", fps=fps)
    shown = [float(frame.mean()) for frame in read_frames(tmp_path / "out.mp4")]
    assert (shown[0], shown[-1]) == pytest.approx((20, 20 + 2 * 17), abs=1)
    assert shown == sorted(shown)


def test_frames_that_are_there_are_not_made_up(tmp_path):
    write_video((scene(3 * i) for i in range(5)), tmp_path / "film.mp4", SCENE)
    retimed(tmp_path / "film.mp4", tmp_path / "out.mp4", fps=32, crf=1)
    film, made = planes(tmp_path / "film.mp4"), planes(tmp_path / "out.mp4")
    assert min(decibels(made[2 * i], film[i]) for i in range(5)) > 50


def test_between_them_things_are_on_their_way(tmp_path):
    write_video((scene(4 * i) for i in range(5)), tmp_path / "film.mp4", SCENE)
    retimed(tmp_path / "film.mp4", tmp_path / "out.mp4", fps=32, crf=1)
    made = [yuv(frame)[0] for frame in read_frames(tmp_path / "out.mp4")]
    for i in range(4):
        a, half, b = (yuv(scene(4 * i + x))[0] for x in (0, 2, 4))
        assert decibels(made[2 * i + 1], half) > decibels(blend(a, b, 0.5), half) + 5


def test_nothing_is_made_up_across_a_cut(tmp_path):
    frames = [scene(i) for i in range(4)] + [scene(i, seed=8) for i in range(4)]
    write_video(frames, tmp_path / "film.mp4", SCENE)
    retimed(tmp_path / "film.mp4", tmp_path / "out.mp4", fps=60)
    for frame in read_frames(tmp_path / "out.mp4", 11, 16):  # between the old frames 3 and 4
        assert max(decibels(frame, frames[3]), decibels(frame, frames[4])) > 30


def test_a_hard_change_of_light_is_a_cut_too(tmp_path):
    write_video([marked(30)] * 4 + [marked(220)] * 4, tmp_path / "film.mp4", VideoSpec(WIDTH, HEIGHT))
    retimed(tmp_path / "film.mp4", tmp_path / "out.mp4", fps=60)
    shown = np.array([frame.mean() for frame in read_frames(tmp_path / "out.mp4")])
    assert ((shown < 40) | (shown > 210)).all()


def test_progress_counts_new_frames_and_may_stop_it(tmp_path):
    film, seen = grey_film(tmp_path / "film.mp4", 5), []

    def step(done, total):
        seen.append((done, total))
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        retimed(film, tmp_path / "out.mp4", fps=32, on_step=step)
    assert seen == [(1, 10), (2, 10), (3, 10)]
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


def test_a_film_may_take_its_own_place(tmp_path):
    film = grey_film(tmp_path / "film.mp4", 5)
    retimed(film, film, fps=32)
    assert probe(film).frames == 10


def test_a_rate_nobody_plays_is_refused(tmp_path):
    with pytest.raises(MediaError, match="1000 frames a second"):
        retimed(grey_film(tmp_path / "film.mp4", 2), tmp_path / "out.mp4", fps=1000)
