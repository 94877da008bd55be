from __future__ import annotations

from blocks.queue.memory import MemoryQueue
from blocks.queue.protocol import TaskQueue
from tests.queue.acts import FakeClock
from tests.queue.suite import QueueSuite


class TestMemoryQueue(QueueSuite):
    def open_queue(self, clock: FakeClock) -> TaskQueue:
        return MemoryQueue(clock=clock)

    def test_no_other_process_can_open_it(self, queue: TaskQueue) -> None:
        assert queue.address() is None
