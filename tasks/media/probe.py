"""What a film is, from its packets: counted, not believed from the header. Nothing is decoded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Self

import av
from av.container import InputContainer
from av.error import FFmpegError

from tasks.media.encoding import MAX_SIDE
from tasks.media.errors import MediaError

#: Containers we open. Playlists are not among them: one named film.mp4 could make FFmpeg open other files or addresses.
FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif,mpegts"


IDR, SPS, PPS = 5, 7, 8


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
    """What a reader must know of a film to find, copy and check its frames.

    `times` are presentation times of all frames in the order shown, in the stream's ticks; `keys` gives those of key
    frames their decode times. `order` is the frame in each packet, in the order of the file. `closed` are frames that
    begin a closed group: an IDR picture, across which nothing refers. `parameters` is the decoder's configuration
    (mp4's avcC), `digest` the SHA-256 of all packets. `order` and `closed` are empty where packets cannot be moved to
    another film: an edit list hides some, or parameter sets stand among them.
    """

    times: tuple[int, ...]
    keys: Mapping[int, int]
    order: tuple[int, ...] = ()
    closed: frozenset[int] = frozenset()
    parameters: bytes = b""
    digest: str = ""


OpenFilm = tuple[InputContainer, av.VideoStream]


class OpenFilms:
    """Films that were opened and are used again, since opening one costs as much as decoding two frames.

    Each use has a film to itself. Of those that nobody uses, the last few stay open.
    """

    def __init__(self, most: int = 2) -> None:
        self._most = most
        self._idle = dict[str, OpenFilm]()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close_all_but(0)

    @contextmanager
    def open(self, path: str | Path, *, at_start: bool = False) -> Iterator[OpenFilm]:
        """As `opened`. Where it was left nobody knows, so seek first, or have it `at_start`."""
        with _explained(Path(path)):
            idle = self._idle.pop(str(path), None)
            if idle and at_start:
                idle[0].close()
                idle = None
            film = idle or _open(Path(path))
            try:
                yield film
            except GeneratorExit:  # its reader was closed before the end
                self._keep(path, film)
                raise
            except BaseException:
                film[0].close()
                raise
            self._keep(path, film)

    def _keep(self, path: str | Path, film: OpenFilm) -> None:
        self._idle[str(path)] = film
        self._close_all_but(self._most)

    def _close_all_but(self, most: int) -> None:
        while len(self._idle) > most:
            self._idle.pop(next(iter(self._idle)))[0].close()


@contextmanager
def opened(path: str | Path) -> Iterator[OpenFilm]:
    """The file and its first video stream. What FFmpeg says in the body comes out as MediaError naming the file."""
    with OpenFilms(most=0) as films, films.open(path) as film:
        yield film


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except FFmpegError as error:
        why = f"{path}: not a film that can be read ({error.strerror or error})."
        raise MediaError(f"{why} It is cut off or no video; make it again.") from error


def _open(path: Path) -> OpenFilm:
    if not path.is_file():
        raise MediaError(f"{path}: there is no such film. Check the path; it may not have been made or fetched yet.")
    if not path.stat().st_size:
        raise MediaError(f"{path}: the film is empty (0 bytes). Its writer was interrupted; make it again.")
    options = {"protocol_whitelist": "file", "format_whitelist": FORMATS}
    # The "file:" keeps a name with a colon in it from being read as a protocol.
    container = av.open(f"file:{path}", "r", container_options=options)
    try:
        return container, _video_stream(path, container)
    except MediaError:
        container.close()
        raise


def scan(path: str | Path, container: InputContainer, stream: av.VideoStream) -> Packets:
    """Read through all packets, once. Raises MediaError for a file that holds less than its header promises."""
    times, keys, broken, hidden = list[int](), dict[int, int](), 0, 0
    digest, closed, movable = hashlib.sha256(), set[int](), True
    parameters = bytes(stream.codec_context.extradata or b"")
    for packet in container.demux(stream):
        if packet.pts is None:  # the last one, which only flushes
            continue
        if packet.is_discard:  # cut away by an edit list: decoded for what follows, but not shown
            hidden += 1
            continue
        broken += packet.is_corrupt
        times.append(packet.pts)
        content = memoryview(packet)
        digest.update(content)
        types = parts(content, parameters)
        if packet.is_keyframe:
            keys[packet.pts] = packet.pts if packet.dts is None else packet.dts
        if IDR in types:
            closed.add(packet.pts)
        movable = movable and not {SPS, PPS} & set(types)
    # An edit list may hide so many that whole groups of pictures are not even read; the index knows of the others only.
    promised = min(stream.frames, len(stream.index_entries))
    if broken or not times or len(times) + hidden < promised:
        whole = f"{len(times) - broken}{f' of {promised}' if promised else ''} frames are whole"
        raise MediaError(f"{path}: the film is cut off: {whole}. Make it again.")
    in_order = tuple(sorted(times))
    shown = {time: index for index, time in enumerate(in_order)}
    movable = movable and not hidden and len(shown) == len(times)
    return Packets(
        times=in_order,
        keys=keys,
        order=tuple(shown[time] for time in times) if movable else (),
        closed=frozenset(shown[time] for time in closed) if movable else frozenset(),
        parameters=parameters,
        digest=digest.hexdigest(),
    )


def parts(packet: memoryview, parameters: bytes) -> list[int]:
    """Types of a packet's parts (ITU-T H.264, table 7-1); empty unless they stand behind their lengths, as in mp4."""
    if parameters[:1] != b"\x01" or len(parameters) < 7:
        return []
    prefix, at, found = (parameters[4] & 3) + 1, 0, list[int]()
    while at + prefix < len(packet):
        found.append(packet[at + prefix] & 31)
        at += prefix + int.from_bytes(packet[at : at + prefix], "big")
    return found


def probe(path: str | Path) -> VideoInfo:
    return examine(path)[0]


def examine(path: str | Path, films: OpenFilms | None = None) -> tuple[VideoInfo, Packets]:
    """Both in one pass through the file."""
    with films.open(path, at_start=True) if films else opened(path) as (container, stream):
        packets = scan(path, container, stream)
        return describe(stream, packets), packets


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
