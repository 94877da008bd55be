"""The steps of single images and clips."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from blocks.queue.errors import UnknownTask
from blocks.queue.model import Status
from tasks.engines.protocol import Frame, OnStep, Request
from tasks.errors import InvalidInput
from tasks.generation import (
    Clip,
    Maker,
    anchor,
    chosen_seed,
    conformed,
    evenly,
    frames_for,
    last_frames,
    make_clip,
    make_image,
    size_for,
)
from tasks.media.encoding import VideoSpec, frame_rate
from tasks.media.images import fit, read_image, write_image
from tasks.media.probe import VideoInfo, probe
from tasks.media.stitch import stitch
from tasks.media.timeline import Timeline
from tasks.media.video import read_frame, read_frames, write_video
from tasks.params.clips import ClipParams, FrameParams, GenerationParams, ImageParams, InterpolateParams, JoinParams
from tasks.runs import Work
from tasks.step import step

#: Frames of the past that an engine is shown when a clip continues a video.
_CONTEXT = 8


def video_maker(work: Work, model: str | None = None) -> Maker:
    return Maker(work.site.engines.video, model or work.site.engines.video_model)


def image_maker(work: Work, model: str | None = None) -> Maker:
    return Maker(work.site.engines.image, model or work.site.engines.image_model)


@dataclass(frozen=True, slots=True)
class Made:
    """A finished file and what its result says of it. `seed` is the one that was used."""

    path: Path
    frames: int
    seed: int
    size: tuple[int, int]


@step("generate image")
async def generate_image(work: Work, params: ImageParams) -> Made:
    maker, seed = image_maker(work, params.model), chosen_seed(params.seed)
    size = size_for(maker, params.resolution)
    references = [await work.compute(anchor, await work.fetch(path), size) for path in params.image_refs_paths[:1]]
    request = _request(params, size, frames=1, seed=seed, start=references[0] if references else None)
    recipe = {"engine": maker.engine, "params": dict(work.task.params)}
    path, _ = await work.compute(
        work.folder.made_once, "image.png", recipe, lambda out: make_image(maker, request, out, work.held.on_step)
    )
    return Made(path, 1, seed, size)


@step("generate clip")
async def generate_clip(work: Work, params: ClipParams) -> Made:
    """From an image, between two, from the end of a video, or from the prompt alone."""
    maker, seed = video_maker(work, params.model), chosen_seed(params.seed)
    size = size_for(maker, params.resolution)
    start, context = await _clip_start(work, params, size, seed)
    end = await _picture(work, params.image_end_paths, size)
    frames = frames_for(maker, params.length)
    request = _request(params, size, frames=frames, seed=seed, start=start, end=end, context=context)
    return await _clip(work, Clip(maker, request, params.fps), "clip.mp4", seed)


async def _clip_start(
    work: Work, params: ClipParams, size: tuple[int, int], seed: int
) -> tuple[Frame | None, Sequence[Frame]]:
    if params.video_source_path:
        context = await work.compute(last_frames, await work.fetch(params.video_source_path), _CONTEXT, size)
        return context[-1], context
    start = await _picture(work, params.image_start_paths, size)
    if start is None and not params.image_end_paths and video_maker(work).capabilities.needs_anchor:
        # This engine moves pictures and cannot imagine one: the image engine paints where the clip begins.
        drawn = _request(params, size, frames=1, seed=seed)
        out = work.folder.path / "start.png"
        await work.compute(make_image, image_maker(work), drawn, out, work.held.on_step)
        start = await work.compute(anchor, out, size)
    return start, ()


async def _picture(work: Work, paths: Sequence[str], size: tuple[int, int]) -> Frame | None:
    return await work.compute(anchor, await work.fetch(paths[0]), size) if paths else None


@step("interpolate images")
async def interpolate(work: Work, params: InterpolateParams) -> Made:
    maker, seed = video_maker(work), chosen_seed(params.seed)
    pictures = [
        await work.compute(read_image, await work.fetch(path))
        for path in (params.input_image_path1, params.input_image_path2)
    ]
    height, width = pictures[0].shape[:2]
    size = size_for(maker, params.resolution or f"{width}x{height}")
    start, end = (fit(picture, *size) for picture in pictures)
    frames = frames_for(maker, params.frames)
    request = Request(*size, frames, seed, start=start, end=end)
    return await _clip(work, Clip(maker, request, params.fps), "interpolation.mp4", seed)


async def _clip(work: Work, clip: Clip, name: str, seed: int) -> Made:
    recipe = {"engine": clip.maker.engine, "params": dict(work.task.params)}
    path, _ = await work.compute(
        work.folder.made_once, name, recipe, lambda out: _discard(make_clip(clip, out, work.held.on_step))
    )
    return Made(path, clip.request.frames, seed, (clip.request.width, clip.request.height))


def _discard(_: VideoInfo) -> None:
    """The file is the result; its probe was checked while it was written."""


def _request(
    params: GenerationParams,
    size: tuple[int, int],
    *,
    frames: int,
    seed: int,
    start: Frame | None = None,
    end: Frame | None = None,
    context: Sequence[Frame] = (),
) -> Request:
    options = {"steps": params.steps, "guidance_scale": params.guidance_scale, "flow_shift": params.flow_shift}
    return Request(
        *size,
        frames,
        seed,
        prompt=params.prompt,
        negative_prompt=params.negative_prompt,
        start=start,
        end=end,
        context=context,
        loras=params.additional_loras,
        options={name: value for name, value in options.items() if value is not None},
    )


@step("extract frame")
async def extract(work: Work, params: FrameParams) -> Made:
    path = await work.fetch(params.path or await _output_of(work, str(params.input_video_task_id)))
    frame = await work.compute(read_frame, path, params.frame_index)
    out = work.folder.path / "frame.png"
    await work.compute(write_image, frame, out)
    return Made(out, 1, 0, (frame.shape[1], frame.shape[0]))


async def _output_of(work: Work, task_id: str) -> str:
    try:
        task = await asyncio.to_thread(work.site.queue.get, task_id)
    except UnknownTask:
        raise InvalidInput(f"input_video_task_id: there is no task {task_id!r}.") from None
    if task.status is not Status.COMPLETE or not task.output_location:
        raise InvalidInput(
            f"input_video_task_id: task {task_id} is {task.status} and has no video. "
            "Name it as a dependency, so that this task waits for it."
        )
    return task.output_location


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
    multiple = maker.capabilities.size_multiple
    inner = (max(multiple, size[0] // multiple * multiple), max(multiple, size[1] // multiple * multiple))
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
