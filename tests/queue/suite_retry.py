from __future__ import annotations

import pytest

from blocks.queue.errors import InvalidTask, NotRetryable, UnknownTask
from blocks.queue.model import Status
from blocks.queue.protocol import TaskQueue
from tests.queue.acts import (
    BackendTests,
    claimed_ids,
    complete,
    enqueue,
    fail,
    fresh_id,
    hold,
    ids,
    status,
    statuses,
    waiting_parent,
)

FAILED, QUEUED = Status.FAILED, Status.QUEUED


class Retrying(BackendTests):
    def test_a_failed_task_gets_more_attempts_and_goes_on_counting(self, queue: TaskQueue) -> None:
        task_id = enqueue(queue, max_attempts=1)
        fail(queue, task_id)
        outcome = queue.retry(task_id, attempts=2)
        assert (outcome.task.status, outcome.task.attempts, outcome.task.max_attempts) == (QUEUED, 1, 3)
        assert outcome.ready == (task_id,)
        assert hold(queue, task_id).attempt == 2

    def test_a_retried_task_shows_no_traces_of_its_end(self, queue: TaskQueue) -> None:
        task_id = enqueue(queue)
        fail(queue, task_id)
        task = queue.retry(task_id).task
        assert (task.error_message, task.output_location, task.generation_processed_at) == (None, None, None)

    def test_a_cancelled_task_can_be_retried(self, queue: TaskQueue) -> None:
        task_id = enqueue(queue)
        queue.cancel(task_id)
        queue.retry(task_id)
        assert claimed_ids(queue.claim("gpu-1")) == [task_id]

    def test_the_holder_before_the_retry_stays_out(self, queue: TaskQueue) -> None:
        claim = hold(queue, enqueue(queue))
        queue.cancel(claim.task.id)
        queue.retry(claim.task.id)
        with pytest.raises(Exception, match="Stop working"):
            queue.complete(claim.task.id, claim.token)

    def test_retrying_the_root_revives_all_that_ended_because_of_it(self, queue: TaskQueue) -> None:
        first = enqueue(queue)
        second = enqueue(queue, depends_on=(first,))
        third = enqueue(queue, depends_on=(second,))
        fail(queue, first)
        outcome = queue.retry(first)
        assert ids(outcome.ended) == {second, third}
        assert statuses(queue, [first, second, third]) == [QUEUED] * 3
        assert queue.get(third).root_task_id is None
        for task_id in (first, second, third):
            assert claimed_ids(queue.claim("gpu-1", limit=9)) == [task_id]
            queue.complete(task_id, queue.start(task_id, queue.get(task_id).attempts, "gpu-1").token)

    def test_retrying_what_fell_retries_its_root(self, queue: TaskQueue) -> None:
        first = enqueue(queue)
        second = enqueue(queue, depends_on=(first,))
        fail(queue, first)
        outcome = queue.retry(second)
        assert outcome.task.id == second
        assert ids(outcome.ended) == {first}
        assert queue.get(first).max_attempts == 4

    def test_a_failed_segment_is_retried_and_the_film_completes(self, queue: TaskQueue) -> None:
        first, second, stitch = fresh_id(), fresh_id(), fresh_id()
        parent, _ = waiting_parent(queue, {"id": first}, {"id": second}, {"id": stitch, "depends_on": (first, second)})
        complete(queue, first)
        fail(queue, second)
        outcome = queue.retry(parent)
        assert ids(outcome.ended) == {second, stitch}
        assert queue.get(parent).waiting
        complete(queue, second)
        complete(queue, stitch, "film.mp4")
        assert (status(queue, parent), queue.get(parent).output_location) == (Status.COMPLETE, "film.mp4")

    def test_a_revived_orchestrator_whose_children_are_done_completes_at_once(self, queue: TaskQueue) -> None:
        parent = enqueue(queue)
        after = enqueue(queue, depends_on=(parent,))
        claim = hold(queue, parent)
        child = enqueue(queue, parent_id=parent)
        running = hold(queue, child)
        queue.fail(parent, claim.token, "crashed while planning", retry=False)
        queue.complete(child, running.token, output_location="film.mp4")
        outcome = queue.retry(parent)
        assert (outcome.task.status, outcome.task.output_location) == (Status.COMPLETE, "film.mp4")
        assert (ids(outcome.ended), outcome.ready) == ({after}, (after,))

    def test_an_orchestrator_that_never_ran_is_revived_to_run(self, queue: TaskQueue) -> None:
        parent = enqueue(queue)
        child = enqueue(queue, parent_id=parent)
        queue.cancel(parent)
        queue.retry(parent)
        assert claimed_ids(queue.claim("gpu-1", limit=9)) == [parent, child]

    def test_a_cancelled_family_comes_back_with_its_running_children_queued(self, queue: TaskQueue) -> None:
        parent, (running, queued) = waiting_parent(queue, {"max_attempts": 1}, {})
        hold(queue, running)
        queue.cancel(parent)
        queue.retry(parent)
        assert statuses(queue, [parent, running, queued]) == [Status.IN_PROGRESS, QUEUED, QUEUED]
        assert hold(queue, running).attempt == 2

    def test_what_another_failure_holds_down_stays_ended_and_names_that_one(self, queue: TaskQueue) -> None:
        one, two = enqueue(queue), enqueue(queue)
        both = enqueue(queue, depends_on=(one, two))
        after = enqueue(queue, depends_on=(both,))
        fail(queue, one, "first fault")
        fail(queue, two, "second fault")
        outcome = queue.retry(one)
        assert outcome.ended == ()
        for task_id in (both, after):
            task = queue.get(task_id)
            assert (task.status, task.root_task_id) == (FAILED, two)
            assert "second fault" in (task.error_message or "")
        queue.retry(two)
        assert statuses(queue, [one, two, both, after]) == [QUEUED] * 4

    def test_two_failed_siblings_come_back_one_after_the_other(self, queue: TaskQueue) -> None:
        parent, (one, two, three) = waiting_parent(queue, {}, {}, {})
        claim = hold(queue, two)
        fail(queue, one)
        queue.fail(two, claim.token, "too", retry=False)
        held = queue.retry(parent)
        assert (held.task.root_task_id, held.ended) == (two, ())
        assert {queue.get(each).root_task_id for each in (one, three)} == {two}
        back = queue.retry(parent)
        assert ids(back.ended) == {one, two, three}
        assert queue.get(parent).waiting

    def test_what_another_cancel_holds_down_is_cancelled(self, queue: TaskQueue) -> None:
        one, two = enqueue(queue), enqueue(queue)
        both = enqueue(queue, depends_on=(one, two))
        fail(queue, one)
        queue.cancel(two)
        queue.retry(one)
        assert (status(queue, both), queue.get(both).root_task_id) == (Status.CANCELLED, two)

    def test_what_completed_meanwhile_stays_complete(self, queue: TaskQueue) -> None:
        parent, (broken, running) = waiting_parent(queue, {}, {})
        claim = hold(queue, running)
        fail(queue, broken)
        queue.complete(running, claim.token, output_location="kept.mp4")
        queue.retry(broken)
        complete(queue, broken)
        assert (status(queue, parent), queue.get(parent).output_location) == (Status.COMPLETE, "kept.mp4")

    def test_a_running_sibling_is_left_alone_by_a_retry(self, queue: TaskQueue) -> None:
        parent, (broken, running) = waiting_parent(queue, {}, {})
        claim = hold(queue, running)
        fail(queue, broken)
        queue.retry(broken)
        queue.complete(running, claim.token)
        complete(queue, broken)
        assert status(queue, parent) is Status.COMPLETE

    def test_a_task_that_is_not_ended_badly_cannot_be_retried(self, queue: TaskQueue) -> None:
        queued, running, done = enqueue(queue), enqueue(queue), enqueue(queue)
        hold(queue, running)
        complete(queue, done)
        for task_id in (queued, running, done):
            with pytest.raises(NotRetryable, match=task_id):
                queue.retry(task_id)

    def test_a_task_that_is_not_there_cannot_be_retried(self, queue: TaskQueue) -> None:
        with pytest.raises(UnknownTask):
            queue.retry(fresh_id())

    @pytest.mark.parametrize("attempts", [0, -1, 10**6])
    def test_attempts_that_are_no_attempts_are_refused(self, queue: TaskQueue, attempts: int) -> None:
        task_id = enqueue(queue)
        queue.cancel(task_id)
        with pytest.raises(InvalidTask, match="attempts"):
            queue.retry(task_id, attempts=attempts)
