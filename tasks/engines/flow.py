"""Where each part of one picture went in another: optical flow both ways, and how far it can be believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.engines.protocol import Frame

Field = NDArray[np.floating[Any]]

WIDTH = 416  # flow is searched at this width; it costs about 0.2 s once for each pair of pictures
SOFTNESS = 0.08  # of the width: how far believed flow reaches into its neighbourhood
LONGEST = 0.10  # of the width: the most that guessed flow may move
BEND = 0.45  # how much of the flow between light and dark masses unrelated pictures take; at 1 straight things wave
MASSES = 96  # width at which only light and dark masses are left


@dataclass(frozen=True, slots=True)
class Match:
    """Flow from a to b and back, in pixels of the full size, at `size`; `sure` 0..1 for each pixel of each picture."""

    forward: Field
    backward: Field
    sure_a: Field
    sure_b: Field

    #: 1 for pictures of different things, 0 for two views of one scene.
    strangeness: float


def match(a: Frame, b: Frame, size: tuple[int, int]) -> Match:
    """Search at WIDTH, answer at `size` (width, height)."""
    full_h, full_w = a.shape[:2]
    width = min(WIDTH, full_w)
    small = (width, max(24, round(width * full_h / full_w)))
    looks_a, looks_b = _looks(a, small), _looks(b, small)
    forward, backward, sure_a, sure_b = _best([_both_ways(x, y) for x, y in zip(looks_a, looks_b, strict=True)])
    strangeness = 1 - min(1.0, 1.1 * float(sure_a.mean() + sure_b.mean()))
    there, back = _masses(looks_a[0], looks_b[0]), _masses(looks_b[0], looks_a[0])
    scale = np.array([full_w / small[0], full_h / small[1]], np.float32)
    return Match(
        _resized(_completed(forward, sure_a, there, strangeness) * scale, size),
        _resized(_completed(backward, sure_b, back, strangeness) * scale, size),
        _resized(sure_a, size),
        _resized(sure_b, size),
        strangeness,
    )


def _looks(frame: Frame, small: tuple[int, int]) -> tuple[Frame, Frame]:
    """Two ways to see a picture: evened grey, and edges alone, which stay when day turns to night."""
    grey = cv2.cvtColor(cv2.resize(frame, small, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    even = np.asarray(cv2.createCLAHE(2.0, (4, 4)).apply(grey), dtype=np.uint8)
    wide = np.log1p(grey.astype(np.float32))
    edges = np.hypot(cv2.Sobel(wide, cv2.CV_32F, 1, 0), cv2.Sobel(wide, cv2.CV_32F, 0, 1))
    local = edges / (cv2.GaussianBlur(edges, (0, 0), 10) + 0.03)
    return even, np.clip(cv2.GaussianBlur(local, (0, 0), 0.8) * 70, 0, 255).astype(np.uint8)


def _both_ways(a: Frame, b: Frame) -> tuple[Field, Field, Field, Field]:
    forward, backward = _flow(a, b), _flow(b, a)
    return forward, backward, _sureness(forward, backward, a, b), _sureness(backward, forward, b, a)


def _flow(a: Any, b: Any) -> Field:
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    dis.setFinestScale(0)  # to single pixels: thin things such as masts are lost otherwise
    return np.asarray(dis.calc(a, b, np.zeros((*a.shape, 2), np.float32)), dtype=np.float32)


def _sureness(there: Field, back: Field, here: Frame, other: Frame) -> Field:
    """High where going there and back again ends where it began, and what is found there looks the same."""
    x, y = _positions(there)
    mx, my = x + there[..., 0], y + there[..., 1]
    astray = ((there + _sample(back, mx, my)) ** 2).sum(axis=-1)
    unlike = np.abs(_sample(other.astype(np.float32), mx, my) - here)
    inside = (mx >= 0) & (mx < there.shape[1]) & (my >= 0) & (my < there.shape[0])
    sure = np.exp(-astray / 1.5**2) * np.exp(-((unlike / 45) ** 2)) * inside
    return np.asarray(cv2.GaussianBlur(sure.astype(np.float32), (0, 0), 1.5), dtype=np.float32)


def _best(found: list[tuple[Field, Field, Field, Field]]) -> tuple[Field, Field, Field, Field]:
    """At each place the flow of the look that is surer there; a small head start for grey, which is more exact."""
    (f0, b0, sa0, sb0), (f1, b1, sa1, sb1) = found
    take_a, take_b = (_wide(sa1) > _wide(sa0) + 0.05), (_wide(sb1) > _wide(sb0) + 0.05)
    return (
        np.where(take_a[..., None], f1, f0),
        np.where(take_b[..., None], b1, b0),
        np.where(take_a, sa1, sa0),
        np.where(take_b, sb1, sb0),
    )


def _wide(sure: Field) -> Field:
    return np.asarray(cv2.GaussianBlur(sure, (0, 0), 6), dtype=np.float32)


def _completed(flow: Field, sure: Field, masses: Field, strangeness: float) -> Field:
    """Believed flow as it is; elsewhere what the neighbourhood does, and where nobody knows, the big masses' way.

    Between strange pictures what looks believable is chance, and following it bends straight things.
    """
    reach = SOFTNESS * flow.shape[1]
    near = cv2.GaussianBlur(sure, (0, 0), reach)[..., None]
    soft = cv2.GaussianBlur(flow * sure[..., None], (0, 0), reach) / (near + 0.02)
    nobody = np.maximum(1 - np.clip(near * 4, 0, 1), strangeness)
    length = np.linalg.norm(masses, axis=-1, keepdims=True) + 1e-6
    guess = BEND * masses * np.minimum(1, LONGEST * flow.shape[1] / length)
    soft = soft * (1 - nobody) + guess * nobody
    keep = np.clip(sure * 1.5 - 0.25, 0, 1)[..., None] * (1 - strangeness)
    return np.asarray(cv2.GaussianBlur(flow * keep + soft * (1 - keep), (0, 0), 1.0), dtype=np.float32)


def _masses(a: Frame, b: Frame) -> Field:
    """A smooth flow that carries the large light and dark parts of one picture onto those of the other."""
    height, width = a.shape
    size = (MASSES, max(16, round(MASSES * height / width)))
    blobs = [cv2.equalizeHist(cv2.resize(grey, size, interpolation=cv2.INTER_AREA)) for grey in (a, b)]
    soft = [cv2.GaussianBlur(blob, (0, 0), 3.5) for blob in blobs]
    flow = np.asarray(cv2.GaussianBlur(_flow(*soft), (0, 0), 0.18 * MASSES), dtype=np.float32)
    x, y = _positions(flow)
    border = np.minimum(np.minimum(x, size[0] - 1 - x), np.minimum(y, size[1] - 1 - y))
    flow *= np.clip(border / (0.12 * MASSES), 0, 1)[..., None]  # or the picture's edge is pulled into view
    return np.asarray(cv2.resize(flow, (width, height)) * (width / MASSES), dtype=np.float32)


def _resized(field: Field, size: tuple[int, int]) -> Field:
    return np.asarray(cv2.resize(field, size, interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def _positions(flow: Field) -> tuple[Field, Field]:
    height, width = flow.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return x, y


def _sample(field: Field, x: Field, y: Field) -> Field:
    sampled = cv2.remap(field, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(sampled, dtype=np.float32)
