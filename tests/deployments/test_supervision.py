from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.stack.process import Child, Recipe
from deployments.stack.supervision import GIVE_UP_AFTER, Backoff, Supervisor, Watched


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    body = "import time; time.sleep(60)"
    return Recipe("sleeper", [sys.executable, "-c", body], {}, tmp_path, tmp_path / "sleeper.log")


@pytest.fixture
def child(recipe: Recipe) -> Iterator[Child]:
    started = Child(recipe)
    yield started
    started.end(signal.SIGKILL)


def dead(child: Child) -> Child:
    child.process.kill()
    child.process.wait()
    return child


def test_delays_double_up_to_half_a_minute() -> None:
    backoff = Backoff()
    assert [backoff.next_delay(lived=1) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]


def test_a_process_that_lived_long_is_restarted_quickly_again() -> None:
    backoff = Backoff(failures=5)
    assert backoff.next_delay(lived=3600) == 1


def test_a_living_process_is_left_alone(child: Child) -> None:
    entry = Watched(child, revive=None)
    Supervisor().look(entry, time.monotonic())
    assert entry.restarts == 0


def test_a_dead_process_is_revived_after_its_delay(child: Child, recipe: Recipe) -> None:
    successors: list[Child] = []

    def revive() -> Child:
        successors.append(Child(recipe))
        return successors[-1]

    entry, supervisor, now = Watched(dead(child), revive), Supervisor(), time.monotonic()
    supervisor.look(entry, now)
    assert entry.child is child
    supervisor.look(entry, now + 1)
    assert entry.child is successors[0]
    successors[0].end(signal.SIGKILL)


def test_a_process_that_dies_again_and_again_is_given_up_with_its_reason(child: Child) -> None:
    entry, supervisor = Watched(dead(child), revive=lambda: child), Supervisor()
    entry.backoff.failures = GIVE_UP_AFTER
    supervisor.look(entry, time.monotonic())
    assert supervisor.failed.is_set()
    assert "sleeper was killed by signal 9" in str(supervisor.failure)


def test_the_death_of_one_that_cannot_be_revived_is_told_with_its_reason(child: Child) -> None:
    supervisor = Supervisor()
    supervisor.look(Watched(dead(child), revive=None), time.monotonic())
    assert supervisor.failed.is_set()
    assert "sleeper was killed by signal 9" in str(supervisor.failure)


def test_the_log_of_a_process_is_in_the_message_of_its_death(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", "raise SystemExit('no room on the disk')"]
    child = Child(Recipe("writer", argv, {}, tmp_path, tmp_path / "writer.log"))
    child.process.wait()
    assert "no room on the disk" in str(child.died())
    child.close()


def test_a_process_that_ignores_the_question_is_killed(tmp_path: Path) -> None:
    body = "import signal, os, time; signal.signal(15, signal.SIG_IGN); os.write(1, b'deaf'); time.sleep(60)"
    child = Child(Recipe("deaf", [sys.executable, "-c", body], {}, tmp_path, tmp_path / "deaf.log"))
    while not (tmp_path / "deaf.log").read_text():
        time.sleep(0.01)
    child.end(patience=0.1)
    assert child.process.returncode == -signal.SIGKILL
