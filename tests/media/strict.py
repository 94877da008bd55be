"""What a strict reader finds in a film: its packets and when they are due, its samples, and what FFmpeg says of it."""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

from tasks.media.crossfade import blend
from tasks.media.encoding import frame_rate
from tasks.media.label import read_label
from tasks.media.timeline import Copy, Timeline, crossfade_weight
from tasks.media.video import probe
from tests.media.scenes import decibels

Planes = NDArray[np.uint8]
#: Of an overlap's encoding to the exact blend, every frame.
CLOSE = 47.0


@dataclass(frozen=True, slots=True)
class Packet:
    """`shown` and `decoded` count frames of the film."""

    shown: Fraction
    decoded: Fraction
    content: bytes


def packets(path: Path) -> list[Packet]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        tick = stream.time_base * stream.average_rate
        return [Packet(p.pts * tick, p.dts * tick, bytes(p)) for p in container.demux(stream) if p.pts is not None]


def planes(path: Path) -> list[Planes]:
    """Y, U and V of each frame below each other, as decoded."""
    with av.open(str(path)) as container:
        return [np.asarray(frame.to_ndarray(), dtype=np.uint8) for frame in container.decode(video=0)]


def complaints(path: Path) -> str:
    """What FFmpeg's program says when it decodes the film and every irregularity is an error: nothing, it should be."""
    strict = ["-v", "warning", "-xerror", "-err_detect", "explode"]
    program = imageio_ffmpeg.get_ffmpeg_exe()
    done = subprocess.run(
        [program, "-nostdin", *strict, "-i", path, "-f", "null", "-"], stderr=subprocess.PIPE, text=True, check=False
    )
    return done.stderr + (f"exit code {done.returncode}" if done.returncode else "")


def check_film(path: Path, frames: int, fps: Fraction | float = 16) -> None:
    """Exactly `frames` frames, each shown at its time, decode times that rise, BT.709, and it decodes."""
    info, due = probe(path), packets(path)
    assert (info.frames, info.fps, info.constant_rate) == (frames, frame_rate(fps), True)
    assert sorted(packet.shown for packet in due) == list(range(frames))
    assert all(earlier.decoded < later.decoded for earlier, later in pairwise(due))
    assert all(packet.decoded <= packet.shown for packet in due)
    colour = info.colour
    assert (colour.primaries, colour.transfer, colour.matrix, colour.range) == (1, 1, 1, 1)
    assert len(planes(path)) == frames


def check_bodies(film: Path, segments: Sequence[Path], timeline: Timeline, but: Collection[int] = ()) -> None:
    """Frames outside the overlaps are their segments', packet for packet and sample for sample.

    `but`: segments that had to be encoded anew.
    """
    own, shown, at = packets(film), planes(film), 0
    for span in timeline.spans():
        if isinstance(span, Copy) and span.segment not in but:
            path = segments[span.segment]
            theirs = [packet.content for packet in packets(path) if span.lo <= packet.shown < span.hi]
            assert [packet.content for packet in own if at <= packet.shown < at + span.count] == theirs
            assert np.array_equal(shown[at : at + span.count], planes(path)[span.lo : span.hi])
        at += span.count


def check_overlaps(film: Path, segments: Sequence[Path], timeline: Timeline) -> None:
    """Every frame of every overlap is as good as the exact blend of the two that were decoded."""
    shown, own, at = planes(film), [planes(path) for path in segments], 0
    for span in timeline.spans():
        for k in range(0 if isinstance(span, Copy) else span.count):
            pair = own[span.left][span.left_lo + k], own[span.right][span.right_lo + k]
            assert decibels(shown[at + k], blend(*pair, crossfade_weight(k, span.count))) >= CLOSE
        at += span.count


def without_label(path: Path) -> Path:
    """The same film, of which nothing is known."""
    path.write_bytes(path.read_bytes()[: boxes(path)[-1][1]])
    assert read_label(path) is None
    return path


def boxes(path: Path) -> list[tuple[str, int, int]]:
    """Name, beginning and end of each box at the top of an mp4."""
    content, found, at = path.read_bytes(), list[tuple[str, int, int]](), 0
    while at < len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        found.append((content[at + 4 : at + 8].decode(), at, at + size))
        at += size
    return found
