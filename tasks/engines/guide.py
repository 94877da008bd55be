"""The guide and mask of engines that take one, such as VACE."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.engines.protocol import Frame, Request

GREY = 128


class Guide(NamedTuple):
    """`frames` (n, H, W, 3); `mask` (n, H, W), 0 where the guide's frame is kept and 255 where one is generated."""

    frames: NDArray[np.uint8]
    mask: NDArray[np.uint8]


def guide(request: Request) -> Guide:
    """Exactly `request.frames` frames: the past or the start anchor first, the end anchor last, grey between them."""
    shape = (request.frames, request.height, request.width)
    made = Guide(np.full((*shape, 3), GREY, np.uint8), np.full(shape, 255, np.uint8))
    for index, frame in kept_frames(request).items():
        made.frames[index], made.mask[index] = frame, 0
    return made


def kept_frames(request: Request) -> dict[int, Frame]:
    """The frames that are given, by their place in the clip.

    Where the past is longer than the clip, its last frame gives way to the end anchor.
    """
    first = list(request.context) or ([request.start] if request.start is not None else [])
    kept = dict(enumerate(first[: request.frames]))
    if request.end is not None:
        kept[request.frames - 1] = request.end
    return kept
