from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from blocks.queue.errors import InvalidTask
from blocks.queue.model import Status
from blocks.queue.protocol import DISPATCH_LEASE, TaskQueue
from tests.queue.acts import BackendTests, FakeClock, claimed_ids, complete, enqueue, fresh_id, hold, spec


class Claiming(BackendTests):
    def test_an_empty_queue_answers_with_no_claim(self, queue: TaskQueue) -> None:
        assert queue.claim("gpu-1") == []

    def test_a_claim_counts_the_attempt_and_sets_holder_and_lease(self, queue: TaskQueue, clock: FakeClock) -> None:
        enqueue(queue)
        (claim,) = queue.claim("gpu-1")
        assert (claim.attempt, claim.task.attempts, claim.task.worker_id) == (1, 1, "gpu-1")
        assert claim.task.status is Status.IN_PROGRESS
        assert claim.lease_expires_at == clock.now + timedelta(seconds=DISPATCH_LEASE)
        assert claim.task.generation_started_at is None

    def test_a_claimed_task_is_as_it_is_stored(self, queue: TaskQueue) -> None:
        task_id = enqueue(queue)
        (claim,) = queue.claim("gpu-1")
        assert claim.task == queue.get(task_id)

    def test_a_task_is_claimed_once(self, queue: TaskQueue) -> None:
        enqueue(queue)
        queue.claim("gpu-1")
        assert queue.claim("gpu-2") == []

    def test_threads_that_claim_at_the_same_moment_share_no_task(self, queue: TaskQueue) -> None:
        queue.enqueue(*(spec() for _ in range(40)))

        def drain(worker: int) -> list[str]:
            mine: list[str] = []
            while claims := queue.claim(f"gpu-{worker}", limit=2):
                mine += claimed_ids(claims)
            return mine

        with ThreadPoolExecutor(8) as pool:
            taken = [task_id for mine in pool.map(drain, range(8)) for task_id in mine]
        assert len(taken) == len(set(taken)) == 40

    def test_higher_priority_goes_first_then_the_older(self, queue: TaskQueue, clock: FakeClock) -> None:
        wanted = {}
        for name, priority in [("b", 0), ("c", 0), ("a", 5), ("d", -5)]:
            clock.advance(1)
            wanted[name] = enqueue(queue, priority=priority)
        assert claimed_ids(queue.claim("gpu-1", limit=9)) == [wanted[name] for name in "abcd"]

    def test_tasks_of_one_batch_go_in_its_order(self, queue: TaskQueue) -> None:
        batch = [spec(id=fresh_id()) for _ in range(5)]
        queue.enqueue(*batch)
        assert claimed_ids(queue.claim("gpu-1", limit=3)) == [each.id for each in batch[:3]]

    def test_a_claim_takes_no_more_than_its_limit(self, queue: TaskQueue) -> None:
        queue.enqueue(*(spec() for _ in range(5)))
        assert queue.claim("gpu-1", limit=0) == []
        assert len(queue.claim("gpu-1", limit=2)) == 2

    def test_a_claim_by_type_takes_only_these_in_the_common_order(self, queue: TaskQueue) -> None:
        enqueue(queue, task_type="analysis", priority=9)
        later = enqueue(queue, task_type="travel_segment", priority=1)
        first = enqueue(queue, task_type="travel_stitch", priority=2)
        claims = queue.claim("gpu-1", limit=9, task_types=["travel_segment", "travel_stitch", "travel_segment"])
        assert claimed_ids(claims) == [first, later]

    def test_many_claimed_at_once_are_the_oldest_of_all_types_wanted(self, queue: TaskQueue) -> None:
        kinds = ["travel_segment", "travel_segment", "travel_stitch", "analysis", "travel_segment", "travel_stitch"]
        tasks = [enqueue(queue, task_type=kind) for kind in kinds]
        wanted = [task for task, kind in zip(tasks, kinds, strict=True) if kind != "analysis"]
        types = ["travel_stitch", "travel_segment", "travel_stitch"]
        assert claimed_ids(queue.claim("gpu-1", limit=4, task_types=types)) == wanted[:4]
        assert claimed_ids(queue.claim("gpu-1", limit=4, task_types=types)) == wanted[4:]

    def test_a_claim_by_id_takes_only_the_eligible_of_these(self, queue: TaskQueue) -> None:
        low, high = enqueue(queue), enqueue(queue, priority=1)
        blocked = enqueue(queue, depends_on=(low,))
        enqueue(queue, priority=9)
        claims = queue.claim("gpu-1", limit=9, task_ids=[low, blocked, high.upper(), fresh_id(), low])
        assert claimed_ids(claims) == [high, low]

    def test_a_claim_by_id_and_type_takes_what_matches_both(self, queue: TaskQueue) -> None:
        image, clip = enqueue(queue), enqueue(queue, task_type="generate_video")
        claims = queue.claim("gpu-1", limit=9, task_ids=[image, clip], task_types=["generate_video"])
        assert claimed_ids(claims) == [clip]

    @pytest.mark.parametrize("nothing", [{"task_types": []}, {"task_ids": []}], ids=lambda each: next(iter(each)))
    def test_a_claim_among_nothing_takes_nothing(self, queue: TaskQueue, nothing: dict[str, list[str]]) -> None:
        enqueue(queue)
        assert queue.claim("gpu-1", **nothing) == []

    def test_a_task_is_claimed_only_after_all_its_dependencies(self, queue: TaskQueue) -> None:
        first, second = enqueue(queue), enqueue(queue)
        last = enqueue(queue, depends_on=(first, second), priority=9)
        complete(queue, first)
        assert claimed_ids(queue.claim("gpu-1", limit=9)) == [second]
        queue.complete(second, queue.start(second, 1, "gpu-1").token)
        assert claimed_ids(queue.claim("gpu-1", limit=9)) == [last]

    def test_counts_and_claim_agree_on_what_is_ready(self, queue: TaskQueue, clock: FakeClock) -> None:
        first = enqueue(queue)
        enqueue(queue, depends_on=(first,))
        enqueue(queue, scheduled_at=clock.now + timedelta(seconds=10))
        assert queue.counts().ready == 1
        clock.advance(10)
        ready = queue.counts().ready
        assert len(queue.claim("gpu-1", limit=9)) == ready == 2

    def test_priority_goes_first_among_those_that_became_due_together(self, queue: TaskQueue, clock: FakeClock) -> None:
        soon = clock.now + timedelta(seconds=10)
        low = enqueue(queue, scheduled_at=soon - timedelta(seconds=5))
        high = enqueue(queue, scheduled_at=soon, priority=1)
        clock.advance(10)
        assert claimed_ids(queue.claim("gpu-1", limit=9)) == [high, low]

    def test_a_repeated_request_gets_the_same_claims_and_no_other(self, queue: TaskQueue) -> None:
        queue.enqueue(*(spec() for _ in range(5)))
        first = queue.claim("gpu-1", limit=2, request_id="r1")
        assert queue.claim("gpu-1", limit=2, request_id="r1") == first
        assert queue.counts().ready == 3

    def test_a_repeated_request_gets_its_claims_in_the_same_order(self, queue: TaskQueue) -> None:
        queue.enqueue(spec(), spec(priority=1))
        first = queue.claim("gpu-1", limit=2, request_id="r1")
        assert queue.claim("gpu-1", limit=2, request_id="r1") == first

    def test_another_request_gets_other_tasks(self, queue: TaskQueue) -> None:
        queue.enqueue(spec(), spec())
        (first,) = queue.claim("gpu-1", request_id="r1")
        (second,) = queue.claim("gpu-1", request_id="r2")
        assert first.task.id != second.task.id

    def test_a_repeated_request_leaves_out_what_a_run_has_taken_over(self, queue: TaskQueue) -> None:
        queue.enqueue(spec(), spec())
        first, second = queue.claim("gpu-1", limit=2, request_id="r1")
        queue.start(first.task.id, 1, "gpu-1")
        assert queue.claim("gpu-1", limit=2, request_id="r1") == [second]

    @pytest.mark.parametrize("end", ["complete", "release", "rescue"])
    def test_a_repeated_request_whose_claims_are_gone_takes_nothing(self, queue: TaskQueue, end: str) -> None:
        task_id = enqueue(queue)
        enqueue(queue)
        (claim,) = queue.claim("gpu-1", request_id="r1")
        match end:
            case "complete":
                queue.complete(task_id, claim.token)
            case "release":
                queue.release(task_id, claim.token)
            case "rescue":
                queue.rescue(lost=[(task_id, 1)])
        assert queue.claim("gpu-1", request_id="r1") == []

    def test_a_repeated_request_of_another_worker_gets_no_claim_of_the_first(self, queue: TaskQueue) -> None:
        enqueue(queue)
        queue.claim("gpu-1", request_id="r1")
        assert queue.claim("gpu-2", request_id="r1") == []

    def test_a_request_that_found_nothing_may_find_something_later(self, queue: TaskQueue) -> None:
        assert queue.claim("gpu-1", request_id="r1") == []
        task_id = enqueue(queue)
        assert claimed_ids(queue.claim("gpu-1", request_id="r1")) == [task_id]

    def test_an_old_client_claims_and_starts_in_one_step(self, queue: TaskQueue, clock: FakeClock) -> None:
        enqueue(queue)
        (claim,) = queue.claim("old-1", start=True, request_id="r1")
        assert claim.task.generation_started_at == clock.now
        assert queue.claim("old-1", start=True, request_id="r1") == [claim]

    def test_a_claim_clears_the_traces_of_the_attempt_before(self, queue: TaskQueue, clock: FakeClock) -> None:
        task_id = enqueue(queue)
        (claim,) = queue.claim("gpu-1")
        claim = queue.start(task_id, 1, "gpu-1", flow_run_id=fresh_id())
        queue.renew(task_id, claim.token, tick=7)
        queue.fail(task_id, claim.token, "again", retry=True, delay=0)
        (again,) = queue.claim("gpu-2")
        assert (again.task.tick, again.task.flow_run_id, again.task.generation_started_at) == (None, None, None)
        assert (again.task.worker_id, again.attempt) == ("gpu-2", 2)
        assert again.token != claim.token

    @pytest.mark.parametrize("worker_id", ["gpu-1", "edge_ü", "worker_7", "test_x", "!", "x" * 128, "a b"])
    def test_any_printable_worker_id_may_claim_without_being_known(self, queue: TaskQueue, worker_id: str) -> None:
        queue.enqueue(spec(), spec())
        for _ in range(2):
            (claim,) = queue.claim(worker_id)
            assert claim.task.worker_id == worker_id

    @pytest.mark.parametrize("worker_id", ["", "x" * 129, "tab\t", "nul\0", "line\n"])
    def test_a_worker_id_that_cannot_be_printed_is_refused(self, queue: TaskQueue, worker_id: str) -> None:
        enqueue(queue)
        with pytest.raises(InvalidTask, match="worker_id"):
            queue.claim(worker_id)
        assert queue.counts().ready == 1

    @pytest.mark.parametrize("lease", [0, -1, float("nan"), float("inf")])
    def test_a_lease_that_is_no_time_is_refused(self, queue: TaskQueue, lease: float) -> None:
        with pytest.raises(InvalidTask, match="lease"):
            queue.claim("gpu-1", lease=lease)

    def test_a_token_does_not_show_in_the_text_of_a_claim(self, queue: TaskQueue) -> None:
        task_id = enqueue(queue)
        claim = hold(queue, task_id)
        assert claim.token not in repr(claim)
