"""The last step of an image or a clip: store it, show it, and say what it is."""

from __future__ import annotations

from tasks import story
from tasks.clips import Made
from tasks.segments import facts, store_output
from tasks.work import Output, Work


async def deliver(work: Work, made: Made) -> Output:
    stored = await store_output(work, made.path)
    await story.link(f"output-{work.task.id}", stored.location, made.path.name)
    if made.frames > 1:
        await story.contact_sheet(work.task.id, made.path)
    width, height = made.size
    return Output(stored.location, facts(stored, frames=made.frames, seed=made.seed, width=width, height=height))
