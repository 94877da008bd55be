"""An mp4 with one H.264 track, written packet by packet: encoded here, or copied from films of the same settings."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self, TypeAlias

import av
from av.container import OutputContainer
from av.video.frame import PictureType, VideoFrame

from tasks.media.encoding import VideoSpec, encoder, open_stream
from tasks.media.errors import MediaError

Packet: TypeAlias = "av.Packet[av.VideoStream]"


class Mp4Writer:
    """`frames` counts what was written, `digest` is the SHA-256 of it; `on_frame` is told of each and may raise."""

    def __init__(self, output: OutputContainer, spec: VideoSpec, on_frame: Callable[[int], None] | None = None) -> None:
        self.frames = 0
        self._output, self._spec, self._on_frame = output, spec, on_frame
        self._stream = open_stream(output, spec)
        self._hash = hashlib.sha256()
        # With B-frames x264 refers to one of them too (a pyramid): two frames are decoded ahead of being shown.
        self._delay = min(2, spec.bframes)

    @classmethod
    @contextmanager
    def open(cls, path: Path, spec: VideoSpec, on_frame: Callable[[int], None] | None = None) -> Iterator[Self]:
        """The index stands in front, so that a player can begin before it has the whole file."""
        with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as output:
            yield cls(output, spec, on_frame)

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def put(self, packet: Packet, shown: int) -> None:
        """`shown` is the index of its frame in the film.

        Packet i is decoded at i minus a constant delay, not when its encoder said: x264 gives films shorter than its
        delay other decode times than long ones, and behind a copied body they would step back.
        """
        decoded = self.frames - self._delay
        if decoded > shown:
            raise MediaError(f"Packet {self.frames} would be decoded after its frame {shown} is to be shown.")
        self._hash.update(memoryview(packet))
        packet.time_base = 1 / self._spec.fps
        packet.pts, packet.dts = shown, decoded
        packet.duration = 1  # or the last frame has none and the rate is off
        packet.stream = self._stream
        self._output.mux_one(packet)
        self.frames += 1
        if self._on_frame:
            self._on_frame(self.frames)

    def encode(self, frames: Iterable[VideoFrame], spec: VideoSpec, idr_at: Collection[int] = ()) -> None:
        """A closed run of frames behind what is there. `spec` may differ from the film's in preset and quality.

        `idr_at` are frames of the run that begin a closed group of their own; its first always does.
        """
        context, base, given = encoder(spec), self.frames, 0
        for frame in frames:
            frame.pts, frame.time_base = given, 1 / spec.fps
            # Decoded frames remember what they were; only we say where a group begins.
            frame.pict_type = PictureType.I if given in idr_at else PictureType.NONE
            self._put_all(context.encode(frame), base)
            given += 1
        if given:
            self._put_all(context.encode(None), base)

    def _put_all(self, packets: Iterable[Packet], base: int) -> None:
        for packet in packets:
            assert packet.pts is not None
            self.put(packet, base + packet.pts)
