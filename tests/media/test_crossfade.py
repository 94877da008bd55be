from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.media.crossfade import blend, sharpened

EVERY = np.arange(256, dtype=np.uint8)


@given(st.floats(0.01, 0.99))
def test_every_pair_of_samples_blends_to_the_rounded_mean(weight):
    a, b = (x.astype(np.uint8) for x in np.meshgrid(EVERY, EVERY))
    exact = (1 - weight) * a.astype(np.float64) + weight * b
    assert np.abs(blend(a, b, weight) - exact).max() <= 0.5 + 1e-9


def test_equal_frames_stay_equal():
    assert (blend(EVERY, EVERY, 0.3) == EVERY).all()


def test_sharpening_follows_its_formula_and_stays_in_range():
    edge = np.zeros((32, 32), np.uint8)
    edge[:, 16:] = 200
    harder = sharpened(edge, 0.5)
    assert (harder[:, 0] == 0).all()
    assert harder.max() > 200


def test_no_sharpening_returns_the_frame_itself():
    assert sharpened(EVERY, 0.0) is EVERY


@pytest.mark.parametrize("amount", [0.1, 1.0, 4.0])
def test_sharpening_leaves_flat_areas_alone(amount):
    flat = np.full((16, 16), 77, np.uint8)
    assert (sharpened(flat, amount) == 77).all()
