"""The warm worker beside Prefect's stock process worker: seconds and CPU seconds from dispatch to body and to the end.

All start the same flows on one server, in turn: the stock worker as it comes, the stock worker with its shorter
command, and ours. The warm worker polls every half minute here, so what it starts sooner it was woken for; the others
poll every second. CPU is that of the worker and of everything it started; the server's is the same for all.

    python -m benchmarks.warm_worker [rounds]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil

from deployments.settings import Settings
from deployments.stack.api import PrefectApi
from deployments.stack.prefect_env import client_environment
from deployments.stack.stack import Stack
from tests.engines import tiny

ROOT = Path(__file__).parents[1]
MODULE = "benchmarks.warm_flows"


@dataclass(frozen=True, slots=True)
class Contender:
    name: str
    type: str
    poll_seconds: float
    variables: Mapping[str, Any]


CONTENDERS = (
    Contender("process", "process", 1, {}),
    Contender("process with command", "process", 1, {"command": f"{sys.executable} -m prefect.engine"}),
    Contender("warm", "warm", 30, {"entrypoints": [f"{MODULE}.noop", f"{MODULE}.segment"]}),
)


@dataclass(frozen=True, slots=True)
class Run:
    body: float  # seconds from dispatch to the first line of the body
    end: float  # … to Completed
    cpu: float  # seconds of the worker's processes, until they are idle again


class Worker:
    """One worker process and what it used."""

    def __init__(self, contender: Contender, stack: Stack, log: Path) -> None:
        self.pool = contender.name.replace(" ", "-")
        env = {**client_environment(stack.settings, stack.connection), "PYTHONPATH": str(ROOT)}
        env["PREFECT_WORKER_QUERY_SECONDS"] = str(contender.poll_seconds)
        prefect = Path(sys.executable).with_name("prefect")
        command = [prefect, "worker", "start", "--pool", self.pool, "--type", contender.type, "--limit", "1"]
        with log.open("w") as out:
            self._process = subprocess.Popen(
                [str(part) for part in command], env=env, cwd=log.parent, stdout=out, stderr=out
            )
        self._ps = psutil.Process(self._process.pid)

    def cpu(self) -> float:
        """Seconds of the worker, of what it has buried, and of what is alive below it."""
        total = 0.0
        for process in (self._ps, *self._ps.children(recursive=True)):
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system + times.children_user + times.children_system
        return total

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()


class Bench:
    def __init__(self, stack: Stack, api: PrefectApi, folder: Path) -> None:
        self.stack, self.api, self.folder = stack, api, folder
        self.workers: dict[str, Worker] = {}
        self.deployments: dict[tuple[str, str], str] = {}

    def prepare(self, contender: Contender) -> Worker:
        """Pool, deployments, and a worker that has started."""
        worker = Worker(contender, self.stack, self.folder / f"{contender.type}-{len(self.workers)}.log")
        self.workers[contender.name] = worker
        until(lambda: self.api.find(f"/work_pools/{worker.pool}"))  # the worker makes it, with its type's template
        for name in ("noop", "segment"):
            flow = self.api.post("/flows/", {"name": name})
            document = {
                "name": worker.pool,
                "flow_id": flow["id"],
                "work_pool_name": worker.pool,
                "entrypoint": f"{MODULE}.{name}",
                "pull_steps": [],
                "job_variables": {**contender.variables, "env": {"PYTHONPATH": str(ROOT)}},
            }
            self.deployments[contender.name, name] = self.api.post("/deployments/", document)["id"]
        return worker

    def run(self, contender: Contender, flow: str, **parameters: str) -> Run:
        worker, begun = self.workers[contender.name], self.folder / uuid4().hex
        before, dispatched = worker.cpu(), time.time()
        deployment = self.deployments[contender.name, flow]
        created = self.api.post(
            f"/deployments/{deployment}/create_flow_run", {"parameters": {"begun": str(begun), **parameters}}
        )
        run = until(lambda: self._ended(created["id"]))
        assert run["state_type"] == "COMPLETED", run["state"]
        end = datetime.fromisoformat(run["end_time"]).timestamp()
        return Run(float(begun.read_text()) - dispatched, end - dispatched, self._used_since(worker, before))

    def _ended(self, run_id: str) -> Any:
        run = self.api.get(f"/flow_runs/{run_id}")
        return run if run["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") else None

    def _used_since(self, worker: Worker, before: float) -> float:
        """Once it is idle: what is still tidying up after the run belongs to the run."""
        used = worker.cpu()
        while True:
            time.sleep(1.0)
            now = worker.cpu()
            if now - used < 0.05:
                return now - before
            used = now


def until(look: Any, seconds: float = 180) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s")
        time.sleep(0.02)
    return found


@contextmanager
def bench() -> Iterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="longtake-bench-") as name, ExitStack() as stays:
        folder = Path(name)
        folder.chmod(0o755)
        stack = stays.enter_context(Stack(Settings.load(home=folder / "home"), deploy=False))
        made = Bench(stack, stays.enter_context(PrefectApi(stack.connection)), folder)
        for contender in CONTENDERS:
            stays.callback(made.prepare(contender).stop)
        yield made


def main(rounds: int = 10) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    with bench() as made:
        model = str(tiny.flf2v(made.folder / "model"))
        for flow, parameters in (("noop", {}), ("segment", {"model": model})):
            runs: dict[str, list[Run]] = {contender.name: [] for contender in CONTENDERS}
            for _ in range(rounds + 1):
                for contender in CONTENDERS:
                    runs[contender.name].append(made.run(contender, flow, **parameters))
            report(flow, {name: each[1:] for name, each in runs.items()})  # the first of each warms caches


def report(flow: str, runs: Mapping[str, list[Run]]) -> None:
    print(f"{flow}: seconds from dispatch, medians of {len(runs['warm'])} interleaved runs")
    print(f"{'':<22}{'to body':>10}{'to end':>10}{'CPU':>10}{'slowest body':>14}")
    median = {
        name: Run(*(statistics.median(getattr(run, field) for run in each) for field in ("body", "end", "cpu")))
        for name, each in runs.items()
    }
    for name, run in median.items():
        slowest = max(each.body for each in runs[name])
        print(f"{name:<22}{run.body:>10.2f}{run.end:>10.2f}{run.cpu:>10.2f}{slowest:>14.2f}")
    warm, stock = median["warm"], median["process"]
    judge("dispatch to body, seconds", warm.body, 0.5, at_most=True)
    judge("CPU of a stock run, of ours", stock.cpu / warm.cpu, 10)
    print(f"    {'stock, of ours: to body and to the end':44}{stock.body / warm.body:8.1f}{stock.end / warm.end:8.1f}")


def judge(what: str, value: float, goal: float, *, at_most: bool = False) -> None:
    met = value <= goal if at_most else value >= goal
    print(f"    {what:44}{value:8.2f}   goal {goal:g}  {'met' if met else 'NOT MET'}", flush=True)


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:2]))
