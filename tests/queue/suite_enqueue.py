from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from blocks.queue.errors import (
    DependencyCycle,
    InvalidTask,
    TaskConflict,
    TaskEnded,
    UnknownDependency,
    UnknownTask,
)
from blocks.queue.model import LOCAL_PROJECT, LOCAL_USER, Status
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
    spec,
    status,
    waiting_parent,
)


class Enqueueing(BackendTests):
    def test_an_enqueued_task_is_stored_as_it_was_asked_for(self, queue: TaskQueue, clock: FakeClock) -> None:
        (answer,) = queue.enqueue(
            spec(
                task_type="analysis", params={"a": [1, 2.5, None, {"ü": "✓"}]}, priority=7, mandate="plan", max_ticks=9
            )
        )
        task = queue.get(answer.task.id)
        assert answer.created
        assert (task.task_type, task.params) == ("analysis", {"a": [1, 2.5, None, {"ü": "✓"}]})
        assert (task.priority, task.mandate, task.max_ticks) == (7, "plan", 9)
        assert (task.status, task.attempts, task.max_attempts) == (Status.QUEUED, 0, 3)
        assert (task.project_id, task.user_id) == (LOCAL_PROJECT, LOCAL_USER)
        assert task.created_at == task.updated_at == clock.now

    def test_enqueueing_nothing_answers_nothing(self, queue: TaskQueue) -> None:
        assert queue.enqueue() == []

    def test_an_id_in_capitals_is_the_same_id(self, queue: TaskQueue) -> None:
        task_id = fresh_id()
        enqueue(queue, id=task_id.upper())
        assert queue.get(task_id) == queue.get(task_id.upper())

    def test_the_same_id_and_body_again_is_the_same_task(self, queue: TaskQueue) -> None:
        asked = spec(id=fresh_id())
        (first,) = queue.enqueue(asked)
        (second,) = queue.enqueue(asked)
        assert (first.created, second.created) == (True, False)
        assert second.task == first.task

    def test_the_order_of_keys_and_the_spelling_of_whole_numbers_are_no_other_body(self, queue: TaskQueue) -> None:
        task_id = enqueue(queue, id=fresh_id(), params={"seed": 1, "steps": 4})
        (again,) = queue.enqueue(spec(id=task_id, params={"steps": 4.0, "seed": 1}))
        assert not again.created

    @pytest.mark.parametrize(
        "other",
        [{"params": {"prompt": "hills"}}, {"priority": 1}, {"task_type": "analysis"}, {"max_attempts": 9}],
        ids=lambda other: next(iter(other)),
    )
    def test_the_same_id_with_another_body_is_a_conflict(self, queue: TaskQueue, other: dict[str, object]) -> None:
        asked = spec(id=fresh_id())
        queue.enqueue(asked)
        with pytest.raises(TaskConflict, match=asked.id):
            queue.enqueue(replace(asked, **other))

    def test_a_finished_task_is_still_the_same_task(self, queue: TaskQueue) -> None:
        asked = spec(id=fresh_id())
        queue.enqueue(asked)
        complete(queue, asked.id)
        (again,) = queue.enqueue(asked)
        assert (again.created, again.task.status) == (False, Status.COMPLETE)

    def test_a_correlation_id_makes_enqueue_idempotent_without_an_id(self, queue: TaskQueue) -> None:
        (first,) = queue.enqueue(spec(correlation_id="order 66"))
        (second,) = queue.enqueue(spec(correlation_id="order 66"))
        assert (second.created, second.task.id) == (False, first.task.id)

    def test_a_correlation_id_belongs_to_one_body(self, queue: TaskQueue) -> None:
        enqueue(queue, correlation_id="order 66")
        with pytest.raises(TaskConflict, match="order 66"):
            enqueue(queue, correlation_id="order 66", params={"prompt": "hills"})

    def test_a_correlation_id_belongs_to_one_task(self, queue: TaskQueue) -> None:
        enqueue(queue, correlation_id="order 66")
        with pytest.raises(TaskConflict, match="order 66"):
            enqueue(queue, correlation_id="order 66", id=fresh_id())

    def test_a_batch_may_name_its_tasks_in_any_order(self, queue: TaskQueue) -> None:
        first, second = fresh_id(), fresh_id()
        answers = queue.enqueue(spec(id=second, depends_on=(first,)), spec(id=first))
        assert [answer.task.id for answer in answers] == [second, first]
        assert claimed_ids(queue.claim("gpu-1", limit=9)) == [first]

    def test_a_batch_is_stored_whole_or_not_at_all(self, queue: TaskQueue) -> None:
        good = spec(id=fresh_id())
        with pytest.raises(UnknownDependency):
            queue.enqueue(good, spec(depends_on=(fresh_id(),)))
        with pytest.raises(UnknownTask):
            queue.get(good.id)

    def test_the_same_spec_twice_in_a_batch_is_one_task(self, queue: TaskQueue) -> None:
        asked = spec(id=fresh_id())
        first, second = queue.enqueue(asked, asked)
        assert (first.created, second.created) == (True, False)

    def test_one_id_with_two_bodies_in_a_batch_is_a_conflict(self, queue: TaskQueue) -> None:
        asked = spec(id=fresh_id())
        with pytest.raises(TaskConflict):
            queue.enqueue(asked, replace(asked, priority=1))

    def test_one_correlation_id_with_two_bodies_in_a_batch_is_a_conflict(self, queue: TaskQueue) -> None:
        with pytest.raises(TaskConflict):
            queue.enqueue(spec(correlation_id="a"), spec(correlation_id="a", priority=1))

    def test_naming_a_dependency_twice_is_naming_it_once(self, queue: TaskQueue) -> None:
        first = enqueue(queue)
        second = enqueue(queue, depends_on=(first, first))
        complete(queue, first)
        assert queue.get(second).depends_on == (first,)
        assert claimed_ids(queue.claim("gpu-1")) == [second]

    @pytest.mark.parametrize("field", ["depends_on", "parent_id"])
    def test_what_a_task_names_must_exist(self, queue: TaskQueue, field: str) -> None:
        nobody = fresh_id()
        with pytest.raises(UnknownDependency, match=nobody) as refusal:
            enqueue(queue, **{field: (nobody,) if field == "depends_on" else nobody})
        assert refusal.value.data["field"] == field

    def test_a_task_cannot_depend_on_itself(self, queue: TaskQueue) -> None:
        task_id = fresh_id()
        with pytest.raises(DependencyCycle, match=task_id):
            enqueue(queue, id=task_id, depends_on=(task_id,))

    def test_a_task_cannot_be_its_own_parent(self, queue: TaskQueue) -> None:
        task_id = fresh_id()
        with pytest.raises(DependencyCycle):
            enqueue(queue, id=task_id, parent_id=task_id)

    def test_a_batch_cannot_go_round_in_a_circle(self, queue: TaskQueue) -> None:
        a, b, c = fresh_id(), fresh_id(), fresh_id()
        with pytest.raises(DependencyCycle, match=b):
            queue.enqueue(spec(id=a, depends_on=(b,)), spec(id=b, depends_on=(c,)), spec(id=c, depends_on=(a,)))

    def test_a_child_cannot_depend_on_its_parent(self, queue: TaskQueue) -> None:
        parent = enqueue(queue)
        with pytest.raises(DependencyCycle):
            enqueue(queue, parent_id=parent, depends_on=(parent,))

    def test_a_child_cannot_depend_on_an_older_ancestor(self, queue: TaskQueue) -> None:
        grandparent = enqueue(queue)
        parent = enqueue(queue, parent_id=grandparent)
        with pytest.raises(DependencyCycle):
            enqueue(queue, parent_id=parent, depends_on=(grandparent,))

    def test_a_child_cannot_depend_on_what_waits_for_its_parent(self, queue: TaskQueue) -> None:
        parent = enqueue(queue)
        after = enqueue(queue, depends_on=(parent,))
        later = enqueue(queue, depends_on=(after,))
        with pytest.raises(DependencyCycle):
            enqueue(queue, parent_id=parent, depends_on=(later,))

    def test_a_child_cannot_reach_its_parent_through_the_batch(self, queue: TaskQueue) -> None:
        parent, middle = enqueue(queue), fresh_id()
        with pytest.raises(DependencyCycle):
            queue.enqueue(spec(parent_id=parent, depends_on=(middle,)), spec(id=middle, depends_on=(parent,)))

    def test_children_may_depend_on_each_other_and_on_their_parents_dependencies(self, queue: TaskQueue) -> None:
        before = enqueue(queue)
        parent = enqueue(queue, depends_on=(before,))
        first = enqueue(queue, parent_id=parent, depends_on=(before,))
        assert enqueue(queue, parent_id=parent, depends_on=(first, before))

    @pytest.mark.parametrize("end", ["complete", "fail", "cancel"])
    def test_an_ended_parent_takes_no_children(self, queue: TaskQueue, end: str) -> None:
        parent = enqueue(queue)
        {"complete": complete, "fail": fail, "cancel": lambda q, i: q.cancel(i)}[end](queue, parent)
        with pytest.raises(TaskEnded, match=parent):
            enqueue(queue, parent_id=parent)

    def test_the_same_batch_again_finds_its_children_after_the_parent_has_ended(self, queue: TaskQueue) -> None:
        parent = enqueue(queue)
        batch = [spec(id=fresh_id(), parent_id=parent), spec(id=fresh_id(), parent_id=parent)]
        queue.enqueue(*batch)
        queue.cancel(parent)
        assert [answer.created for answer in queue.enqueue(*batch)] == [False, False]

    def test_a_dependency_that_is_complete_blocks_nothing(self, queue: TaskQueue) -> None:
        first = enqueue(queue)
        complete(queue, first)
        second = enqueue(queue, depends_on=(first,))
        assert claimed_ids(queue.claim("gpu-1")) == [second]

    def test_a_task_that_depends_on_a_failed_one_fails_at_once_and_names_it(self, queue: TaskQueue) -> None:
        first = enqueue(queue)
        fail(queue, first, "no more memory")
        (answer,) = queue.enqueue(spec(depends_on=(first,)))
        assert (answer.created, answer.task.status, answer.task.root_task_id) == (True, Status.FAILED, first)
        assert "no more memory" in (answer.task.error_message or "")

    def test_a_task_that_depends_on_a_cancelled_one_is_cancelled_at_once(self, queue: TaskQueue) -> None:
        first = enqueue(queue)
        queue.cancel(first)
        assert status(queue, enqueue(queue, depends_on=(first,))) is Status.CANCELLED

    def test_a_late_dependent_names_the_root_and_not_the_middle(self, queue: TaskQueue) -> None:
        first = enqueue(queue)
        second = enqueue(queue, depends_on=(first,))
        fail(queue, first)
        assert queue.get(enqueue(queue, depends_on=(second,))).root_task_id == first

    def test_a_child_on_a_failed_dependency_takes_its_batch_and_its_parent_along(self, queue: TaskQueue) -> None:
        broken = enqueue(queue)
        fail(queue, broken)
        parent, first, second, free = enqueue(queue), fresh_id(), fresh_id(), fresh_id()
        queue.enqueue(
            spec(id=second, parent_id=parent, depends_on=(first,)),
            spec(id=free, parent_id=parent),
            spec(id=first, parent_id=parent, depends_on=(broken,)),
        )
        for task_id in (parent, first, second, free):
            assert (status(queue, task_id), queue.get(task_id).root_task_id) == (Status.FAILED, broken)

    def test_a_waiting_parent_may_still_get_children(self, queue: TaskQueue) -> None:
        parent, (first,) = waiting_parent(queue, {})
        enqueue(queue, parent_id=parent)
        complete(queue, first)
        assert queue.get(parent).waiting

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("id", "task-1"),
            ("id", ""),
            ("project_id", "mine"),
            ("parent_id", "you"),
            ("brief_id", "42"),
            ("depends_on", ("first",)),
            ("task_type", ""),
            ("task_type", "  "),
            ("params", ["no", "object"]),
            ("params", {"bytes": b"x"}),
            ("params", {"n": float("nan")}),
            ("params", {"n": float("inf")}),
            ("params", {1: "one"}),
            ("params", {"text": "x" * 262_145}),
            ("params", {"text": "ü" * 131_072}),
            ("params", {"text": "a\0b"}),
            ("params", {"auth": {"api_key": "sb_secret_51"}}),
            ("priority", 10**9),
            ("priority", 1.5),
            ("priority", True),
            ("max_attempts", 0),
            ("max_attempts", 10**9),
            ("max_ticks", 0),
            ("correlation_id", ""),
        ],
    )
    def test_a_malformed_task_is_refused_by_the_name_of_its_field(
        self, queue: TaskQueue, field: str, value: object
    ) -> None:
        with pytest.raises(InvalidTask, match=field) as refusal:
            enqueue(queue, **{field: value})
        assert refusal.value.data["field"] == field
        assert refusal.value.hint
        assert queue.list() == []

    def test_a_moment_without_a_time_zone_is_refused(self, queue: TaskQueue, clock: FakeClock) -> None:
        with pytest.raises(InvalidTask, match="scheduled_at"):
            enqueue(queue, scheduled_at=clock.now.replace(tzinfo=None))

    def test_params_of_exactly_256_kilobytes_are_stored(self, queue: TaskQueue) -> None:
        text = "x" * (256 * 1024 - len('{"t":""}'))
        assert queue.get(enqueue(queue, params={"t": text})).params == {"t": text}

    def test_params_handed_out_are_the_callers_own(self, queue: TaskQueue) -> None:
        task_id = enqueue(queue, params={"list": [1]})
        queue.get(task_id).params["list"].append(2)
        assert queue.get(task_id).params == {"list": [1]}

    def test_a_task_can_be_asked_for_later(self, queue: TaskQueue, clock: FakeClock) -> None:
        task_id = enqueue(queue, scheduled_at=clock.now + timedelta(hours=1))
        assert queue.claim("gpu-1") == []
        clock.advance(3600)
        assert claimed_ids(queue.claim("gpu-1")) == [task_id]

    def test_an_orchestrator_that_runs_twice_finds_its_first_children(self, queue: TaskQueue) -> None:
        parent = enqueue(queue)
        batch = [spec(id=fresh_id(), parent_id=parent) for _ in range(3)]
        for _ in range(2):
            claim = hold(queue, parent)
            queue.enqueue(*batch)
            queue.release(parent, claim.token)
        assert len(queue.children(parent)) == 3
