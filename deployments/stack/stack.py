"""PostgreSQL, a Prefect server on it, its set-up and workers: all on this machine, started and ended together."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import httpx

from deployments.settings import POOLS, Connection, Settings
from deployments.stack import home, leftovers
from deployments.stack.api import PrefectApi
from deployments.stack.errors import ProcessDied
from deployments.stack.postgres import Postgres, data_dir_in
from deployments.stack.prefect_env import base_environment
from deployments.stack.process import Child
from deployments.stack.recipes import Recipes
from deployments.stack.server import wait_healthy
from deployments.stack.setup_process import SetupProcess
from deployments.stack.shutdown import end_workers
from deployments.stack.signals import hurried_by_signals
from deployments.stack.supervision import Supervisor
from deployments.warm.lanefile import running_flow_runs
from deployments.work_pools import ensure_automations, ensure_pools

StepReport = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    name: str
    pid: int
    alive: bool
    restarts: int


class Stack:
    """One life: use it as a context manager, or `start` and `stop`, which may be called at any time and more than once.

    `workers` names the pools that get a worker; `deploy=False` gives a bare server. `durable=False` is for data that is
    thrown away. Call `start` from a thread that lives as long as the stack: Linux ends PostgreSQL with that thread.
    `timings` has the seconds of each step, which `on_step` hears as they end.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        workers: Sequence[str] = POOLS,
        deploy: bool = True,
        durable: bool = True,
        on_step: StepReport = lambda _step, _seconds: None,
    ) -> None:
        self.settings = settings
        self.timings: dict[str, float] = {}
        self.connection: Connection
        self.supervisor = Supervisor()
        self._workers = tuple(workers) if deploy else ()
        self._deploy = deploy
        self._durable = durable
        self._on_step = on_step
        self._polling = False
        self._hurried = threading.Event()
        self._lock = home.HomeLock(settings.home)
        self._postgres: Postgres | None = None
        self._setup: SetupProcess | None = None
        self._background = ThreadPoolExecutor(1, thread_name_prefix="imports")
        self._imports: Future[None] | None = None
        self._ending = False
        self._recipes: Recipes

    @property
    def failure(self) -> ProcessDied | None:
        return self.supervisor.failure

    def wait(self, timeout: float | None = None) -> bool:
        """Block until a process died that cannot be restarted; False after `timeout` seconds without that."""
        return self.supervisor.failed.wait(timeout)

    def status(self) -> list[ProcessStatus]:
        return [
            ProcessStatus(name, entry.child.pid, entry.child.alive, entry.restarts)
            for name, entry in self.supervisor.watched.items()
        ]

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop(grace=0)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Raises `StackError`; then call `stop`."""
        with self._step("start"):
            home.prepare(self.settings)
            self._lock.acquire()
            port = self._prepare()
            with self._step("database"):
                self._start_database()
            with self._step("server"):
                self._start_server(port)
            if self._deploy:
                with self._step("set-up"):
                    self._set_up()
            self.supervisor.start()

    def stop(self, grace: float | None = None) -> None:
        """End everything, the newest first. Runs get `grace` seconds (default: the setting) to finish.

        A signal meanwhile takes their time away, and does not break the ending off.
        """
        if not self._lock.held:
            return
        with hurried_by_signals(self._hurried.set), self._step("stop"):
            self.supervisor.stop()
            self._ending = True
            if self._setup:
                self._setup.end()
            self._background.shutdown()
            patience = self.settings.stop_grace_seconds if grace is None else grace
            end_workers(self._worker_children(), patience, self._hurried.is_set)
            self._report_ended_runs()
            self.supervisor.end("server")
            if self._postgres:
                self._postgres.stop()
            self._end_leftovers()
            self._lock.release()

    def running_flow_runs(self) -> int:
        return len(running_flow_runs(self.settings.prefect_home))

    def _prepare(self) -> int:
        """Everything before the first process. Answers with the server's port."""
        self._end_leftovers()  # first: they may hold the port that this home had
        # Leases of the former life: no run of it is alive, and one that expires later would free a new run's slot.
        shutil.rmtree(self.settings.prefect_home / "concurrency_leases", ignore_errors=True)
        for left in self.settings.tmp_dir.iterdir():
            shutil.rmtree(left, ignore_errors=True)
        secrets = home.load_secrets(self.settings.home)
        port = home.choose_server_port(self.settings)
        self.connection = Connection(f"http://127.0.0.1:{port}/api", secrets.auth_string, "longtake up")
        log, env = self.settings.logs_dir / "postgres.log", base_environment(self.settings)
        self._postgres = Postgres(
            self.settings.postgres_dir, secrets.database_password, home.free_port(), log, env, durable=self._durable
        )
        self._recipes = Recipes(self.settings, secrets, self.connection, self._postgres.url)
        return port

    def _start_database(self) -> None:
        self.supervisor.watch(Child(self._recipes.server()), self._revive_server)
        self._imports = self._background.submit(self._start_waiting_processes)
        assert self._postgres is not None
        self._postgres.create()
        self.supervisor.watch(self._postgres.start())
        self._postgres.wait_ready()

    def _start_server(self, port: int) -> None:
        server = self.supervisor.child("server")
        server.open_gate()
        with PrefectApi(self.connection) as api:
            wait_healthy(api, server)
            home.write_connection(self.settings, self.connection, port)
            api.end_lost_runs()
            api.free_deployment_slots()
            if self._deploy:
                ensure_pools(api, self.settings)
                ensure_automations(api)
                self._start_poll(api)  # before the workers see the runs that came due in the meantime

    def _start_waiting_processes(self) -> None:
        """The set-up and the workers import while the server starts, and wait at their gates.

        One after the other: the server is what all wait for, and on two cores it needs one for itself (measured: three
        imports beside it delay it by as many seconds as they save).
        """
        if self._deploy:
            self._setup = SetupProcess(self._recipes.setup())
            self._setup.wait_imported()
        for pool in self._workers:
            if self._ending:
                return
            worker = Child(self._recipes.worker(pool))
            self.supervisor.watch(worker, self._worker_revival(pool))
            worker.wait_imported()

    def _set_up(self) -> None:
        assert self._setup is not None
        self._setup.open_gate()
        assert self._imports is not None
        self._imports.result()
        for child in self._worker_children():
            child.open_gate()
        self._setup.wait()
        if not self._polling:
            with PrefectApi(self.connection) as api:
                self._start_poll(api)

    def _start_poll(self, api: PrefectApi) -> None:
        """Now, not at the next full minute. A new server has no such deployment before it is set up."""
        if "control" in self._workers:
            self._polling = api.run_now("poll/poll")

    def _worker_children(self) -> list[Child]:
        return [entry.child for name, entry in self.supervisor.watched.items() if name.startswith("worker-")]

    def _revive_server(self) -> Child:
        child = Child(self._recipes.server())
        child.open_gate()
        return child

    def _worker_revival(self, pool: str) -> Callable[[], Child]:
        def revive() -> Child:
            self._report_ended_runs(pool)
            child = Child(self._recipes.worker(pool))
            child.open_gate()
            return child

        return revive

    def _report_ended_runs(self, pool: str | None = None) -> None:
        """Nobody else tells Prefect about runs whose worker is gone. Without a server the next start does it."""
        if not self._workers:
            return
        alive = running_flow_runs(self.settings.prefect_home)
        with suppress(httpx.HTTPError), PrefectApi(self.connection, timeout=5) as api:
            if api.end_lost_runs(alive, pool) and pool == "control":
                self._start_poll(api)  # it may be among them

    def _end_leftovers(self) -> None:
        data_dir = data_dir_in(self.settings.postgres_dir)
        leftovers.end_all(leftovers.find_leftovers(self.settings.home, data_dir))

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        begun = time.monotonic()
        yield
        self.timings[name] = time.monotonic() - begun
        self._on_step(name, self.timings[name])
