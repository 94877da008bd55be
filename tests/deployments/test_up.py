"""`longtake up` as a process: killed without mercy in the middle of a travel, started again, asked to stop."""

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

from blocks.queue.model import Status, Task
from deployments.settings import Settings
from deployments.stack.api import PrefectApi
from deployments.stack.leftovers import end_all, find_leftovers, wait_gone
from deployments.stack.postgres import data_dir_in
from tests.conftest import private_home
from tests.flows.lab import LONG, Lab, film_length

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
    """What happened to one home: up, a second up beside it, kill -9 of everything at work, up again, Ctrl-C."""

    first_poll: str
    second_up: subprocess.CompletedProcess[str]
    slots_taken: int
    second_poll: str
    crashed: dict[str, str]
    travel: Task
    victim: Task
    before: list[Task]
    after: list[Task]
    generations: dict[str, int]
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
    lab = Lab(Settings.load(home=home), home)
    travel = lab.travel(4, **LONG)
    first = start(home)
    wait_for(lambda: polls(home, "RUNNING"))
    second_up = subprocess.run([LONGTAKE, "up", "--home", home], capture_output=True, text=True, check=False)
    first_poll, victim = wait_for(lambda: at_work(lab, travel))
    slots_taken = slots(home)
    first.kill()
    killed = processes(home)
    for process in killed:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    first.communicate()
    wait_gone(killed, patience=10)
    before = segments(lab, travel)
    again = start(home)
    second_poll = next(iter(wait_for(lambda: polls(home, "RUNNING").keys() - {first_poll})))
    crashed = polls(home, "CRASHED")
    done = lab.wait(travel, seconds=240)
    after = segments(lab, travel)
    generations = {row.id: lab.generations(row) for row in after if row.id != victim.id}
    again.send_signal(signal.SIGINT)
    output = again.communicate(timeout=60)[0]
    return Story(
        *(first_poll, second_up, slots_taken, second_poll, crashed),
        *(done, victim, before, after, generations),
        *(again.returncode, output, processes(home)),
    )


def segments(lab: Lab, travel: Task) -> list[Task]:
    return [row for row in lab.queue.children(travel.id) if row.task_type == "travel_segment"]


def at_work(lab: Lab, travel: Task) -> tuple[str, Task] | None:
    """A poll run and a segment after the first, once both are at work at a time."""
    running = polls(lab.settings.home, "RUNNING")
    generated = [row for row in segments(lab, travel)[1:] if row.status is Status.IN_PROGRESS and (row.tick or 0) > 0]
    return (next(iter(running)), generated[0]) if running and generated else None


def test_a_second_up_is_refused_and_told_who_is_there(story: Story) -> None:
    assert story.second_up.returncode == 1
    assert "already runs in" in story.second_up.stderr


def test_the_poll_runs_again_although_its_only_slot_had_leaked(story: Story) -> None:
    assert story.slots_taken >= 1
    assert story.second_poll != story.first_poll


def test_the_run_that_was_killed_is_told_so_in_prefect(story: Story) -> None:
    assert story.crashed == {story.first_poll: "Its process ended without a report."}


def test_the_travel_finishes_whole_although_everything_was_killed(story: Story) -> None:
    assert story.travel.status is Status.COMPLETE, story.travel.error_message
    assert film_length(story.travel.output_location) == 3 * 121 - 2 * 8


def test_the_kill_costs_the_segment_at_work_one_attempt_and_no_other(story: Story) -> None:
    assert [row.attempts for row in story.after] == [2 if row.id == story.victim.id else 1 for row in story.after]
    assert set(story.generations.values()) == {1}


def test_what_was_finished_before_the_kill_is_not_made_again(story: Story) -> None:
    finished = {row.id: row.output_location for row in story.before if row.status is Status.COMPLETE}
    assert finished
    assert finished.items() <= {row.id: row.output_location for row in story.after}.items()


def test_ctrl_c_ends_up_with_success(story: Story) -> None:
    assert story.exit_code == 0, story.output


def test_ctrl_c_leaves_no_process_behind(story: Story) -> None:
    assert story.left == []


def test_the_children_of_a_killed_up_end_by_themselves(orphans_end: Future[Any]) -> None:
    assert orphans_end.result()
