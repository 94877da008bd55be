"""One frame of a video, as a picture."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.clips import extract
from tasks.finish import deliver
from tasks.params.clips import FrameParams
from tasks.runs import perform
from tasks.work import Output, Work


@flow(name="extract_frame")
async def extract_frame(task_id: str, attempt: int) -> State[Any]:
    """Extract the frame of one claimed task and store it."""
    return await perform(task_id, attempt, make)


async def make(work: Work) -> Output:
    return await deliver(work, await extract(work, work.params(FrameParams)))
