"""What a claim and a completion cost on SQLite, beside the least that two commits can cost on the same file settings.

    python benchmarks/queue_sqlite.py

The reference updates one row by its key and commits, twice for each task: no queue on this file can be faster.
Rounds of all scenarios are interleaved, so that a busy neighbour disturbs each alike; the table shows medians.
Read the ratios. A scenario whose ratio falls behind the first one's pays for rows that it cannot take.
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
        rates: dict[str, list[float]] = {name: [] for name in ("limit", *scenarios)}
        for _ in range(ROUNDS):
            rates["limit"].append(_rate(limit))
            for name, queue in scenarios.items():
                rates[name].append(_rate(_claim_and_complete(queue)))
                queue.enqueue(*_tasks(TASKS_A_ROUND))
        _print_table(rates)
        for queue in scenarios.values():
            queue.close()


def _print_table(rates: dict[str, list[float]]) -> None:
    limit = statistics.median(rates.pop("limit"))
    first = statistics.median(next(iter(rates.values())))
    print(f"{'scenario':36} {'tasks/s':>9} {'of the limit':>13} {'of the first':>13}")
    print(f"{'limit: two single-row commits':36} {limit:9.0f} {1:13.2f}")
    for name, each in rates.items():
        rate = statistics.median(each)
        print(f"{name:36} {rate:9.0f} {rate / limit:13.2f} {rate / first:13.2f}")


def _rate(task: Callable[[], None]) -> float:
    begun = time.perf_counter()
    for _ in range(TASKS_A_ROUND):
        task()
    return TASKS_A_ROUND / (time.perf_counter() - begun)


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
