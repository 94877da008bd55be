"""Our stitch beside FFmpeg's xfade chain and a stitcher that decodes everything: CPU seconds of whole processes.

    python -m benchmarks.stitch [--small] [--rounds 3] [--preset medium]

The same segments for all, each in a process of its own, in turns, so that a busy machine slows all. Both peers encode
with `--preset`: medium at crf 18 is what x264 does unless it is told otherwise, and as good as our veryfast at 17. The
chain runs in the ffmpeg program where there is one; otherwise the same filters, built with FFmpeg's libraries through
PyAV. For each film it is counted how many frames outside the overlaps are the segments' own, sample
for sample, and how far the overlaps are from an exact blend.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.media.crossfade import blend
from tasks.media.encoding import VideoSpec, encoder_options
from tasks.media.mp4 import Mp4Writer
from tasks.media.stitch import stitch
from tasks.media.timeline import Copy, Timeline, crossfade_weight, expand
from tasks.media.video import probe, read_frames, read_yuv, write_video

Frame = NDArray[np.uint8]

FPS = 16
GRAIN = 2.0  # standard deviation, of 255


@dataclass(frozen=True, slots=True)
class Case:
    segments: int
    frames: int
    overlap: int
    width: int
    height: int
    preset: str = "medium"  # of the peers

    @property
    def timeline(self) -> Timeline:
        return expand([self.frames] * self.segments, [self.overlap] * (self.segments - 1))

    @property
    def spec(self) -> VideoSpec:
        return VideoSpec(self.width, self.height, FPS)

    @property
    def peer_spec(self) -> VideoSpec:
        return VideoSpec(self.width, self.height, FPS, 18 if self.preset == "medium" else 17, self.preset)

    def paths(self, folder: Path) -> list[Path]:
        return [folder / f"segment-{i}.mp4" for i in range(self.segments)]


FULL = Case(8, 81, 12, 832, 480)
SMALL = Case(3, 33, 12, 416, 240)


def make_segments(case: Case, folder: Path) -> None:
    """One camera move over one landscape, each segment with grain of its own, as takes of a model differ."""
    landscape = draw_landscape(case)
    for i, (path, start) in enumerate(zip(case.paths(folder), case.timeline.starts(), strict=True)):
        grain = np.random.default_rng(i)
        frames = (photographed(landscape, case, start + k, grain) for k in range(case.frames))
        write_video(frames, path, case.spec, idr_at=case.timeline.cuts(i), count=case.frames)


def draw_landscape(case: Case) -> Frame:
    """Three times as wide and high as the film; rough at every scale, as nature is (1/f noise)."""
    draw, height, width = np.random.default_rng(7), 3 * case.height, 3 * case.width
    picture = np.zeros((height, width, 3), np.float32)
    cells = 4
    while cells < height:
        noise = draw.random((cells, cells * width // height, 3), dtype=np.float32) - 0.5
        picture += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC) / math.sqrt(cells)
        cells *= 2
    return np.asarray(cv2.normalize(picture, None, 0, 255, cv2.NORM_MINMAX), dtype=np.uint8)


def photographed(landscape: Frame, case: Case, frame: int, grain: np.random.Generator) -> Frame:
    """The camera sways over the landscape, a few pixels a frame, and turns and zooms a little."""
    height, width = landscape.shape[:2]
    t = frame / 97
    place = (width * (0.5 + 0.2 * math.sin(1.3 * t)), height * (0.5 + 0.2 * math.cos(0.9 * t)))
    move = cv2.getRotationMatrix2D(place, 4 * math.sin(t / 2), 1 + 0.25 * math.sin(0.7 * t))
    move[:, 2] += np.array([case.width / 2, case.height / 2]) - place
    seen = cv2.warpAffine(landscape, move, (case.width, case.height), borderMode=cv2.BORDER_REFLECT)
    return np.clip(seen + grain.normal(0, GRAIN, (*seen.shape[:2], 1)), 0, 255).astype(np.uint8)


def ours(case: Case, folder: Path) -> None:
    stitch(case.paths(folder), case.timeline, folder / "ours.mp4", fps=FPS)


def offsets(case: Case) -> list[str]:
    """Where each fade begins, in seconds of the running film; three decimals would lose frames at some rates."""
    return [f"{start / FPS:.6f}" for start in case.timeline.starts()[1:]]


def program_arguments(case: Case, folder: Path, program: str) -> list[str]:
    inputs = [part for path in case.paths(folder) for part in ("-i", str(path))]
    duration, steps = f"{case.overlap / FPS:.6f}", list[str]()
    for i, offset in enumerate(offsets(case), start=1):
        left = f"[f{i - 1}]" if i > 1 else "[0]"
        steps.append(f"{left}[{i}]xfade=transition=fade:duration={duration}:offset={offset}[f{i}]")
    options = [part for name, value in encoder_options(case.peer_spec).items() for part in (f"-{name}", value)]
    encode = ["-c:v", "libx264", "-pix_fmt", "yuv420p", *options, "-movflags", "+faststart"]
    chain = ["-filter_complex", ";".join(steps), "-map", f"[f{case.segments - 1}]"]
    return [program, "-y", "-v", "error", *inputs, *chain, *encode, str(folder / "xfade.mp4")]


def xfade_by_libraries(case: Case, folder: Path) -> None:
    """The chain that `program_arguments` writes, in FFmpeg's libraries, with our encoder."""
    graph = av.filter.Graph()
    opened = [av.open(str(path)) for path in case.paths(folder)]
    sources = [graph.add("buffer", source(container.streams.video[0])) for container in opened]
    left = sources[0]
    for right, offset in zip(sources[1:], offsets(case), strict=True):
        fade = graph.add("xfade", f"transition=fade:duration={case.overlap / FPS:.6f}:offset={offset}")
        left.link_to(fade, 0, 0)
        right.link_to(fade, 0, 1)
        left = fade
    left.link_to(graph.add("buffersink"))
    graph.configure()
    with Mp4Writer.open(folder / "xfade.mp4", case.peer_spec) as writer:
        writer.encode(faded(graph, case.paths(folder)), case.peer_spec)


