from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from deployments.settings import MARKER
from deployments.stack.leftovers import end_all, find_leftovers, wait_gone

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a process with the marker of a home."""
    started: list[subprocess.Popen[bytes]] = []

    def sleeper(home: Path, **more: str) -> subprocess.Popen[bytes]:
        env = {**os.environ, MARKER: str(home), **more}
        started.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env=env))
        return started[-1]

    yield sleeper
    for process in started:
        process.kill()
        process.wait()


def test_a_process_of_this_home_is_found(start: Start, tmp_path: Path) -> None:
    process = start(tmp_path)
    assert [found.pid for found in find_leftovers(tmp_path)] == [process.pid]


def test_a_process_of_another_home_is_not_ours(start: Start, tmp_path: Path) -> None:
    start(tmp_path / "other")
    assert find_leftovers(tmp_path) == []


def test_a_leftover_is_ended_even_when_it_is_frozen(start: Start, tmp_path: Path) -> None:
    process = start(tmp_path)
    process.send_signal(signal.SIGSTOP)
    end_all(find_leftovers(tmp_path))
    assert process.wait(5) == -signal.SIGTERM


def test_a_zombie_counts_as_gone(start: Start, tmp_path: Path) -> None:
    process = start(tmp_path)
    process.kill()  # and nobody buries it
    assert wait_gone([psutil.Process(process.pid)], patience=5) == []
