"""A clip that starts on one image and ends on another."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.clips import interpolate
from tasks.finish import deliver
from tasks.params.clips import InterpolateParams
from tasks.runs import perform
from tasks.work import Output, Work


@flow(name="interpolate_images")
async def interpolate_images(task_id: str, attempt: int) -> State[Any]:
    """Make the interpolation of one claimed task and store it."""
    return await perform(task_id, attempt, make)


async def make(work: Work) -> Output:
    return await deliver(work, await interpolate(work, work.params(InterpolateParams)))
