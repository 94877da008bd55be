from __future__ import annotations

from datetime import timedelta

import pytest

from blocks.queue.errors import InvalidTask, StaleClaim, TaskEnded, UnknownTask
from blocks.queue.model import Status
from blocks.queue.policy import BACKOFF_BASE
from blocks.queue.protocol import DISPATCH_LEASE, RUNNING_LEASE, START_LEASE, TaskQueue
from tests.queue.acts import BackendTests, FakeClock, claimed_ids, complete, enqueue, fresh_id, hold, spec, status


class Starting(BackendTests):
    def test_a_run_takes_over_a_claim_with_a_fresh_token(self, queue: TaskQueue, clock: FakeClock) -> None:
        task_id, run = enqueue(queue), fresh_id()
        (claim,) = queue.claim("poll")
        clock.advance(5)
        started = queue.start(task_id, 1, "gpu-1", flow_run_id=run)
        assert started.token != claim.token
        assert started.lease_expires_at == clock.now + timedelta(seconds=RUNNING_LEASE)
        assert (started.task.worker_id, started.task.flow_run_id) == ("gpu-1", run)
        assert (started.task.generation_started_at, started.attempt) == (clock.now, 1)

    def test_the_claim_that_was_taken_over_is_stale(self, queue: TaskQueue) -> None:
        task_id = enqueue(queue)
        (claim,) = queue.claim("poll")
        queue.start(task_id, 1, "gpu-1")
        for act in (queue.release, queue.renew, queue.complete):
            with pytest.raises(StaleClaim):
                act(task_id, claim.token)

    def test_the_second_run_of_an_attempt_is_refused(self, queue: TaskQueue) -> None:
        task_id = enqueue(queue)
        hold(queue, task_id)
        with pytest.raises(StaleClaim):
            queue.start(task_id, 1, "gpu-1")

    def test_a_repeated_start_request_gets_the_same_claim(self, queue: TaskQueue) -> None:
        task_id = enqueue(queue)
        queue.claim("poll")
        first = queue.start(task_id, 1, "gpu-1", request_id="s1")
        assert queue.start(task_id, 1, "gpu-1", request_id="s1") == first
        with pytest.raises(StaleClaim):
            queue.start(task_id, 1, "gpu-1", request_id="s2")
        with pytest.raises(StaleClaim):
            queue.start(task_id, 1, "gpu-2", request_id="s1")

    def test_a_run_of_another_attempt_is_refused(self, queue: TaskQueue) -> None:
        task_id = enqueue(queue)
        queue.claim("poll")
        for attempt in (0, 2):
            with pytest.raises(StaleClaim):
                queue.start(task_id, attempt, "gpu-1")

    def test_a_run_that_comes_after_the_rescue_is_refused(self, queue: TaskQueue, clock: FakeClock) -> None:
        task_id = enqueue(queue)
        queue.claim("poll", lease=30)
        clock.advance(30)
        queue.rescue()
        with pytest.raises(StaleClaim):
            queue.start(task_id, 1, "gpu-1")

    def test_a_task_that_nobody_claimed_cannot_be_started(self, queue: TaskQueue) -> None:
        with pytest.raises(StaleClaim):
            queue.start(enqueue(queue), 0, "gpu-1")

    def test_the_dispatcher_notes_the_flow_run(self, queue: TaskQueue) -> None:
        task_id, run = enqueue(queue), fresh_id()
        (claim,) = queue.claim("poll")
        queue.dispatched(task_id, claim.token, run)
        assert queue.get(task_id).flow_run_id == run
        assert queue.start(task_id, 1, "gpu-1").task.flow_run_id == run

    def test_a_run_that_prefect_knows_has_longer_to_start_than_a_dispatcher_has_to_create_it(
        self, queue: TaskQueue, clock: FakeClock
    ) -> None:
        task_id = enqueue(queue)
        (claim,) = queue.claim("poll")
        queue.dispatched(task_id, claim.token, fresh_id())
        assert START_LEASE > DISPATCH_LEASE
        assert queue.get(task_id).lease_expires_at == clock.now + timedelta(seconds=START_LEASE)

    def test_a_note_of_a_dispatcher_that_comes_too_late_is_refused(self, queue: TaskQueue) -> None:
        task_id = enqueue(queue)
        (claim,) = queue.claim("poll")
        queue.start(task_id, 1, "gpu-1")
        with pytest.raises(StaleClaim):
            queue.dispatched(task_id, claim.token, fresh_id())


