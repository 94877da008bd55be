"""A pool of type warm on a real server, deployments of the sample flows in it, workers as processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

from deployments.settings import Connection
from deployments.stack.api import PrefectApi
from deployments.warm.worker import WarmWorker
from tests.waiting import until

ROOT = Path(__file__).parents[2]
_FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


class Bench:
    """`folder` holds the Prefect home of its workers, their logs, and what the flows write."""

    def __init__(self, connection: Connection, folder: Path) -> None:
        self.api = PrefectApi(connection)
        self.connection, self.folder = connection, folder
        self.home = folder / "prefect"
        self.pools: list[str] = []
        self._deployments: dict[tuple[str, str], str] = {}

    def pool(self, kind: str = "warm", **variables: Any) -> str:
        """A new pool; `variables` are defaults of its template."""
        name = f"warm-test-{uuid.uuid4().hex[:8]}"
        body: dict[str, Any] = {"name": name, "type": kind}
        if kind == "warm":
            template = WarmWorker.get_default_base_job_template()
            for key, value in {"working_dir": str(ROOT), "children_per_gpu": 0, **variables}.items():
                template["variables"]["properties"][key]["default"] = value
            body["base_job_template"] = template
        self.api.post("/work_pools/", body)
        self.pools.append(name)
        return name

    def deployment(self, pool: str, flow: str, **more: Any) -> str:
        """Id of a new deployment of `tests.warm.sample.<flow>` in `pool`."""
        flow_id = self.api.post("/flows/", {"name": f"warm_{flow}"})["id"]
        entrypoint = more.pop("entrypoint", f"tests.warm.sample.{flow}")
        body = {"name": uuid.uuid4().hex, "flow_id": flow_id, "work_pool_name": pool, "entrypoint": entrypoint, **more}
        return str(self.api.post("/deployments/", body)["id"])

    def submit(self, pool: str, flow: str, tags: tuple[str, ...] = (), **parameters: Any) -> str:
        """Id of a new run."""
        key = (pool, flow)
        if key not in self._deployments:
            self._deployments[key] = self.deployment(pool, flow)
        return self.submit_to(self._deployments[key], tags, **parameters)

    def submit_to(
        self, deployment: str, tags: tuple[str, ...] = (), *, after: float | None = None, **parameters: Any
    ) -> str:
        """`after`: seconds until it is due."""
        body: dict[str, Any] = {"parameters": parameters, "tags": tags}
        if after is not None:
            due = (datetime.now(UTC) + timedelta(seconds=after)).isoformat()
            body["state"] = {"type": "SCHEDULED", "state_details": {"scheduled_time": due}}
        return str(self.api.post(f"/deployments/{deployment}/create_flow_run", body)["id"])

    def run(self, run_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api.get(f"/flow_runs/{run_id}")
        return found

    def cancel(self, run_id: str) -> None:
        self.api.post(f"/flow_runs/{run_id}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})

    def ended(self, run_id: str, seconds: float = 40) -> dict[str, Any]:
        """The run's final state."""

        def final() -> dict[str, Any] | None:
            state = self.run(run_id)["state"]
            return state if state["type"] in _FINAL else None

        return until(final, lambda: f"end of {run_id}, which is {self.run(run_id)['state']}", seconds)  # type: ignore[return-value]

    def said(self, name: str, seconds: float = 40) -> list[str]:
        """What a flow has written into the file of this name: its pid, the time, and more."""
        path = self.folder / name
        until(path.exists, f"the flow's file {name}", seconds)
        return path.read_text().split()

    def logs(self, run_id: str) -> str:
        found = self.api.post("/logs/filter", {"logs": {"flow_run_id": {"any_": [run_id]}}})
        return "\n".join(line["message"] for line in found)

    def close(self) -> None:
        for name in self.pools:
            self.api.delete(f"/work_pools/{name}")


class Worker:
    """`prefect worker start` as a process."""

    def __init__(
        self,
        bench: Bench,
        pool: str,
        *,
        limit: int = 1,
        query_seconds: float = 60,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.name = f"w-{uuid.uuid4().hex[:6]}"
        self.log = bench.folder / f"{self.name}.log"
        env = {
            **os.environ,
            **bench.connection.environment(),
            "PREFECT_HOME": str(bench.home),
            "PREFECT_WORKER_QUERY_SECONDS": str(query_seconds),
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
            "PYTHONUNBUFFERED": "1",
            **(env or {}),
        }
        argv = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--name", self.name]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*argv, "--limit", str(limit)],
                env=env,
                cwd=bench.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def children(self) -> list[psutil.Process]:
        """The warm children, which lead their process groups."""
        found = psutil.Process(self.process.pid).children()
        return [child for child in found if "deployments.warm.child" in " ".join(child.cmdline())]

    def wait_ready(self, times: int = 1, seconds: float = 60) -> None:
        until(lambda: self.text().count("warm_child_ready") >= times, lambda: f"ready child:\n{self.text()}", seconds)

    def text(self) -> str:
        return self.log.read_text()

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = 60) -> int:
        """Its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(seconds)

    def end(self) -> None:
        """For a test's end: whatever state it is in."""
        groups = [child.pid for child in self.children()] if self.process.poll() is None else []
        try:
            self.stop(seconds=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for group in groups:
            for process in group_of(group):
                process.kill()


def group_of(pid: int) -> list[psutil.Process]:
    """Living processes of the process group that `pid` leads."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == pid and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found
