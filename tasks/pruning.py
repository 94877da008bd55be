"""Delete old finished tasks and their files: the rows first, so that no row ever points at a file that is gone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from blocks.queue.model import Status, Task
from blocks.queue.protocol import TaskQueue
from blocks.storage.protocol import Storage
from tasks.files import WorkFolder

_BATCH = 100


def prune_once(queue: TaskQueue, storage: Storage, work_dir: Path, older_than: timedelta) -> int:
    """The number of tasks deleted, with all the files they name and what is left of their work on this machine."""
    deleted = 0
    while batch := queue.prune(older_than, limit=_BATCH):
        deleted += len(batch)
        for task in batch:
            WorkFolder(work_dir, task.id).remove()
        for location in {location for task in batch for location in _files(task)}:
            storage.delete(location)
    return deleted


def _files(task: Task) -> Iterator[str]:
    # The output_location of a task that failed holds its message, for old clients.
    if task.status is Status.COMPLETE and task.output_location:
        yield task.output_location
    sheet = (task.result or {}).get("contact_sheet")
    if isinstance(sheet, str):
        yield sheet
