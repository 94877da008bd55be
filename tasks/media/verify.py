"""The last look at a film of ours before anybody is told that it is there."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tasks.media.encoding import BT709, VideoSpec
from tasks.media.errors import MediaError
from tasks.media.probe import PPS, SPS, Colour, OpenFilms, VideoInfo, describe, scan
from tasks.media.reading import read_yuv


def verify(
    path: Path,
    spec: VideoSpec,
    frames: int,
    digest: str,
    *,
    decode: Iterable[tuple[int, int]] | None = None,
    name: Path | None = None,
) -> VideoInfo:
    """Raises MediaError when the file is not as promised; `name` is what it will be called.

    Checked: count, size, constant rate, colour tags, one set of parameters for the whole film, its packets being those
    that were written (`digest`), and that the frames lo..hi-1 of `decode` (None: all) decode without an error.
    """
    with OpenFilms() as films:
        with films.open(path) as (container, stream):
            packets = scan(path, container, stream)
            info, tag = describe(stream, packets), stream.codec_context.codec_tag
        facts = {
            "frames": (info.frames, frames),
            "size": ((info.width, info.height), (spec.width, spec.height)),
            "frames a second": (info.fps, spec.fps),
            "constant rate": (info.constant_rate, True),
            "colour": (info.colour, Colour(BT709, BT709, BT709, 1)),
            "tag": (tag, "avc1"),
            "parameter sets": (parameter_sets(packets.parameters), [SPS, PPS]),
            "SHA-256 of its packets": (packets.digest, digest),
        }
        wrong = [f"{what} {found}, promised {wanted}" for what, (found, wanted) in facts.items() if found != wanted]
        if wrong:
            raise MediaError(f"{name or path}: what was written is not as promised: {'; '.join(wrong)}. Make it again.")
        for lo, hi in [(0, frames)] if decode is None else decode:
            for _ in read_yuv(path, lo, hi, packets=packets, films=films):
                pass
    return info


def parameter_sets(parameters: bytes) -> list[int]:
    """The types of the sets in an mp4's avcC (ISO/IEC 14496-15, 5.3.3.1), in their order."""
    if parameters[:1] != b"\x01":
        return []
    found, at = list[int](), 5
    for mask in (0x1F, 0xFF):  # sequence sets, then picture sets
        count, at = parameters[at] & mask, at + 1
        for _ in range(count):
            size = int.from_bytes(parameters[at : at + 2], "big")
            found.append(parameters[at + 2] & 0x1F)
            at += 2 + size
    return found
