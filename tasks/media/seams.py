"""Seams one cannot see: a fade between two takes that differ in position, and the drift of colour between them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.media.crossfade import blend, sharpened
from tasks.media.errors import MediaError
from tasks.media.interpolation import Planes, Views
from tasks.media.timeline import crossfade_weight

Frame = NDArray[np.uint8]
Triple = NDArray[np.float32]

#: Pixels that things may be apart in the two takes. Up to the first the plain blend is at least as near to the true
#: view between (measured, with and without grain); from the second on the aligned one is nearer by 3 dB and more.
PLAIN, ALIGNED = 1.0, 2.0
#: Of `Views.agreement`: takes that have less in common than the first show different things; nothing can be aligned.
STRANGE, ALIKE = 0.3, 0.5

#: Drift beyond these is another picture or another light, which a correction would paint over.
GAIN_LIMITS = (0.8, 1.25)
OFFSET_LIMIT = 24.0
#: Median of what a fit leaves, in grey levels. Takes of one moment leave 1 to 4, different pictures 20 and more.
UNRELATED = 10.0
FIT_WIDTH = 96  # takes that are some pixels apart still fit each other at this width
ROUNDS = 3


@dataclass(frozen=True, slots=True)
class SeamOptions:
    """`flow`: align what is in another place in the two takes. `sharpen` is `crossfade_sharp_amt`."""

    flow: bool = False
    sharpen: float = 0.0


DEFAULT = SeamOptions()


def faded(
    left: Iterable[Planes], right: Iterable[Planes], count: int, options: SeamOptions = DEFAULT
) -> Iterator[Planes]:
    """The `count` frames of an overlap, from the take that ends to the one that begins, along `crossfade_weight`.

    Without `flow`, and where the takes lie within PLAIN pixels of each other, each plane is exactly `crossfade.blend`.
    """
    for k, (old, new) in enumerate(zip(left, right, strict=True)):
        weight = crossfade_weight(k, count)
        mixed = _aligned(old, new, weight) if options.flow else _blended(old, new, weight)
        # The blur is as wide in the picture on every plane; chroma planes have half the samples.
        y, u, v = (sharpened(plane, options.sharpen * weight, 1.5 if i else 3.0) for i, plane in enumerate(mixed))
        yield y, u, v


def _blended(old: Planes, new: Planes, weight: float) -> Planes:
    y, u, v = (blend(a, b, weight) for a, b in zip(old, new, strict=True))
    return y, u, v


def _aligned(old: Planes, new: Planes, weight: float) -> Planes:
    """Decided for each frame, so that an overlap needs no memory; by a ramp, so that no frame jumps."""
    views, plain = Views(old, new), _blended(old, new, weight)
    trust = _ramp(views.displacement, PLAIN, ALIGNED) * _ramp(views.agreement, STRANGE, ALIKE)
    return _blended(plain, views.at(weight), trust) if trust else plain


def _ramp(x: float, low: float, high: float) -> float:
    return min(1.0, max(0.0, (x - low) / (high - low)))


@dataclass(frozen=True, slots=True)
class Drift:
    """How a segment's colours left those of its predecessor: predecessor = gain·segment + offset, for R, G and B."""

    gain: Triple
    offset: Triple

    @classmethod
    def measured(cls, before: Sequence[Frame], after: Sequence[Frame]) -> Drift:
        """From the predecessor's last frames and the segment's first ones: the same moments twice, in the same order.

        Least squares on small blurred copies; what lies far off a fit, such as things that moved, is left out of the
        next. No drift at all is the answer for pictures that no correction within limits makes alike.
        """
        if not before or len(before) != len(after):
            raise MediaError(
                f"Drift needs as many frames before a seam as after it, not {len(before)} and {len(after)}."
            )
        have, want = (np.concatenate([_small(frame) for frame in frames]) for frames in (after, before))
        fits = [_fit(have[:, channel], want[:, channel]) for channel in range(3)]
        if max(left for _, _, left in fits) > UNRELATED:
            return cls(np.ones(3, np.float32), np.zeros(3, np.float32))
        gain, offset, _ = np.array(fits, np.float32).T
        return cls(gain, offset)

    def corrected(self, frame: Frame, weight: float = 1.0) -> Frame:
        """The frame with this share of the drift taken back."""
        steps = np.arange(256, dtype=np.float32)[:, None] * (1 + (self.gain - 1) * weight) + self.offset * weight
        table = np.clip(np.rint(steps), 0, 255).astype(np.uint8)[None]
        return np.asarray(cv2.LUT(frame, table), dtype=np.uint8)


def corrected(frames: Iterable[Frame], drift: Drift, count: int) -> Iterator[Frame]:
    """A segment's `count` frames: the first as if there were no drift, less for each that follows, the last as it is.

    Done before encoding, so that a stitch can copy the encoded body.
    """
    for i, frame in enumerate(frames):
        yield drift.corrected(frame, 1 - i / max(1, count - 1))


def _small(frame: Frame) -> NDArray[np.float32]:
    size = (FIT_WIDTH, max(16, round(FIT_WIDTH * frame.shape[0] / frame.shape[1])))
    small = cv2.GaussianBlur(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), (0, 0), 2)
    return np.asarray(small, dtype=np.float32).reshape(-1, 3)


def _fit(have: NDArray[np.float32], want: NDArray[np.float32]) -> tuple[float, float, float]:
    """(gain, offset, median of what is left)."""
    kept, gain, offset, left = np.ones(len(have), bool), 1.0, 0.0, np.zeros(1)
    for _ in range(ROUNDS):
        x, y = have[kept], want[kept]
        varied = float(x.var())
        slope = float(((x - x.mean()) * (y - y.mean())).mean()) / varied if varied > 4 else 1.0  # flat: any line fits
        gain = float(np.clip(slope, *GAIN_LIMITS))
        # The shift is limited where the picture is: a gain turns about black.
        shift = np.clip(float(y.mean() - x.mean()), -OFFSET_LIMIT, OFFSET_LIMIT)
        offset = float(x.mean() + shift - gain * x.mean())
        left = np.abs(gain * have + offset - want)
        kept = left <= max(2.0, 2.0 * float(np.median(left)))
    return gain, offset, float(np.median(left))
