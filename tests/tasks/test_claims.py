"""A claim is kept alive while its body runs, and its body learns when it is gone."""

from __future__ import annotations

import asyncio
import os
import queue as inboxes
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from blocks.queue.errors import NotAllowed
from blocks.queue.memory import MemoryQueue
from blocks.queue.model import Claim, Status, TaskSpec
from blocks.queue.protocol import TaskQueue
from blocks.queue.sqlite import SqliteQueue
from tasks.claims import Hold, hold
from tasks.errors import Stopped
from tasks.heartbeat import LOST, STALLED, Post, beat, first_line
from tests.waiting import until

Opener = Callable[[], TaskQueue]


@pytest.fixture(params=["memory", "sqlite"])
def queue(request: pytest.FixtureRequest, tmp_path: Path) -> TaskQueue:
    return MemoryQueue() if request.param == "memory" else SqliteQueue(tmp_path / "queue.db")


def started(queue: TaskQueue, lease: float = 60.0) -> Claim:
    queue.enqueue(TaskSpec("single_image", {"prompt": "sea"}))
    [claim] = queue.claim("worker_test", start=True, lease=lease)
    return claim


async def stopped(held: Hold) -> Stopped:
    gone = threading.Event()
    held.when_stopped(gone.set)
    assert gone.wait(20) or held.stopped
    assert held.stopped
    return held.stopped


async def test_a_short_lease_is_renewed_while_the_body_runs(queue: TaskQueue) -> None:
    claim = started(queue, lease=1.5)
    async with hold(queue, claim, lease=1.5):
        first = claim.lease_expires_at
        until(lambda: (queue.get(claim.task.id).lease_expires_at or first) > first, "a renewal")


async def test_progress_reaches_the_row(queue: TaskQueue) -> None:
    claim = started(queue)
    async with hold(queue, claim) as held:
        held.on_step(3, 9)
        until(lambda: queue.get(claim.task.id).tick == 3, "tick 3")
        assert queue.get(claim.task.id).max_ticks == 9


async def test_a_cancelled_task_stops_its_body_within_a_step(queue: TaskQueue) -> None:
    claim = started(queue)
    async with hold(queue, claim) as held:
        queue.cancel(claim.task.id)
        assert (await stopped(held)).cancelled
        with pytest.raises(Stopped, match="cancelled"):
            held.on_step(1, 9)


async def test_a_claim_that_another_attempt_took_stops_its_body(queue: TaskQueue) -> None:
    claim = started(queue)
    async with hold(queue, claim) as held:
        queue.rescue(lost=[(claim.task.id, claim.attempt)])
        assert not (await stopped(held)).cancelled


async def test_a_body_that_gives_its_claim_up_is_not_told_that_it_is_gone(queue: TaskQueue) -> None:
    claim = started(queue)
    async with hold(queue, claim) as held:
        held.seal()
        queue.complete(claim.task.id, claim.token, output_location="/film.mp4")
    assert held.stopped is None


async def test_a_heartbeat_that_was_killed_is_started_again(tmp_path: Path) -> None:
    queue = SqliteQueue(tmp_path / "queue.db")
    claim = started(queue)
    async with hold(queue, claim) as held:
        os.kill(held._beat._process.pid, signal.SIGKILL)  # type: ignore[union-attr]
        until(lambda: held.on_step(5, 9) or queue.get(claim.task.id).tick == 5, "progress through the second one")


BODY = """
import asyncio, sys
from blocks.queue.model import Claim
from blocks.queue.sqlite import SqliteQueue
from tasks.claims import hold

async def main():
    queue = SqliteQueue(sys.argv[1])
    [claim] = queue.claim("worker_test", start=True)
    async with hold(queue, claim) as held:
        print(held._beat._process.pid, flush=True)
        sys.stdin.readline()

asyncio.run(main())
"""


def test_a_heartbeat_whose_key_has_expired_gives_up_when_its_lease_is_over(tmp_path: Path) -> None:
    class Expired(MemoryQueue):
        def changed(self) -> object:
            raise NotAllowed("The key has expired.")

    said: list[str] = []
    beat(Expired(), Post("task", 1, "token", lease=0.3), inboxes.SimpleQueue(), said.append)
    assert said == [LOST]


