"""A whole Longtake in a private folder, seen from outside: the queue's rows, Prefect's API, processes."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

from blocks.queue.model import Status, Task, TaskSpec
from deployments.settings import MARKER, Settings
from deployments.site import open_queue
from tasks.intake import enqueue
from tasks.media.images import write_image
from tasks.media.probe import probe
from tasks.travel import travel_spec
from tests.waiting import until

SMALL: dict[str, Any] = {"frames": [17], "overlaps": [4], "size": "256x144"}
#: Long enough to be hit while it is generated, on a fast machine too.
LONG: dict[str, Any] = {"frames": [121], "overlaps": [8], "size": "832x480"}


class Lab:
    """One home. `settings.connection()` is read anew each time: a restart may change it."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.queue = open_queue(settings)
        self._folder = folder

    def pictures(self, count: int) -> list[str]:
        return [str(self._picture(index)) for index in range(count)]

    def _picture(self, index: int) -> Path:
        path = self._folder / f"picture_{index}.png"
        if not path.exists():
            kind = index % 6
            picture = np.full((240, 416, 3), 40 * (kind + 1), np.uint8)
            picture[60:180, 40 + 50 * kind : 160 + 50 * kind] = (250, 200, 30 * kind)
            write_image(picture, path)
        return path

    def travel(self, images: int = 3, **asked: Any) -> Task:
        return self.enqueue(travel_spec(self.pictures(images), **{**SMALL, **asked}))

    def enqueue(self, spec: TaskSpec) -> Task:
        return enqueue(self.queue, spec)[0].task

    def wait(self, task: Task, seconds: float = 150) -> Task:
        """The row once it has ended."""
        until(lambda: self.queue.get(task.id).status.is_terminal, lambda: self.describe(task), seconds)
        return self.queue.get(task.id)

    def describe(self, task: Task) -> str:
        rows = [self.queue.get(task.id), *self.queue.children(task.id)]
        return "\n".join(
            f"{row.task_type} {row.status} attempts={row.attempts} waiting={row.waiting} tick={row.tick} "
            f"due={row.scheduled_at} run={row.flow_run_id} {row.error_message or ''}"
            for row in rows
        )

    def generating(self, travel: Task) -> Task:
        """The segment that is being generated, once one is."""

        def now() -> list[Task]:
            return [
                row
                for row in self.queue.children(travel.id)
                if row.task_type == "travel_segment" and row.status is Status.IN_PROGRESS and (row.tick or 0) > 0
            ]

        return until(now, lambda: "no segment is being generated\n" + self.describe(travel))[0]

    # Prefect, over its API

    def api(self, path: str, body: dict[str, Any] | None = None) -> Any:
        connection = self.settings.connection()
        assert connection
        user, _, password = (connection.auth_string or "").partition(":")
        answer = httpx.post(f"{connection.api_url}{path}", json=body or {}, auth=(user, password), timeout=30)
        return answer.raise_for_status().json()

    def runs(self, **filters: Any) -> list[dict[str, Any]]:
        return list(self.api("/flow_runs/filter", {"flow_runs": filters, "limit": 200}))

    def run_of(self, task: Task) -> dict[str, Any]:
        [run] = self.runs(id={"any_": [self.queue.get(task.id).flow_run_id]})
        return run

    def runs_of(self, task: Task) -> list[dict[str, Any]]:
        return self.runs(tags={"all_": [f"task:{task.id}"]})

    def until_run(self, task: Task, state: str, seconds: float = 60) -> dict[str, Any]:
        """The task's run once it is in this state."""
        until(
            lambda: self.run_of(task)["state_name"] == state,
            lambda: f"{self.run_of(task)['state']}, not {state}",
            seconds,
        )
        return self.run_of(task)

    def generations(self, segment: Task) -> int:
        """How often the segment's generation was begun by a run that lived to tell."""
        wanted = {"flow_run_id": {"any_": [run["id"] for run in self.runs_of(segment)]}}
        logs = self.api("/logs/filter", {"logs": wanted, "limit": 200})
        return sum("segment_generating" in line["message"] for line in logs)

    # processes

    def processes(self) -> list[psutil.Process]:
        """Everything that runs for this home, by the mark in its environment (and PostgreSQL by its folder)."""
        found = []
        for process in psutil.process_iter():
            try:
                ours = process.environ().get(MARKER) == str(self.settings.home)
                if ours or str(self.settings.postgres_dir) in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.Error:
                continue
        return [process for process in found if process.pid != os.getpid()]

    def process_of(self, run_id: str) -> psutil.Process:
        """The warm child that executes a flow run."""
        for lane in (self.settings.prefect_home / "lanes").glob("*.json"):
            said = json.loads(lane.read_text())
            if said["flow_run_id"] == run_id:
                return psutil.Process(said["pid"])
        raise AssertionError(f"no process executes run {run_id}")


def film_length(location: str | None) -> int:
    assert location
    return probe(location).frames


def kill(processes: Iterable[psutil.Process]) -> None:
    """kill -9, all at once."""
    for process in processes:
        try:
            process.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
