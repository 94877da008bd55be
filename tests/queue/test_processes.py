"""Several processes on one file, some killed in the middle of their work: nothing is lost and nothing is done twice."""

from __future__ import annotations

import queue as inboxes
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from blocks.queue.model import Status, TaskFilter
from blocks.queue.sqlite import SqliteQueue
from tests.queue import busy_worker
from tests.queue.acts import fresh_id, spec

WORKERS = 3
KILLS = 10
CHAINS = 40


class Crew:
    """Worker processes and what they said, in the order in which it arrived."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._living: dict[str, subprocess.Popen[str]] = {}
        self._heard: inboxes.SimpleQueue[tuple[str, str]] = inboxes.SimpleQueue()
        self._ears: list[threading.Thread] = []
        self.said: list[tuple[str, ...]] = []
        self.faults = ""

    def hire(self) -> None:
        name = f"worker-{len(self._ears)}"
        command = [sys.executable, busy_worker.__file__, str(self._path), name]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._living[name] = process
        ear = threading.Thread(target=self._listen, args=(name, process))
        self._ears.append(ear)
        ear.start()

    def _listen(self, name: str, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._heard.put((name, line))
        self._heard.put((name, ""))

    def next_line(self) -> tuple[str, str]:
        """The next thing anybody says; an empty line is the end of one who has finished or died."""
        name, line = self._heard.get(timeout=60)
        if line.endswith("\n"):  # a kill can cut a line in two
            self.said.append(tuple(line.split()))
        return name, line

    def kill(self, name: str) -> None:
        self._living[name].kill()

    def bury(self, name: str) -> int:
        process = self._living.pop(name)
        assert process.stderr is not None
        self.faults += process.stderr.read()
        return process.wait()

    @property
    def names(self) -> list[str]:
        return list(self._living)

    def dismiss(self) -> None:
        for process in self._living.values():
            process.kill()
        for ear in self._ears:
            ear.join()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queue.db"


@pytest.fixture
def crew(path: Path) -> Iterator[Crew]:
    crew = Crew(path)
    yield crew
    crew.dismiss()


def test_processes_that_are_killed_at_any_moment_lose_no_task_and_do_none_twice(path: Path, crew: Crew) -> None:
    # The rescuer's clock is an hour slow, so that a backoff it sets is over at once for the others.
    with closing(SqliteQueue(path, clock=lambda: datetime.now(UTC) - timedelta(hours=1))) as rescuer:
        created = _enqueue_chains(rescuer)
        random = Random(20)
        kills = 0
        for _ in range(WORKERS):
            crew.hire()
        until_next_kill = 5
        while crew.names:
            name, line = crew.next_line()
            until_next_kill -= 1
            if line == "":
                if crew.bury(name) != 0:
                    _rescue_all_of(rescuer, name)
                    crew.hire()
            elif until_next_kill <= 0 and kills < KILLS:
                crew.kill(random.choice(crew.names))
                kills += 1
                until_next_kill = random.randint(5, 20)

        assert kills == KILLS
        assert crew.faults == ""
        _every_task_is_complete_exactly_once(rescuer, created, crew.said)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
        assert connection.execute("pragma foreign_key_check").fetchall() == []


def _enqueue_chains(queue: SqliteQueue) -> set[str]:
    created: set[str] = set()
    for _ in range(CHAINS):
        first, second, third = fresh_id(), fresh_id(), fresh_id()
        queue.enqueue(
            spec(id=first, max_attempts=100),
            spec(id=second, max_attempts=100, depends_on=(first,)),
            spec(id=third, max_attempts=100, depends_on=(first, second)),
        )
        created |= {first, second, third}
    return created


def _rescue_all_of(rescuer: SqliteQueue, worker_id: str) -> None:
    running = rescuer.list(TaskFilter(status=[Status.IN_PROGRESS], limit=1000))
    rescuer.rescue(lost=[(task.id, task.attempts) for task in running if task.worker_id == worker_id])


def _every_task_is_complete_exactly_once(queue: SqliteQueue, created: set[str], said: list[tuple[str, ...]]) -> None:
    tasks = {task.id: task for task in queue.list(TaskFilter(limit=10_000))}
    assert set(tasks) == created
    assert {task.status for task in tasks.values()} == {Status.COMPLETE}
    claims = Counter((task_id, attempt) for word, task_id, attempt in said if word == "claim")
    assert max(claims.values()) == 1
    accepted = [(task_id, int(attempt)) for word, task_id, attempt in said if word == "complete"]
    assert len(accepted) == len({task_id for task_id, _ in accepted})
    for task_id, attempt in accepted:
        assert tasks[task_id].output_location == f"{tasks[task_id].worker_id}/{attempt}"
        assert tasks[task_id].attempts == attempt
