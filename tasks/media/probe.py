"""What a film is, from its packets: counted, not believed from the header. Nothing is decoded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError

from tasks.media.encoding import MAX_SIDE
from tasks.media.errors import MediaError

#: Containers we open. Playlists are not among them: one named film.mp4 could make FFmpeg open other files or addresses.
FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif,mpegts"


@dataclass(frozen=True, slots=True)
class Colour:
    """H.273 codes; 2 is "not said". `range` 1 is limited, 2 full."""

    primaries: int
    transfer: int
    matrix: int
    range: int


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """`keyframes` are frame indices in the order shown; `constant_rate`: every frame lasts 1/fps exactly."""

    frames: int
    width: int
    height: int
    fps: Fraction
    codec: str
    pix_fmt: str
    colour: Colour
    constant_rate: bool
    keyframes: tuple[int, ...]

    @property
    def duration(self) -> float:
        """Seconds."""
        return float(self.frames / self.fps)


@dataclass(frozen=True, slots=True)
class Packets:
    """Presentation times of all frames in the order shown, in the stream's ticks; of key frames also decode times."""

    times: tuple[int, ...]
    keys: Mapping[int, int]


@contextmanager
def opened(path: str | Path) -> Iterator[tuple[InputContainer, av.VideoStream]]:
    """The file and its first video stream. What FFmpeg says in the body comes out as MediaError naming the file."""
    path = Path(path)
    if not path.is_file():
        raise MediaError(f"{path}: there is no such film. Check the path; it may not have been made or fetched yet.")
    if not path.stat().st_size:
        raise MediaError(f"{path}: the film is empty (0 bytes). Its writer was interrupted; make it again.")
    options = {"protocol_whitelist": "file", "format_whitelist": FORMATS}
    try:
        # The "file:" keeps a name with a colon in it from being read as a protocol.
        with av.open(f"file:{path}", "r", container_options=options) as container:
            yield container, _video_stream(path, container)
    except FFmpegError as error:
        why = f"{path}: not a film that can be read ({error.strerror or error})."
        raise MediaError(f"{why} It is cut off or no video; make it again.") from error


def scan(path: str | Path, container: InputContainer, stream: av.VideoStream) -> Packets:
    """Read through all packets, once. Raises MediaError for a file that holds less than its header promises."""
    times, keys, broken, hidden = list[int](), dict[int, int](), 0, 0
    for packet in container.demux(stream):
        if packet.pts is None:  # the last one, which only flushes
            continue
        if packet.is_discard:  # cut away by an edit list: decoded for what follows, but not shown
            hidden += 1
            continue
        broken += packet.is_corrupt
        times.append(packet.pts)
        if packet.is_keyframe:
            keys[packet.pts] = packet.pts if packet.dts is None else packet.dts
    if broken or not times or len(times) + hidden < stream.frames:
        whole = f"{len(times) - broken}{f' of {stream.frames}' if stream.frames else ''} frames are whole"
        raise MediaError(f"{path}: the film is cut off: {whole}. Make it again.")
    return Packets(tuple(sorted(times)), keys)


def probe(path: str | Path) -> VideoInfo:
    with opened(path) as (container, stream):
        packets = scan(path, container, stream)
        return describe(stream, packets)


def describe(stream: av.VideoStream, packets: Packets) -> VideoInfo:
    context = stream.codec_context
    fps = stream.average_rate or stream.guessed_rate or Fraction(1)
    tick = 1 / fps / (stream.time_base or Fraction(1))
    first = packets.times[0]
    return VideoInfo(
        frames=len(packets.times),
        width=context.width,
        height=context.height,
        fps=fps,
        codec=context.name,
        pix_fmt=context.pix_fmt or "",
        colour=Colour(context.color_primaries, context.color_trc, context.colorspace, context.color_range),
        constant_rate=all(time - first == i * tick for i, time in enumerate(packets.times)),
        keyframes=tuple(i for i, time in enumerate(packets.times) if time in packets.keys),
    )


def _video_stream(path: Path, container: InputContainer) -> av.VideoStream:
    if not container.streams.video:
        raise MediaError(f"{path}: there is no video track in it. Send a film.")
    stream = container.streams.video[0]
    width, height = stream.codec_context.width, stream.codec_context.height
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise MediaError(f"{path}: the film is {width}×{height}; sides up to {MAX_SIDE} are read. Scale it down.")
    return stream
