"""Clips joined into one: by a crossfade, or by a generated transition between each two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from tasks.clips import Made, video_maker
from tasks.engines.protocol import Frame, OnStep, Request
from tasks.generation import Maker, chosen_seed, conformed, evenly, frames_for, last_frames
from tasks.media.encoding import VideoSpec, frame_rate
from tasks.media.images import fit
from tasks.media.probe import VideoInfo, probe
from tasks.media.stitch import stitch
from tasks.media.timeline import Timeline
from tasks.media.video import read_frame, read_frames, write_video
from tasks.params.base import floor_to
from tasks.params.clips import JoinParams
from tasks.step import step
from tasks.work import Work


@step("join clips")
async def join(work: Work, params: JoinParams) -> Made:
    """All clips in the size and rate of the first, joined as asked."""
    paths = [await work.fetch(location) for location in params.clips]
    seed, out = chosen_seed(params.seed), work.folder.path / "joined.mp4"
    first = await work.compute(probe, paths[0])
    size = (first.width // 2 * 2, first.height // 2 * 2)
    if params.blend == "crossfade":
        film = await work.compute(_crossfade, work, paths, size, first, params, out)
    else:
        film = await work.compute(_bridge, work, paths, size, first, params, seed, out)
    return Made(out, film.frames, seed, size)


def _crossfade(
    work: Work, paths: Sequence[Path], size: tuple[int, int], first: VideoInfo, params: JoinParams, out: Path
) -> VideoInfo:
    clips = [_alike(work, path, size, first, work.folder.path / f"part_{i}.mp4") for i, path in enumerate(paths)]
    lengths = [probe(clip).frames for clip in clips]
    overlaps = [min(params.context_frame_count, *pair) for pair in pairwise(lengths)]
    stitch(clips, Timeline(tuple(lengths), tuple(overlaps)), out, fps=first.fps, on_step=work.held.on_step)
    return probe(out)


def _alike(work: Work, path: Path, size: tuple[int, int], first: VideoInfo, out: Path) -> Path:
    info = probe(path)
    if (info.width, info.height) == size and info.fps == first.fps:
        return path
    conformed(path, size, first.fps, out, work.held.on_step)
    return out


def _bridge(
    work: Work,
    paths: Sequence[Path],
    size: tuple[int, int],
    first: VideoInfo,
    params: JoinParams,
    seed: int,
    out: Path,
) -> VideoInfo:
    """Clip, generated gap, clip, …: streamed, one gap in memory at a time."""
    maker = video_maker(work)
    total = sum(probe(path).frames for path in paths) + params.gap_frame_count * (len(paths) - 1)

    def frames() -> Iterator[Frame]:
        done = 0
        for index, path in enumerate(paths):
            if index:
                yield from gap_frames(maker, paths[index - 1], path, size, params, seed + index, work.held.on_step)
            for frame in read_frames(path):
                done += 1
                work.held.on_step(done, total)
                yield fit(frame, *size)

    return write_video(frames(), out, VideoSpec(*size, frame_rate(first.fps)), count=total)


def gap_frames(
    maker: Maker, left: Path, right: Path, size: tuple[int, int], params: JoinParams, seed: int, on_step: OnStep
) -> list[Frame]:
    """Exactly `gap_frame_count` generated frames between two clips, neither of whose own frames is among them."""
    if params.gap_frame_count == 0:
        return []
    inner = floor_to(size, maker.capabilities.size_multiple)
    context = last_frames(left, max(1, params.context_frame_count), inner)
    known = len(context) if params.context_frame_count else 1
    step_, _ = maker.capabilities.frame_grid
    # The next grid length that holds the known frames, the gap, and the right clip's first frame.
    length = frames_for(maker, known + params.gap_frame_count + step_)
    request = Request(
        *inner,
        length,
        seed,
        prompt=params.prompt,
        start=context[-1],
        end=fit(read_frame(right, 0), *inner),
        context=context if params.context_frame_count else (),
    )
    made = list(maker.frames(request, on_step))
    return [fit(frame, *size) for frame in evenly(made[known:-1], params.gap_frame_count)]
