"""The steps of a travel's orchestrator. Its children decide its end; its flow run only plans and sums up."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed

from blocks.queue.model import Outcome, Status, Task, TaskSpec
from blocks.storage.protocol import StorageError
from tasks import story
from tasks.engines.registry import capabilities
from tasks.errors import InvalidInput
from tasks.files import WorkFolder
from tasks.finishing import check_finish
from tasks.intake import enqueue
from tasks.media.errors import MediaError
from tasks.media.images import read_image
from tasks.media.probe import probe
from tasks.media.timeline import Timeline
from tasks.models import check_allowed
from tasks.params.base import floor_to, parse_size
from tasks.params.travel import SegmentParams, TravelDetails, TravelParams
from tasks.redo import earlier
from tasks.step import step
from tasks.travel import children, refuse_too_long, timeline_of
from tasks.work import Site, Work


class Situation(Enum):
    FRESH = "the row is claimed for this run, which has not begun"
    WAITING = "the children are at work"
    ENDED = "the children have decided the end"


@dataclass(frozen=True, slots=True)
class Plan:
    details: TravelDetails
    timeline: Timeline | None
    children: tuple[TaskSpec, ...]


async def look(site: Site, task_id: str, attempt: int) -> Situation:
    """What this run finds: an orchestrator's flow runs again each time it is resumed."""
    task = await asyncio.to_thread(site.queue.get, task_id)
    if task.attempts != attempt or task.flow_run_id != flow_run.id:
        return Situation.FRESH
    if task.waiting:
        return Situation.WAITING
    return Situation.ENDED if task.status.is_terminal else Situation.FRESH


@step("plan travel")
async def plan(work: Work) -> Plan:
    """Look at every input before anything is generated, and do the arithmetic."""
    details = work.params(TravelParams).orchestrator_details
    if details.segment_count == 0:
        return Plan(details, None, ())
    await _check_anchors(work, details)
    engine = capabilities(work.site.engines.video)
    timeline = timeline_of(details, grid=engine.frame_grid, preceding=await _preceding(work, details))
    refuse_too_long(timeline)
    await check_finish(work, details, floor_to(parse_size(details.parsed_resolution_wh), engine.size_multiple))
    parts = children(work.task, details, timeline, size_multiple=engine.size_multiple)
    if details.redo_of:
        found = await asyncio.to_thread(earlier, work.site.queue, work.task, details)
        kept = found.kept(details, parts)
        parts = children(work.task, details, timeline, size_multiple=engine.size_multiple, kept=kept)
    named = SegmentParams.read(parts[0].params).model_name
    check_allowed(named, work.site.engines, "video", local_paths=work.site.storage.local_paths)
    return Plan(details, timeline, parts)


async def _check_anchors(work: Work, details: TravelDetails) -> None:
    problems = []
    for index, location in enumerate(details.input_image_paths_resolved):
        try:
            await work.compute(read_image, await work.fetch(location))
        except (MediaError, StorageError) as error:
            problems.append(f"image {index}: {error}")
        work.held.on_step(index + 1, len(details.input_image_paths_resolved))
    if problems:
        raise InvalidInput("input_image_paths_resolved: " + " ".join(problems))


async def _preceding(work: Work, details: TravelDetails) -> int | None:
    if details.continue_from_video_resolved_path is None:
        return None
    path = await work.fetch(details.continue_from_video_resolved_path)
    return (await work.compute(probe, path)).frames


@step("show plan")
async def show_plan(work: Work, plan: Plan) -> None:
    if plan.timeline:
        length = plan.timeline.length
        seconds = length / plan.details.fps_helpers
        title = f"{plan.details.segment_count} segments, {length} frames, {seconds:.1f} s"
        await story.table(f"plan-{work.task.id}", title, plan_rows(plan))
        await story.open_travel_progress(work.task.id, len(plan.children))


def plan_rows(plan: Plan) -> list[dict[str, Any]]:
    """One row a segment, as the plan will be carried out."""
    rows = []
    for spec in plan.children[:-1]:
        params = spec.params
        start, end = plan.details.anchors(params["segment_index"])
        rows.append(
            {
                "segment": params["segment_index"] + 1,
                "frames": params["segment_frames_target"],
                "overlap with next": params["frame_overlap_with_next"],
                "from": Path(start).name if start else "the video",
                "to": Path(end).name if end else "open",
                "prompt": params["base_prompt"][:80],
                "seed": params["seed_to_use"],
            }
        )
    return rows


@step("fan out")
async def fan_out(work: Work, plan: Plan) -> Outcome:
    """Enqueue all children at once, draw them under this run, start those that are ready, and hand the row to them."""
    queue = work.site.queue
    if not plan.children:
        return await work.end(queue.complete, result={"segments": 0, "message": "No segments were asked for."})
    stored = await asyncio.to_thread(enqueue, queue, *plan.children)
    await work.dispatcher.draw_children(UUID(flow_run.id), [entry.task for entry in stored])
    await work.dispatcher.start_ready([entry.task.id for entry in stored])
    return await work.end(queue.wait)


async def sum_up(site: Site, task_id: str) -> State[Any]:
    """The travel's last words in the UI: film, contact sheet, what each part took."""
    task = await asyncio.to_thread(site.queue.get, task_id)
    parts = await asyncio.to_thread(site.queue.children, task_id)
    await story.table(f"timings-{task_id}", "What each part took", timing_rows(parts))
    if task.status is Status.COMPLETE and task.output_location:
        await story.link(f"film-{task_id}", task.output_location, "Film")
        folder = WorkFolder(site.work_dir, task_id)
        film = await asyncio.to_thread(site.storage.fetch, task.output_location, folder.path, owner=task.user_id)
        await story.contact_sheet(task_id, film)
        folder.remove()
        return Completed(message=task.output_location)
    if task.status is Status.CANCELLED:
        return Cancelled(message=task.error_message or "The travel was cancelled.")
    if task.status is Status.FAILED:
        return Failed(message=task.error_message or "The travel failed.")
    return Completed(message="Nothing to do.")


def timing_rows(parts: Sequence[Task]) -> list[dict[str, Any]]:
    """One row a child: status, attempts, seconds from start to end of the accepted attempt."""
    rows = []
    for part in parts:
        begun, ended = part.generation_started_at, part.generation_processed_at
        seconds = round((ended - begun).total_seconds(), 1) if begun and ended else None
        index = part.params.get("segment_index")
        rows.append(
            {
                "part": "stitch" if index is None else f"segment {index + 1}",
                "status": str(part.status),
                "attempts": part.attempts,
                "seconds": seconds,
                "output": part.output_location,
            }
        )
    return rows
