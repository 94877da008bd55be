"""What a film says of itself: a small JSON box behind the last one of an mp4, which players pass over.

It tells a film of ours from another's, and a whole one from one that was cut, swapped or damaged, without decoding.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from uuid import UUID

from tasks.media.errors import MediaError

T = TypeVar("T")

#: The type of our box, as ISO/IEC 14496-12 (4.2, "uuid") has it for boxes of one's own.
_BOX = UUID("0b1f5c62-9a0e-4c0d-8f2e-6c6f6e677461").bytes
_LARGEST = 16 << 20
_HEADER = struct.Struct(">I4s")


@dataclass(frozen=True, slots=True)
class Encoded:
    """A run of frames that a stitch made. `recipe`: from what and how; the same recipe gives the same frames."""

    start: int
    count: int
    recipe: str


@dataclass(frozen=True, slots=True)
class Label:
    """`packets` is the SHA-256 of all video packets in their order, `settings` a hash of how they were encoded.

    `idr_at`: frames that were made to begin a closed group (the segment's overlap plan). `travel` and `segment` are
    where a segment belongs; `encoded` is what a stitch did not copy.
    """

    frames: int
    packets: str
    settings: str
    idr_at: tuple[int, ...] = ()
    travel: str | None = None
    segment: int | None = None
    encoded: tuple[Encoded, ...] = ()


def append_label(path: Path, label: Label) -> None:
    content = _BOX + json.dumps(asdict(label), separators=(",", ":")).encode()
    if len(content) <= _LARGEST:  # a film with more seams than that has no label; it can still be read and stitched
        with path.open("ab") as file:
            file.write(_HEADER.pack(_HEADER.size + len(content), b"uuid") + content)


def read_label(path: Path) -> Label | None:
    """The label; None where there is none. Raises MediaError for an mp4 whose last box is cut off."""
    with path.open("rb") as file:
        for kind, start, size in _boxes(path, file):
            if kind == b"uuid" and len(_BOX) < size <= _LARGEST:
                file.seek(start)
                if file.read(len(_BOX)) == _BOX:
                    return _parsed(file.read(size - len(_BOX)))
    return None


def _parsed(content: bytes) -> Label | None:
    """None: of a later version, or not by us; the film is then read like any other.

    By hand: importing pydantic would cost a stitch in a process of its own a twentieth of its time.
    """
    try:
        said = json.loads(content)
        travel, segment = said.get("travel"), said.get("segment")
        return Label(
            frames=_is(int, said["frames"]),
            packets=_is(str, said["packets"]),
            settings=_is(str, said["settings"]),
            idr_at=tuple(_is(int, each) for each in said.get("idr_at", ())),
            travel=None if travel is None else _is(str, travel),
            segment=None if segment is None else _is(int, segment),
            encoded=tuple(
                Encoded(_is(int, run["start"]), _is(int, run["count"]), _is(str, run["recipe"]))
                for run in said.get("encoded", ())
            ),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _is(kind: type[T], value: Any) -> T:
    if type(value) is not kind:
        raise TypeError
    return value


def _boxes(path: Path, file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Type, start and length of the content of each top-level box; nothing for a file that is no mp4."""
    end, at = path.stat().st_size, 0
    while at + _HEADER.size <= end:
        file.seek(at)
        size, kind = _HEADER.unpack(file.read(_HEADER.size))
        head = _HEADER.size
        if at == 0 and kind not in (b"ftyp", b"wide", b"free", b"mdat", b"moov"):
            return
        if size == 1 and at + 16 <= end:
            (size,), head = struct.unpack(">Q", file.read(8)), 16
        size = size or end - at  # 0: up to the end of the file
        if size < head:
            return
        if at + size > end:
            missing = at + size - end
            raise MediaError(f"{path}: the film is cut off: {missing} bytes are missing at its end. Make it again.")
        yield kind, at + head, size - head
        at += size
