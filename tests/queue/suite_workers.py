from __future__ import annotations

from typing import Any

import pytest

from blocks.queue.errors import InvalidTask
from blocks.queue.model import Worker
from blocks.queue.protocol import TaskQueue
from tests.queue.acts import BackendTests, FakeClock, enqueue, hold

FACTS = {"gpus": ["RTX 4090"], "load_seconds": {"wan:small": 41.5}, "hits": 3, "torch": None, "größe": "24 GB"}


class NotingWorkers(BackendTests):
    def test_a_worker_is_known_by_what_it_said_last(self, queue: TaskQueue, clock: FakeClock) -> None:
        queue.note_worker("gpu-1", "wan:small", FACTS)
        assert queue.workers() == [Worker("gpu-1", clock.now, "wan:small", FACTS)]
        clock.advance(20)
        queue.note_worker("gpu-1", None, {"hits": 4})
        assert queue.workers() == [Worker("gpu-1", clock.now, None, {"hits": 4})]

    def test_a_worker_that_only_claimed_has_said_nothing(self, queue: TaskQueue, clock: FakeClock) -> None:
        hold(queue, enqueue(queue), "gpu-1")
        assert queue.workers() == [Worker("gpu-1", clock.now, None, {})]

    def test_a_claim_leaves_what_its_worker_said(self, queue: TaskQueue, clock: FakeClock) -> None:
        queue.note_worker("gpu-1", "wan:small", FACTS)
        said = queue.workers()
        clock.advance(20)
        hold(queue, enqueue(queue), "gpu-1")
        assert queue.workers() == said

    def test_who_was_heard_of_last_comes_first(self, queue: TaskQueue, clock: FakeClock) -> None:
        for worker_id in ("gpu-1", "gpu-3", "gpu-2"):
            queue.note_worker(worker_id, None, {})
        clock.advance(1)
        queue.note_worker("gpu-3", None, {})
        assert [worker.id for worker in queue.workers()] == ["gpu-3", "gpu-1", "gpu-2"]
        assert [worker.id for worker in queue.workers(limit=2)] == ["gpu-3", "gpu-1"]
        assert queue.workers(limit=0) == []

    @pytest.mark.parametrize(
        ("field", "said"),
        [
            ("worker_id", ("", None, {})),
            ("worker_id", ("w" * 129, None, {})),
            ("current_model", ("gpu-1", " ", {})),
            ("current_model", ("gpu-1", "m" * 1001, {})),
            ("metadata", ("gpu-1", None, ["hits"])),
            ("metadata", ("gpu-1", None, {"hits": float("nan")})),
            ("metadata", ("gpu-1", None, {"log": "x" * 17_000})),
        ],
    )
    def test_what_no_row_could_hold_is_refused_by_its_field(
        self, queue: TaskQueue, field: str, said: tuple[Any, Any, Any]
    ) -> None:
        with pytest.raises(InvalidTask) as refused:
            queue.note_worker(*said)
        assert refused.value.data["field"] == field
        assert queue.workers() == []

    def test_the_longest_that_is_allowed_is_kept(self, queue: TaskQueue) -> None:
        queue.note_worker("w" * 128, "m" * 1000, {"log": "x" * 16_000})
        (worker,) = queue.workers()
        assert (len(worker.id), len(worker.current_model or ""), len(worker.metadata["log"])) == (128, 1000, 16_000)

    def test_what_a_reader_does_with_it_is_the_readers(self, queue: TaskQueue) -> None:
        said: dict[str, Any] = {"loaded": ["motion:flow"]}
        queue.note_worker("gpu-1", None, said)
        said["loaded"].append("wan:small")
        queue.workers()[0].metadata["loaded"].clear()
        assert queue.workers()[0].metadata == {"loaded": ["motion:flow"]}
