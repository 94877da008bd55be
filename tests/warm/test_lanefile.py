"""The lock on a lane, between real processes."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.warm.lanefile import LaneFile, LaneHeld
from deployments.warm.lanes import running_flow_runs

RUN = uuid.uuid4()
HOLD = """
import sys, uuid
from pathlib import Path
from deployments.warm.lanefile import LaneFile
lane = LaneFile(Path(sys.argv[1]))
lane.acquire(1)
lane.note(uuid.UUID(sys.argv[2]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lane gpu-0-0 of the home `tmp_path` and works on RUN."""
    argv = [sys.executable, "-c", HOLD, str(tmp_path / "lanes" / "gpu-0-0.json"), str(RUN)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_lane_in_use_is_refused_with_the_process_that_uses_it(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    with pytest.raises(LaneHeld, match=f"'gpu-0-0' is still in use by process {holder.pid}"):
        LaneFile(tmp_path / "lanes" / "gpu-0-0.json").acquire(0)


def test_its_run_is_seen_from_outside_for_as_long_as_it_lives(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    assert running_flow_runs(tmp_path) == {str(RUN)}
    holder.kill()
    holder.wait()
    assert running_flow_runs(tmp_path) == set()


def test_a_killed_holder_frees_the_lane(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    holder.kill()
    LaneFile(tmp_path / "lanes" / "gpu-0-0.json").acquire(5)


def test_between_runs_there_is_none(tmp_path: Path) -> None:
    lane = LaneFile(tmp_path / "lanes" / "cpu-0.json")
    lane.acquire(0)
    lane.note(RUN)
    lane.note(None)
    assert running_flow_runs(tmp_path) == set()
    assert running_flow_runs(tmp_path / "no home") == set()
