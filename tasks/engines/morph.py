"""The moments between two pictures. What both show moves from place to place; what only one shows comes and goes.

Motion is worked out on a grid of CELL pixels, since it varies slowly, and scaled up for each frame.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from tasks.engines.flow import Field, match
from tasks.engines.protocol import Frame

CELL = 4
#: Both coordinates are in the first map. OpenCV's stubs ask for an array, but an empty one can make it loop for ever.
NO_SECOND_MAP: Any = None
PUSH = 0.16  # how far the camera travels into pictures that have nothing in common
SPREAD = 0.45  # the share of the time over which such pictures change, place after place


class Warp:
    """Pulls a picture by a coarse field of displacements in pixels."""

    def __init__(self, width: int, height: int) -> None:
        self.size = (width, height)
        self.grid = (max(8, width // CELL), max(8, height // CELL))
        x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        self._place = np.dstack([x, y])
        self._where = np.empty_like(self._place)
        across = np.linspace(-(width - 1) / 2, (width - 1) / 2, self.grid[0], dtype=np.float32)
        down = np.linspace(-(height - 1) / 2, (height - 1) / 2, self.grid[1], dtype=np.float32)
        #: From the picture's centre to each cell.
        self.outward = np.dstack(np.meshgrid(across, down))

    def __call__(self, picture: Frame, field: Field) -> Frame:
        """Each pixel shows what lies `field` away from it. Cubic: linear would soften every frame but the anchors."""
        # In place: a new field for each step costs as much again in memory pages.
        where = cv2.resize(field, self.size, dst=self._where, interpolation=cv2.INTER_LINEAR)
        where = cv2.add(self._place, where, dst=where)
        pulled = cv2.remap(picture, where, NO_SECOND_MAP, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
        return np.asarray(pulled, dtype=np.uint8)


def push_field(picture: Frame, warp: Warp) -> Field:
    """Displacements of a camera that moves into the picture, stronger for what looks near: low down and detailed."""
    size = (max(4, warp.grid[0] // 4), max(4, warp.grid[1] // 4))
    grey = cv2.cvtColor(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    detail = cv2.GaussianBlur(np.abs(cv2.Laplacian(grey, cv2.CV_32F)), (0, 0), size[0] / 14)
    low = np.linspace(0, 1, size[1], dtype=np.float32)[:, None]
    near = 0.55 + 0.55 * detail / (float(detail.max()) + 1e-6) + 0.35 * low
    return np.asarray(-warp.outward * cv2.resize(near, warp.grid)[..., None], dtype=np.float32)


class Morph:
    def __init__(self, a: Frame, b: Frame) -> None:
        self._a, self._b = a, b
        height, width = a.shape[:2]
        self._warp = Warp(width, height)
        self._match = match(a, b, self._warp.grid)
        self.strangeness = self._match.strangeness
        self._when = _change_order(a, b, self._warp.grid)
        self._push_a, self._push_b = push_field(a, self._warp), push_field(b, self._warp)

    def at(self, t: float) -> Frame:
        """The moment t between 0 and 1, which are the pictures themselves."""
        if t <= 0:
            return self._a.copy()
        if t >= 1:
            return self._b.copy()
        motion, seen_a, seen_b = self._motion(t)
        push = PUSH * self.strangeness
        old = self._warp(self._a, -t * motion + push * t * self._push_a)
        new = self._warp(self._b, (1 - t) * motion - 0.7 * push * (1 - t) * self._push_b)
        share = cv2.resize(self._share(t, seen_a, seen_b), self._warp.size, interpolation=cv2.INTER_LINEAR)
        return np.asarray(cv2.blendLinear(old, new, 1 - share, share), dtype=np.uint8)

    def _motion(self, t: float) -> tuple[Field, Field, Field]:
        """Motion from a to b of what is at each cell at the moment t, and how much of each picture arrived there.

        Both flows are carried to where their pixels are at t. One field for both pictures: warped by it they meet,
        so an edge is seen once even where the flow is wrong.
        """
        m = self._match
        from_a, seen_a = self._carried(m.forward, m.sure_a, t)
        from_b, seen_b = self._carried(-m.backward, m.sure_b, -(1 - t))
        weight = ((1 - t) * seen_a + t * seen_b)[..., None]
        total = (1 - t) * from_a + t * from_b
        # The wide part fills the holes that moving things leave behind.
        wide, wide_weight = cv2.GaussianBlur(total, (0, 0), 6), cv2.GaussianBlur(weight, (0, 0), 6)[..., None]
        return np.asarray((total + 0.05 * wide) / (weight + 0.05 * wide_weight + 1e-6)), seen_a, seen_b

    def _carried(self, flow: Field, sure: Field, t: float) -> tuple[Field, Field]:
        """(flow·weight, weight) put down where each cell is after the time t."""
        width, height = self._warp.grid
        x = np.rint(np.arange(width) + flow[..., 0] * (t / CELL)).astype(np.int64)
        y = np.rint(np.arange(height)[:, None] + flow[..., 1] * (t / CELL)).astype(np.int64)
        cell = (np.clip(y, 0, height - 1) * width + np.clip(x, 0, width - 1)).ravel()
        weight = sure * (1 - self.strangeness) + 0.03  # nothing is sure between strange pictures
        layers = (flow[..., 0] * weight, flow[..., 1] * weight, weight)
        put = [np.bincount(cell, layer.ravel(), width * height).reshape(height, width) for layer in layers]
        soft = _blurred(np.dstack(put).astype(np.float32), 1.0)
        return soft[..., :2], soft[..., 2]

    def _share(self, t: float, seen_a: Field, seen_b: Field) -> Field:
        """How much of b each cell shows: all alike for two views of a scene, place after place for strange pictures."""
        spread = SPREAD * self.strangeness
        late = np.clip((t - self._when * spread) / (1 - spread), 0, 1).astype(np.float32)
        share = late * late * (3 - 2 * late) if self.strangeness > 0.5 else late
        # What is surely in one picture and surely not in the other comes from where it is. Only what is sure, and with
        # soft borders: between day and night every difference in share is a difference in brightness.
        gone = cv2.GaussianBlur(np.clip(2 * (seen_a - seen_b), -1, 1), (0, 0), 2.5) * (1 - self.strangeness)
        lean = np.sign(gone) * np.clip(np.abs(gone) - 0.45, 0, 1) / 0.55
        return np.asarray(np.clip(share - lean * 2 * share * (1 - share), 0, 1), dtype=np.float32)


def _change_order(a: Frame, b: Frame, grid: tuple[int, int]) -> Field:
    """0..1: which places change first. The middle and what is rich in b lead, what is rich in a stays longest."""
    size = (max(16, grid[0] // 2), max(16, grid[1] // 2))
    grey_a, grey_b = (
        cv2.cvtColor(cv2.resize(x, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY).astype(np.float32)
        for x in (a, b)
    )
    detail_a, detail_b = (np.abs(np.asarray(cv2.Laplacian(grey, cv2.CV_32F))) for grey in (grey_a, grey_b))
    richer = _blurred(detail_b - detail_a, size[0] / 24)
    unlike = _blurred(np.abs(grey_a - grey_b), size[0] / 20)
    x, y = np.meshgrid(np.linspace(-0.6, 0.6, size[0]), np.linspace(-0.5, 0.5, size[1]))
    order = 0.5 * _ranks(np.hypot(x, y)) - 0.3 * _ranks(richer)
    smooth = _blurred(_ranks(order + 0.2 * _ranks(unlike)), size[0] / 40)
    smooth = (smooth - smooth.min()) / max(1e-6, float(smooth.max() - smooth.min()))
    return np.asarray(cv2.resize(smooth, grid, interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def _blurred(field: Field, reach: float) -> Field:
    return np.asarray(cv2.GaussianBlur(field, (0, 0), reach), dtype=np.float32)


def _ranks(x: Field) -> Field:
    """0..1 by order, so that every moment changes about as much of the picture."""
    order = np.argsort(np.argsort(x, axis=None, kind="stable"), kind="stable")
    return (order.reshape(x.shape) / max(1, x.size - 1)).astype(np.float32)
