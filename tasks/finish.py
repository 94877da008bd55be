"""The last step of an image or a clip: store it, show it, and say what it is."""

from __future__ import annotations

from tasks import story
from tasks.clips import Made
from tasks.media.contact_sheet import small_contact_sheet
from tasks.segments import facts, store_output
from tasks.work import Output, Work


async def deliver(work: Work, made: Made) -> Output:
    stored = await store_output(work, made.path)
    await story.link(f"output-{work.task.id}", stored.location, made.path.name)
    if made.frames > 1:
        sheet = made.path.with_name("contact_sheet_small.jpg")
        await work.compute(small_contact_sheet, made.path, sheet)
        await story.picture(f"contact-sheet-{work.task.id}", sheet, "Contact sheet")
    width, height = made.size
    return Output(stored.location, facts(stored, frames=made.frames, seed=made.seed, width=width, height=height))
