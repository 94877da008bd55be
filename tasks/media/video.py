"""Films in and out, frame by frame: exact counts, constant memory, seeking by index."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray

from tasks.media.atomic import replacing
from tasks.media.encoding import ToYuv, VideoSpec, matrix, open_encoder
from tasks.media.errors import MediaError
from tasks.media.probe import Packets, VideoInfo, opened, probe, scan

__all__ = ["VideoInfo", "VideoSpec", "probe", "read_frame", "read_frames", "read_frames_at", "read_yuv", "write_video"]

Frame = NDArray[np.uint8]


def read_frames(path: str | Path, lo: int = 0, hi: int | None = None) -> Iterator[Frame]:
    """Frames lo..hi-1 as RGB; negative indices count from the end. Decoding begins at the key frame before `lo`."""
    rgb = ToRgb()
    return (rgb(frame) for frame in read_yuv(path, lo, hi))


def read_frame(path: str | Path, index: int) -> Frame:
    """One frame as RGB, −1 being the last. Raises MediaError for an index the film does not have."""
    frames = probe(path).frames
    if not -frames <= index < frames:
        raise MediaError(f"{path}: there is no frame {index}; the film has 0 to {frames - 1}, or −1 to {-frames}.")
    lo = index % frames
    return next(read_frames(path, lo, lo + 1))


def read_frames_at(path: str | Path, indices: Collection[int]) -> Iterator[Frame]:
    """The frames of these indices (from 0) in the film's order, in one pass: only they are converted to RGB."""
    rgb, wanted = ToRgb(), frozenset(indices)
    last = max(wanted, default=-1)
    return (rgb(frame) for i, frame in enumerate(read_yuv(path, 0, last + 1)) if i in wanted)


def read_yuv(path: str | Path, lo: int = 0, hi: int | None = None) -> Generator[VideoFrame, None, None]:
    """Like `read_frames`, but decoded frames as they are. Raises MediaError when not every frame asked for decodes."""
    with opened(path) as (container, stream):
        packets = scan(path, container, stream)
        lo, hi, _ = slice(lo, hi).indices(len(packets.times))
        # Two threads keep the encoder fed; each one holds a frame or two of its own.
        stream.thread_type, stream.thread_count = "AUTO", 2
        got = 0
        for frame in _decode(container, stream, packets, lo, hi):
            if frame.is_corrupt:  # decoders paint over damage and carry on
                raise MediaError(f"{path}: frame {lo + got} is damaged. Make the film again.")
            got += 1
            yield frame
        if got != max(0, hi - lo):
            raise MediaError(f"{path}: only {got} of the frames {lo} to {hi - 1} could be decoded. Make it again.")


def _decode(
    container: InputContainer, stream: av.VideoStream, packets: Packets, lo: int, hi: int
) -> Iterator[VideoFrame]:
    if lo >= hi:
        return
    wanted = packets.times[lo:hi]
    container.seek(_seek_target(packets, wanted[0]), stream=stream, backward=True)
    for frame in container.decode(stream):
        if frame.pts is not None and frame.pts >= wanted[0]:
            yield frame
            if frame.pts >= wanted[-1]:
                return


def _seek_target(packets: Packets, time: int) -> int:
    """The decode time of the key frame to begin at: by its presentation time mp4 can land on the one after it."""
    before = [key for key in packets.keys if key <= time]
    return packets.keys[max(before)] if before else packets.times[0]


class ToRgb:
    """Decoded frames to RGB by the matrix and range their tags name."""

    def __init__(self) -> None:
        self._scaler = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> Frame:
        rgb = self._scaler.reformat(
            frame,
            format="rgb24",
            src_colorspace=matrix(frame),
            dst_colorspace=Colorspace.ITU709,
            src_color_range=frame.color_range or ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
            interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT,
            threads=1,
        )
        return np.asarray(rgb.to_ndarray(), dtype=np.uint8)


def write_video(
    frames: Iterable[Frame | VideoFrame],
    path: str | Path,
    spec: VideoSpec,
    *,
    idr_at: Sequence[int] = (),
    count: int | None = None,
) -> VideoInfo:
    """Encode, check what was written, and only then put it in the place of `path`.

    H.264 yuv420p tagged BT.709, index in front, constant rate. `idr_at`: frames that begin a closed group of pictures
    (`Timeline.cuts`). With `count`, a source that gives more or fewer frames is an error and leaves `path` untouched.
    """
    path = Path(path)
    to_yuv = ToYuv(spec)
    with replacing(path) as part:
        given = _encode((to_yuv(frame) for frame in frames), part, spec, frozenset(idr_at))
        if not given or (count is not None and given != count):
            raise MediaError(f"{path}: {given} frames came to be written, {count or 'at least 1'} were promised.")
        written = probe(part)
        _check(path, written, spec, given)
    return written


def _encode(frames: Iterable[VideoFrame], part: Path, spec: VideoSpec, idr_at: frozenset[int]) -> int:
    given = 0
    with av.open(str(part), "w", format="mp4", options={"movflags": "+faststart"}) as output:
        stream = open_encoder(output, spec)
        mux = _muxer(output, spec)
        for frame in frames:
            frame.pts, frame.time_base = given, 1 / spec.fps
            # Decoded frames remember what they were; only we say where a group begins.
            frame.pict_type = PictureType.I if given in idr_at else PictureType.NONE
            mux(stream.encode(frame))
            given += 1
        if given:
            mux(stream.encode(None))
    return given


def _muxer(output: OutputContainer, spec: VideoSpec) -> Callable[[list[av.Packet[av.VideoStream]]], None]:
    def mux(packets: list[av.Packet[av.VideoStream]]) -> None:
        for packet in packets:
            packet.duration = round(1 / spec.fps / packet.time_base)  # or the last frame has none and the rate is off
            output.mux_one(packet)

    return mux


def _check(path: Path, written: VideoInfo, spec: VideoSpec, given: int) -> None:
    promised = (given, spec.width, spec.height, spec.fps, True, 1)
    found = (written.frames, written.width, written.height, written.fps, written.constant_rate, written.colour.matrix)
    if found != promised:
        raise MediaError(f"{path}: wrote {found}, promised {promised} (frames, size, rate, constant, matrix).")
