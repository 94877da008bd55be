from __future__ import annotations

from datetime import timedelta

import pytest

from blocks.queue.errors import InvalidTask, StaleClaim, TaskEnded
from blocks.queue.model import Status
from blocks.queue.protocol import TaskQueue
from tests.queue.acts import (
    BackendTests,
    FakeClock,
    claimed_ids,
    complete,
    enqueue,
    fail,
    fresh_id,
    hold,
    ids,
    status,
    waiting_parent,
)


class WaitingForChildren(BackendTests):
    def test_a_waiting_orchestrator_has_neither_holder_nor_lease(self, queue: TaskQueue) -> None:
        parent = enqueue(queue)
        claim = hold(queue, parent)
        enqueue(queue, parent_id=parent)
        task = queue.wait(parent, claim.token).task
        assert (task.status, task.waiting) == (Status.IN_PROGRESS, True)
        assert (task.worker_id, task.lease_expires_at) == (None, None)

    def test_a_waiting_orchestrator_is_never_claimed_or_rescued(self, queue: TaskQueue, clock: FakeClock) -> None:
        parent, (child,) = waiting_parent(queue, {})
        clock.advance(timedelta(days=30).total_seconds())
        assert queue.rescue(lost=[(parent, 1)]) == []
        assert claimed_ids(queue.claim("gpu-1", limit=9)) == [child]
        assert queue.claim("gpu-1", task_ids=[parent]) == []

    def test_the_token_of_a_waiting_orchestrator_is_void(self, queue: TaskQueue) -> None:
        parent = enqueue(queue)
        claim = hold(queue, parent)
        enqueue(queue, parent_id=parent)
        queue.wait(parent, claim.token)
        for act in (queue.renew, queue.complete, queue.release):
            with pytest.raises(StaleClaim):
                act(parent, claim.token)
        with pytest.raises(StaleClaim):
            queue.fail(parent, claim.token, "x", retry=True)
        with pytest.raises(StaleClaim):
            queue.start(parent, 1, "control-1")

    def test_a_wait_whose_answer_was_lost_can_be_repeated(self, queue: TaskQueue) -> None:
        parent = enqueue(queue)
        claim = hold(queue, parent)
        enqueue(queue, parent_id=parent)
        assert queue.wait(parent, claim.token) == queue.wait(parent, claim.token)

    def test_only_the_holder_hands_over(self, queue: TaskQueue) -> None:
        parent = enqueue(queue)
        hold(queue, parent)
        enqueue(queue, parent_id=parent)
        with pytest.raises(StaleClaim):
            queue.wait(parent, fresh_id())

    def test_who_has_no_children_cannot_wait_for_them(self, queue: TaskQueue) -> None:
        claim = hold(queue, enqueue(queue))
        with pytest.raises(InvalidTask, match="children"):
            queue.wait(claim.task.id, claim.token)
        queue.complete(claim.task.id, claim.token)

    def test_the_last_child_completes_its_parent_with_the_output_of_the_stitch(self, queue: TaskQueue) -> None:
        first, second, stitch = fresh_id(), fresh_id(), fresh_id()
        parent, _ = waiting_parent(
            queue, {"id": stitch, "depends_on": (first, second)}, {"id": first}, {"id": second, "depends_on": (first,)}
        )
        complete(queue, first, "1.mp4")
        complete(queue, second, "2.mp4")
        assert status(queue, parent) is Status.IN_PROGRESS
        outcome = queue.complete(stitch, hold(queue, stitch).token, output_location="film.mp4", result={"frames": 219})
        task = queue.get(parent)
        assert (task.status, task.output_location, task.result) == (Status.COMPLETE, "film.mp4", {"frames": 219})
        assert (task.waiting, task.root_task_id) == (False, stitch)
        assert outcome.ended == (task,)

    def test_of_several_last_children_the_one_enqueued_last_gives_the_output(self, queue: TaskQueue) -> None:
        parent, (first, second) = waiting_parent(queue, {}, {})
        complete(queue, second, "second.png")
        complete(queue, first, "first.png")
        assert queue.get(parent).output_location == "second.png"

    def test_the_end_of_a_parent_makes_its_own_dependents_ready(self, queue: TaskQueue) -> None:
        parent, (child,) = waiting_parent(queue, {})
        after = enqueue(queue, depends_on=(parent,))
        assert queue.complete(child, hold(queue, child).token).ready == (after,)

    def test_parents_of_parents_complete_too(self, queue: TaskQueue) -> None:
        grandparent, (parent,) = waiting_parent(queue, {})
        claim = hold(queue, parent)
        child = enqueue(queue, parent_id=parent)
        queue.wait(parent, claim.token)
        outcome = queue.complete(child, hold(queue, child).token, output_location="out.mp4")
        assert ids(outcome.ended) == {parent, grandparent}
        assert queue.get(grandparent).output_location == "out.mp4"

    def test_a_last_child_that_repeats_its_complete_is_told_of_its_parent_again(self, queue: TaskQueue) -> None:
        parent, (child,) = waiting_parent(queue, {})
        enqueue(queue, depends_on=(parent,))
        claim = hold(queue, child)
        assert queue.complete(child, claim.token) == queue.complete(child, claim.token)

    def test_children_do_not_complete_a_parent_that_is_not_waiting_yet(self, queue: TaskQueue) -> None:
        parent = enqueue(queue)
        claim = hold(queue, parent)
        complete(queue, enqueue(queue, parent_id=parent), "early.mp4")
        assert status(queue, parent) is Status.IN_PROGRESS
        outcome = queue.wait(parent, claim.token)
        assert (outcome.task.status, outcome.task.output_location) == (Status.COMPLETE, "early.mp4")
        assert outcome.task.root_task_id is None

    def test_waiting_for_children_that_are_done_makes_dependents_ready(self, queue: TaskQueue) -> None:
        grandparent, (parent,) = waiting_parent(queue, {})
        after = enqueue(queue, depends_on=(grandparent,))
        claim = hold(queue, parent)
        complete(queue, enqueue(queue, parent_id=parent))
        outcome = queue.wait(parent, claim.token)
        assert (ids(outcome.ended), outcome.ready) == ({grandparent}, (after,))

    def test_waiting_after_a_child_has_failed_finds_the_task_ended(self, queue: TaskQueue) -> None:
        parent = enqueue(queue)
        claim = hold(queue, parent)
        fail(queue, enqueue(queue, parent_id=parent))
        with pytest.raises(TaskEnded):
            queue.wait(parent, claim.token)

    def test_a_parent_may_complete_itself_and_leave_its_children_running(self, queue: TaskQueue) -> None:
        parent = enqueue(queue)
        claim = hold(queue, parent)
        child = enqueue(queue, parent_id=parent)
        queue.complete(parent, claim.token)
        fail(queue, child)
        assert status(queue, parent) is Status.COMPLETE

    def test_an_orchestrator_that_comes_back_finds_its_children(self, queue: TaskQueue) -> None:
        parent = enqueue(queue)
        claim = hold(queue, parent)
        child = enqueue(queue, parent_id=parent)
        queue.fail(parent, claim.token, "restart", retry=True, delay=0)
        complete(queue, child)
        again = hold(queue, parent)
        assert [task.id for task in queue.children(parent)] == [child]
        assert queue.wait(parent, again.token).task.status is Status.COMPLETE
