"""The steps of a travel's segments and stitch."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from blocks.queue.model import Task
from blocks.queue.protocol import TaskQueue
from blocks.storage.names import sha256_of
from blocks.storage.protocol import StorageUnavailable, Stored
from tasks import story
from tasks.clips import video_maker
from tasks.engines.protocol import Frame, Request
from tasks.errors import InvalidInput
from tasks.files import store
from tasks.generation import Clip, Finish, Maker, anchor, conformed, last_frames, make_clip
from tasks.loras import fetch_loras
from tasks.media.contact_sheet import contact_sheet
from tasks.media.encoding import frame_rate
from tasks.media.probe import probe
from tasks.media.stitch import StitchReport, stitch
from tasks.media.timeline import Timeline
from tasks.params.base import Fit, parse_size
from tasks.params.travel import SegmentParams, StitchParams, TravelDetails
from tasks.redo import earlier
from tasks.step import step
from tasks.work import Work


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a segment starts from and goes to, and the files of its LoRAs. `source`: the predecessor's file, if any."""

    start: Frame | None
    end: Frame | None
    context: tuple[Frame, ...] = ()
    source: str | None = None
    loras: Mapping[str, float] = field(default_factory=dict)


@step("fetch anchors")
async def fetch_conditions(work: Work, travel: TravelDetails, params: SegmentParams) -> Conditions:
    """The two anchors, for a chained segment the last frames of what comes before, and the LoRAs."""
    size = parse_size(params.parsed_resolution_wh)
    start, end = travel.anchors(params.segment_index)
    first = await _anchor(work, start, size, travel.fit) if start else None
    last = await _anchor(work, end, size, travel.fit) if end else None
    loras = await fetch_loras(work, params.additional_loras)
    before = await _predecessor(work, travel, params)
    if before is None:
        return Conditions(first, last, loras=loras)
    path = await work.fetch(before)
    context = await work.compute(last_frames, path, max(1, params.frame_overlap_from_previous), size)
    # A video that is continued ends where this segment starts; it has no anchor of its own there.
    first = first if first is not None else context[-1]
    return Conditions(first, last, context if params.frame_overlap_from_previous else (), before, loras)


async def _anchor(work: Work, location: str, size: tuple[int, int], mode: Fit) -> Frame:
    return await work.compute(anchor, await work.fetch(location), size, mode)


async def _predecessor(work: Work, travel: TravelDetails, params: SegmentParams) -> str | None:
    """The file whose end this segment continues, or None where it stands alone."""
    if travel.continues and params.is_first_segment:
        return travel.continue_from_video_resolved_path
    if not travel.chain_segments or params.is_first_segment:
        return None
    for predecessor in await asyncio.to_thread(work.site.queue.predecessors, work.task.id):
        if predecessor.output_location is None:
            raise InvalidInput(f"segment {params.segment_index - 1} ({predecessor.id}) has no output to continue from.")
        return str(predecessor.output_location)
    return None


def segment_clip(maker: Maker, travel: TravelDetails, params: SegmentParams, given: Conditions) -> Clip:
    width, height = parse_size(params.parsed_resolution_wh)
    options = {
        "steps": params.num_inference_steps,
        "guidance_scale": params.guidance_scale,
        "flow_shift": params.flow_shift,
    }
    request = Request(
        width=width,
        height=height,
        frames=params.segment_frames_target,
        seed=params.seed_to_use,
        prompt=params.base_prompt,
        negative_prompt=params.negative_prompt,
        start=given.start,
        end=given.end,
        context=given.context,
        loras=given.loras,
        options={name: value for name, value in options.items() if value is not None},
    )
    finish = Finish(
        match_anchors=travel.colour_match_videos, fit_seam=travel.seam_colour_fit, idr_at=tuple(params.idr_at)
    )
    if not params.is_first_segment:
        finish = replace(
            finish,
            saturation=travel.after_first_post_generation_saturation,
            brightness=travel.after_first_post_generation_brightness,
        )
    origin = params.orchestrator_task_id_ref
    return Clip(maker, request, params.fps_helpers, finish, travel=origin, segment=params.segment_index)


@step("generate segment")
async def generate_segment(
    work: Work, orchestrator: Task, travel: TravelDetails, params: SegmentParams, given: Conditions
) -> tuple[Path, bool]:
    """(the segment's file, whether it was generated now); a file that an earlier attempt finished is used again."""
    maker = video_maker(work, params.model_name)
    clip = segment_clip(maker, travel, params, given)
    recipe = {
        "engine": maker.engine,
        "params": dict(work.task.params),
        "travel": dict(orchestrator.params),
        "source": given.source,
    }

    def make(out: Path) -> None:
        work.log.info("segment_generating task_id=%s attempt=%s", work.task.id, work.attempt)
        make_clip(clip, out, work.held.on_step)

    return await work.compute(work.folder.made_once, f"segment_{params.segment_index:04d}.mp4", recipe, make)


