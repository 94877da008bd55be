"""What an operator sets on a pool of type `warm`, and what a run's job configuration makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect.workers.base import BaseJobConfiguration, BaseVariables
from pydantic import Field, PrivateAttr

from deployments.warm.plan import Limits, Plan, Want, wishes

_GB = 1024**3


class UnsupportedPullStep(ValueError):
    """A warm worker runs only code that is installed on its machine."""

    def __init__(self, deployment: str, step: str) -> None:
        self.step = step
        super().__init__(
            f"deployment {deployment!r} has the pull step {step!r}, and a warm worker runs only code that is installed "
            "on its machine: install the code there, and deploy with `pull: []` or set_working_directory alone"
        )


class WarmVariables(BaseVariables):
    """Those of a deployment or a run may differ in what its child is prepared with; the rest is the worker's."""

    command: str | None = Field(None, description="Not used: runs execute in the warm child.")
    working_dir: Path | None = Field(None, description="Folder that a child works in and imports from first.")
    preload: list[str] = Field([], description="Modules that a child imports before it takes runs.")
    entrypoints: list[str] = Field([], description="Flows that a child loads before it takes runs.")
    models: list[str] = Field([], description="Models that a child loads before it takes runs, as engine:model.")
    model_memory_gb: float | None = Field(None, ge=0, description="What a child's models may take; empty: no limit.")
    recycle_after_runs: int = Field(200, ge=0, description="A child is replaced after so many runs; 0: never.")
    recycle_above_gb: float = Field(0, ge=0, description="A child is replaced above this resident memory; 0: never.")
    gpus: list[str] = Field([], description="Ids of the GPUs to use; empty: all that the machine offers.")
    children_per_gpu: int = Field(
        1, ge=0, description="Children on each GPU; 0: CPU slots, as many as --limit or the pool's limit."
    )
    start_seconds: float = Field(120, gt=0, description="How long a child may take to start, models included.")
    grace_seconds: float = Field(5, ge=0, description="Between asking a run to stop and killing its process group.")
    drain_seconds: float = Field(30, ge=0, description="How long runs may go on when the worker is told to stop.")


class WarmJobConfiguration(BaseJobConfiguration):
    working_dir: Path | None = None
    preload: list[str] = Field(default_factory=list)
    entrypoints: list[str] = Field(default_factory=list)
    models: list[str] = Field(default_factory=list)
    model_memory_gb: float | None = None
    recycle_after_runs: int = 200
    recycle_above_gb: float = 0
    gpus: list[str] = Field(default_factory=list)
    children_per_gpu: int = 1
    start_seconds: float = 120
    grace_seconds: float = 5
    drain_seconds: float = 30

    _user_env: dict[str, str | None] | None = PrivateAttr(default=None)
    _entrypoint: str | None = PrivateAttr(default=None)
    _version: str | None = PrivateAttr(default=None)

    def prepare_for_flow_run(self, flow_run: Any, deployment: Any = None, *args: Any, **kwargs: Any) -> None:
        """Raises `UnsupportedPullStep`."""
        self._user_env = dict(self.env)  # before Prefect adds what is its own
        if deployment is not None:
            self._entrypoint, self._version = deployment.entrypoint, deployment.version
            for step in deployment.pull_steps or []:
                self._take_pull_step(deployment.name, step)
        super().prepare_for_flow_run(flow_run, deployment, *args, **kwargs)

    def _take_pull_step(self, deployment: str, step: dict[str, Any]) -> None:
        for name, arguments in step.items():
            if name.rpartition(".")[2] != "set_working_directory":
                raise UnsupportedPullStep(deployment, name)
            self.working_dir = self.working_dir or Path(arguments["directory"])

    def plan(self) -> Plan:
        env = self.env if self._user_env is None else self._user_env
        return Plan(
            working_dir=self.working_dir,
            preload=tuple(self.preload),
            entrypoints=tuple(self.entrypoints),
            models=tuple(self.models),
            memory_bytes=None if self.model_memory_gb is None else int(self.model_memory_gb * _GB),
            env=tuple(sorted(env.items())),
        )

    def limits(self) -> Limits:
        return Limits(
            start_seconds=self.start_seconds,
            grace_seconds=self.grace_seconds,
            drain_seconds=self.drain_seconds,
            recycle_after_runs=self.recycle_after_runs,
            recycle_above_bytes=int(self.recycle_above_gb * _GB),
        )

    def want(self, flow_run: Any) -> Want:
        models, travel = wishes(flow_run.tags)
        return Want(flow_run.id, self._entrypoint or "", self._version, self.plan(), models, travel)

    def run_environment(self) -> dict[str, str]:
        """What Prefect tells each run of itself."""
        return {name: value for name, value in self.env.items() if name.startswith("PREFECT__") and value is not None}
