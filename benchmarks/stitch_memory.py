"""Memory and CPU seconds of a stitch over the length of the film: each film in a process of its own.

    python -m benchmarks.stitch_memory [--small]

A few segments are made and used again and again, so that an hour's film needs no hour of encoding; the stitch cannot
know. Memory is the peak of the whole process, Python and libraries included, and must not grow with the film.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.stitch import FPS, Case, draw_landscape, measured, photographed
from tasks.media.stitch import stitch
from tasks.media.timeline import Timeline
from tasks.media.video import probe, write_video

FRAMES, OVERLAP, DISTINCT = 81, 12, 3
LIMIT = 400  # MiB


@dataclass(frozen=True, slots=True)
class Film:
    """Segments of FRAMES frames, the last one shorter, so that the film has exactly `length` frames."""

    name: str
    width: int
    height: int
    length: int

    @property
    def timeline(self) -> Timeline:
        step = FRAMES - OVERLAP
        full = (self.length - OVERLAP - 1) // step
        last = self.length - full * step
        return Timeline((*[FRAMES] * full, last), (OVERLAP,) * full)

    def paths(self, folder: Path) -> list[Path]:
        """Of every segment: its length and where it is cut decide the file, and for the others their turn does."""
        timeline = self.timeline
        last = len(timeline.segments) - 1
        names = ["first", *(f"middle-{i % DISTINCT}" for i in range(1, last)), "last"]
        return [folder / f"{self.name}-{name}.mp4" for name in names]

    def make_segments(self, folder: Path) -> None:
        case = Case(1, FRAMES, OVERLAP, self.width, self.height)
        landscape = draw_landscape(case)
        for i, path in enumerate(self.paths(folder)):
            if not path.exists():
                frames = self.timeline.segments[i]
                grain = np.random.default_rng(i)
                content = (photographed(landscape, case, i * FRAMES + k, grain) for k in range(frames))
                write_video(content, path, case.spec, idr_at=self.timeline.cuts(i), count=frames)

    def stitch(self, folder: Path) -> None:
        report = stitch(self.paths(folder), self.timeline, self.out(folder), fps=FPS)
        seams = sum(self.timeline.overlaps)
        if (report.frames, report.encoded) != (self.length, seams):
            sys.exit(f"{report} is not a film of {self.length} frames with {seams} of them encoded.")

    def out(self, folder: Path) -> Path:
        return folder / f"{self.name}.mp4"


FULL = (
    Film("1080p", 1920, 1080, 2050),
    Film("5 min", 832, 480, 5 * 60 * FPS),
    Film("15 min", 832, 480, 15 * 60 * FPS),
    Film("60 min", 832, 480, 60 * 60 * FPS),
)
SMALL = (Film("1 min", 208, 120, 60 * FPS), Film("5 min", 208, 120, 5 * 60 * FPS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="two films of small pictures")
    parser.add_argument("--make", help=argparse.SUPPRESS)
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    films = SMALL if arguments.small else FULL
    for film in films:
        if film.name == arguments.make:
            film.make_segments(arguments.folder)
            return
        if film.name == arguments.run:
            film.stitch(arguments.folder)
            return
    with tempfile.TemporaryDirectory() as folder:
        print(f"{'film':8} {'size':>9} {'frames':>6} {'seams':>5} {'peak MiB':>8} {'CPU s':>6} {'MB':>6}")
        for film in films:
            compare(film, Path(folder), ["--small"] if arguments.small else [])


def compare(film: Film, folder: Path, options: list[str]) -> None:
    itself = [sys.executable, "-m", "benchmarks.stitch_memory", *options, "--folder", str(folder)]
    # Not here: a process begins with the peak memory of the one that starts it, and this one is to stay small.
    measured([*itself, "--make", film.name])
    cpu, memory = measured([*itself, "--run", film.name])
    written = probe(film.out(folder))
    size = film.out(folder).stat().st_size / 1e6
    film.out(folder).unlink()
    numbers = f"{written.frames:6} {len(film.timeline.overlaps):5} {memory:8.0f} {cpu:6.1f} {size:6.1f}"
    print(f"{film.name:8} {f'{film.width}×{film.height}':>9} {numbers}", flush=True)
    if memory > LIMIT:
        sys.exit(f"{film.name}: {memory:.0f} MiB; no film may take more than {LIMIT}.")


if __name__ == "__main__":
    main()
