"""The view between two frames of one scene: what moved is shown half way, not twice.

Optical flow both ways at a small size; each picture is pulled to where its parts are at the wanted moment, and the two
are mixed. For neighbours in a film and for two takes of one moment, at a seventh of what the motion engine spends on a
pair: that one must find a way between any two pictures, this one only says when there is none (`agreement`).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

from tasks.media.crossfade import Plane

#: Y, U and V of one frame: 8 bits, limited range BT.709, chroma at half the size both ways.
Planes = tuple[Plane, Plane, Plane]
Field = NDArray[np.float32]

WIDTH = 416  # flow is searched at this width: measured within 0.5 dB of 832, for a quarter of the time
ASTRAY = 1.5  # pixels at WIDTH that there and back may end beside where it began
UNLIKE = 45.0  # grey levels by which what is found may differ
DOUBT = 0.1  # weight of what is not believed: where nothing is, both pictures mix as in a plain fade
NO_SECOND_MAP: Any = None  # both coordinates are in the first map


class Views:
    """All views between `a` and `b`, which are of one size."""

    def __init__(self, a: Planes, b: Planes) -> None:
        self._a, self._b = a, b
        height, width = a[0].shape
        small = (min(WIDTH, width), max(16, round(height * min(WIDTH, width) / width)))
        look_a, look_b = (np.asarray(cv2.resize(x[0], small, interpolation=cv2.INTER_AREA), np.uint8) for x in (a, b))
        self._there, self._back = _flow(look_a, look_b), _flow(look_b, look_a)
        self._place = _places(small)
        self._sure_a = self._sureness(self._there, self._back, look_a, look_b)
        self._sure_b = self._sureness(self._back, self._there, look_b, look_a)
        self._scale = width / small[0]

    @property
    def agreement(self) -> float:
        """The share of the two pictures found in each other: near 1 for neighbours, near 0 at a cut."""
        return float(self._sure_a.mean() + self._sure_b.mean()) / 2

    @property
    def displacement(self) -> float:
        """Pixels that things are apart: of what is believed, a tenth is further (a thing before a still background)."""
        lengths = np.linalg.norm(self._there, axis=-1)[self._sure_a > 0.5]
        return float(np.percentile(lengths, 90)) * self._scale if lengths.size else 0.0

    def at(self, t: float) -> Planes:
        """The view at t from 0 (a) to 1 (b), which are the frames themselves."""
        if t <= 0:
            return self._a
        if t >= 1:
            return self._b
        # Motion taken as even: from the moment t back to each side, both searches mixed (Jiang et al. 2018, eq. 4).
        to_a = (t * t) * self._back - ((1 - t) * t) * self._there
        to_b = ((1 - t) * (1 - t)) * self._there - (t * (1 - t)) * self._back
        from_a, from_b = self._place + to_a, self._place + to_b
        # What one side does not have, because it is hidden or outside there, comes from the other.
        share_a = (1 - t) * (_pulled(self._sure_a, from_a) + DOUBT) * _inside(from_a)
        share_b = t * (_pulled(self._sure_b, from_b) + DOUBT) * _inside(from_b)
        share = np.asarray(share_b / (share_a + share_b), dtype=np.float32)
        y, u, v = (_mixed(a, b, to_a, to_b, share) for a, b in zip(self._a, self._b, strict=True))
        return y, u, v

    def _sureness(self, there: Field, back: Field, here: Plane, other: Plane) -> Field:
        """0..1: high where going there and back ends where it began, and what is found there looks the same."""
        where = self._place + there
        astray = ((there + _pulled(back, where)) ** 2).sum(axis=-1)
        unlike = _pulled(other.astype(np.float32), where) - here
        sure = np.exp(-astray / ASTRAY**2 - (unlike / UNLIKE) ** 2) * _inside(where)
        return np.asarray(cv2.GaussianBlur(sure.astype(np.float32), (0, 0), 1.5), dtype=np.float32)


def planes_of(frame: VideoFrame) -> Planes:
    """Views of a yuv420p frame's Y, U and V without the padding at each line's end."""
    y, u, v = (
        np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
        for plane in frame.planes
    )
    return y, u, v


def frame_of(planes: Planes) -> VideoFrame:
    """A new frame with these samples, tagged as what they are."""
    height, width = planes[0].shape
    frame = VideoFrame(width, height, "yuv420p")
    for target, plane in zip(planes_of(frame), planes, strict=True):
        target[:] = plane
    frame.colorspace, frame.color_range = Colorspace.ITU709, ColorRange.MPEG
    return frame


def _flow(a: Any, b: Any) -> Field:
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    search.setFinestScale(1)
    return np.asarray(search.calc(a, b, np.zeros((*a.shape, 2), np.float32)), dtype=np.float32)


@lru_cache(maxsize=8)  # three sizes a film
def _places(size: tuple[int, int]) -> Field:
    x, y = np.meshgrid(np.arange(size[0], dtype=np.float32), np.arange(size[1], dtype=np.float32))
    return np.dstack([x, y])


def _inside(where: Field) -> Field:
    """1 in the picture; next to nothing outside, so that a place outside both is still shared between them."""
    height, width = where.shape[:2]
    inside = ((where > -0.5) & (where < (width - 0.5, height - 0.5))).all(axis=-1)
    return np.where(inside, np.float32(1), np.float32(1e-3))


def _pulled(field: Field, where: Field) -> Field:
    pulled = cv2.remap(field, where, NO_SECOND_MAP, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(pulled, dtype=np.float32)


def _mixed(a: Plane, b: Plane, to_a: Field, to_b: Field, share: Field) -> Plane:
    """Each pixel shows what lies that far away in a and in b."""
    size = (a.shape[1], a.shape[0])
    full = cv2.resize(share, size, interpolation=cv2.INTER_LINEAR)
    old, new = _moved(a, to_a, size), _moved(b, to_b, size)
    return np.asarray(cv2.blendLinear(old, new, 1 - full, full), dtype=np.uint8)


def _moved(plane: Plane, away: Field, size: tuple[int, int]) -> Plane:
    """Cubic: linear would soften every view between."""
    scale = np.array(size, np.float32) / np.array(away.shape[1::-1], np.float32)
    grown = cv2.resize(np.asarray(away * scale, np.float32), size, interpolation=cv2.INTER_LINEAR)
    where = cv2.add(_places(size), grown, dst=grown)
    pulled = cv2.remap(plane, where, NO_SECOND_MAP, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(pulled, dtype=np.uint8)
