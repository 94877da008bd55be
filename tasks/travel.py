"""A travel as data: what the user asks for becomes one plan and its children. Pure functions."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from blocks.queue.model import LOCAL_PROJECT, Task, TaskSpec
from tasks.errors import InvalidInput
from tasks.media.timeline import Timeline, expand
from tasks.params.base import floor_to, parse_size
from tasks.params.travel import TravelDetails, TravelParams

_CHILDREN = uuid.UUID("6f1b6a2e-6c0e-4b52-9d5a-0f3a4f5b7c11")


def travel_spec(
    images: Sequence[str],
    *,
    prompts: Sequence[str] = ("",),
    negative_prompts: Sequence[str] = ("",),
    frames: Sequence[int] = (81,),
    overlaps: Sequence[int] = (12,),
    size: str = "832x480",
    fps: float = 16,
    seed: int = 12345,
    project_id: str = LOCAL_PROJECT,
    task_id: str | None = None,
    **details: Any,
) -> TaskSpec:
    """The task of a travel over `images` (locations the storage can read). One element of a list goes for all."""
    asked = {
        "input_image_paths_resolved": list(images),
        "base_prompts_expanded": list(prompts),
        "negative_prompts_expanded": list(negative_prompts),
        "segment_frames_expanded": list(frames),
        "frame_overlap_expanded": list(overlaps),
        "parsed_resolution_wh": size,
        "fps_helpers": fps,
        "seed_base": seed,
        **{name: value for name, value in details.items() if value is not None},
    }
    return TaskSpec("travel_orchestrator", {"orchestrator_details": asked}, id=task_id, project_id=project_id)


def child_id(orchestrator_id: str, part: str) -> str:
    """The same for every run of the orchestrator, so that a second run finds the first one's children."""
    return str(uuid.uuid5(_CHILDREN, f"{orchestrator_id}/{part}"))


def details_of(orchestrator: Task) -> TravelDetails:
    return TravelParams.read(orchestrator.params).orchestrator_details


def timeline_of(details: TravelDetails, *, grid: tuple[int, int], preceding: int | None = None) -> Timeline:
    """Exact frame arithmetic of the travel; `preceding` is the length of a video that it continues."""
    return expand(details.segment_frames_expanded, details.joins, grid, preceding=preceding, wrap=details.wrap)


def children(
    orchestrator: Task,
    details: TravelDetails,
    timeline: Timeline,
    *,
    size_multiple: int,
    kept: Mapping[int, str] = MappingProxyType({}),
) -> tuple[TaskSpec, ...]:
    """The segments in order and the stitch, with deterministic ids. Chained segments depend on their predecessor.

    `kept`: tasks of an earlier travel, by segment, whose outputs are used; only the other segments are made.
    """
    width, height = floor_to(parse_size(details.parsed_resolution_wh), size_multiple)
    size = f"{width}x{height}"
    ids = [kept.get(index) or child_id(orchestrator.id, f"segment/{index}") for index in range(details.segment_count)]
    segments = [
        TaskSpec(
            "travel_segment",
            _segment_params(orchestrator, details, timeline, index, size),
            id=ids[index],
            project_id=orchestrator.project_id,
            parent_id=orchestrator.id,
            priority=orchestrator.priority,
            depends_on=(ids[index - 1],) if details.chain_segments and index else (),
        )
        for index in range(details.segment_count)
        if index not in kept
    ]
    stitch = TaskSpec(
        "travel_stitch",
        {
            **_reference(orchestrator, details),
            "segment_frames": list(timeline.segments),
            "frame_overlaps": list(timeline.overlaps),
            "parsed_resolution_wh": size,
            "fps_helpers": details.fps_helpers,
            "crossfade_sharp_amt": details.crossfade_sharp_amt,
            **({"wrap_overlap": timeline.wrap} if timeline.wrap else {}),
            **({"segment_task_ids": ids} if kept else {}),
        },
        id=child_id(orchestrator.id, "stitch"),
        project_id=orchestrator.project_id,
        parent_id=orchestrator.id,
        priority=orchestrator.priority,
        depends_on=tuple(ids),
    )
    return (*segments, stitch)


def _reference(orchestrator: Task, details: TravelDetails) -> dict[str, Any]:
    return {
        "orchestrator_task_id_ref": orchestrator.id,
        "orchestrator_run_id": details.run_id or orchestrator.id,
    }


def _segment_params(
    orchestrator: Task, details: TravelDetails, timeline: Timeline, index: int, size: str
) -> dict[str, Any]:
    place = index + (1 if details.continues else 0)  # in the timeline a continued video is segment 0
    overlaps = timeline.overlaps
    optional = {
        "model_name": details.model_name,
        "num_inference_steps": details.num_inference_steps or details.steps,
        "guidance_scale": details.guidance_scale,
        "flow_shift": details.flow_shift,
        "additional_loras": details.additional_loras or None,
    }
    return {
        **_reference(orchestrator, details),
        "segment_index": index,
        "is_first_segment": index == 0,
        "is_last_segment": index == details.segment_count - 1,
        "segment_frames_target": timeline.segments[place],
        "frame_overlap_from_previous": overlaps[place - 1] if place else 0,
        "frame_overlap_with_next": overlaps[place] if place < len(overlaps) else timeline.wrap,
        "base_prompt": details.base_prompts_expanded[index],
        "negative_prompt": details.negative_prompts_expanded[index],
        "seed_to_use": details.seeds[index],
        "parsed_resolution_wh": size,
        "fps_helpers": details.fps_helpers,
        "idr_at": list(timeline.cuts(place)),
        **{name: value for name, value in optional.items() if value is not None},
        **details.override(),
    }


def refuse_too_long(timeline: Timeline, limit: int = 2_000_000) -> None:
    if timeline.length > limit:
        raise InvalidInput(
            f"segment_frames_expanded: the film would have {timeline.length:,} frames, more than {limit:,}. "
            "Make several travels."
        )
