from __future__ import annotations

import pytest

from blocks.queue.memory import MemoryQueue
from blocks.queue.model import TaskSpec
from tasks.labels import run_name


@pytest.mark.parametrize("index", ["abc", None, [1], {"a": 1}, 1.5])
def test_a_run_has_a_name_whatever_its_task_says(index: object) -> None:
    (entry,) = MemoryQueue().enqueue(TaskSpec("travel_segment", {"segment_index": index}))
    assert run_name(entry.task, 1).startswith("segment")