@step("store output")
async def store_output(work: Work, path: Path, name: str | None = None) -> Stored:
    return await work.compute(
        store,
        work.site.storage,
        path,
        owner=work.task.user_id,
        task_id=work.task.id,
        attempt=work.attempt,
        name=name or path.name,
    )


@dataclass(frozen=True, slots=True)
class Parts:
    """What a film is stitched from: a file for each segment in order, a continued video first; None: missing.

    `travels` are the tasks whose segments may be among them, `film` the one that is being done again, if any.
    """

    paths: list[Path | None]
    travels: tuple[str, ...]
    film: Path | None = None


@step("fetch segments")
async def fetch_segments(work: Work, travel: TravelDetails, params: StitchParams) -> Parts:
    """Raises `StorageUnavailable` for a file that is not, byte for byte, what its task has stored."""
    # By the orchestrator, whose id is its own: a run id is a text that another user may have said too.
    run = work.task.parent_id or params.orchestrator_run_id
    paths: list[Path | None] = []
    if travel.continue_from_video_resolved_path:
        paths.append(await _conformed_video(work, travel.continue_from_video_resolved_path, params))
    count = len(params.segment_frames) - len(paths)
    found = await asyncio.to_thread(_finished, work.site.queue, work.task, params, run)
    paths += [await _segment_file(work, index, *found[index]) if index in found else None for index in range(count)]
    if not travel.redo_of:
        return Parts(paths, (run,))
    before = await asyncio.to_thread(earlier, work.site.queue, work.task, travel)
    film = await work.fetch(before.film) if before.film else None
    return Parts(paths, (run, *before.travels), film)


def _finished(queue: TaskQueue, task: Task, params: StitchParams, run: str) -> dict[int, tuple[str, str | None]]:
    """(location, SHA-256 where its task has said it) of each finished segment, by index."""
    if params.segment_task_ids:
        tasks = dict(enumerate(queue.get(each) for each in params.segment_task_ids))
        return {at: (each.output_location, _sha256(each)) for at, each in tasks.items() if each.output_location}
    said = {each.id: _sha256(each) for each in queue.children(task.parent_id)} if task.parent_id else {}
    segments = queue.completed_segments(run_id=run)
    return {each.segment_index: (each.output_location, said.get(each.task_id)) for each in segments}


def _sha256(task: Task) -> str | None:
    said = (task.result or {}).get("sha256")
    return said if isinstance(said, str) else None


async def _segment_file(work: Work, index: int, location: str, sha256: str | None) -> Path:
    path = await work.fetch(location)
    if sha256:
        await work.compute(check_bytes, path, sha256, f"segment {index}: {location}")
    return path


def check_bytes(path: Path, sha256: str, what: str) -> None:
    """Raises `StorageUnavailable`, since another try may bring them as they were stored."""
    if (found := sha256_of(path)) != sha256:
        raise StorageUnavailable(
            f"{what} is not what its task has stored: its SHA-256 is {found}, and was {sha256}. It will be fetched "
            "again; if that does not help, have this segment made again with longtake travel redo."
        )


async def _conformed_video(work: Work, location: str, params: StitchParams) -> Path:
    """The video in the size of the film; as it is where it has that already, so that its frames can be copied."""
    source, size = await work.fetch(location), parse_size(params.parsed_resolution_wh)
    info = await work.compute(probe, source)
    if (info.width, info.height) == size:
        return source
    timeline = timeline_of_stitch(params, continued=True)

    def make(out: Path) -> None:
        conformed(source, size, frame_rate(params.fps_helpers), out, work.held.on_step, idr_at=timeline.cuts(0))

    path, _ = await work.compute(work.folder.made_once, "continued.mp4", {"source": location, "size": size}, make)
    return path


def timeline_of_stitch(params: StitchParams, *, continued: bool) -> Timeline:
    return Timeline(
        tuple(params.segment_frames), tuple(params.frame_overlaps), continued=continued, wrap=params.wrap_overlap
    )


@step("stitch segments")
async def stitch_segments(
    work: Work, travel: TravelDetails, params: StitchParams, parts: Parts
) -> tuple[Path, StitchReport]:
    out = work.folder.path / "film.mp4"
    report = await work.compute(
        stitch,
        parts.paths,
        timeline_of_stitch(params, continued=travel.continues),
        out,
        fps=params.fps_helpers,
        sharpen=params.crossfade_sharp_amt,
        flow=travel.seam_flow,
        travels=parts.travels,
        previous=parts.film,
        on_step=work.held.on_step,
    )
    return out, report


@step("draw contact sheet")
async def draw_contact_sheet(work: Work, film: Path) -> Stored:
    """Store the sheet beside the film, and show a small one in the Prefect UI."""
    sheet = await work.compute(contact_sheet, film, film.with_name("contact_sheet.jpg"))
    await story.contact_sheet(work.task.id, film)
    return await store_output(work, sheet)


def facts(stored: Stored, **more: Any) -> dict[str, Any]:
    """What every output's result says of its file."""
    return {"sha256": stored.sha256, "size": stored.size, **more}
