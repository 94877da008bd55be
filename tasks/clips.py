"""The steps of single images and clips."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from blocks.queue.errors import UnknownTask
from blocks.queue.model import Status
from tasks.engines.protocol import Frame, Request
from tasks.errors import InvalidInput
from tasks.generation import (
    Clip,
    Maker,
    anchor,
    chosen_seed,
    frames_for,
    last_frames,
    make_clip,
    make_image,
    setup_of,
    size_for,
)
from tasks.kinds import Makes
from tasks.loras import fetch_loras
from tasks.media.images import fit, read_image, write_image
from tasks.media.probe import VideoInfo
from tasks.media.video import read_frame
from tasks.models import check_allowed, choose
from tasks.params.clips import ClipParams, FrameParams, GenerationParams, ImageParams, InterpolateParams
from tasks.step import step
from tasks.work import Work

#: Frames of the past that an engine is shown when a clip continues a video.
_CONTEXT = 8


def video_maker(work: Work, named: str | None = None) -> Maker:
    """Of the model that the task names, or of the site's. Raises `InvalidInput` for one that it may not name."""
    return _maker(work, "video", named)


def image_maker(work: Work, named: str | None = None) -> Maker:
    return _maker(work, "image", named)


def _maker(work: Work, makes: Makes, named: str | None) -> Maker:
    engines = work.site.engines
    check_allowed(named, engines, makes, local_paths=work.site.storage.local_paths)
    choice = choose(engines, makes, named)
    return Maker(choice.engine, choice.model, setup_of(engines))


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
    loras = await fetch_loras(work, params.additional_loras)
    request = _request(params, size, frames=1, seed=seed, start=references[0] if references else None, loras=loras)
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
    loras = await fetch_loras(work, params.additional_loras)
    request = _request(params, size, frames=frames, seed=seed, start=start, end=end, context=context, loras=loras)
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
    loras: Mapping[str, float] | None = None,
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
        loras=loras or {},
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
