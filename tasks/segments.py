"""The steps of a travel's segments and stitch."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from blocks.queue.model import Task
from blocks.storage.protocol import Stored
from tasks import story
from tasks.clips import video_maker
from tasks.engines.protocol import Frame, Request
from tasks.errors import InvalidInput
from tasks.files import store
from tasks.generation import Clip, Finish, Maker, anchor, conformed, last_frames, make_clip
from tasks.loras import fetch_loras
from tasks.media.contact_sheet import contact_sheet
from tasks.media.encoding import frame_rate
from tasks.media.stitch import StitchReport, stitch
from tasks.media.timeline import Timeline
from tasks.params.base import parse_size
from tasks.params.travel import SegmentParams, StitchParams, TravelDetails
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
    first = await _anchor(work, start, size) if start else None
    last = await _anchor(work, end, size) if end else None
    loras = await fetch_loras(work, params.additional_loras)
    before = await _predecessor(work, travel, params)
    if before is None:
        return Conditions(first, last, loras=loras)
    path = await work.fetch(before)
    context = await work.compute(last_frames, path, max(1, params.frame_overlap_from_previous), size)
    # A video that is continued ends where this segment starts; it has no anchor of its own there.
    first = first if first is not None else context[-1]
    return Conditions(first, last, context if params.frame_overlap_from_previous else (), before, loras)


async def _anchor(work: Work, location: str, size: tuple[int, int]) -> Frame:
    return await work.compute(anchor, await work.fetch(location), size)


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
    finish = Finish(match_anchors=travel.colour_match_videos, idr_at=tuple(params.idr_at))
    if not params.is_first_segment:
        finish = replace(
            finish,
            saturation=travel.after_first_post_generation_saturation,
            brightness=travel.after_first_post_generation_brightness,
        )
    return Clip(maker, request, params.fps_helpers, finish)


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


@step("fetch segments")
async def fetch_segments(work: Work, travel: TravelDetails, params: StitchParams) -> list[Path | None]:
    """One file for each segment in order, None where it is missing, the continued video first."""
    # By the orchestrator, whose id is its own: a run id is a text that another user may have said too.
    run = work.task.parent_id or params.orchestrator_run_id
    found = await asyncio.to_thread(work.site.queue.completed_segments, run_id=run)
    locations = {segment.segment_index: segment.output_location for segment in found}
    paths: list[Path | None] = []
    if travel.continue_from_video_resolved_path:
        paths.append(await _conformed_video(work, travel.continue_from_video_resolved_path, params))
    count = len(params.segment_frames) - len(paths)
    return paths + [await work.fetch(locations[index]) if index in locations else None for index in range(count)]


async def _conformed_video(work: Work, location: str, params: StitchParams) -> Path:
    source, size = await work.fetch(location), parse_size(params.parsed_resolution_wh)

    def make(out: Path) -> None:
        conformed(source, size, frame_rate(params.fps_helpers), out, work.held.on_step)

    path, _ = await work.compute(work.folder.made_once, "continued.mp4", {"source": location, "size": size}, make)
    return path


@step("stitch segments")
async def stitch_segments(
    work: Work, travel: TravelDetails, params: StitchParams, paths: list[Path | None]
) -> tuple[Path, StitchReport]:
    timeline = Timeline(tuple(params.segment_frames), tuple(params.frame_overlaps), continued=travel.continues)
    out = work.folder.path / "film.mp4"
    report = await work.compute(
        stitch,
        paths,
        timeline,
        out,
        fps=params.fps_helpers,
        sharpen=params.crossfade_sharp_amt,
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
