from __future__ import annotations

import numpy as np
import pytest

from tasks.media.colour import adjust, match_to_anchors


def picture(seed=0, gain=1.0, offset=0.0):
    rng = np.random.default_rng(seed)
    soft = rng.integers(60, 190, (6, 8, 3)).repeat(8, 0).repeat(8, 1)
    return np.clip(soft * gain + offset, 0, 255).astype(np.uint8)


def difference(a, b):
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


def test_a_drifted_clip_gets_its_anchors_colours_back():
    anchor = picture()
    drifted = [picture(gain=0.85, offset=30)] * 5
    matched = list(match_to_anchors(drifted, anchor, anchor))
    assert difference(drifted[0], anchor) > 6
    assert max(difference(frame, anchor) for frame in matched) < 2.5


def test_the_correction_glides_from_one_anchor_to_the_other():
    clip = [picture()] * 9
    lighter = picture(offset=20)
    matched = [float(frame.mean()) for frame in match_to_anchors(clip, clip[0], lighter)]
    assert matched == sorted(matched)
    assert matched[-1] == pytest.approx(float(lighter.mean()), abs=2)


def test_one_anchor_corrects_the_whole_clip():
    matched = list(match_to_anchors([picture(offset=15)] * 3, picture(), None))
    assert max(difference(frame, picture()) for frame in matched) < 2.5


def test_without_anchors_nothing_changes():
    clip = [picture()]
    assert list(match_to_anchors(clip, None, None)) == clip


def test_another_picture_is_not_painted_over():
    dark = np.full((32, 32, 3), 10, np.uint8)
    (matched,) = match_to_anchors([dark], picture(), None)
    assert matched.mean() < 70


def test_saturation_zero_is_grey_and_one_is_untouched():
    frame = picture()
    grey = adjust(frame, saturation=0)
    assert difference(grey[..., 0], grey[..., 2]) == 0
    assert adjust(frame) is frame


def test_brightness_is_a_share_of_full_scale():
    frame = np.full((4, 4, 3), 100, np.uint8)
    assert (adjust(frame, brightness=0.1) == 126).all() or (adjust(frame, brightness=0.1) == 125).all()
    assert (adjust(frame, brightness=1.0) == 255).all()
