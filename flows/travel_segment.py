"""One video segment between two anchors."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from tasks import story
from tasks.params.travel import SegmentParams
from tasks.runs import perform
from tasks.segments import facts, fetch_conditions, generate_segment, store_output
from tasks.travel import details_of
from tasks.work import Output, Work


@flow(name="travel_segment")
async def travel_segment(task_id: str, attempt: int) -> State[Any]:
    """Generate the segment of one claimed task and store it."""
    return await perform(task_id, attempt, make_segment)


async def make_segment(work: Work) -> Output:
    params = work.params(SegmentParams)
    orchestrator = await work.orchestrator(params.orchestrator_task_id_ref)
    travel = details_of(orchestrator)
    conditions = await fetch_conditions(work, travel, params)
    clip, made_now = await generate_segment(work, orchestrator, travel, params, conditions)
    stored = await store_output(work, clip)
    await story.link(f"segment-{work.task.id}", stored.location, f"Segment {params.segment_index + 1}")
    return Output(
        stored.location,
        facts(
            stored,
            segment_index=params.segment_index,
            frames=params.segment_frames_target,
            seed=params.seed_to_use,
            engine=work.site.engines.video,
            generated_in_attempt=work.attempt if made_now else None,
        ),
    )
