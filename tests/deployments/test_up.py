"""`longtake up` as a process: killed without mercy, started again, asked to stop."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from deployments.settings import Settings
from deployments.stack.api import PrefectApi
from deployments.stack.leftovers import end_all, find_leftovers, wait_gone
from deployments.stack.postgres import data_dir_in
from tests.conftest import private_home

pytestmark = pytest.mark.stack

LONGTAKE = Path(sys.executable).with_name("longtake")


def start(home: Path) -> subprocess.Popen[str]:
    argv = [LONGTAKE, "up", "--home", home]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def processes(home: Path) -> list[psutil.Process]:
    return find_leftovers(home, data_dir_in(home / "postgres"))


def wait_for(look: Callable[[], Any], patience: float = 180.0) -> Any:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        with suppress(httpx.HTTPError):
            if found := look():
                return found
        time.sleep(0.1)
    raise AssertionError("It did not come.")


def polls(home: Path, *states: str) -> dict[str, str]:
    """Poll runs in these states: id and message."""
    connection = Settings.load(home=home).connection({})
    if connection is None:
        return {}
    where = {"flows": {"name": {"any_": ["poll"]}}, "flow_runs": {"state": {"type": {"any_": list(states)}}}}
    with PrefectApi(connection) as api:
        return {run["id"]: run["state"]["message"] for run in api.post("/flow_runs/filter", where)}


def slots(home: Path) -> int:
    """Slots in use of all limits of deployments."""
    connection = Settings.load(home=home).connection({})
    assert connection is not None
    with PrefectApi(connection) as api:
        return sum(limit["active_slots"] for limit in api.post("/v2/concurrency_limits/filter", {}))


@dataclass(frozen=True)
class Story:
    """What happened to one home: up, a second up beside it, kill -9 of everything, up again, Ctrl-C."""

    first_poll: str
    second_up: subprocess.CompletedProcess[str]
    slots_taken: int
    second_poll: str
    crashed: dict[str, str]
    exit_code: int
    output: str
    left: list[psutil.Process]


@pytest.fixture(scope="module")
def orphans_end() -> Iterator[Future[Any]]:
    """Done when no child of an `up` that was killed alone is left.

    A server without its database hangs until its lifeline kills it, ten seconds later: `story` begins meanwhile.
    """
    with private_home() as home, ThreadPoolExecutor(1) as watch:
        try:
            up = start(home)
            wait_for(lambda: (home / "server.json").exists())
            up.kill()
            up.communicate()
            yield watch.submit(wait_for, lambda: not processes(home), patience=20)
        finally:
            end_all(processes(home))


@pytest.fixture(scope="module")
def story(orphans_end: Future[Any]) -> Iterator[Story]:
    with private_home() as home:
        try:
            yield tell(home)
        finally:
            end_all(processes(home))


def tell(home: Path) -> Story:
    first = start(home)
    first_poll = next(iter(wait_for(lambda: polls(home, "RUNNING"))))
    second_up = subprocess.run([LONGTAKE, "up", "--home", home], capture_output=True, text=True, check=False)
    slots_taken = slots(home)
    first.kill()
    killed = processes(home)
    for process in killed:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    first.communicate()
    wait_gone(killed, patience=10)
    again = start(home)
    second_poll = next(iter(wait_for(lambda: polls(home, "RUNNING").keys() - {first_poll})))
    crashed = polls(home, "CRASHED")
    again.send_signal(signal.SIGINT)
    output = again.communicate(timeout=60)[0]
    return Story(first_poll, second_up, slots_taken, second_poll, crashed, again.returncode, output, processes(home))


def test_a_second_up_is_refused_and_told_who_is_there(story: Story) -> None:
    assert story.second_up.returncode == 1
    assert "already runs in" in story.second_up.stderr


def test_the_poll_runs_again_although_its_only_slot_had_leaked(story: Story) -> None:
    assert story.slots_taken >= 1
    assert story.second_poll != story.first_poll


def test_the_run_that_was_killed_is_told_so_in_prefect(story: Story) -> None:
    assert story.crashed == {story.first_poll: "Its process ended without a report."}


def test_ctrl_c_ends_up_with_success(story: Story) -> None:
    assert story.exit_code == 0, story.output


def test_ctrl_c_leaves_no_process_behind(story: Story) -> None:
    assert story.left == []


def test_the_children_of_a_killed_up_end_by_themselves(orphans_end: Future[Any]) -> None:
    assert orphans_end.result()
