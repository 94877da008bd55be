"""One image from a prompt."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.clips import generate_image
from tasks.finish import deliver
from tasks.params.clips import ImageParams
from tasks.runs import perform
from tasks.work import Output, Work


@flow(name="single_image")
async def single_image(task_id: str, attempt: int) -> State[Any]:
    """Paint the image of one claimed task and store it."""
    return await perform(task_id, attempt, make)


async def make(work: Work) -> Output:
    return await deliver(work, await generate_image(work, work.params(ImageParams)))
