from __future__ import annotations

from datetime import timedelta

import pytest

from blocks.queue.errors import UnknownTask
from blocks.queue.model import Counts, Predecessor, Status, TaskFilter
from blocks.queue.protocol import TaskQueue
from tests.queue.acts import (
    BackendTests,
    FakeClock,
    complete,
    enqueue,
    fail,
    fresh_id,
    hold,
    spec,
    waiting_parent,
)


class Reading(BackendTests):
    @pytest.mark.parametrize("task_id", ["00000000-0000-4000-8000-00000000dead", "not a uuid", ""])
    def test_a_task_that_is_not_there_is_unknown(self, queue: TaskQueue, task_id: str) -> None:
        with pytest.raises(UnknownTask):
            queue.get(task_id)
        with pytest.raises(UnknownTask):
            queue.predecessors(task_id)

    def test_an_old_client_reads_the_sole_dependency_as_a_scalar(self, queue: TaskQueue) -> None:
        first, second = enqueue(queue), enqueue(queue)
        assert queue.get(enqueue(queue, depends_on=(first,))).dependant_on == first
        assert queue.get(enqueue(queue, depends_on=(second, first))).dependant_on is None

    def test_a_list_begins_with_the_newest(self, queue: TaskQueue) -> None:
        created = [enqueue(queue) for _ in range(3)]
        assert [task.id for task in queue.list()] == created[::-1]
        assert [task.id for task in queue.list(TaskFilter(limit=2))] == created[:0:-1]
        assert queue.list(TaskFilter(limit=0)) == []

    def test_a_list_can_be_narrowed(self, queue: TaskQueue) -> None:
        project = self.new_project()
        parent = enqueue(queue, task_type="analysis", project_id=project)
        child = enqueue(queue, parent_id=parent)
        done = enqueue(queue)
        complete(queue, done)

        def found(**where: object) -> list[str]:
            return [task.id for task in queue.list(TaskFilter(**where))]

        assert found(status=[Status.COMPLETE]) == [done]
        assert found(status=[Status.QUEUED, Status.COMPLETE]) == [done, child, parent]
        assert found(task_type=["analysis"]) == [parent]
        assert found(project_id=project) == [parent]
        assert found(parent_id=parent) == [child]
        assert found(parent_id=parent, status=[Status.COMPLETE]) == []
        assert found(status=[]) == []

    def test_children_come_in_the_order_of_enqueue(self, queue: TaskQueue) -> None:
        parent, children = waiting_parent(queue, {}, {"priority": 9}, {})
        assert [task.id for task in queue.children(parent)] == children
        assert queue.children(children[0]) == []
        assert queue.children(fresh_id()) == []

    def test_counts_put_every_task_in_one_total(self, queue: TaskQueue, clock: FakeClock) -> None:
        later = clock.now + timedelta(hours=1)
        first = enqueue(queue, task_type="analysis")
        enqueue(queue, depends_on=(first,))
        enqueue(queue, depends_on=(first,), scheduled_at=later)
        enqueue(queue, scheduled_at=later)
        hold(queue, enqueue(queue))
        complete(queue, enqueue(queue))
        fail(queue, enqueue(queue))
        queue.cancel(enqueue(queue))
        waiting_parent(queue, {}, {})
        assert queue.counts() == Counts(
            ready=3,
            blocked=2,
            delayed=1,
            in_progress=1,
            waiting=1,
            complete=1,
            failed=1,
            cancelled=1,
            ready_by_type={"analysis": 1, "single_image": 2},
        )

    def test_a_dispatcher_reads_what_is_ready_without_the_history(self, queue: TaskQueue, clock: FakeClock) -> None:
        enqueue(queue, task_type="analysis")
        enqueue(queue, scheduled_at=clock.now + timedelta(seconds=5))
        complete(queue, enqueue(queue))
        assert queue.ready_by_type() == {"analysis": 1}
        clock.advance(5)
        assert queue.ready_by_type() == queue.counts().ready_by_type == {"analysis": 1, "single_image": 1}

    def test_a_task_that_became_due_counts_as_ready_before_anybody_claims(
        self, queue: TaskQueue, clock: FakeClock
    ) -> None:
        enqueue(queue, scheduled_at=clock.now + timedelta(seconds=5))
        clock.advance(5)
        counts = queue.counts()
        assert (counts.ready, counts.delayed, counts.ready_by_type) == (1, 0, {"single_image": 1})

    def test_predecessors_come_in_the_order_they_were_named(self, queue: TaskQueue) -> None:
        first, second, broken = enqueue(queue), enqueue(queue), enqueue(queue)
        task_id = enqueue(queue, depends_on=(second, broken, first))
        complete(queue, first, "1.mp4")
        fail(queue, broken)
        assert queue.predecessors(task_id) == [
            Predecessor(second, Status.QUEUED, None),
            Predecessor(broken, Status.FAILED, None),
            Predecessor(first, Status.COMPLETE, "1.mp4"),
        ]
        assert queue.predecessors(first) == []

    def test_completed_segments_are_sorted_and_the_newest_of_each_index_counts(self, queue: TaskQueue) -> None:
        def segment(index: object, output: str, **fields: object) -> str:
            params = {"orchestrator_run_id": "run-1", "segment_index": index}
            task_id = enqueue(queue, **{"task_type": "travel_segment", "params": params} | fields)
            complete(queue, task_id, output)
            return task_id

        last, _ = segment(2, "2.mp4"), segment(0, "0 first.mp4")
        again, ten = segment(0, "0 again.mp4"), segment(10, "10.mp4")
        segment(1, "stitch.mp4", task_type="travel_stitch")
        segment(1, "other.mp4", params={"orchestrator_run_id": "run-2", "segment_index": 1})
        segment("1", "text.mp4")
        enqueue(queue, task_type="travel_segment", params={"orchestrator_run_id": "run-1", "segment_index": 3})
        found = [
            (each.segment_index, each.task_id, each.output_location)
            for each in queue.completed_segments(run_id="run-1")
        ]
        assert found == [(0, again, "0 again.mp4"), (2, last, "2.mp4"), (10, ten, "10.mp4")]

    def test_completed_segments_are_found_by_their_parent_too(self, queue: TaskQueue) -> None:
        parent, (child, _) = waiting_parent(
            queue, {"task_type": "travel_segment", "params": {"segment_index": 0}}, {"task_type": "travel_stitch"}
        )
        complete(queue, child, "0.mp4")
        (found,) = queue.completed_segments(run_id=parent)
        assert (found.segment_index, found.task_id, found.output_location) == (0, child, "0.mp4")
        assert queue.completed_segments(run_id=fresh_id()) == []

    def test_completed_segments_have_no_cap(self, queue: TaskQueue) -> None:
        run = [{"orchestrator_run_id": "long", "segment_index": index} for index in range(120)]
        queue.enqueue(*(spec(task_type="travel_segment", params=params) for params in run))
        for claim in queue.claim("gpu-1", limit=len(run)):
            queue.complete(claim.task.id, claim.token, output_location="film.mp4")
        assert [each.segment_index for each in queue.completed_segments(run_id="long")] == list(range(120))

    def test_a_change_can_be_noticed(self, queue: TaskQueue) -> None:
        before = queue.changed()
        assert queue.changed() == before
        enqueue(queue)
        assert queue.changed() != before
