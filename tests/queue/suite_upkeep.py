from __future__ import annotations

from datetime import timedelta

import pytest

from blocks.queue.errors import StaleClaim, UnknownTask
from blocks.queue.model import Status
from blocks.queue.policy import BACKOFF_BASE
from blocks.queue.protocol import RUNNING_LEASE, TaskQueue
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
    waiting_parent,
)

DAY = timedelta(days=1)


class Rescuing(BackendTests):
    def test_a_claim_whose_lease_ran_out_goes_back_with_a_backoff(self, queue: TaskQueue, clock: FakeClock) -> None:
        task_id, run = enqueue(queue), fresh_id()
        queue.claim("poll")
        queue.start(task_id, 1, "gpu-1", flow_run_id=run)
        clock.advance(RUNNING_LEASE)
        (rescued,) = queue.rescue()
        assert (rescued.attempt, rescued.flow_run_id, rescued.dead_letter) == (1, run, False)
        assert rescued.task == queue.get(task_id)
        assert (rescued.task.status, rescued.task.attempts) == (Status.QUEUED, 1)
        assert "gpu-1" in (rescued.task.error_message or "")
        assert rescued.task.scheduled_at is not None
        assert BACKOFF_BASE / 2 <= (rescued.task.scheduled_at - clock.now).total_seconds() <= BACKOFF_BASE

    def test_a_lease_that_still_runs_is_left_alone(self, queue: TaskQueue, clock: FakeClock) -> None:
        hold(queue, enqueue(queue))
        clock.advance(RUNNING_LEASE - 1)
        assert queue.rescue() == []

    def test_a_claim_that_nobody_started_goes_back_too(self, queue: TaskQueue, clock: FakeClock) -> None:
        task_id = enqueue(queue)
        queue.claim("poll", lease=30)
        clock.advance(30)
        assert [rescued.task.id for rescued in queue.rescue()] == [task_id]

    def test_the_last_attempt_becomes_a_dead_letter(self, queue: TaskQueue) -> None:
        task_id = enqueue(queue, max_attempts=1)
        claim = hold(queue, task_id)
        (rescued,) = queue.rescue(lost=[(task_id, 1)])
        assert (rescued.dead_letter, rescued.task.status) == (True, Status.FAILED)
        assert rescued.task.output_location == rescued.task.error_message
        for act in (queue.renew, queue.complete):
            with pytest.raises(StaleClaim):
                act(task_id, claim.token)

    def test_a_backoff_grows_with_the_attempts(self, queue: TaskQueue, clock: FakeClock) -> None:
        task_id = enqueue(queue, max_attempts=9)
        waits = []
        for attempt in range(1, 6):
            hold(queue, task_id)
            (rescued,) = queue.rescue(lost=[(task_id, attempt)])
            assert rescued.task.scheduled_at is not None
            waits.append((rescued.task.scheduled_at - clock.now).total_seconds())
            clock.advance(waits[-1])
        for attempt, wait in enumerate(waits):
            assert BACKOFF_BASE * 2**attempt / 2 <= wait <= BACKOFF_BASE * 2**attempt

    def test_a_run_known_to_be_dead_is_rescued_before_its_lease_runs_out(self, queue: TaskQueue) -> None:
        task_id = enqueue(queue)
        hold(queue, task_id)
        assert [rescued.task.id for rescued in queue.rescue(lost=[(task_id, 1)])] == [task_id]

    def test_news_of_an_attempt_that_is_over_changes_nothing(self, queue: TaskQueue) -> None:
        task_id, queued, done = enqueue(queue), enqueue(queue), enqueue(queue)
        complete(queue, done)
        queue.fail(task_id, hold(queue, task_id).token, "again", retry=True, delay=0)
        claim = hold(queue, task_id)
        assert queue.rescue(lost=[(task_id, 1), (queued, 0), (done, 1), (fresh_id(), 1)]) == []
        queue.renew(task_id, claim.token)

    def test_naming_a_lost_run_twice_rescues_it_once(self, queue: TaskQueue, clock: FakeClock) -> None:
        task_id = enqueue(queue)
        hold(queue, task_id)
        clock.advance(3600)
        assert len(queue.rescue(lost=[(task_id, 1), (task_id, 1)])) == 1

    def test_a_rescue_takes_no_more_than_its_limit(self, queue: TaskQueue, clock: FakeClock) -> None:
        queue.enqueue(*(spec() for _ in range(3)))
        queue.claim("poll", limit=3)
        clock.advance(3600)
        assert [len(queue.rescue(limit=2)) for _ in range(3)] == [2, 1, 0]

    def test_completed_work_is_never_rescued(self, queue: TaskQueue, clock: FakeClock) -> None:
        complete(queue, enqueue(queue))
        clock.advance(3600)
        assert queue.rescue() == []

    def test_an_orchestrator_that_falls_with_its_lost_child_is_rescued_no_more(
        self, queue: TaskQueue, clock: FakeClock
    ) -> None:
        parent = enqueue(queue)
        hold(queue, parent)
        child = enqueue(queue, parent_id=parent, max_attempts=1)
        hold(queue, child)
        clock.advance(3600)
        rescued = queue.rescue(lost=[(child, 1)])
        assert [each.task.id for each in rescued] == [child]
        assert ids(rescued[0].ended) == {parent}


