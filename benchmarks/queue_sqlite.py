"""What a claim and a completion cost on SQLite, beside the least that two commits can cost on the same file settings.

    python benchmarks/queue_sqlite.py

The reference updates one row by its key and commits, twice for each task: no queue on this file can be faster.
Rounds of all scenarios are interleaved, so that a busy neighbour disturbs each alike; the table shows medians.
Read the ratios, and on a busy machine those of CPU time. A scenario that needs more CPU than the first one pays for
rows that it cannot take.
"""

from __future__ import annotations

import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from blocks.queue import lifecycle, sqlite_schema
from blocks.queue.model import TaskSpec
from blocks.queue.policy import admit
from blocks.queue.sqlite import SqliteQueue
from blocks.queue.sqlite_rows import SqliteRows

ROUNDS = 5
TASKS_A_ROUND = 400


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        scenarios = {
            "1k queued, half of them blocked": _queue(folder, "1k", ready=500, blocked=500),
            "100k queued, half of them blocked": _queue(folder, "100k", ready=50_000, blocked=50_000),
            "1k queued beside 100k finished": _queue(folder, "finished", ready=500, blocked=500, finished=100_000),
            "1k queued beside 100k delayed": _queue(folder, "delayed", ready=500, blocked=500, delayed=100_000),
        }
        limit = _reference(Path(folder) / "reference.db")
        runs: dict[str, list[Run]] = {name: [] for name in ("limit", *scenarios)}
        for _ in range(ROUNDS):
            runs["limit"].append(_timed(limit))
            for name, queue in scenarios.items():
                runs[name].append(_timed(_claim_and_complete(queue)))
                queue.enqueue(*_tasks(TASKS_A_ROUND))
        _print_table(runs)
        for queue in scenarios.values():
            queue.close()


class Run(NamedTuple):
    rate: float  # tasks a second
    cpu: float  # microseconds a task


def _print_table(runs: dict[str, list[Run]]) -> None:
    medians = {name: Run(*map(statistics.median, zip(*each, strict=True))) for name, each in runs.items()}
    limit, first = list(medians.values())[:2]
    print(f"{'':34} {'tasks/s':>8} {'of limit':>9} {'CPU us/task':>12} {'of limit':>9} {'of first':>9}")
    for name, run in medians.items():
        rate = f"{run.rate:8.0f} {run.rate / limit.rate:9.2f}"
        print(f"{name:34} {rate} {run.cpu:12.0f} {run.cpu / limit.cpu:9.2f} {run.cpu / first.cpu:9.2f}")


def _timed(task: Callable[[], None]) -> Run:
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(TASKS_A_ROUND):
        task()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Run(TASKS_A_ROUND / wall, cpu / TASKS_A_ROUND * 1e6)


def _claim_and_complete(queue: SqliteQueue) -> Callable[[], None]:
    def task() -> None:
        (claim,) = queue.claim("bench", request_id=str(uuid4()))
        queue.complete(claim.task.id, claim.token, output_location="out.mp4")

    return task


def _reference(path: Path) -> Callable[[], None]:
    connection = sqlite_schema.connect(path)
    connection.execute("create table reference (id text primary key, body text, n integer) strict")
    ids = [str(uuid4()) for _ in range(1000)]
    connection.executemany("insert into reference values (?, ?, 0)", [(each, "x" * 500) for each in ids])
    turn = _cycle(ids)

    def task() -> None:
        for _ in range(2):
            connection.execute("begin immediate")
            connection.execute("update reference set n = n + 1 where id = ?", [next(turn)])
            connection.execute("commit")

    return task


def _cycle(ids: list[str]) -> Iterator[str]:
    while True:
        yield from ids


def _queue(folder: str, name: str, *, ready: int, blocked: int, finished: int = 0, delayed: int = 0) -> SqliteQueue:
    path = Path(folder) / f"{name}.db"
    queue = SqliteQueue(path)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    (never,) = queue.enqueue(TaskSpec("blocker", {}, scheduled_at=tomorrow))
    with closing(sqlite_schema.connect(path)) as connection:
        connection.execute("begin immediate")
        _fill(connection, finished, priority=2)
        connection.execute(
            """update tasks set status = 'Complete', attempts = 1, generation_processed_at = created_at
               where priority = 2"""
        )
        # Those that cannot be taken stand at the head: older than the ready ones, and of higher priority.
        _fill(connection, delayed, priority=1, scheduled_at=tomorrow)
        _fill(connection, blocked, priority=1, depends_on=(never.task.id,))
        _fill(connection, ready)
        connection.execute("commit")
    return queue


def _fill(connection: sqlite3.Connection, count: int, **fields: object) -> None:
    (spec,) = _tasks(1, **fields)
    row = lifecycle.queued(admit(spec), "", datetime.now(UTC))
    rows = (replace(row, task=replace(row.task, id=str(uuid4()))) for _ in range(count))
    SqliteRows(connection).insert(list(rows))


def _tasks(count: int, **fields: object) -> list[TaskSpec]:
    params = {"prompt": "the sea at night", "resolution": "896x496", "seed_to_use": 12345, "model_name": "motion"}
    return [TaskSpec("travel_segment", params, **fields) for _ in range(count)]  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
