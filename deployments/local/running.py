"""A stack that runs until it is told to stop, and how another process tells it to stop or to start anew.

Started in the background as `-m deployments.local.running <options as JSON>`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from deployments.local.project import OURS
from deployments.local.stack import LocalSupabase
from deployments.local.state import State, folder_in
from deployments.stack import home as homes
from deployments.stack.errors import NotReady, StackError
from deployments.stack.process import tail
from deployments.stack.signals import Stopped, raising_stopped

_LOOK_SECONDS = 0.1
_RESET_REQUEST = "reset"
_FAILURE = "failure.json"


@dataclass(frozen=True, slots=True)
class Options:
    """Paths are absolute. Ports of 0 are any free ones."""

    home: str
    project: str = str(OURS)
    port: int = 0
    database_port: int = 0
    binaries: str | None = None

    @property
    def folder(self) -> Path:
        return folder_in(Path(self.home))

    def stack(self) -> LocalSupabase:
        return LocalSupabase(
            Path(self.home),
            project=Path(self.project),
            binaries=Path(self.binaries) if self.binaries else None,
            durable=True,
            port=self.port,
            database_port=self.database_port,
        )


def run(options: Options, on_ready: Callable[[State], None]) -> None:
    """Until a signal. Raises `StackError` if it cannot start or cannot go on; nothing is left running."""
    stack = options.stack()
    with raising_stopped():
        try:
            stack.start()
            (stack.folder / _RESET_REQUEST).unlink(missing_ok=True)
            on_ready(stack.state())
            while not stack.wait(_LOOK_SECONDS):
                if (stack.folder / _RESET_REQUEST).exists():
                    stack.reset()
                    (stack.folder / _RESET_REQUEST).unlink()
        except Stopped:
            pass
        finally:
            stack.stop()
    if stack.failure:
        raise stack.failure


def start_detached(options: Options, patience: float = 120.0) -> State:
    """Leave a stack running behind; answers when it is ready. Raises `StackError`."""
    logs = options.folder / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    (options.folder / _FAILURE).unlink(missing_ok=True)
    with (logs / "stack.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "deployments.local.running", json.dumps(asdict(options))],
            cwd=Path(__file__).resolve().parents[2],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        state = State.read(options.folder)
        if state and state.pids["supervisor"] == process.pid:
            return state
        if process.poll() is not None:
            raise _told_failure(options.folder)
        time.sleep(_LOOK_SECONDS)
    process.terminate()
    raise NotReady(f"The stack was not ready within {patience:.0f} s.", f"Its logs: {logs}")


def running_state(folder: Path) -> State | None:
    """Of the stack that runs and is ready."""
    return State.read(folder) if homes.running_up(folder) else None


def stop_running(folder: Path, patience: float = 30.0) -> bool:
    """False if none runs. Raises `StackError`."""
    holder = homes.running_up(folder)
    if holder is None:
        return False
    os.kill(int(holder), signal.SIGTERM)
    deadline = time.monotonic() + patience
    while homes.running_up(folder) is not None:
        if time.monotonic() > deadline:
            raise NotReady(f"Process {holder} did not stop within {patience:.0f} s.", f"End it with: kill -9 {holder}")
        time.sleep(_LOOK_SECONDS)
    return True


def reset_running(folder: Path, patience: float = 120.0) -> State:
    """Ask the stack that runs in `folder` to start anew; answers when it is ready. Raises `StackError`."""
    (folder / _FAILURE).unlink(missing_ok=True)
    request = folder / _RESET_REQUEST
    request.touch()
    deadline = time.monotonic() + patience
    while request.exists():
        if homes.running_up(folder) is None:
            raise _told_failure(folder)
        if time.monotonic() > deadline:
            raise NotReady(f"The reset was not done within {patience:.0f} s.", f"Its logs: {folder / 'logs'}")
        time.sleep(_LOOK_SECONDS)
    state = State.read(folder)
    if state is None:
        raise _told_failure(folder)
    return state


def reset_stopped(options: Options) -> None:
    """Drop the data of a stack that does not run, and see that the migrations apply. Raises `StackError`."""
    stack = options.stack()
    stack.start(anew=True)
    stack.stop()


def _told_failure(folder: Path) -> StackError:
    try:
        told = json.loads((folder / _FAILURE).read_text())
        return StackError(told["message"], told["hint"])
    except (OSError, ValueError, KeyError):
        log = folder / "logs" / "stack.log"
        return StackError(f"The local Supabase ended.\n{tail(log)}", f"Its log: {log}")


def tell_failure(folder: Path, error: StackError) -> None:
    """For those who wait for a stack that they did not start as their child."""
    homes.write_private(folder / _FAILURE, json.dumps({"message": error.message, "hint": error.hint}))


def main() -> int:
    options = Options(**json.loads(sys.argv[1]))
    try:
        run(options, on_ready=lambda _state: None)
    except StackError as error:
        tell_failure(options.folder, error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
