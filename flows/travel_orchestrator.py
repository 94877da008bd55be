"""A travel: plan it, fan out into segments and a stitch, wait without a process, and sum up."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.flow_runs import asuspend_flow_run

from blocks.queue.model import Outcome
from tasks.orchestration import Situation, fan_out, look, plan, show_plan, sum_up
from tasks.runs import perform_ending
from tasks.work import Site, Work


@flow(name="travel_orchestrator")
async def travel_orchestrator(task_id: str, attempt: int) -> State[Any]:
    """Runs twice: it plans and suspends itself, and when its children have ended it is resumed and sums up."""
    async with Site.open() as site:
        situation = await look(site, task_id, attempt)
        if situation is Situation.FRESH:
            state = await perform_ending(site, task_id, attempt, depart)
            situation = await look(site, task_id, attempt)
            if situation is not Situation.WAITING:
                return state
        if situation is Situation.WAITING:
            # A key of its own each time: Prefect takes a repeated one for a suspension that is over.
            await asuspend_flow_run(key=str(uuid4()), timeout=None)
        return await sum_up(site, task_id)


async def depart(work: Work) -> Outcome:
    """Plan the travel and hand it to its children."""
    travel = await plan(work)
    await show_plan(work, travel)
    return await fan_out(work, travel)