class Holding(BackendTests):
    def test_renewing_moves_the_lease_on_from_now(self, queue: TaskQueue, clock: FakeClock) -> None:
        claim = hold(queue, enqueue(queue))
        clock.advance(50)
        renewal = queue.renew(claim.task.id, claim.token, lease=60)
        assert renewal.lease_expires_at == clock.now + timedelta(seconds=60)
        assert not renewal.cancelled
        clock.advance(59)
        assert queue.rescue() == []

    def test_progress_is_kept_and_never_goes_back(self, queue: TaskQueue) -> None:
        claim = hold(queue, enqueue(queue))
        for tick in (3, 8, 5):
            queue.renew(claim.task.id, claim.token, tick=tick, max_ticks=10)
        queue.renew(claim.task.id, claim.token)
        task = queue.get(claim.task.id)
        assert (task.tick, task.max_ticks) == (8, 10)

    def test_progress_does_not_move_the_start_time(self, queue: TaskQueue, clock: FakeClock) -> None:
        claim = hold(queue, enqueue(queue))
        clock.advance(9)
        queue.renew(claim.task.id, claim.token, tick=1)
        assert queue.get(claim.task.id).generation_started_at == claim.task.generation_started_at

    def test_a_lease_that_ran_out_holds_until_somebody_rescues(self, queue: TaskQueue, clock: FakeClock) -> None:
        claim = hold(queue, enqueue(queue))
        clock.advance(RUNNING_LEASE + 1)
        queue.renew(claim.task.id, claim.token)
        assert queue.rescue() == []

    def test_a_cancelled_holder_is_told_and_gets_no_lease(self, queue: TaskQueue) -> None:
        claim = hold(queue, enqueue(queue))
        queue.cancel(claim.task.id)
        renewal = queue.renew(claim.task.id, claim.token)
        assert (renewal.cancelled, renewal.lease_expires_at) == (True, None)

    def test_a_stale_holder_cannot_renew_and_is_not_told_of_a_cancel(self, queue: TaskQueue) -> None:
        task_id = enqueue(queue)
        (claim,) = queue.claim("poll")
        queue.start(task_id, 1, "gpu-1")
        queue.cancel(task_id)
        with pytest.raises(StaleClaim):
            queue.renew(task_id, claim.token)

    @pytest.mark.parametrize("field", ["tick", "max_ticks"])
    def test_a_progress_that_no_row_can_hold_is_refused(self, queue: TaskQueue, field: str) -> None:
        claim = hold(queue, enqueue(queue))
        with pytest.raises(InvalidTask, match=field):
            queue.renew(claim.task.id, claim.token, **{field: -1})

    def test_a_released_task_is_as_if_it_had_never_been_claimed(self, queue: TaskQueue) -> None:
        first = enqueue(queue)
        before = queue.get(first)
        enqueue(queue)
        queue.release(first, hold(queue, first).token)
        assert queue.get(first) == before
        assert claimed_ids(queue.claim("gpu-1")) == [first]

    def test_a_released_claim_is_stale(self, queue: TaskQueue) -> None:
        claim = hold(queue, enqueue(queue))
        queue.release(claim.task.id, claim.token)
        for act in (queue.release, queue.renew, queue.complete, queue.wait):
            with pytest.raises(StaleClaim):
                act(claim.task.id, claim.token)

    def test_every_verb_of_a_holder_refuses_a_task_that_is_not_there(self, queue: TaskQueue) -> None:
        for act in (queue.release, queue.renew, queue.complete, queue.wait):
            with pytest.raises(UnknownTask):
                act(fresh_id(), fresh_id())
        with pytest.raises(UnknownTask):
            queue.start(fresh_id(), 1, "gpu-1")
        with pytest.raises(UnknownTask):
            queue.fail("no uuid at all", fresh_id(), "x", retry=False)
        with pytest.raises(UnknownTask):
            queue.dispatched(fresh_id(), fresh_id(), fresh_id())


