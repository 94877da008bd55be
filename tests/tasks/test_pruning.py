from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from blocks.queue.memory import MemoryQueue
from blocks.queue.model import Task, TaskSpec
from blocks.storage.local import LocalStorage
from tasks.files import WorkFolder
from tasks.pruning import prune_once


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "storage")


def ended(queue: MemoryQueue, storage: LocalStorage, tmp_path: Path) -> Task:
    """A finished task with a film and a contact sheet."""
    queue.enqueue(TaskSpec("travel_stitch", {}))
    [claim] = queue.claim("worker_test", start=True)
    files = []
    for name in ("film.mp4", "contact_sheet.jpg"):
        source = tmp_path / name
        source.write_bytes(b"bytes")
        files.append(storage.put(source, owner="u", task_id=claim.task.id, attempt=1, name=name).location)
    result = {"contact_sheet": files[1]}
    return queue.complete(claim.task.id, claim.token, output_location=files[0], result=result).task


def test_an_old_task_goes_with_its_files(storage: LocalStorage, tmp_path: Path) -> None:
    queue = MemoryQueue()
    task = ended(queue, storage, tmp_path)
    assert prune_once(queue, storage, tmp_path / "work", timedelta(0)) == 1
    assert not Path(str(task.output_location)).parent.exists()


def test_a_task_that_is_not_old_keeps_its_files(storage: LocalStorage, tmp_path: Path) -> None:
    queue = MemoryQueue()
    task = ended(queue, storage, tmp_path)
    assert prune_once(queue, storage, tmp_path / "work", timedelta(days=1)) == 0
    assert Path(str(task.output_location)).exists()


def test_the_scratch_folder_of_a_task_that_never_completed_goes_with_it(storage: LocalStorage, tmp_path: Path) -> None:
    queue, work = MemoryQueue(), tmp_path / "work"
    [entry] = queue.enqueue(TaskSpec("single_image", {"prompt": "sea"}))
    folder = WorkFolder(work, entry.task.id)
    (folder.path / "half.mp4").write_bytes(b"half")
    queue.cancel(entry.task.id)
    prune_once(queue, storage, work, timedelta(0))
    assert not folder.path.exists()