def source(stream: av.VideoStream) -> str:
    """Like `add_buffer`, which leaves out the frame rate; xfade refuses sources without one."""
    size = f"video_size={stream.width}x{stream.height}:pix_fmt={stream.pix_fmt}:pixel_aspect=1/1"
    return f"{size}:time_base={stream.time_base}:frame_rate={stream.average_rate}:colorspace=bt709:range=tv"


def faded(graph: av.filter.Graph, paths: Sequence[Path]) -> Iterator[av.VideoFrame]:
    for i, path in enumerate(paths):
        for frame in read_yuv(path):
            graph.vpush(frame, at=i)
            yield from ready(graph)
        graph.vpush(None, at=i)
        yield from ready(graph)


def ready(graph: av.filter.Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            yield graph.vpull()
        except (BlockingIOError, av.error.EOFError):
            return


def measured(arguments: Sequence[str]) -> tuple[float, float]:
    """CPU seconds and peak MiB of one process and its children."""
    pid = os.spawnv(os.P_NOWAIT, arguments[0], list(arguments))
    _, status, usage = os.wait4(pid, 0)
    if status:
        sys.exit(f"{arguments[0]} failed: {status}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def decode_all(case: Case, folder: Path) -> None:
    """All segments in memory as RGB, blended in floating point, everything encoded: the simple way."""
    film = list[NDArray[np.uint8]]()
    for path in case.paths(folder):
        segment = list(read_frames(path))
        overlap = case.overlap if film else 0
        for k, (old, new) in enumerate(zip(film[len(film) - overlap :], segment, strict=False)):
            weight = crossfade_weight(k, overlap)
            mixed = (1 - weight) * old.astype(np.float32) + weight * new.astype(np.float32)
            film[len(film) - overlap + k] = np.rint(mixed).astype(np.uint8)
        film += segment[overlap:]
    write_video(film, folder / "decode.mp4", case.peer_spec)


@dataclass(frozen=True, slots=True)
class Quality:
    """Frames outside the overlaps that are the segments' own; PSNR of the overlaps' luma: mean and worst frame, dB."""

    identical: int
    copies: int
    mean: float
    worst: float


def quality(case: Case, folder: Path, name: str) -> Quality:
    film = list(read_planes(folder / f"{name}.mp4"))
    segments = [list(read_planes(path)) for path in case.paths(folder)]
    at, identical, copies, found = 0, 0, 0, list[float]()
    for span in case.timeline.spans():
        for k in range(span.count):
            if isinstance(span, Copy):
                copies += 1
                identical += np.array_equal(film[at], segments[span.segment][span.lo + k])
            else:
                pair = segments[span.left][span.left_lo + k], segments[span.right][span.right_lo + k]
                exact = blend(*pair, crossfade_weight(k, span.count))
                found.append(psnr(film[at][: case.height], exact[: case.height]))
            at += 1
    return Quality(identical, copies, statistics.mean(found), min(found))


def read_planes(path: Path) -> Iterator[NDArray[np.uint8]]:
    """Y, U and V of each frame below each other."""
    return (np.asarray(frame.to_ndarray(), dtype=np.uint8) for frame in read_yuv(path))


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    error = float(((a.astype(np.float64) - b) ** 2).mean())
    return 10 * math.log10(255**2 / error) if error else 99.0


def compare(case: Case, rounds: int, folder: Path, own_arguments: Sequence[str]) -> None:
    program = shutil.which("ffmpeg")
    itself = [sys.executable, "-m", "benchmarks.stitch", *own_arguments, "--folder", str(folder)]
    commands = {
        "ours": [*itself, "--run", "ours"],
        "xfade": program_arguments(case, folder, program) if program else [*itself, "--run", "xfade"],
        "decode": [*itself, "--run", "decode"],
    }
    found = dict[str, list[tuple[float, float]]]()
    for _ in range(rounds):
        for name, arguments in commands.items():
            found.setdefault(name, []).append(measured(arguments))
    report(case, found, program, folder)


def report(case: Case, found: dict[str, list[tuple[float, float]]], program: str | None, folder: Path) -> None:
    print(f"{case.segments} segments × {case.frames} frames, {case.width}×{case.height}@{FPS}, overlap {case.overlap}")
    chain = program or "the FFmpeg libraries through PyAV (no ffmpeg program on the PATH)"
    print(f"peers: x264 {case.preset}; xfade: {chain}")
    medians = {name: statistics.median(cpu for cpu, _ in runs) for name, runs in found.items()}
    for name, runs in found.items():
        film = probe(folder / f"{name}.mp4")
        size = (folder / f"{name}.mp4").stat().st_size / 1e6
        seen = quality(case, folder, name)
        print(
            f"{name:6} {medians[name]:6.2f} CPU s {max(memory for _, memory in runs):6.0f} MiB {size:5.1f} MB   "
            f"{film.frames}/{case.timeline.length} frames, {seen.identical}/{seen.copies} outside overlaps identical, "
            f"overlaps {seen.mean:.1f} dB (worst frame {seen.worst:.1f})"
        )
    for name in ("xfade", "decode"):
        print(f"ratio {name}/ours: {medians[name] / medians['ours']:.1f}  (medians of {len(found['ours'])} rounds)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="three short segments")
    parser.add_argument("--preset", default="medium", help="of the peers; medium unless said otherwise")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--run", choices=("ours", "xfade", "decode"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    case = replace(SMALL if arguments.small else FULL, preset=arguments.preset)
    if arguments.run:
        {"ours": ours, "xfade": xfade_by_libraries, "decode": decode_all}[arguments.run](case, arguments.folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        make_segments(case, Path(folder))
        small = ["--small"] if arguments.small else []
        compare(case, arguments.rounds, Path(folder), [*small, "--preset", case.preset])


if __name__ == "__main__":
    main()
