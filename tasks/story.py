"""What the Prefect UI shows of a task: progress, plan, timings, links and pictures. Never needed for the outcome."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.artifacts import (
    acreate_image_artifact,
    acreate_link_artifact,
    acreate_progress_artifact,
    acreate_table_artifact,
    aupdate_progress_artifact,
)
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.sorting import ArtifactSort
from prefect.logging.handlers import APILogHandler

from blocks.queue.model import Status, Task
from blocks.queue.protocol import TaskQueue
from tasks.dispatch import UNREACHABLE
from tasks.heartbeat import Progress
from tasks.media.contact_sheet import small_contact_sheet

log = logging.getLogger(__name__)

#: A call costs the server some 20 ms; live progress stands in the task's row.
_SHOW_EVERY = 3.0
#: Browsers refuse file: links in a page that came over http, so a local picture travels inside the artifact.
_MAX_INLINE = 200_000


@contextlib.contextmanager
def engine_log() -> Iterator[None]:
    """Within a run, what our modules log is read where the run is: a model that was loaded, memory that was short."""
    ours, handler = logging.getLogger("tasks"), APILogHandler()
    before = ours.level
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    try:
        yield
    finally:
        ours.removeHandler(handler)
        ours.setLevel(before)


@contextlib.asynccontextmanager
async def shown_progress(key: str, description: str, read: Callable[[], Progress | None]) -> AsyncIterator[None]:
    """Keep a progress artifact in step with `read` while the body runs; it ends at 100 only if the body succeeds."""
    watcher = asyncio.create_task(_watch(f"progress-{key}", description, read))
    succeeded = False
    try:
        yield
        succeeded = True
    finally:
        watcher.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            artifact = await watcher
            if artifact and succeeded:
                await _quietly(aupdate_progress_artifact(artifact, progress=100.0))


async def _watch(key: str, description: str, read: Callable[[], Progress | None]) -> UUID | None:
    artifact: UUID | None = None
    shown = -1.0
    try:
        artifact = await _quietly(acreate_progress_artifact(progress=0.0, key=key, description=description))
        while artifact:
            await asyncio.sleep(_SHOW_EVERY)
            now = read()
            percent = round(100 * now.tick / max(1, now.max_ticks or 1), 1) if now else 0.0
            if percent != shown:
                shown = percent
                await _quietly(aupdate_progress_artifact(artifact, progress=min(percent, 100.0)))
    except asyncio.CancelledError:
        pass  # the body has ended; the caller writes the last value
    return artifact


async def open_travel_progress(task_id: str, children: int) -> None:
    """A bar for the whole travel; its children move it while the orchestrator is suspended."""
    key, what = f"progress-{task_id}", f"travel {task_id}: {children} parts"
    await _quietly(acreate_progress_artifact(progress=0.0, key=key, description=what))


async def travel_progress(client: PrefectClient, queue: TaskQueue, child: Task) -> None:
    """Move the bar of the travel that this finished child belongs to."""
    if child.parent_id is None:
        return
    siblings = await asyncio.to_thread(queue.children, child.parent_id)
    done = sum(sibling.status is Status.COMPLETE for sibling in siblings)
    await _quietly(_move_bar(client, f"progress-{child.parent_id}", 100.0 * done / max(1, len(siblings))))


async def _move_bar(client: PrefectClient, key: str, percent: float) -> None:
    wanted = ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
    for artifact in await client.read_artifacts(artifact_filter=wanted, sort=ArtifactSort.CREATED_DESC, limit=1):
        await aupdate_progress_artifact(artifact.id, progress=percent)


async def table(key: str, description: str, rows: Sequence[dict[str, Any]]) -> None:
    await _quietly(acreate_table_artifact(table=[dict(row) for row in rows], key=key, description=description))


async def link(key: str, location: str, text: str) -> None:
    url = location if "://" in location else Path(location).as_uri()
    await _quietly(acreate_link_artifact(link=url, link_text=text, key=key, description=location))


async def contact_sheet(task_id: str, film: Path) -> None:
    """A small sheet of a film, as a picture in the UI; nothing is left on the disk."""
    with tempfile.TemporaryDirectory(prefix="longtake-") as folder:
        sheet = await asyncio.to_thread(small_contact_sheet, film, Path(folder) / "contact_sheet.jpg")
        await picture(f"contact-sheet-{task_id}", sheet, "Contact sheet")


async def picture(key: str, path: Path, description: str) -> None:
    """A small local picture, such as a contact sheet; one that is too large is left to its link."""
    content = await asyncio.to_thread(path.read_bytes)
    if len(content) > _MAX_INLINE:
        return
    kind = "png" if path.suffix == ".png" else "jpeg"
    url = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    await _quietly(acreate_image_artifact(image_url=url, key=key, description=description))


async def _quietly(call: Any) -> Any:
    """An artifact that could not be written is a line in the log, never the end of a task."""
    try:
        return await call
    except UNREACHABLE as error:
        log.warning("artifact_not_written error=%s", error)
        return None
