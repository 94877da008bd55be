from __future__ import annotations

import numpy as np
import pytest

from tasks.media.crossfade import blend, sharpened
from tasks.media.errors import MediaError
from tasks.media.seams import Drift, SeamOptions, corrected, faded
from tasks.media.timeline import crossfade_weight
from tests.media.scenes import decibels, scene, yuv

COUNT = 5


def takes(apart, grain=0.0):
    """One camera path twice, the second time `apart` pixels beside the first, and what is truly between them."""
    left = [yuv(scene(2 * i, grain=grain)) for i in range(COUNT)]
    right = [yuv(scene(2 * i + apart, grain=grain)) for i in range(COUNT)]
    true = [yuv(scene(2 * i + apart * crossfade_weight(i, COUNT))) for i in range(COUNT)]
    return left, right, true


def same(a, b):
    pairs = zip(a, b, strict=True)
    return all((x == y).all() for frame, other in pairs for x, y in zip(frame, other, strict=True))


def plain(left, right):
    return [
        [blend(a, b, crossfade_weight(k, COUNT)) for a, b in zip(old, new, strict=True)]
        for k, (old, new) in enumerate(zip(left, right, strict=True))
    ]


def test_a_fade_is_the_exact_blend_of_each_plane():
    left, right, _ = takes(9)
    assert same(faded(left, right, COUNT), plain(left, right))


@pytest.mark.parametrize("apart", [0, 0.4])
def test_takes_that_lie_together_are_blended_plainly_whatever_is_asked(apart):
    left, right, _ = takes(apart)
    assert same(faded(left, right, COUNT, SeamOptions(flow=True)), plain(left, right))


@pytest.mark.parametrize("apart", [3, 7, 12])
def test_takes_that_lie_apart_are_aligned(apart):
    left, right, true = takes(apart, grain=1.5)
    pairs = zip(faded(left, right, COUNT, SeamOptions(flow=True)), plain(left, right), true, strict=True)
    gained = [decibels(aligned[0], want[0]) - decibels(blended[0], want[0]) for aligned, blended, want in pairs]
    assert min(gained) > 1
    assert np.mean(gained) > 6


def test_takes_of_different_things_are_blended_plainly():
    left, right = ([yuv(scene(i, seed=seed)) for i in range(COUNT)] for seed in (3, 8))
    assert same(faded(left, right, COUNT, SeamOptions(flow=True)), plain(left, right))


def test_sharpening_grows_with_the_weight_and_is_half_as_wide_on_chroma():
    left, right, _ = takes(9)
    for k, (made, base) in enumerate(
        zip(faded(left, right, COUNT, SeamOptions(sharpen=0.5)), plain(left, right), strict=True)
    ):
        amount = 0.5 * crossfade_weight(k, COUNT)
        wanted = [sharpened(plane, amount, sigma) for plane, sigma in zip(base, (3.0, 1.5, 1.5), strict=True)]
        assert same([made], [wanted])


def test_a_fade_reads_its_takes_one_frame_at_a_time():
    read = []

    def watched(name):
        for i in range(COUNT):
            read.append((name, i))
            yield yuv(scene(i))

    fade = faded(watched("left"), watched("right"), COUNT, SeamOptions(flow=True))
    next(fade)
    assert read == [("left", 0), ("right", 0)]


def drifted(frame, gain, offset):
    return np.clip(np.rint(frame * np.array(gain) + offset), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("gain", "offset"), [((0.94, 1, 1.06), 6), ((1.08, 1, 0.92), -5), ((1, 1, 1), 12), ((1, 1, 1), 0)]
)
def test_drift_is_measured_and_taken_back(gain, offset):
    before, after = [scene(i) for i in range(3)], [scene(i + 0.5) for i in range(3)]
    drift = Drift.measured(before, [drifted(frame, gain, offset) for frame in after])
    back = drift.corrected(drifted(after[0], gain, offset))
    assert np.abs(back.astype(int) - after[0]).mean() < 1.5


def test_a_thing_that_moved_does_not_tint_the_picture():
    before, after = scene(0), drifted(scene(0), (1, 1, 1), 8)
    after[20:50, 30:70] = (250, 10, 10)
    assert Drift.measured([before], [after]).offset == pytest.approx([-8] * 3, abs=3)


def test_a_flat_picture_is_shifted_and_not_stretched():
    before, after = np.full((96, 160, 3), 100, np.uint8), np.full((96, 160, 3), 110, np.uint8)
    drift = Drift.measured([before], [after])
    assert (drift.gain.tolist(), drift.offset.tolist()) == ([1, 1, 1], [-10, -10, -10])


@pytest.mark.parametrize("other", [scene(0, seed=8), scene(0) // 3], ids=["another picture", "night"])
def test_another_picture_is_no_drift(other):
    drift = Drift.measured([scene(0)], [other])
    assert (drift.corrected(other) == other).all()


def test_a_correction_fades_from_the_first_frame_to_the_last():
    before = [np.full((96, 160, 3), 100, np.uint8)]
    drift = Drift.measured(before, [frame + 12 for frame in before])
    shown = [int(frame[0, 0, 0]) for frame in corrected([before[0] + 12] * 4, drift, 4)]
    assert shown == [100, 104, 108, 112]
    assert [int(frame[0, 0, 0]) for frame in corrected([before[0] + 12], drift, 1)] == [100]


def test_drift_needs_the_same_moments_on_both_sides():
    with pytest.raises(MediaError, match="not 2 and 1"):
        Drift.measured([scene(0), scene(1)], [scene(0)])
