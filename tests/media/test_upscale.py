from __future__ import annotations

import cv2
import numpy as np
import pytest

from tasks.media import upscale
from tasks.media.errors import MediaError
from tasks.media.upscale import GROUP, methods, upscaled, upscaled_size
from tasks.media.video import VideoSpec, probe, read_frame, read_frames, write_video
from tests.media.films import HEIGHT, WIDTH, moving, ramp
from tests.media.scenes import decibels, scene, yuv


@pytest.fixture
def film(tmp_path):
    write_video(ramp(5), tmp_path / "film.mp4", VideoSpec(WIDTH, HEIGHT, 12.5))
    return tmp_path / "film.mp4"


@pytest.mark.parametrize(("factor", "size"), [(2, (128, 96)), (1.5, (96, 72)), (1.3, (84, 62)), (1.01, (64, 48))])
def test_a_film_grows_by_the_factor_to_even_sides(tmp_path, film, factor, size):
    grown = upscaled(film, tmp_path / "large.mp4", factor=factor)
    assert (grown.width, grown.height) == size
    assert (grown.frames, grown.fps, grown.constant_rate, grown.colour) == (5, 12.5, True, probe(film).colour)


def test_each_frame_stays_in_its_place(tmp_path, film):
    upscaled(film, tmp_path / "large.mp4", factor=2)
    shown = [float(frame.mean()) for frame in read_frames(tmp_path / "large.mp4")]
    assert shown == pytest.approx([20, 22, 24, 26, 28], abs=1)


@pytest.mark.parametrize("factor", [1.5, 2])
def test_by_default_a_picture_comes_nearer_to_the_true_one_than_by_cubic(factor):
    true = cv2.GaussianBlur(scene(0), (0, 0), 0.7)  # as a lens would draw it
    small = cv2.resize(true, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
    cubic = cv2.resize(small, (160, 96), interpolation=cv2.INTER_CUBIC)
    assert decibels(next(upscale.lanczos([small], 160, 96)), true) > decibels(cubic, true)


@pytest.mark.parametrize("factor", [1, 0.5, 0, -2, float("nan"), float("inf")])
def test_a_factor_that_makes_nothing_larger_is_refused(factor):
    with pytest.raises(MediaError, match="use one above 1"):
        upscaled_size(64, 48, factor)


def test_a_film_too_large_to_make_is_refused_before_any_work(tmp_path, film):
    with pytest.raises(MediaError, match=r"64×48 times 200 is 12800×9600.*factor up to 128\."):
        upscaled(film, tmp_path / "large.mp4", factor=200)
    assert not (tmp_path / "large.mp4").exists()


def test_an_unknown_method_is_answered_with_the_nearest(tmp_path, film):
    with pytest.raises(MediaError, match="Did you mean 'lanczos'"):
        upscaled(film, tmp_path / "large.mp4", factor=2, method="lancos")


class Installed:
    """What another package's entry point is to us."""

    name = "nearest"

    @staticmethod
    def load():
        def nearest(frames, width, height):
            return (cv2.resize(frame, (width, height), interpolation=cv2.INTER_NEAREST) for frame in frames)

        return nearest


def test_another_package_can_add_a_method(tmp_path, monkeypatch):
    monkeypatch.setattr(upscale, "entry_points", lambda group: [Installed] if group == GROUP else [])
    write_video(moving(3), tmp_path / "film.mp4", VideoSpec(WIDTH, HEIGHT))
    upscaled(tmp_path / "film.mp4", tmp_path / "large.mp4", factor=2, method="nearest", crf=1)
    assert methods() == ("lanczos", "nearest")
    small, large = (yuv(read_frame(tmp_path / name, 0))[0] for name in ("film.mp4", "large.mp4"))
    assert decibels(large, small.repeat(2, 0).repeat(2, 1)) > 40


def test_a_method_that_loses_frames_is_refused(tmp_path, film, monkeypatch):
    monkeypatch.setitem(upscale.BUILTIN, "lossy", lambda frames, w, h: upscale.lanczos(list(frames)[1:], w, h))
    with pytest.raises(MediaError, match="4 frames came to be written, 5 were promised"):
        upscaled(film, tmp_path / "large.mp4", factor=2, method="lossy")


def test_progress_counts_frames_and_may_stop_it(tmp_path, film):
    seen = []

    def step(done, total):
        seen.append((done, total))
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upscaled(film, tmp_path / "large.mp4", factor=2, on_step=step)
    assert seen == [(1, 5), (2, 5)]
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


def test_frames_are_taken_one_by_one():
    taken = []

    def frames():
        for i in range(3):
            taken.append(i)
            yield np.zeros((16, 16, 3), np.uint8)

    next(upscale.lanczos(frames(), 32, 32))
    assert taken == [0]
