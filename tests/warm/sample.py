"""Flows that the warm worker's tests run: module entrypoints, loaded by a child."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from prefect import State, flow, get_run_logger
from prefect.client.schemas.objects import FlowRun

from tests.waiting import until

RUNS = 0


@flow(name="warm_quick")
async def quick(note: str = "") -> None:
    global RUNS
    RUNS += 1
    get_run_logger().info("pid=%s run=%s note=%s env=%s", os.getpid(), RUNS, note, os.environ.get("WARM_NOTE"))
    _say(note)


@flow(name="warm_sync")
def sync(note: str = "") -> None:
    _say(note)


@flow(name="warm_failing")
async def failing() -> None:
    raise ValueError("this flow fails")


@flow(name="warm_untidy")
async def untidy(note: str) -> None:
    """Leaves behind what a process of its own would take with it, and tells what it found."""
    _say(note, f"{os.environ.get('WARM_LEFT')} {Path.cwd()} {random.random()}")
    os.environ["WARM_LEFT"] = "left"
    os.chdir("/")
    random.seed(1)


@flow(name="warm_exiting")
async def exiting(code: int = 3) -> None:
    os._exit(code)


@flow(name="warm_segfault")
async def segfault() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


@flow(name="warm_sleeping")
async def sleeping(note: str, seconds: float = 600) -> None:
    _say(note)
    await asyncio.sleep(seconds)


def _say_cancelled(flow: object, flow_run: FlowRun, state: State) -> None:
    _say(f"{flow_run.parameters['note']}-hook", state.type.value)


@flow(name="warm_hooked", on_cancellation=[_say_cancelled])
async def hooked(note: str) -> None:
    _say(note)
    await asyncio.sleep(600)


@flow(name="warm_until")
def until_told(note: str, word: str) -> None:
    """Ends when there is a file `word`."""
    _say(note)
    until(Path(word).exists, "the word", 600)
    _say(f"{note}-end")


@flow(name="warm_deaf")
def deaf(note: str, seconds: float = 600) -> None:
    """Ignores every request to stop, and has a helper process in its group."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    _say(note, str(helper.pid))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(1)


def _say(note: str, text: str = "") -> None:
    """To the file `note`, in one step: pid and time, and more."""
    if note:
        path = Path(note)
        path.with_suffix(".part").write_text(f"{os.getpid()} {time.time()} {text}")
        path.with_suffix(".part").rename(path)
