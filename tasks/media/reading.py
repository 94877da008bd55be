"""Films in, frame by frame: exact counts, constant memory, seeking by index."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Generator, Iterator
from functools import partial
from itertools import chain, dropwhile, groupby
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray

from tasks.media.encoding import matrix
from tasks.media.errors import MediaError
from tasks.media.probe import OpenFilms, Packets, examine, opened, probe, scan

Frame = NDArray[np.uint8]
_FEW = 32


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
    """The frames of these indices (from 0) in the film's order. Groups of pictures without one are not decoded."""
    rgb = ToRgb()
    with OpenFilms() as films:
        _, packets = examine(path, films)
        keys = [bisect_right(packets.times, key) - 1 for key in sorted(packets.keys)]
        for _, group in groupby(sorted(set(indices)), partial(bisect_right, keys)):
            wanted = list(group)
            lo, hi = wanted[0], wanted[-1] + 1
            for i, frame in enumerate(read_yuv(path, lo, hi, packets=packets, films=films), start=lo):
                if i in wanted:
                    yield rgb(frame)


def read_yuv(
    path: str | Path,
    lo: int = 0,
    hi: int | None = None,
    *,
    packets: Packets | None = None,
    films: OpenFilms | None = None,
) -> Generator[VideoFrame, None, None]:
    """Like `read_frames`, but decoded frames as they are. Raises MediaError when not every frame asked for decodes.

    `packets` saves reading through the file once more where its `scan` is known, `films` opening it.
    """
    with films.open(path, at_start=not packets) if films else opened(path) as (container, stream):
        packets = packets or scan(path, container, stream)
        lo, hi, _ = slice(lo, hi).indices(len(packets.times))
        if not stream.codec_context.is_open:
            # Two threads keep an encoder fed; each one holds a frame or two of its own. A few frames are not worth it.
            stream.thread_type, stream.thread_count = ("AUTO", 2) if hi - lo > _FEW else ("SLICE", 1)
        got = 0
        for frame in _decode(container, stream, packets, lo, hi):
            if frame.is_corrupt:  # decoders paint over damage and carry on
                raise MediaError(f"{path}: frame {lo + got} is damaged. Make the film again.")
            got += 1
            yield frame
        if got != max(0, hi - lo):
            raise MediaError(f"{path}: only {got} of the frames {lo} to {hi - 1} could be decoded. Make it again.")


def read_packets(
    path: str | Path, packets: Packets, lo: int, hi: int, films: OpenFilms | None = None
) -> Iterator[tuple[av.Packet[av.VideoStream], int]]:
    """The packets of frames lo..hi-1 as they are, in the order of the file, each with the index of its frame.

    A closed group begins at `lo` and another one at `hi`, or the film ends there (`Packets.closed`).
    """
    shown = {time: index for index, time in enumerate(packets.times[lo:hi], lo)}
    left = hi - lo
    with films.open(path) if films else opened(path) as (container, stream):
        for packet in _from_key(container, stream, packets, lo):
            if not left:
                return
            if packet.pts is not None and (frame := shown.get(packet.pts)) is not None:
                yield packet, frame
                left -= 1
    if left:
        raise MediaError(f"{path}: {left} of the packets {lo} to {hi - 1} are no longer there. Make the film again.")


def _decode(
    container: InputContainer, stream: av.VideoStream, packets: Packets, lo: int, hi: int
) -> Iterator[VideoFrame]:
    if lo >= hi:
        return
    wanted = packets.times[lo:hi]
    # Where a closed group begins behind the last frame, the decoder is not fed what it would decode in advance.
    stop = packets.times[hi] if hi in packets.closed else None
    for packet in _from_key(container, stream, packets, lo):
        last = packet.pts is not None and packet.pts == stop
        for frame in stream.codec_context.decode(None) if last else packet.decode():
            if frame.pts is not None and frame.pts >= wanted[0]:
                yield frame
                if frame.pts >= wanted[-1]:
                    return
        if last:
            return


def _from_key(
    container: InputContainer, stream: av.VideoStream, packets: Packets, frame: int
) -> Iterator[av.Packet[av.VideoStream]]:
    """Packets from the key frame at or before `frame` on."""
    key = max((key for key in packets.keys if key <= packets.times[frame]), default=None)
    if key is None:
        container.seek(packets.times[0], stream=stream, backward=True)
        yield from container.demux(stream)
        return
    # mp4 is sought by presentation times, but where some are below their decode times it lands on the key frame after
    # the wanted one; by decode times it may land on the one before.
    for target in (key, packets.keys[key], packets.times[0]):
        container.seek(target, stream=stream, backward=True)
        demuxed = container.demux(stream)
        first = next(demuxed)
        if first.pts is not None and first.pts <= key:
            break
    yield from dropwhile(lambda packet: packet.pts is not None and packet.pts != key, chain([first], demuxed))


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
