from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tasks.engines.guide import guide
from tests.engines.conftest import Ready, clip_request, frames_of, picture

PAST = [picture(seed) for seed in (11, 12, 13)]


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, {0: picture(1), 4: picture(2)}),
        ({"end": None}, {0: picture(1)}),
        ({"start": None}, {4: picture(2)}),
        ({"start": None, "end": None}, {}),
        ({"context": PAST}, {0: PAST[0], 1: PAST[1], 2: PAST[2], 4: picture(2)}),
        ({"context": PAST, "start": None, "end": None}, dict(enumerate(PAST))),
        ({"context": PAST, "frames": 1, "end": None}, {0: PAST[0]}),
        ({"frames": 1}, {0: picture(2)}),
    ],
)
def test_the_guide_keeps_what_is_given_in_black_and_is_grey_in_white_elsewhere(
    changes: dict[str, Any], kept: dict[int, Any]
) -> None:
    request = clip_request(**changes)
    made = guide(request)
    assert len(made.frames) == len(made.mask) == request.frames
    for i in range(request.frames):
        assert np.array_equal(made.frames[i], kept[i] if i in kept else np.full((32, 32, 3), 128))
        assert (made.mask[i] == (0 if i in kept else 255)).all()


def test_vace_is_given_the_guide_and_its_mask_exactly(ready: Ready, monkeypatch: pytest.MonkeyPatch) -> None:
    wan = ready("wan", "vace")
    pipe, given = wan._pipe, {}  # type: ignore[attr-defined]
    prepare = pipe.preprocess_conditions

    def spy(video: Any, mask: Any, *more: Any) -> Any:
        given.update(video=np.stack([np.asarray(frame) for frame in video]), mask=np.stack([*map(np.asarray, mask)]))
        return prepare(video, mask, *more)

    monkeypatch.setattr(pipe, "preprocess_conditions", spy)
    request = clip_request(context=PAST)
    frames_of(wan, request)
    wanted = guide(request)
    assert np.array_equal(given["video"], wanted.frames)
    assert np.array_equal(given["mask"], wanted.mask)
