from __future__ import annotations

import pytest

from blocks.queue.errors import StaleClaim, TaskEnded, UnknownTask
from blocks.queue.model import Status
from blocks.queue.protocol import TaskQueue
from tests.queue.acts import (
    BackendTests,
    FakeClock,
    complete,
    enqueue,
    fail,
    fresh_id,
    hold,
    ids,
    spec,
    status,
    statuses,
    waiting_parent,
)

FAILED, CANCELLED, QUEUED = Status.FAILED, Status.CANCELLED, Status.QUEUED


class Cascading(BackendTests):
    """I6: what ends with a task that ends badly."""

    def test_all_that_depends_on_a_failed_task_fails_and_names_it(self, queue: TaskQueue) -> None:
        first = enqueue(queue)
        second = enqueue(queue, depends_on=(first,))
        third = enqueue(queue, depends_on=(second,))
        outcome = queue.fail(first, hold(queue, first).token, "no such model", retry=False)
        assert ids(outcome.ended) == {second, third}
        for task_id in (second, third):
            task = queue.get(task_id)
            assert (task.status, task.root_task_id) == (FAILED, first)
            assert first in (task.error_message or "")
            assert "no such model" in (task.error_message or "")
            assert task.output_location == task.error_message

    def test_what_does_not_depend_on_it_goes_on(self, queue: TaskQueue) -> None:
        before, other = enqueue(queue), enqueue(queue)
        broken = enqueue(queue, depends_on=(before,))
        complete(queue, before)
        fail(queue, broken)
        assert statuses(queue, [before, other]) == [Status.COMPLETE, QUEUED]

    def test_a_failure_that_will_be_retried_ends_nothing(self, queue: TaskQueue) -> None:
        parent, (child,) = waiting_parent(queue, {})
        after = enqueue(queue, depends_on=(child,))
        queue.fail(child, hold(queue, child).token, "again", retry=True)
        assert statuses(queue, [parent, after]) == [Status.IN_PROGRESS, QUEUED]

    def test_a_failed_child_ends_its_orchestrator_and_the_children_that_are_queued(self, queue: TaskQueue) -> None:
        parent, (first, second, third) = waiting_parent(queue, {}, {}, {})
        complete(queue, second)
        outcome = queue.fail(first, hold(queue, first).token, "no such model", retry=False)
        assert ids(outcome.ended) == {parent, third}
        assert statuses(queue, [parent, second, third]) == [FAILED, Status.COMPLETE, FAILED]
        assert {queue.get(each).root_task_id for each in (parent, third)} == {first}
        assert not queue.get(parent).waiting

    def test_the_end_goes_on_upward_and_sideways(self, queue: TaskQueue) -> None:
        grandparent, (parent,) = waiting_parent(queue, {})
        claim = hold(queue, parent)
        child = enqueue(queue, parent_id=parent)
        queue.wait(parent, claim.token)
        after_parent = enqueue(queue, depends_on=(parent,))
        uncle = enqueue(queue, parent_id=grandparent)
        fail(queue, child)
        assert statuses(queue, [parent, grandparent, after_parent, uncle]) == [FAILED] * 4

    def test_running_siblings_of_a_failure_run_to_their_end(self, queue: TaskQueue) -> None:
        parent, (broken, running) = waiting_parent(queue, {}, {})
        claim = hold(queue, running)
        fail(queue, broken)
        assert not queue.renew(running, claim.token).cancelled
        queue.complete(running, claim.token)
        assert statuses(queue, [parent, running]) == [FAILED, Status.COMPLETE]

    @pytest.mark.parametrize("way", ["fail", "release", "rescue"])
    def test_a_running_sibling_that_comes_back_ends_like_its_parent(
        self, queue: TaskQueue, clock: FakeClock, way: str
    ) -> None:
        parent, (broken, running) = waiting_parent(queue, {}, {})
        outside = enqueue(queue, depends_on=(running,))
        claim = hold(queue, running)
        fail(queue, broken, "no such model")
        match way:
            case "fail":
                ended = queue.fail(running, claim.token, "again", retry=True).ended
            case "release":
                ended = queue.release(running, claim.token).ended
            case "rescue":
                ((rescued),) = queue.rescue(lost=[(running, 1)])
                ended = rescued.ended
        assert ids(ended) == {outside}
        for task_id in (running, outside):
            assert (status(queue, task_id), queue.get(task_id).root_task_id) == (FAILED, broken)
            assert "no such model" in (queue.get(task_id).error_message or "")
        assert queue.get(parent).root_task_id == broken

    def test_a_running_sibling_that_fails_for_good_names_nobody_else(self, queue: TaskQueue) -> None:
        _, (broken, running) = waiting_parent(queue, {}, {})
        claim = hold(queue, running)
        fail(queue, broken)
        task = queue.fail(running, claim.token, "my own fault", retry=False).task
        assert (task.root_task_id, task.error_message) == (None, "my own fault")

    def test_an_orchestrator_that_is_still_planning_ends_with_its_child(self, queue: TaskQueue) -> None:
        parent = enqueue(queue)
        claim = hold(queue, parent)
        child = enqueue(queue, parent_id=parent)
        fail(queue, child)
        assert status(queue, parent) is FAILED
        with pytest.raises(StaleClaim):
            queue.renew(parent, claim.token)
        for act in (queue.complete, queue.wait):
            with pytest.raises(TaskEnded):
                act(parent, claim.token)

    def test_an_orchestrator_that_fails_itself_ends_its_queued_children(self, queue: TaskQueue) -> None:
        parent = enqueue(queue)
        claim = hold(queue, parent)
        child, running = enqueue(queue, parent_id=parent), enqueue(queue, parent_id=parent)
        hold(queue, running)
        queue.fail(parent, claim.token, "bad plan", retry=False)
        assert (status(queue, child), queue.get(child).root_task_id) == (FAILED, parent)
        assert status(queue, running) is Status.IN_PROGRESS

    def test_a_delayed_dependent_falls_too(self, queue: TaskQueue) -> None:
        _, (broken, delayed) = waiting_parent(queue, {}, {})
        queue.fail(delayed, hold(queue, delayed).token, "again", retry=True, delay=900)
        fail(queue, broken)
        assert (status(queue, delayed), queue.get(delayed).scheduled_at) == (FAILED, None)

    def test_a_dead_letter_ends_what_depends_on_it(self, queue: TaskQueue) -> None:
        first = enqueue(queue, max_attempts=1)
        second = enqueue(queue, depends_on=(first,))
        hold(queue, first)
        (rescued,) = queue.rescue(lost=[(first, 1)])
        assert rescued.dead_letter
        assert ids(rescued.ended) == {second}
        assert queue.get(second).root_task_id == first

    def test_cancelling_a_queued_task_cancels_what_depends_on_it(self, queue: TaskQueue) -> None:
        first = enqueue(queue)
        second = enqueue(queue, depends_on=(first,))
        outcome = queue.cancel(first)
        assert (outcome.task.status, outcome.task.root_task_id) == (CANCELLED, None)
        assert ids(outcome.ended) == {second}
        assert (status(queue, second), queue.get(second).root_task_id) == (CANCELLED, first)

    def test_cancelling_an_orchestrator_cancels_its_running_children_too(self, queue: TaskQueue) -> None:
        parent, (running, queued) = waiting_parent(queue, {}, {})
        claim = hold(queue, running)
        outcome = queue.cancel(parent)
        assert ids(outcome.ended) == {running, queued}
        assert queue.renew(running, claim.token).cancelled
        with pytest.raises(TaskEnded):
            queue.complete(running, claim.token)

    def test_cancelling_a_child_cancels_the_whole_family(self, queue: TaskQueue) -> None:
        parent, (first, running, third) = waiting_parent(queue, {}, {}, {})
        hold(queue, running)
        queue.cancel(first)
        assert statuses(queue, [parent, first, running, third]) == [CANCELLED] * 4

    def test_a_cancel_reaches_grandchildren(self, queue: TaskQueue) -> None:
        grandparent, (parent,) = waiting_parent(queue, {})
        claim = hold(queue, parent)
        child = enqueue(queue, parent_id=parent)
        queue.wait(parent, claim.token)
        running = hold(queue, child)
        queue.cancel(grandparent)
        assert queue.renew(child, running.token).cancelled

    def test_what_has_ended_is_not_ended_again(self, queue: TaskQueue) -> None:
        parent, (first, running) = waiting_parent(queue, {}, {})
        claim = hold(queue, running)
        fail(queue, first)
        before = queue.get(parent)
        queue.fail(running, claim.token, "too", retry=False)
        assert queue.get(parent) == before

    def test_cancelling_twice_answers_the_same(self, queue: TaskQueue) -> None:
        parent, _ = waiting_parent(queue, {}, {})
        first, second = queue.cancel(parent), queue.cancel(parent)
        assert (first.task, ids(first.ended)) == (second.task, ids(second.ended))

    @pytest.mark.parametrize("end", [complete, fail])
    def test_a_task_that_has_ended_otherwise_cannot_be_cancelled(self, queue: TaskQueue, end: object) -> None:
        task_id = enqueue(queue)
        end(queue, task_id)
        with pytest.raises(TaskEnded):
            queue.cancel(task_id)

    def test_a_task_that_is_not_there_cannot_be_cancelled(self, queue: TaskQueue) -> None:
        with pytest.raises(UnknownTask):
            queue.cancel(fresh_id())

    def test_a_long_chain_falls_in_one_step(self, queue: TaskQueue) -> None:
        chain = [fresh_id() for _ in range(200)]
        queue.enqueue(*(spec(id=b, depends_on=(a,) if a else ()) for a, b in zip([None, *chain], chain, strict=False)))
        outcome = queue.cancel(chain[0])
        assert [task.id for task in outcome.ended] == chain[1:]
