"""Clips joined by generated transitions or a crossfade."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.finish import deliver
from tasks.joining import join
from tasks.params.clips import JoinParams
from tasks.runs import perform
from tasks.work import Output, Work


@flow(name="join_clips")
async def join_clips(task_id: str, attempt: int) -> State[Any]:
    """Join the clips of one claimed task and store the result."""
    return await perform(task_id, attempt, make)


async def make(work: Work) -> Output:
    return await deliver(work, await join(work, work.params(JoinParams)))