class Pruning(BackendTests):
    def test_tasks_that_ended_long_ago_are_deleted(self, queue: TaskQueue, clock: FakeClock) -> None:
        old, failed = enqueue(queue), enqueue(queue)
        complete(queue, old)
        fail(queue, failed)
        clock.advance(DAY.total_seconds() + 1)
        young = enqueue(queue)
        complete(queue, young)
        pruned = queue.prune(DAY)
        assert ids(pruned) == {old, failed}
        assert next(task for task in pruned if task.id == old).output_location == "out.mp4"
        assert [task.id for task in queue.list()] == [young]

    def test_what_has_not_ended_is_kept_whatever_its_age(self, queue: TaskQueue, clock: FakeClock) -> None:
        queued, running = enqueue(queue), enqueue(queue)
        hold(queue, running)
        clock.advance(365 * DAY.total_seconds())
        assert queue.prune(DAY) == []
        assert {queued, running} == ids(queue.list())

    def test_a_task_is_kept_while_a_dependent_is_kept(self, queue: TaskQueue, clock: FakeClock) -> None:
        first = enqueue(queue)
        second = enqueue(queue, depends_on=(first,))
        complete(queue, first)
        clock.advance(DAY.total_seconds() + 1)
        assert queue.prune(DAY) == []
        complete(queue, second)
        assert queue.prune(DAY) == []
        clock.advance(DAY.total_seconds() + 1)
        assert ids(queue.prune(DAY)) == {first, second}

    def test_a_dependent_does_not_keep_what_does_not_depend_on_it(self, queue: TaskQueue, clock: FakeClock) -> None:
        first = enqueue(queue)
        second = enqueue(queue, depends_on=(first,))
        third = enqueue(queue, depends_on=(second,))
        complete(queue, first)
        queue.cancel(third)
        clock.advance(DAY.total_seconds() + 1)
        assert ids(queue.prune(DAY)) == {third}
        assert status(queue, second) is Status.QUEUED

    def test_a_family_goes_as_a_whole(self, queue: TaskQueue, clock: FakeClock) -> None:
        parent, (first, second) = waiting_parent(queue, {}, {})
        complete(queue, first)
        clock.advance(DAY.total_seconds() + 1)
        assert queue.prune(DAY) == []
        complete(queue, second)
        clock.advance(DAY.total_seconds() + 1)
        assert ids(queue.prune(DAY)) == {parent, first, second}

    def test_a_family_goes_as_a_whole_also_beyond_the_limit(self, queue: TaskQueue, clock: FakeClock) -> None:
        for _ in range(2):
            parent, _ = waiting_parent(queue, {}, {})
            queue.cancel(parent)
        clock.advance(DAY.total_seconds() + 1)
        assert [len(queue.prune(DAY, limit=2)) for _ in range(3)] == [3, 3, 0]

    def test_a_root_is_kept_while_something_names_it(self, queue: TaskQueue, clock: FakeClock) -> None:
        parent, (broken, running) = waiting_parent(queue, {}, {})
        claim = hold(queue, running)
        fail(queue, broken)
        clock.advance(DAY.total_seconds() + 1)
        assert queue.prune(DAY) == []
        queue.complete(running, claim.token)
        queue.retry(parent)
        assert status(queue, broken) is Status.QUEUED

    def test_a_pruned_task_is_gone(self, queue: TaskQueue, clock: FakeClock) -> None:
        asked = spec(id=fresh_id(), correlation_id="order 66")
        queue.enqueue(asked)
        queue.cancel(asked.id)
        clock.advance(DAY.total_seconds() + 1)
        queue.prune(DAY)
        with pytest.raises(UnknownTask):
            queue.get(asked.id)
        assert queue.enqueue(asked)[0].created
