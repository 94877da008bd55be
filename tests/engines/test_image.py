from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tasks.engines.image import ImageEngine
from tasks.engines.protocol import EngineError, Request
from tests.engines.conftest import Models, Ready, clip_request, frames_of, picture


def request(**changes: Any) -> Request:
    return clip_request(**{"frames": 1, "start": None, "end": None} | changes)


def test_a_picture_follows_from_its_words_and_seed(ready: Ready) -> None:
    engine = ready("image", "image")
    made = frames_of(engine, request())
    assert made.shape == (1, 32, 32, 3)
    assert np.array_equal(made, frames_of(engine, request()))
    assert not np.array_equal(made, frames_of(engine, request(seed=2)))
    assert not np.array_equal(made, frames_of(engine, request(prompt="boat on the sea")))


def test_a_start_picture_is_painted_over_with_the_parts_that_are_loaded(ready: Ready) -> None:
    engine = ready("image", "image")
    made = frames_of(engine, request(start=picture(1)))
    assert not np.array_equal(made, frames_of(engine, request(start=picture(2))))
    assert engine._views["picture"].unet is engine._pipe.unet  # type: ignore[attr-defined]


def test_strength_says_how_much_is_painted_over(ready: Ready) -> None:
    engine, start = ready("image", "image"), picture(1)
    little, much = (
        frames_of(engine, request(start=start, options={"steps": 4, "strength": strength})) for strength in (0.3, 1.0)
    )
    assert not np.array_equal(little, much)


def test_the_same_words_are_encoded_once(models: Models) -> None:
    engine, calls = ImageEngine(), []
    engine.load(str(models["image"]))
    engine._pipe.text_encoder.register_forward_hook(lambda *_: calls.append(1))
    first = frames_of(engine, request())
    assert np.array_equal(first, frames_of(engine, request()))
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"frames": 5}, "single pictures, not 5 frames"),
        ({"end": picture(1)}, "starts from one picture at most"),
        ({"start": picture(1)[:8]}, "start picture is"),
    ],
)
def test_what_is_no_single_picture_is_refused_before_anything_is_loaded(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(EngineError, match=problem):
        ImageEngine().check("nobody/has-this", request(**changes))


def test_a_pipeline_that_starts_from_no_picture_says_so(models: Models) -> None:
    engine = ImageEngine()
    engine.load(str(models["t2v"]))
    with pytest.raises(EngineError, match="WanPipeline cannot start from a picture; leave image_refs_paths out"):
        engine.generate(request(start=picture(1)), lambda *_: None)