class Ending(BackendTests):
    def test_a_completed_task_carries_its_output_and_result(self, queue: TaskQueue, clock: FakeClock) -> None:
        claim = hold(queue, enqueue(queue))
        clock.advance(3)
        outcome = queue.complete(claim.task.id, claim.token, output_location="a/b.mp4", result={"frames": 81})
        task = queue.get(claim.task.id)
        assert outcome.task == task
        assert (task.status, task.output_location, task.result) == (Status.COMPLETE, "a/b.mp4", {"frames": 81})
        assert (task.generation_processed_at, task.lease_expires_at) == (clock.now, None)

    def test_completing_names_what_it_made_ready(self, queue: TaskQueue) -> None:
        first, other = enqueue(queue), enqueue(queue)
        ready = enqueue(queue, depends_on=(first,))
        enqueue(queue, depends_on=(first, other))
        assert queue.complete(first, hold(queue, first).token).ready == (ready,)

    def test_a_holder_that_repeats_its_complete_gets_the_same_answer(self, queue: TaskQueue) -> None:
        first = enqueue(queue)
        enqueue(queue, depends_on=(first,))
        claim = hold(queue, first)
        answer = queue.complete(first, claim.token, output_location="out.mp4")
        assert queue.complete(first, claim.token, output_location="out.mp4") == answer

    def test_a_lost_claim_cannot_complete_a_task(self, queue: TaskQueue, clock: FakeClock) -> None:
        claim = hold(queue, enqueue(queue))
        queue.rescue(lost=[(claim.task.id, 1)])
        with pytest.raises(StaleClaim):
            queue.complete(claim.task.id, claim.token, output_location="late.mp4")
        assert status(queue, claim.task.id) is Status.QUEUED

    def test_a_late_upload_of_a_dead_worker_does_not_replace_the_retrys_result(self, queue: TaskQueue) -> None:
        claim = hold(queue, enqueue(queue))
        queue.fail(claim.task.id, claim.token, "looked dead", retry=True, delay=0)
        complete(queue, claim.task.id, "good.mp4")
        for act in (queue.complete, queue.renew, queue.release):
            with pytest.raises(StaleClaim):
                act(claim.task.id, claim.token)
        assert queue.get(claim.task.id).output_location == "good.mp4"

    def test_a_cancelled_task_cannot_be_completed_or_failed_by_its_holder(self, queue: TaskQueue) -> None:
        claim = hold(queue, enqueue(queue))
        queue.cancel(claim.task.id)
        with pytest.raises(TaskEnded):
            queue.complete(claim.task.id, claim.token)
        with pytest.raises(TaskEnded):
            queue.fail(claim.task.id, claim.token, "x", retry=True)
        assert status(queue, claim.task.id) is Status.CANCELLED

    def test_a_task_ends_once(self, queue: TaskQueue) -> None:
        claim = hold(queue, enqueue(queue))
        queue.complete(claim.task.id, claim.token)
        with pytest.raises(TaskEnded):
            queue.fail(claim.task.id, claim.token, "after all", retry=False)
        with pytest.raises(StaleClaim):
            queue.complete(claim.task.id, fresh_id())

    def test_a_holder_that_failed_cannot_complete(self, queue: TaskQueue) -> None:
        claim = hold(queue, enqueue(queue))
        queue.fail(claim.task.id, claim.token, "x", retry=False)
        with pytest.raises(TaskEnded):
            queue.complete(claim.task.id, claim.token)

    def test_a_failure_with_attempts_left_comes_back_after_a_backoff(self, queue: TaskQueue, clock: FakeClock) -> None:
        claim = hold(queue, enqueue(queue))
        task = queue.fail(claim.task.id, claim.token, "out of memory", retry=True).task
        assert (task.status, task.attempts, task.error_message) == (Status.QUEUED, 1, "out of memory")
        assert task.scheduled_at is not None
        wait = (task.scheduled_at - clock.now).total_seconds()
        assert BACKOFF_BASE / 2 <= wait <= BACKOFF_BASE
        assert queue.claim("gpu-1") == []
        clock.advance(wait)
        assert claimed_ids(queue.claim("gpu-1")) == [task.id]

    def test_a_failure_may_name_its_own_delay(self, queue: TaskQueue, clock: FakeClock) -> None:
        claim = hold(queue, enqueue(queue))
        queue.fail(claim.task.id, claim.token, "rate limit", retry=True, delay=90)
        clock.advance(89)
        assert queue.claim("gpu-1") == []
        clock.advance(1)
        assert len(queue.claim("gpu-1")) == 1

    def test_a_task_that_backs_off_keeps_its_place(self, queue: TaskQueue) -> None:
        first = enqueue(queue)
        enqueue(queue)
        queue.fail(first, hold(queue, first).token, "again", retry=True, delay=0)
        assert claimed_ids(queue.claim("gpu-1")) == [first]

    def test_a_poison_task_fails_for_good_after_its_last_attempt(self, queue: TaskQueue) -> None:
        task_id = enqueue(queue, max_attempts=2)
        for _ in range(2):
            queue.fail(task_id, hold(queue, task_id).token, "poison", retry=True, delay=0)
        assert (status(queue, task_id), queue.get(task_id).attempts) == (Status.FAILED, 2)
        assert queue.claim("gpu-1") == []

    def test_a_failed_task_carries_its_error_where_old_clients_look(self, queue: TaskQueue) -> None:
        claim = hold(queue, enqueue(queue))
        task = queue.fail(claim.task.id, claim.token, "no such model", retry=False).task
        assert (task.status, task.root_task_id) == (Status.FAILED, None)
        assert task.error_message == task.output_location == "no such model"

    def test_a_completed_task_shows_no_error_of_an_earlier_attempt(self, queue: TaskQueue) -> None:
        claim = hold(queue, enqueue(queue))
        queue.fail(claim.task.id, claim.token, "again", retry=True, delay=0)
        complete(queue, claim.task.id)
        assert queue.get(claim.task.id).error_message is None

    @pytest.mark.parametrize("retry", [True, False])
    def test_a_holder_that_repeats_its_fail_gets_the_same_answer(self, queue: TaskQueue, retry: bool) -> None:
        first = enqueue(queue)
        enqueue(queue, depends_on=(first,))
        claim = hold(queue, first)
        answer = queue.fail(first, claim.token, "x", retry=retry, delay=5)
        assert queue.fail(first, claim.token, "x", retry=retry, delay=5) == answer

    def test_a_fail_repeated_after_the_next_claim_is_stale(self, queue: TaskQueue) -> None:
        claim = hold(queue, enqueue(queue))
        queue.fail(claim.task.id, claim.token, "x", retry=True, delay=0)
        queue.claim("gpu-2")
        with pytest.raises(StaleClaim):
            queue.fail(claim.task.id, claim.token, "x", retry=True, delay=0)

    def test_any_error_text_can_be_stored(self, queue: TaskQueue) -> None:
        for text in ("", "nul \0 and half a pair \ud800", "long " * 10_000):
            claim = hold(queue, enqueue(queue))
            assert queue.fail(claim.task.id, claim.token, text, retry=False).task.error_message

    @pytest.mark.parametrize("result", [[1], {"n": float("nan")}, {"b": b""}])
    def test_a_result_that_is_no_json_object_is_refused(self, queue: TaskQueue, result: object) -> None:
        claim = hold(queue, enqueue(queue))
        with pytest.raises(InvalidTask, match="result"):
            queue.complete(claim.task.id, claim.token, result=result)
        assert status(queue, claim.task.id) is Status.IN_PROGRESS

    def test_the_words_of_a_refusal_do_not_carry_the_token(self, queue: TaskQueue) -> None:
        queue.enqueue(spec())
        (claim,) = queue.claim("gpu-1")
        queue.release(claim.task.id, claim.token)
        with pytest.raises(StaleClaim) as refusal:
            queue.complete(claim.task.id, claim.token)
        assert claim.token not in f"{refusal.value} {refusal.value.data}"
