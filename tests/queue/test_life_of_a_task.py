"""Random lives of tasks, lived on two backends at once: what one shows or refuses, the other must too."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import fields, is_dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from blocks.queue.errors import QueueError
from blocks.queue.memory import MemoryQueue
from blocks.queue.model import LOCAL_PROJECT, Claim, Status, Task, TaskFilter, TaskSpec
from blocks.queue.protocol import TaskQueue
from blocks.queue.sqlite import SqliteQueue
from blocks.queue.supabase import SupabaseQueue
from deployments.local.stack import LocalSupabase
from tests.queue.acts import FakeClock
from tests.queue.sql import SqlTransport, TestDatabase

BADLY = {Status.FAILED, Status.CANCELLED}
TYPES = ("travel_segment", "single_image")
EVERY = TaskFilter(limit=10**6)
#: How many lives are lived in PostgreSQL; a step there costs milliseconds.
LIVES = int(os.environ.get("LIVES", "25"))


class LifeOfATask(RuleBasedStateMachine):
    tasks = Bundle("tasks")
    #: A claim as each backend made it: the same but for its token.
    claims = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "queue.db"
        self.memory = MemoryQueue(clock=self.clock, random=Random(7))
        self.stored = self.open_stored()
        self.complete: set[str] = set()
        self.serial = 0
        self.specs: list[TaskSpec] = []

    def open_stored(self) -> TaskQueue:
        """The store that is compared with memory."""
        return SqliteQueue(self.path, clock=self.clock, random=Random(7))

    def refusal(self, error: QueueError) -> Any:
        """What two stores must share of a refusal."""
        return type(error), error.message, error.data

    def teardown(self) -> None:
        self.stored.close()
        self.folder.cleanup()

    def both(self, act: Callable[[TaskQueue, int], Any]) -> Any:
        """Do it on both; answers with both answers if they agree, or None if both refused."""
        answers, shown = [], []
        for side, queue in enumerate((self.memory, self.stored)):
            try:
                answers.append(act(queue, side))
                shown.append(_shown(answers[-1], self.clock.now))
            except QueueError as refusal:
                shown.append(self.refusal(refusal))
        assert shown[0] == shown[1]
        return answers or None

    def next_id(self) -> str:
        self.serial += 1
        return str(UUID(int=self.serial, version=4))

    def enqueue(self, *specs: TaskSpec) -> Any:
        if self.both(lambda queue, _: queue.enqueue(*specs)):
            self.specs += specs
            return multiple(*(spec.id for spec in specs))
        return multiple()

    @initialize(target=tasks)
    def begin(self) -> Any:
        return self.enqueue(TaskSpec("single_image", {}, id=self.next_id()))

    @rule(
        target=tasks,
        depends_on=st.lists(tasks, max_size=2),
        parent=st.none() | tasks,
        priority=st.integers(-1, 1),
        delay=st.sampled_from([None, -5, 5, 50]),
        max_attempts=st.integers(1, 3),
        task_type=st.sampled_from(TYPES),
    )
    def enqueue_one(
        self,
        depends_on: list[str],
        parent: str | None,
        priority: int,
        delay: int | None,
        max_attempts: int,
        task_type: str,
    ) -> Any:
        moment = None if delay is None else self.clock.now + timedelta(seconds=delay)
        spec = TaskSpec(
            task_type, {}, self.next_id(), priority=priority, scheduled_at=moment, max_attempts=max_attempts
        )
        return self.enqueue(replace(spec, depends_on=tuple(depends_on), parent_id=parent))

    @rule(target=tasks, parent=st.none() | tasks, chained=st.booleans(), backwards=st.booleans())
    def enqueue_travel(self, parent: str | None, chained: bool, backwards: bool) -> Any:
        first, second, stitch = (self.next_id() for _ in range(3))
        batch = [
            TaskSpec("travel_segment", {}, first, parent_id=parent),
            TaskSpec("travel_segment", {}, second, parent_id=parent, depends_on=(first,) if chained else ()),
            TaskSpec("travel_stitch", {}, stitch, parent_id=parent, depends_on=(first, second)),
        ]
        return self.enqueue(*(batch[::-1] if backwards else batch))

    @rule(which=st.integers(0, 10**6), priority=st.integers(0, 1))
    def enqueue_again(self, which: int, priority: int) -> None:
        if self.specs:
            spec = self.specs[which % len(self.specs)]
            self.both(lambda queue, _: queue.enqueue(replace(spec, priority=spec.priority + priority)))

    @rule(
        target=claims,
        limit=st.sampled_from([1, 2, 100]),
        task_types=st.none() | st.lists(st.sampled_from(TYPES), max_size=2),
        request_id=st.none() | st.sampled_from(["r1", "r2"]),
        start=st.booleans(),
    )
    def claim(self, limit: int, task_types: list[str] | None, request_id: str | None, start: bool) -> Any:
        ready = self.stored.counts().ready
        made = self.both(
            lambda queue, _: queue.claim(
                "gpu-1", limit=limit, task_types=task_types, request_id=request_id, lease=30, start=start
            )
        )
        if task_types is None and request_id is None:
            assert len(made[0]) == min(limit, ready)
        return multiple(*zip(*made, strict=True))

    @rule(target=claims, task_ids=st.lists(tasks, max_size=3))
    def claim_by_id(self, task_ids: list[str]) -> Any:
        made = self.both(lambda queue, _: queue.claim("gpu-2", limit=3, task_ids=task_ids, lease=30))
        return multiple(*zip(*made, strict=True))

    @rule(target=claims, task=tasks, attempt=st.integers(1, 2), request_id=st.none() | st.sampled_from(["s1", "s2"]))
    def start(self, task: str, attempt: int, request_id: str | None) -> Any:
        pair = self.both(lambda queue, _: queue.start(task, attempt, "gpu-1", request_id=request_id, lease=30))
        return multiple(tuple(pair)) if pair else multiple()

    @rule(claim=claims, tick=st.none() | st.integers(0, 5))
    def renew(self, claim: tuple[Claim, Claim], tick: int | None) -> None:
        self.both(lambda queue, side: queue.renew(claim[side].task.id, claim[side].token, lease=30, tick=tick))

    @rule(claim=claims)
    def wait(self, claim: tuple[Claim, Claim]) -> None:
        self.both(lambda queue, side: queue.wait(claim[side].task.id, claim[side].token))

    @rule(claim=claims, output=st.sampled_from([None, "a.mp4", "b.mp4"]))
    def complete_one(self, claim: tuple[Claim, Claim], output: str | None) -> None:
        self.both(lambda queue, side: queue.complete(claim[side].task.id, claim[side].token, output_location=output))

    @rule(claim=claims, retry=st.booleans(), delay=st.sampled_from([None, 0, 10]))
    def fail(self, claim: tuple[Claim, Claim], retry: bool, delay: float | None) -> None:
        self.both(
            lambda queue, side: queue.fail(claim[side].task.id, claim[side].token, "broken", retry=retry, delay=delay)
        )

    @rule(claim=consumes(claims))
    def release(self, claim: tuple[Claim, Claim]) -> None:
        self.both(lambda queue, side: queue.release(claim[side].task.id, claim[side].token))

    @rule(task=tasks)
    def cancel(self, task: str) -> None:
        self.both(lambda queue, _: queue.cancel(task))

    @rule(task=tasks, attempts=st.integers(1, 2))
    def retry(self, task: str, attempts: int) -> None:
        self.both(lambda queue, _: queue.retry(task, attempts=attempts))

    @rule(seconds=st.sampled_from([1, 10, 40]))
    def pass_time(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule(lost=st.lists(st.tuples(tasks, st.integers(1, 2)), max_size=2), limit=st.integers(1, 3))
    def rescue(self, lost: list[tuple[str, int]], limit: int) -> None:
        self.both(lambda queue, _: queue.rescue(lost=lost, limit=limit))

    @rule(seconds=st.integers(0, 60), limit=st.sampled_from([1, 3, 10**6]))
    def prune(self, seconds: int, limit: int) -> None:
        pruned = self.both(lambda queue, _: self.prune_one(queue, timedelta(seconds=seconds), limit))
        gone = {task.id for task in pruned[0]}
        self.complete -= gone
        self.specs = [spec for spec in self.specs if spec.id not in gone]

    def prune_one(self, queue: TaskQueue, older_than: timedelta, limit: int) -> list[Task]:
        return queue.prune(older_than, limit=limit)

    @invariant()
    def both_show_the_same(self) -> None:
        self.both(lambda queue, _: queue.list(EVERY))
        self.both(lambda queue, _: queue.counts())

    @invariant()
    def complete_is_for_ever(self) -> None:
        complete = {task.id for task in self.memory.list(replace(EVERY, status=[Status.COMPLETE]))}
        assert self.complete <= complete
        self.complete = complete

    @invariant()
    def every_row_keeps_the_rules(self) -> None:
        rows = {task.id: task for task in self.memory.list(EVERY)}
        for task in rows.values():
            assert 0 <= task.attempts <= task.max_attempts
            above = [rows[each] for each in task.depends_on]
            parent = [rows[task.parent_id]] if task.parent_id else []
            if task.status is Status.QUEUED:
                assert not [each for each in above + parent if each.status in BADLY]
            if task.status in BADLY:
                assert all(each.status.is_terminal for each in parent)
            if task.status in (Status.IN_PROGRESS, Status.COMPLETE):
                assert all(each.status is Status.COMPLETE for each in above)
            if task.root_task_id:
                root = rows[task.root_task_id]
                assert root.status is task.status or {root.status, task.status} <= BADLY
                assert root.root_task_id is None or task.status is Status.COMPLETE
            if task.waiting:
                children = [each for each in rows.values() if each.parent_id == task.id]
                assert any(each.status is not Status.COMPLETE for each in children)

    @invariant()
    def unmet_counts_what_is_not_complete(self) -> None:
        assert self.wrongly_counted() == []

    def wrongly_counted(self) -> list[Any]:
        connection = sqlite3.connect(self.path)
        wrong = connection.execute(
            """select id from tasks where unmet <> (
                 select count(*) from task_dependencies as edge join tasks as needed on needed.id = edge.depends_on
                 where edge.task_id = tasks.id and needed.status <> 'Complete')"""
        ).fetchall()
        connection.close()
        return wrong


def _shown(answer: Any, now: datetime) -> Any:
    """An answer without what two stores need not share: tokens are random, and a moment that has passed says nothing
    any more, so that a store may forget it."""
    if isinstance(answer, list | tuple):
        return [_shown(each, now) for each in answer]
    if not is_dataclass(answer):
        return answer
    shown = {field.name: _shown(getattr(answer, field.name), now) for field in fields(answer)}
    if isinstance(answer, Claim):
        del shown["token"]
    if isinstance(answer, Task) and answer.scheduled_at is not None and answer.scheduled_at <= now:
        shown["scheduled_at"] = None
    return shown


class SteadyRandom(Random):
    """Jitter that a database can draw too."""

    def random(self) -> float:
        return 0.5


class LifeOfATaskInPostgres(LifeOfATask):
    """The same lives, told to the functions of the Supabase migrations."""

    database: TestDatabase
    transport: SqlTransport

    def open_stored(self) -> TaskQueue:
        self.memory = MemoryQueue(clock=self.clock, random=SteadyRandom())
        self.database.empty()
        self.clock.on_move = self.database.set_clock
        self.database.set_clock(self.clock.now)
        return SupabaseQueue(self.transport, project_id=LOCAL_PROJECT)

    def refusal(self, error: QueueError) -> Any:
        return type(error), error.data.get("field"), error.data.get("status")

    def prune_one(self, queue: TaskQueue, older_than: timedelta, limit: int) -> list[Task]:
        # Which family goes first under a limit is each store's own business.
        return sorted(queue.prune(older_than, limit=10**6), key=lambda task: task.id)

    def teardown(self) -> None:
        self.folder.cleanup()

    def wrongly_counted(self) -> list[Any]:
        """Tasks whose place in the queue is not what their rows say."""
        return self.database.run(
            """
            select t.id, t.status, q.place, q.unmet, needs.unmet, t.scheduled_at
            from public.tasks t left join private.queue q on q.task_id = t.id
            cross join lateral (
              select count(*) as unmet from public.task_dependencies e join public.tasks d on d.id = e.depends_on
              where e.task_id = t.id and d.status <> 'Complete') needs
            where (q.task_id is null) <> (t.status = 'Complete')
              or q.unmet <> needs.unmet and q.place <> 'ended'
              or q.place = 'blocked' and (t.status <> 'Queued' or needs.unmet = 0)
              or q.place in ('ready', 'delayed') and (t.status <> 'Queued' or needs.unmet > 0)
              or q.place = 'delayed' and q.scheduled_at is distinct from t.scheduled_at
              or (q.place = 'held') <> (t.lease_expires_at is not null)
              or (q.place = 'waiting') <> t.waiting
              or (q.place = 'ended') <> (t.status in ('Failed', 'Cancelled'))
              or not q.has_kin and (t.parent_id is not null or t.depends_on <> '{}'
                or exists (select from public.task_dependencies e where e.depends_on = t.id)
                or exists (select from public.tasks c where c.parent_id = t.id))
            """
        )

    @rule()
    def move_the_marks(self) -> None:
        self.database.run("select private.move_cursors()")

    @invariant()
    def no_ready_task_lies_below_its_mark(self) -> None:
        hidden = self.database.run(
            """
            select q.task_id from private.queue q left join private.cursors c using (priority)
            where q.place = 'ready' and (c.low is null or q.order_key <
              least(c.low, (select min(l.order_key) from private.latecomers l where l.priority = q.priority)))
            """
        )
        assert hidden == []


TestLifeOfATask = LifeOfATask.TestCase
TestLifeOfATask.settings = settings(max_examples=40, stateful_step_count=50, deadline=None)


@pytest.mark.stack
def test_a_task_lives_the_same_life_in_postgres(supabase: LocalSupabase, project_database: TestDatabase) -> None:
    with closing(SqlTransport(supabase.database_url)) as transport:

        def machine() -> LifeOfATaskInPostgres:
            LifeOfATaskInPostgres.database, LifeOfATaskInPostgres.transport = project_database, transport
            return LifeOfATaskInPostgres()

        lives = settings(max_examples=LIVES, stateful_step_count=40, deadline=None)
        run_state_machine_as_test(machine, settings=lives)
