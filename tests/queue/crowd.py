"""Many claimers at once on one queue, and what must be true of all that they saw.

    python -m tests.queue.crowd work      a process of claimers in SQL
    python -m tests.queue.crowd victim    claims in a transaction that it never ends, and waits to be killed

Both read their instructions as one line of JSON from standard input, and tell what they saw in such lines.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np
import psycopg

from blocks.queue.errors import QueueUnavailable
from blocks.queue.model import TaskSpec
from blocks.queue.protocol import TaskQueue
from blocks.queue.supabase import SupabaseQueue
from tests.queue.acts import fresh_id, spec
from tests.queue.sql import SqlTransport, TestDatabase

R = TypeVar("R")
#: Moments are of `time.monotonic`, which is one clock for all processes of a machine.
Span = tuple[float, float]
#: A lost task would be waited for without end.
PATIENCE = 240.0


@dataclass
class Seen:
    """What claimers saw, each from its own side of the wire."""

    #: Task, attempt, when the claim was first asked for.
    claimed: list[tuple[str, int, float]] = field(default_factory=list)
    #: Task, when its completion was known.
    completed: list[tuple[str, float]] = field(default_factory=list)
    empty: list[Span] = field(default_factory=list)
    #: Calls that were cut off, of which nobody knew whether they had happened. Each may have locked `MOST` tasks.
    cut: list[Span] = field(default_factory=list)

    def add(self, other: Seen) -> None:
        for name, values in asdict(other).items():
            getattr(self, name).extend(values)


class Claimer:
    """Claims some tasks and completes one after the other, until all have ended. What is cut off is sent again."""

    def __init__(self, queue: TaskQueue, name: str) -> None:
        self._queue = queue
        self._name = name
        self.seen = Seen()

    def run(self) -> Seen:
        deadline = time.monotonic() + PATIENCE
        while self._claim_some() or not self._is_over():
            assert time.monotonic() < deadline, "the work does not come to an end"
        return self.seen

    def _claim_some(self) -> bool:
        asked, request, limit = time.monotonic(), fresh_id(), 1 + len(self.seen.claimed) % MOST
        claims = self._until_answered(
            lambda: self._queue.claim(self._name, limit=limit, request_id=request, lease=3600)
        )
        if not claims:
            self.seen.empty.append((asked, time.monotonic()))
        for claim in claims:
            task_id, token = claim.task.id, claim.token
            self.seen.claimed.append((task_id, claim.attempt, asked))
            self._until_answered(partial(self._queue.complete, task_id, token, output_location=self._name))
            self.seen.completed.append((task_id, time.monotonic()))
        return bool(claims)

    def _is_over(self) -> bool:
        counts = self._until_answered(self._queue.counts)
        return counts.ready + counts.blocked + counts.in_progress == 0

    def _until_answered(self, call: Callable[[], R]) -> R:
        while True:
            asked = time.monotonic()
            try:
                return call()
            except QueueUnavailable:
                self.seen.cut.append((asked, time.monotonic()))


def run_claimers(queue: TaskQueue, names: Sequence[str]) -> Seen:
    together = Seen()
    with ThreadPoolExecutor(len(names)) as pool:
        for seen in pool.map(lambda name: Claimer(queue, name).run(), names):
            together.add(seen)
    return together


#: Tasks of one claim.
MOST = 3
#: Tasks of one enqueue.
BATCH = 200
#: A family: a chain of three, eight that wait for its end, one that waits for all of them, and eight by themselves.
FAMILY = 20


def families(project_id: str, tasks: int) -> Iterator[list[TaskSpec]]:
    """`tasks` in families, each waiting for the one before: so claimers run out of work again and again."""
    before: tuple[str, ...] = ()
    for _ in range(tasks // FAMILY):
        first, second, third, last = (fresh_id() for _ in range(4))
        middle = [fresh_id() for _ in range(8)]
        needs = {first: before, second: (first,), third: (second,), **dict.fromkeys(middle, (third,)), last: (*middle,)}
        yield [
            *(spec(id=each, project_id=project_id, depends_on=depends_on) for each, depends_on in needs.items()),
            *(spec(id=fresh_id(), project_id=project_id) for _ in range(FAMILY - len(needs))),
        ]
        before = (last,)


class Referee:
    """Watches from inside the database: each claim that was committed, and what its task still waited for."""

    def __init__(self, database: TestDatabase) -> None:
        self._database = database
        self._enqueued: dict[str, tuple[str, ...]] = {}
        self.enqueued_at = 0.0

    def __enter__(self) -> Referee:
        self._database.run(
            """
            create table private.test_claims (task_id uuid, attempt integer, unmet integer);
            create function private.test_note_claim() returns trigger language plpgsql security definer
              set search_path = '' as $$
            begin
              insert into private.test_claims select new.id, new.attempts, count(*) from public.tasks t
                where t.id = any (new.depends_on) and t.status <> 'Complete';
              return null;
            end $$;
            create trigger test_note_claim after update on public.tasks for each row
              when (new.status = 'In Progress' and new.attempts > old.attempts)
              execute function private.test_note_claim();
            """
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._database.run(
            """
            drop trigger test_note_claim on public.tasks;
            drop function private.test_note_claim();
            drop table private.test_claims;
            """
        )

    def enqueue(self, queue: TaskQueue, tasks: int, owners: int = 4) -> None:
        for _ in range(owners):
            batch = [each for family in families(self._new_owners_project(), tasks // owners) for each in family]
            for begin in range(0, len(batch), BATCH):
                queue.enqueue(*batch[begin : begin + BATCH])
            self._enqueued |= {str(each.id): each.depends_on for each in batch}
        self.enqueued_at = time.monotonic()

    def _new_owners_project(self) -> str:
        owner = fresh_id()
        self._database.run("insert into auth.users (id) values (%s)", owner)
        return self._database.new_project(fresh_id(), owner)

    def judge(self, seen: Seen) -> None:
        self._none_twice(seen)
        self._none_lost(seen)
        self._none_before_its_dependencies()
        self._no_empty_answer_while_work_was_ready(seen)

    def _none_twice(self, seen: Seen) -> None:
        handed_out = [(task_id, attempt) for task_id, attempt, _ in seen.claimed]
        assert len(handed_out) == len({task_id for task_id, _ in handed_out})
        noted = self._database.run("select task_id::text, attempt from private.test_claims")
        assert sorted(noted) == sorted(handed_out)

    def _none_lost(self, seen: Seen) -> None:
        ends = self._database.run("select id::text, status::text, attempts from public.tasks")
        assert {row[0] for row in ends} == set(self._enqueued)
        assert {row[1:] for row in ends} == {("Complete", 1)}
        assert sorted(task_id for task_id, _ in seen.completed) == sorted(self._enqueued)

    def _none_before_its_dependencies(self) -> None:
        assert self._database.run("select task_id from private.test_claims where unmet > 0") == []

    def _no_empty_answer_while_work_was_ready(self, seen: Seen) -> None:
        """A task that was known to be ready before the call, and that nobody asked for until after it, was there."""
        completed = dict(seen.completed)
        asked = {task_id: at for task_id, _, at in seen.claimed}
        ids = list(self._enqueued)
        ready = np.array([max((completed[d] for d in self._enqueued[i]), default=self.enqueued_at) for i in ids])
        taken = np.array([asked[task_id] for task_id in ids])
        for start, end in seen.empty:
            there = int(np.count_nonzero((ready < start) & (taken > end)))
            locked = MOST * sum(1 for begun, over in seen.cut if begun < end and over > start)
            assert there <= locked, f"{there} tasks were ready, at most {locked} of them locked by what was cut off"


def _work() -> None:
    told = json.loads(sys.stdin.readline())
    transport = SqlTransport(told["url"], connections=len(told["names"]))
    seen = run_claimers(SupabaseQueue(transport), told["names"])
    transport.close()
    _say(json.dumps(asdict(seen)))


def _victim() -> None:
    told: dict[str, Any] = json.loads(sys.stdin.readline())
    with psycopg.connect(told["url"]) as connection:
        connection.execute("set role service_role")
        connection.commit()
        _say("ready")
        sys.stdin.readline()
        row = connection.execute("select public.claim_tasks(%s)", (told["name"],)).fetchone()
        assert row
        _say(json.dumps([connection.info.backend_pid, len(row[0])]))
        sys.stdin.read()


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    {"work": _work, "victim": _victim}[sys.argv[1]]()