def test_the_heartbeat_dies_with_its_body_even_by_kill_9(tmp_path: Path) -> None:
    SqliteQueue(tmp_path / "queue.db").enqueue(TaskSpec("single_image", {"prompt": "sea"}))
    body = subprocess.Popen(
        [sys.executable, "-c", BODY, str(tmp_path / "queue.db")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert body.stdout
    beat = int(body.stdout.readline())
    body.kill()
    body.wait()
    until(lambda: not alive(beat), "the heartbeat's end")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_a_busy_interpreter_lock_does_not_stop_the_renewal(tmp_path: Path) -> None:
    """The beat is a process of its own: it needs no word from the body, which may be inside a native call."""
    queue = SqliteQueue(tmp_path / "queue.db")
    claim = started(queue, lease=1.5)
    post = Post(claim.task.id, claim.attempt, claim.token, 1.5)
    holder = subprocess.Popen(
        [sys.executable, "-m", "tasks.heartbeat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdin
    holder.stdin.write(first_line(queue.address() or {}, post))
    holder.stdin.flush()
    seen = {claim.lease_expires_at}

    def renewed_twice() -> bool:
        seen.add(queue.get(claim.task.id).lease_expires_at or claim.lease_expires_at)
        return len(seen) >= 3

    until(renewed_twice, "two renewals without a word from the body")
    holder.stdin.close()
    assert holder.wait(10) == 0


class TestAHang:
    def test_a_body_without_progress_loses_its_claim_and_the_task_is_tried_again(self, queue: TaskQueue) -> None:
        claim = started(queue, lease=0.3)
        said: list[str] = []
        beat(queue, Post(claim.task.id, 1, claim.token, lease=0.3, stall=0.2), inboxes.SimpleQueue(), said.append)
        row = queue.get(claim.task.id)
        assert (said, row.status, row.error_message) == (
            [STALLED],
            Status.QUEUED,
            "It hung: there was no progress for 0.2 s.",
        )

    async def test_progress_keeps_a_slow_body_alive(self, queue: TaskQueue) -> None:
        claim = started(queue, lease=0.6)
        async with hold(queue, claim, lease=0.6, stall=1.0) as held:
            begun = time.monotonic()
            while time.monotonic() - begun < 2:
                held.on_step(1, 9)
                await asyncio.sleep(0.1)
        assert held.stopped is None

    async def test_a_thread_that_outlives_its_run_keeps_the_guard(self, tmp_path: Path) -> None:
        queue = SqliteQueue(tmp_path / "queue.db")
        go_on = threading.Event()
        async with hold(queue, started(queue)) as held:
            guard = held._beat._process  # type: ignore[union-attr]

            def compute() -> None:
                with held.computing():
                    go_on.wait()

            thread = threading.Thread(target=compute)
            thread.start()
        assert guard.poll() is None
        go_on.set()
        thread.join()
        until(lambda: guard.poll() == 0, "the heartbeat's end")

    def test_a_body_that_does_not_stop_is_killed(self, tmp_path: Path) -> None:
        """It holds the interpreter lock for ever, as a native call may: no exception and no signal handler runs."""
        SqliteQueue(tmp_path / "queue.db").enqueue(TaskSpec("single_image", {"prompt": "sea"}))
        body = subprocess.run([sys.executable, "-c", HANGING_BODY, str(tmp_path / "queue.db")], timeout=60, check=False)
        assert body.returncode == -signal.SIGKILL
        (row,) = SqliteQueue(tmp_path / "queue.db").list()
        assert (row.status, row.attempts) == (Status.QUEUED, 1)


HANGING_BODY = """
import asyncio, ctypes, sys
from blocks.queue.sqlite import SqliteQueue
from tasks.claims import hold

async def main():
    queue = SqliteQueue(sys.argv[1])
    [claim] = queue.claim("worker_test", start=True, lease=0.6)
    async with hold(queue, claim, lease=0.6, stall=0.5, grace=0.5):
        ctypes.PyDLL(None).sleep(600)

asyncio.run(main())
"""
