"""Our stitch beside FFmpeg's xfade chain: the same segments, the same encoder settings, CPU seconds of whole processes.

    python benchmarks/stitch.py [--small] [--rounds 3]

Both run in processes of their own, in turns, so that a busy machine slows both. The peer is the ffmpeg program where
there is one; otherwise the same chain of xfade filters built with FFmpeg's libraries through PyAV.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av

from tasks.engines.morph import Morph
from tasks.engines.protocol import Frame, Request
from tasks.engines.sketch import SketchEngine
from tasks.media.encoding import VideoSpec, encoder_options, open_encoder
from tasks.media.stitch import stitch
from tasks.media.timeline import Timeline, expand
from tasks.media.video import probe, read_yuv, write_video

FPS = 16


@dataclass(frozen=True, slots=True)
class Case:
    segments: int
    frames: int
    overlap: int
    width: int
    height: int

    @property
    def timeline(self) -> Timeline:
        return expand([self.frames] * self.segments, [self.overlap] * (self.segments - 1))

    @property
    def spec(self) -> VideoSpec:
        return VideoSpec(self.width, self.height, FPS)

    def paths(self, folder: Path) -> list[Path]:
        return [folder / f"segment-{i}.mp4" for i in range(self.segments)]


FULL = Case(8, 81, 12, 832, 480)
SMALL = Case(3, 33, 12, 416, 240)


def make_segments(case: Case, folder: Path) -> None:
    """Travels between drawn landscapes: real motion, real detail."""
    for i, path in enumerate(case.paths(folder)):
        write_video(travel(case, i), path, case.spec, idr_at=case.timeline.cuts(i), count=case.frames)


def travel(case: Case, i: int) -> Iterator[Frame]:
    a, b = (
        next(
            SketchEngine().generate(
                Request(case.width, case.height, 1, seed=15, prompt=prompt, options={"pan": pan}), lambda *_: None
            )
        )
        for prompt, pan in (("bay at noon, boat", 0.05 * i), ("bay at dusk, boat", 0.05 * (i + 1)))
    )
    morph = Morph(a, b)
    return (morph.at(k / (case.frames - 1)) for k in range(case.frames))


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
    options = [part for name, value in encoder_options(case.spec).items() for part in (f"-{name}", value)]
    last = ["-map", f"[f{case.segments - 1}]", "-c:v", "libx264", *options, "-movflags", "+faststart"]
    return [program, "-y", "-v", "error", *inputs, "-filter_complex", ";".join(steps), *last, str(folder / "peer.mp4")]


def peer_by_libraries(case: Case, folder: Path) -> None:
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
    with av.open(str(folder / "peer.mp4"), "w", format="mp4", options={"movflags": "+faststart"}) as output:
        stream = open_encoder(output, case.spec)
        for i, frame in enumerate(faded(graph, case.paths(folder))):
            frame.pts, frame.time_base, frame.pict_type = i, 1 / case.spec.fps, 0
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


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


def compare(case: Case, rounds: int, folder: Path, small: bool) -> None:
    program = shutil.which("ffmpeg")
    itself = [sys.executable, __file__, *(["--small"] if small else []), "--folder", str(folder), "--run"]
    commands = {
        "ours": [*itself, "ours"],
        "peer": program_arguments(case, folder, program) if program else [*itself, "peer"],
    }
    found = dict[str, list[tuple[float, float]]]()
    for _ in range(rounds):
        for name, arguments in commands.items():
            found.setdefault(name, []).append(measured(arguments))
    report(case, found, program, folder)


def report(case: Case, found: dict[str, list[tuple[float, float]]], program: str | None, folder: Path) -> None:
    print(f"{case.segments} segments × {case.frames} frames, {case.width}×{case.height}@{FPS}, overlap {case.overlap}")
    print(f"peer: xfade chain by {program or 'the FFmpeg libraries through PyAV (no ffmpeg program on the PATH)'}")
    medians = {name: statistics.median(cpu for cpu, _ in runs) for name, runs in found.items()}
    for name, runs in found.items():
        memory = max(memory for _, memory in runs)
        frames = probe(folder / f"{name}.mp4").frames
        size = (folder / f"{name}.mp4").stat().st_size / 1e6
        kept = f"{frames}/{case.timeline.length} frames"
        print(f"{name:5} {medians[name]:6.2f} CPU s   {memory:5.0f} MiB   {kept}   {size:.1f} MB")
    print(f"ratio peer/ours: {medians['peer'] / medians['ours']:.2f}  (median of {len(found['ours'])} rounds each)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="three short segments")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--run", choices=("ours", "peer"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    case = SMALL if arguments.small else FULL
    if arguments.run:
        {"ours": ours, "peer": peer_by_libraries}[arguments.run](case, arguments.folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        make_segments(case, Path(folder))
        compare(case, arguments.rounds, Path(folder), arguments.small)


if __name__ == "__main__":
    main()
