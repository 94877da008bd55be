"""Films in and out, frame by frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from tasks.media.atomic import replacing
from tasks.media.encoding import ToYuv, VideoSpec, settings_hash
from tasks.media.errors import MediaError
from tasks.media.label import Label, append_label
from tasks.media.mp4 import Mp4Writer
from tasks.media.probe import VideoInfo, probe
from tasks.media.reading import read_frame, read_frames, read_frames_at, read_yuv
from tasks.media.verify import verify

__all__ = ["VideoInfo", "VideoSpec", "probe", "read_frame", "read_frames", "read_frames_at", "read_yuv", "write_video"]

Frame = NDArray[np.uint8]


def write_video(
    frames: Iterable[Frame | VideoFrame],
    path: str | Path,
    spec: VideoSpec,
    *,
    idr_at: Sequence[int] = (),
    count: int | None = None,
    travel: str | None = None,
    segment: int | None = None,
) -> VideoInfo:
    """Encode, check what was written, and only then put it in the place of `path`.

    H.264 yuv420p tagged BT.709, index in front, constant rate. `idr_at`: frames that begin a closed group of pictures
    (`Timeline.cuts`). With `count`, a source that gives more or fewer frames is an error and leaves `path` untouched.
    The file says in its label how it was made, and, where they are given, which segment of which travel it is.
    """
    path = Path(path)
    to_yuv = ToYuv(spec)
    with replacing(path) as part:
        with Mp4Writer.open(part, spec) as writer:
            writer.encode((to_yuv(frame) for frame in frames), spec, frozenset(idr_at))
        given = writer.frames
        if not given or (count is not None and given != count):
            raise MediaError(f"{path}: {given} frames came to be written, {count or 'at least 1'} were promised.")
        written = verify(part, spec, given, writer.digest, name=path)
        label = Label(
            frames=given,
            packets=writer.digest,
            settings=settings_hash(spec),
            idr_at=tuple(sorted(set(idr_at))),
            travel=travel,
            segment=segment,
        )
        append_label(part, label)
    return written
