from __future__ import annotations

import numpy as np
import pytest

from tasks.engines.protocol import EngineError, Request
from tasks.engines.sketch import SketchEngine


def draw(prompt="a bay at noon", seed=4, width=160, height=96, **options):
    request = Request(width=width, height=height, frames=1, seed=seed, prompt=prompt, options=options)
    (picture,) = SketchEngine().generate(request, lambda done, total: None)
    return picture


def test_the_same_words_and_seed_give_the_same_picture():
    assert (draw() == draw()).all()


def test_another_seed_gives_another_place():
    assert np.abs(draw(seed=4).astype(int) - draw(seed=5)).mean() > 5


def test_night_is_darker_than_noon():
    assert draw("a bay at night").mean() < 0.5 * draw("a bay at noon").mean()


@pytest.mark.parametrize(
    "prompt",
    [
        "", "mountains", "snowy forest at dawn", "city skyline at night", "desert dunes at dusk", "storm over the sea",
        "foggy hills", "a fjord with a lighthouse, a boat and birds under the stars", "Ein Bild vom Meer",
    ],
)  # fmt: skip
def test_every_scene_is_painted_with_contrast(prompt):
    picture = draw(prompt)
    assert (picture.shape, picture.dtype) == ((96, 160, 3), np.uint8)
    assert picture.std() > 6


@pytest.mark.parametrize("size", [(16, 16), (97, 33), (64, 300)])
def test_any_size_can_be_drawn(size):
    assert draw("forest city sea lighthouse boat birds", width=size[0], height=size[1]).shape == (size[1], size[0], 3)


def test_it_tells_which_words_it_understood():
    words = SketchEngine().understood("A lonely lighthouse, boats and purple elephants at sunset")
    assert words == ("lighthouse", "boats", "sunset")


def test_a_moved_camera_shows_the_same_place():
    still, moved = draw(width=320, height=192), draw(width=320, height=192, pan=0.03)
    assert 0 < np.abs(still.astype(int) - moved).mean() < 20


def test_more_than_one_frame_is_refused():
    with pytest.raises(EngineError, match="single pictures"):
        SketchEngine().generate(Request(64, 64, 5, 0), lambda done, total: None)


@pytest.mark.parametrize("size", [(8, 64), (64, 9000)])
def test_a_size_out_of_bounds_is_refused(size):
    with pytest.raises(EngineError, match="sides are"):
        SketchEngine().generate(Request(*size, 1, 0), lambda done, total: None)


def test_a_random_seed_of_minus_one_does_not_fail():
    assert draw(seed=-1).shape == (96, 160, 3)
