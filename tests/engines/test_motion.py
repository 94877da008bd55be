from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest

from tasks.engines.motion import MotionEngine
from tasks.engines.protocol import EngineError, Request

WIDTH, HEIGHT = 160, 96


def scene(shift=0, seed=1):
    """A textured view whose camera has moved aside by `shift` pixels."""
    rng = np.random.default_rng(seed)
    rough = rng.integers(0, 255, (HEIGHT // 8, 40, 3), dtype=np.uint8)
    wide = cv2.resize(rough, (320, HEIGHT), interpolation=cv2.INTER_CUBIC)
    cv2.rectangle(wide, (120, 30), (160, 70), (250, 240, 60), -1)
    return np.ascontiguousarray(wide[:, 60 + shift : 60 + shift + WIDTH])


def clip(frames=17, **request):
    steps = []
    made = list(
        MotionEngine().generate(
            Request(**{"width": WIDTH, "height": HEIGHT, "frames": frames, "seed": 3, **request}),
            lambda done, total: steps.append((done, total)),
        )
    )
    return made, steps


def distance(a, b):
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


def test_first_and_last_frame_equal_the_anchors():
    made, _ = clip(start=scene(), end=scene(seed=9))
    assert len(made) == 17
    assert (made[0] == scene()).all()
    assert (made[-1] == scene(seed=9)).all()


def test_a_camera_move_is_followed_not_dissolved():
    made, _ = clip(start=scene(), end=scene(12))
    dissolved = ((scene().astype(int) + scene(12)) / 2).astype(np.uint8)
    middle = (slice(8, -8), slice(16, -16))
    truth = scene(6)[middle]
    assert distance(made[8][middle], truth) < 0.5 * distance(dissolved[middle], truth)


def test_no_frame_jumps():
    made, _ = clip(frames=33, start=scene(), end=scene(seed=9))
    steps = [distance(a, b) for a, b in pairwise(made)]
    assert max(steps) < 4 * float(np.mean(steps))


def test_the_same_request_gives_the_same_frames():
    first, _ = clip(start=scene(), end=scene(seed=9))
    again, _ = clip(start=scene(), end=scene(seed=9))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))


def test_the_number_of_threads_changes_nothing():
    threads = cv2.getNumThreads()
    many, _ = clip(frames=5, start=scene(), end=scene(9))
    cv2.setNumThreads(1)
    try:
        one, _ = clip(frames=5, start=scene(), end=scene(9))
    finally:
        cv2.setNumThreads(threads)
    assert all((a == b).all() for a, b in zip(many, one, strict=True))


def test_one_picture_becomes_a_gentle_camera_push():
    made, _ = clip(start=scene())
    assert (made[0] == scene()).all()
    steps = [distance(a, b) for a, b in pairwise(made)]
    assert 0 < max(steps) < 12


def test_an_end_alone_is_reached_exactly():
    made, _ = clip(end=scene())
    assert (made[-1] == scene()).all()
    assert distance(made[0], scene()) > 0


def test_a_chained_clip_shows_its_context_and_ends_on_its_anchor():
    context = [scene(shift) for shift in range(4)]
    made, _ = clip(start=scene(3), end=scene(20), context=context)
    assert all((a == b).all() for a, b in zip(made, context, strict=False))
    assert (made[-1] == scene(20)).all()


def test_the_way_goes_on_from_the_last_context_frame_without_a_jump():
    context = [scene(shift) for shift in range(4)]
    made, _ = clip(frames=33, start=scene(3), end=scene(20), context=context)
    steps = [distance(a, b) for a, b in pairwise(made)]
    assert steps[3] < 2 * max(steps[:3])


@pytest.mark.parametrize(("frames", "context"), [(17, 17), (17, 12), (5, 4), (5, 9)])
def test_a_clip_that_is_all_context_still_ends_on_its_anchor(frames, context):
    made, _ = clip(frames=frames, end=scene(20), context=[scene(shift) for shift in range(context)])
    assert len(made) == frames
    assert (made[0] == scene()).all()
    assert (made[-1] == scene(20)).all()


def test_a_clip_of_one_frame_is_its_start():
    made, _ = clip(frames=1, start=scene(), end=scene(20))
    assert len(made) == 1
    assert (made[0] == scene()).all()


def test_progress_is_told_for_every_frame():
    _, steps = clip(start=scene(), end=scene(4))
    assert steps == [(i, 17) for i in range(1, 18)]


def test_a_step_that_raises_stops_the_clip():
    def stop(done, total):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        next(MotionEngine().generate(Request(WIDTH, HEIGHT, 17, 0, start=scene()), stop))


@pytest.mark.parametrize(
    "bad",
    [
        {"frames": 16},
        {"frames": 0},
        {"width": 161},
        {"height": 16},
        {"start": np.zeros((10, 10, 3), np.uint8)},
        {"start": np.zeros((HEIGHT, WIDTH, 3), np.float32)},
        {"start": None},
        {"context": [np.zeros((4, 4, 3), np.uint8)]},
    ],
)
def test_what_it_cannot_do_is_refused_before_any_work(bad):
    request = Request(**{"width": WIDTH, "height": HEIGHT, "frames": 17, "seed": 0, "start": scene(), **bad})
    with pytest.raises(EngineError):
        MotionEngine().generate(request, lambda done, total: None)


def test_an_unknown_model_is_refused():
    with pytest.raises(EngineError, match="no model 'wan'"):
        MotionEngine().load("wan")
