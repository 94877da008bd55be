"""Children as real processes, without a Prefect server: starting, failing to, ending."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from deployments.warm.lane import RunEnded, State
from deployments.warm.lanefile import LaneFile
from deployments.warm.lanes import CannotStart, Lanes
from deployments.warm.life import Life
from deployments.warm.messages import Run
from deployments.warm.places import Place
from deployments.warm.plan import Limits, Plan, Want
from tests.waiting import until
from tests.warm.bench import ROOT, group_of

LOG = logging.getLogger("tests.warm")
#: Nobody listens there: a run ends at once, with the reason that Prefect gives.
NO_SERVER = {
    "PREFECT_API_URL": "http://127.0.0.1:9/api",
    "PREFECT_CLIENT_MAX_RETRIES": "0",
    "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false",
}
ENV = {"PATH": os.environ["PATH"], **NO_SERVER}


def lanes(home: Path, plan: Plan | None = None, limits: Limits | None = None, slots: int = 1) -> Lanes:
    where = [Place(f"cpu-{number}") for number in range(slots)]
    env = {**ENV, "PREFECT_HOME": str(home)}
    return Lanes(where, plan or Plan(working_dir=ROOT), limits or Limits(), home, env, LOG)


def want(plan: Plan | None = None, version: str | None = None) -> Want:
    return Want(uuid.uuid4(), "tests.warm.sample.quick", version, plan or Plan(working_dir=ROOT))


async def seen(look: Callable[[], object], what: str) -> None:
    await asyncio.to_thread(until, look, what, 40)


async def run_in(life: Life) -> RunEnded:
    outcome = await life.run(Run(flow_run_id=uuid.uuid4(), entrypoint="tests.warm.sample.quick"))
    assert isinstance(outcome, RunEnded)
    return outcome


async def test_one_child_serves_run_after_run_and_is_gone_afterwards(tmp_path: Path) -> None:
    async with lanes(tmp_path) as running:
        life = await running.acquire(want())
        outcome = await run_in(life)
        assert "Connect" in str(outcome.problem)  # no server: the child tells why
        assert life.lane.state is State.READY
        again = await running.acquire(want())
        assert again.pid == life.pid
        changed = await running.acquire(want(version="2"))
        assert changed is life  # the first version that is seen says nothing about the code in memory
        pid = life.pid
        assert pid
        newer = await running.acquire(want(version="3"))
        assert newer.pid != pid  # its deployment has changed since
        pid = newer.pid
    group = pid
    until(lambda: not group_of(group), "the end of the child's group", 3)


async def test_a_killed_child_is_replaced(tmp_path: Path) -> None:
    async with lanes(tmp_path) as running:
        life = await running.acquire(want())
        assert life.pid
        os.kill(life.pid, signal.SIGKILL)
        await seen(lambda: running.slots[0].state is State.DEAD or running.slots[0].life is not life, "its death")
        assert (await running.acquire(want())).pid != life.pid


async def test_a_run_of_another_plan_gets_a_child_of_its_own(tmp_path: Path) -> None:
    other = Plan(working_dir=ROOT, env=(("WARM_NOTE", "set"),))
    async with lanes(tmp_path) as running:
        first = await running.acquire(want())
        second = await running.acquire(want(other))
        assert second.pid != first.pid
        assert second.pid
        assert psutil.Process(second.pid).environ()["WARM_NOTE"] == "set"


async def test_a_child_that_cannot_start_tells_why_and_is_not_tried_in_a_hot_loop(tmp_path: Path) -> None:
    async with lanes(tmp_path, Plan(preload=("no_such_module",))) as running:
        with pytest.raises(CannotStart, match="No module named 'no_such_module'"):
            await running.acquire(want(Plan(preload=("no_such_module",))))
        slot = running.slots[0]
        slot.in_a_row = 5
        assert slot.pause == 16


async def test_a_start_has_a_deadline(tmp_path: Path) -> None:
    plan = Plan(working_dir=ROOT, preload=("tests.warm.slow_module",))
    async with lanes(tmp_path, plan, Limits(start_seconds=1, grace_seconds=1)) as running:
        with pytest.raises(CannotStart, match=r"not ready within 1 s \(start_seconds\)"):
            await running.acquire(want(plan))


async def test_a_lane_that_another_process_holds_is_not_used(tmp_path: Path) -> None:
    other = LaneFile(tmp_path / "lanes" / "cpu-0.json")
    other.acquire(0)
    async with lanes(tmp_path, limits=Limits(start_seconds=0.1, grace_seconds=20)) as running:
        with pytest.raises(CannotStart, match=f"in use by process {os.getpid()}|not ready within"):
            await running.acquire(want())


GUARDED = """
import os, sys
from deployments.warm import guard
guard.start(int(sys.argv[1]), int(sys.argv[2]))
os.close(int(sys.argv[1]))
print("guarded", flush=True)
while True: pass
"""


@pytest.fixture
def guarded() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A busy process that listens to nobody, with its guard, and the worker's end of the lifeline."""
    theirs, ours = os.pipe()
    argv = [sys.executable, "-c", GUARDED, str(theirs), "-3"]
    process = subprocess.Popen(argv, pass_fds=[theirs], stdout=subprocess.PIPE, text=True, start_new_session=True)
    os.close(theirs)
    assert process.stdout
    assert process.stdout.readline() == "guarded\n"
    yield process, ours
    process.kill()
    process.wait()


def test_the_guard_kills_a_group_whose_worker_is_gone(guarded: tuple[subprocess.Popen[str], int]) -> None:
    process, lifeline = guarded
    assert len(group_of(process.pid)) == 2
    os.close(lifeline)
    assert process.wait(20) == -signal.SIGKILL
    until(lambda: not group_of(process.pid), "the guard's own end", 5)
