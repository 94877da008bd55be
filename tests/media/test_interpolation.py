from __future__ import annotations

import numpy as np
import pytest

from tasks.media.crossfade import blend
from tasks.media.interpolation import Views, frame_of, planes_of
from tests.media.scenes import decibels, scene, yuv


@pytest.mark.parametrize("apart", [3, 8])
def test_what_moved_is_shown_half_way(apart):
    a, half, b = yuv(scene(0)), yuv(scene(apart / 2)), yuv(scene(apart))
    view = Views(a, b).at(0.5)
    for plane, (made, true, left, right) in enumerate(zip(view, half, a, b, strict=True)):
        assert decibels(made, true) > decibels(blend(left, right, 0.5), true) + 5, "YUV"[plane]


def test_at_its_ends_a_view_is_the_frame_itself():
    a, b = yuv(scene(0)), yuv(scene(4))
    views = Views(a, b)
    assert (views.at(0), views.at(1)) == (a, b)


def test_nothing_is_mirrored_at_the_border_that_moves_in():
    a, half, b = yuv(scene(0)), yuv(scene(6)), yuv(scene(12))
    border = np.s_[:, -6:]
    assert decibels(Views(a, b).at(0.5)[0][border], half[0][border]) > 30


@pytest.mark.parametrize("apart", [0, 2, 7])
def test_the_distance_between_two_views_is_measured(apart):
    assert Views(yuv(scene(0)), yuv(scene(apart))).displacement == pytest.approx(apart, abs=0.5)


def test_unlike_pictures_have_little_in_common():
    here, near, elsewhere = yuv(scene(0)), yuv(scene(3)), yuv(scene(0, seed=8))
    assert Views(here, near).agreement > 0.8
    assert Views(here, elsewhere).agreement < 0.3


@pytest.mark.parametrize("size", [(16, 16), (16, 320), (320, 16)])
def test_the_smallest_films_have_views_too(size):
    noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    a, b = yuv(noise), yuv(np.roll(noise, 1, axis=1))
    assert [plane.shape for plane in Views(a, b).at(0.3)] == [plane.shape for plane in a]


def test_planes_become_a_frame_and_planes_again():
    planes = yuv(scene(0)[:, :150])  # narrower than the memory of its lines
    assert all((there == back).all() for there, back in zip(planes, planes_of(frame_of(planes)), strict=True))
