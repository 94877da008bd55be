"""How long from enqueue to the first line of the flow's body, with its parts, beside a stock Prefect `run_deployment`.

Both start the same deployment of the same server and worker, in turn. Ours passes through the queue first: enqueue,
the poll's look, the claim. Prefect's part is the same for both. Usage: python -m benchmarks.dispatch [rounds]
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from blocks.queue.model import TaskSpec
from blocks.queue.protocol import TaskQueue
from blocks.queue.sqlite import SqliteQueue
from deployments.settings import Settings
from deployments.stack.api import PrefectApi
from deployments.stack.stack import Stack
from tasks.intake import enqueue
from tasks.media.encoding import VideoSpec
from tasks.media.video import write_video

DEPLOYMENT = "extract_frame/extract_frame"


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds of one start. `poll`: until Prefect knows the run; `worker`: until the worker took it; `process`: until
    the new process reported Running; `body`: until the body's first line."""

    poll: float
    worker: float
    process: float
    body: float

    @property
    def total(self) -> float:
        return self.poll + self.worker + self.process + self.body


def main(rounds: int = 7) -> None:
    with tempfile.TemporaryDirectory(prefix="longtake-bench-") as folder:
        settings = Settings.load(home=Path(folder) / "home")
        video = _video(Path(folder))
        with Stack(settings, workers=("control", "cpu")) as stack, PrefectApi(stack.connection) as api:
            queue = SqliteQueue(settings.queue_path)
            ours, stock = list[Start](), list[Start]()
            for _ in range(rounds + 1):
                ours.append(_ours(queue, api, video))
                stock.append(_stock(api))
    _report(ours[1:], stock[1:])  # the first of each warms file caches and the server's connections


def _video(folder: Path) -> str:
    path = folder / "clip.mp4"
    write_video([np.full((144, 256, 3), 20 * i, np.uint8) for i in range(9)], path, VideoSpec(256, 144))
    return str(path)


def _ours(queue: TaskQueue, api: PrefectApi, video: str) -> Start:
    begun = datetime.now(UTC)
    [entry] = enqueue(queue, TaskSpec("extract_frame", {"path": video, "frame_index": 0}))
    task = _wait(lambda: queue.get(entry.task.id), lambda row: row.status.is_terminal)
    assert task.generation_started_at is not None, task
    times = _moments(api, str(task.flow_run_id))
    return _start(begun, times, task.generation_started_at)


def _stock(api: PrefectApi) -> Start:
    deployment = api.get(f"/deployments/name/{DEPLOYMENT}")
    begun = datetime.now(UTC)
    # An id that no row has: the run stops at its first act, so both measure a start and no work.
    run = api.post(
        f"/deployments/{deployment['id']}/create_flow_run", {"parameters": {"task_id": str(uuid4()), "attempt": 1}}
    )
    _wait(lambda: api.get(f"/flow_runs/{run['id']}"), lambda found: found["state_name"] == "Superseded")
    times = _moments(api, run["id"])
    return _start(begun, times, times["RUNNING"])


def _start(begun: datetime, times: dict[str, datetime], body: datetime) -> Start:
    created, pending, running = times["SCHEDULED"], times["PENDING"], times["RUNNING"]
    steps = [begun, created, pending, running, body]
    return Start(*((b - a).total_seconds() for a, b in pairwise(steps)))


def _moments(api: PrefectApi, run_id: str) -> dict[str, datetime]:
    """When the run first was in each type of state, by the server's clock, which is this machine's."""
    found: dict[str, datetime] = {}
    for state in api.get(f"/flow_run_states/?flow_run_id={run_id}"):
        found.setdefault(state["type"], datetime.fromisoformat(state["timestamp"]))
    return found


def _wait(read: Callable[[], Any], good: Callable[[Any], bool], seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while not good(found := read()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s: {found}")
        time.sleep(0.1)
    return found


def _report(ours: list[Start], stock: list[Start]) -> None:
    def row(name: str, starts: list[Start]) -> str:
        parts = [statistics.median(getattr(s, part) for s in starts) for part in ("poll", "worker", "process", "body")]
        total = statistics.median(s.total for s in starts)
        return f"{name:<28}" + "".join(f"{part:>10.2f}" for part in parts) + f"{total:>10.2f}"

    print(f"Seconds to the first line of the body, medians of {len(ours)} interleaved starts")
    print(f"{'':<28}" + "".join(f"{name:>10}" for name in ("poll", "worker", "process", "body", "total")))
    print(row("queue, poll, process worker", ours))
    print(row("run_deployment alone", stock))
    ratio = statistics.median(s.total for s in ours) / statistics.median(s.total for s in stock)
    print(f"ratio {ratio:.2f}: what the queue adds to a stock start")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:2]))
