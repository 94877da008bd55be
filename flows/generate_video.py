"""A clip from images, from a video's end, or from a prompt."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.clips import generate_clip
from tasks.finish import deliver
from tasks.params.clips import ClipParams
from tasks.runs import perform
from tasks.work import Output, Work


@flow(name="generate_video")
async def generate_video(task_id: str, attempt: int) -> State[Any]:
    """Generate the clip of one claimed task and store it."""
    return await perform(task_id, attempt, make)


async def make(work: Work) -> Output:
    return await deliver(work, await generate_clip(work, work.params(ClipParams)))
