"""The lock that a child holds for its life on its GPU or slot, and what can be read off it from outside.

A file for each lane in `<PREFECT_HOME>/lanes`: locked while its child lives, and naming the run under way. The lock
goes with the process, however that ended, so that a new child can never share a GPU with a forgotten one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

FOLDER = "lanes"
_LOOK_EVERY = 0.1


class LaneHeld(RuntimeError):
    """Another process uses this lane."""

    def __init__(self, path: Path, pid: int | None, seconds: float) -> None:
        self.path, self.pid = path, pid
        who = f"process {pid}" if pid else "another process"
        super().__init__(
            f"lane {path.stem!r} is still in use by {who} after {seconds:g} s (lock file {path}): end that one, or "
            "wait until it has finished its run"
        )


class LaneFile:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def acquire(self, seconds: float) -> None:
        """Wait for the lane. Raises `LaneHeld` after `seconds`."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    pid = _read(self._path).get("pid")
                    raise LaneHeld(self._path, pid if isinstance(pid, int) else None, seconds) from None
                time.sleep(_LOOK_EVERY)
        self.note(None)

    def note(self, flow_run: UUID | None) -> None:
        """Tell which run is under way. In place: the lock is on this file, not on its name."""
        text = json.dumps({"pid": os.getpid(), "flow_run_id": str(flow_run) if flow_run else None}).encode()
        os.pwrite(self._fd, text, 0)
        os.ftruncate(self._fd, len(text))


def running_flow_runs(prefect_home: Path) -> set[str]:
    """Ids of the flow runs that a living child works on."""
    return {str(run) for path in _held(prefect_home) if (run := _read(path).get("flow_run_id"))}


def _held(prefect_home: Path) -> Iterator[Path]:
    for path in sorted((prefect_home / FOLDER).glob("*.json")):
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # given back as the file is closed
            except BlockingIOError:
                yield path


def _read(path: Path) -> dict[str, object]:
    for _ in range(3):  # read between its writing and its cutting: look again
        with contextlib.suppress(json.JSONDecodeError, FileNotFoundError):
            found = json.loads(path.read_text())
            return found if isinstance(found, dict) else {}
    return {}
