"""All segments of a travel joined into one continuous shot."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from tasks import story
from tasks.finishing import film_facts, finish_film
from tasks.params.travel import StitchParams
from tasks.runs import perform
from tasks.segments import draw_contact_sheet, facts, fetch_segments, stitch_segments, store_output
from tasks.travel import details_of
from tasks.work import Output, Work


@flow(name="travel_stitch")
async def travel_stitch(task_id: str, attempt: int) -> State[Any]:
    """Stitch the film of one claimed task; its completion completes the travel."""
    return await perform(task_id, attempt, make_film)


async def make_film(work: Work) -> Output:
    params = work.params(StitchParams)
    travel = details_of(await work.orchestrator(params.orchestrator_task_id_ref))
    parts = await fetch_segments(work, travel, params)
    stitched, report = await stitch_segments(work, travel, params, parts)
    film = await finish_film(work, travel, stitched)
    sheet = await draw_contact_sheet(work, film)
    stored = await store_output(work, film)
    await story.link(f"film-{work.task.id}", stored.location, "Film")
    return Output(
        stored.location,
        facts(
            stored,
            **await film_facts(work, film),
            mode=report.mode,
            frames_copied=report.copied,
            frames_encoded=report.encoded,
            reasons=list(report.reasons),
            contact_sheet=sheet.location,
        ),
    )
