"""Colour corrections between generation and encoding: done here, encoded bodies can be copied by the stitch later."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
Triple = NDArray[np.float32]

#: A correction beyond these is no drift but another picture: matching it would paint the clip in one colour.
GAIN_LIMITS = (0.7, 1.4)
OFFSET_LIMIT = 40.0  # of LAB's 0..255 as OpenCV scales 8-bit pictures

LUMA_709 = np.array([0.2126, 0.7152, 0.0722], np.float32)


@dataclass(frozen=True, slots=True)
class Correction:
    """LAB' = gain·LAB + offset, per channel."""

    gain: Triple
    offset: Triple

    def at(self, weight: float) -> Correction:
        """The correction in part: 0 leaves a frame as it is, 1 applies all of it."""
        return Correction(1 + (self.gain - 1) * weight, self.offset * weight)

    def __add__(self, other: Correction) -> Correction:
        return Correction(self.gain + other.gain - 1, self.offset + other.offset)


def measure(frame: Frame, anchor: Frame) -> Correction:
    """What gives the frame the anchor's mean and deviation in LAB (Reinhard's colour transfer), within limits."""
    have_mean, have_deviation = _statistics(frame)
    want_mean, want_deviation = _statistics(anchor)
    gain = np.clip((want_deviation + 1) / (have_deviation + 1), *GAIN_LIMITS)  # +1: flat channels are not blown up
    shift = np.clip(want_mean - have_mean, -OFFSET_LIMIT, OFFSET_LIMIT)
    return Correction(gain, have_mean * (1 - gain) + shift)


def correct(frame: Frame, correction: Correction) -> Frame:
    lab = cv2.cvtColor(frame, cv2.COLOR_RGB2LAB)
    steps = np.arange(256, dtype=np.float32)[:, None] * correction.gain + correction.offset
    table = np.clip(np.rint(steps), 0, 255).astype(np.uint8)[None]
    return np.asarray(cv2.cvtColor(cv2.LUT(lab, table), cv2.COLOR_LAB2RGB), dtype=np.uint8)


def match_to_anchors(frames: Sequence[Frame], start: Frame | None, end: Frame | None) -> Iterator[Frame]:
    """`colour_match_videos`: the clip has its anchors' colours at both ends, and glides from one to the other between.

    Measured at the ends only. Matching each frame by itself would undo what happens in the clip (a door opens, the
    light goes out) and flicker. With one anchor its correction holds for the whole clip.
    """
    if start is None and end is None:
        yield from frames
        return
    first = measure(frames[0], start) if start is not None else None
    last = measure(frames[-1], end) if end is not None else None
    for i, frame in enumerate(frames):
        yield correct(frame, _between(first, last, i / max(1, len(frames) - 1)))


def _between(first: Correction | None, last: Correction | None, t: float) -> Correction:
    if first and last:
        return first.at(1 - t) + last.at(t)
    one = first or last
    assert one, "there is nothing to correct without an anchor"
    return one


def adjust(frame: Frame, saturation: float = 1.0, brightness: float = 0.0) -> Frame:
    """`after_first_post_generation_saturation` and `_brightness`: distance from grey, and −1..1 of full scale added."""
    if saturation == 1 and brightness == 0:
        return frame
    grey = np.tile(LUMA_709, (3, 1)) * (1 - saturation)
    colours = np.hstack([grey + np.eye(3, dtype=np.float32) * saturation, np.full((3, 1), brightness * 255)])
    return np.asarray(cv2.transform(frame, colours.astype(np.float32)), dtype=np.uint8)


def _statistics(frame: Frame) -> tuple[Triple, Triple]:
    mean, deviation = cv2.meanStdDev(cv2.cvtColor(frame, cv2.COLOR_RGB2LAB))
    return mean.ravel().astype(np.float32), deviation.ravel().astype(np.float32)
