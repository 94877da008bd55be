"""One flow run in a child that has run others: each begins as if the process were its own."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from prefect.flows import Flow, load_flow_from_entrypoint

from deployments.warm import private
from deployments.warm.messages import Run

Flows = dict[str, Flow[..., Any]]


def load(entrypoint: str) -> Flow[..., Any]:
    return load_flow_from_entrypoint(entrypoint, use_placeholder_flow=False)


def execute(run: Run, flows: Flows) -> tuple[int, str | None]:
    """Exit code and problem; see `private.execute`. A flow that was loaded now is in `flows` afterwards."""

    def find() -> Flow[..., Any]:
        if run.entrypoint not in flows:
            flows[run.entrypoint] = load(run.entrypoint)
        return flows[run.entrypoint]

    with _own_process(run.env):
        return private.execute(run.flow_run_id, find)


@contextlib.contextmanager
def _own_process(env: dict[str, str]) -> Iterator[None]:
    """Environment, folder and random numbers of one run do not reach the next one."""
    environment, folder = dict(os.environ), Path.cwd()
    os.environ.update(env)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        _reseed()


def _reseed() -> None:
    """From the system's entropy, as at the start of a process, and gradients on; only what is imported."""
    random.seed()
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()
    if torch := sys.modules.get("torch"):
        torch.seed()
        torch.set_grad_enabled(True)


def settle() -> None:
    """Once, when all is imported: what is in memory now stays, and no later collection needs to look through it."""
    gc.collect()
    gc.freeze()


def tidy() -> None:
    """Between runs: tensors in reference cycles would hold GPU memory until some later run."""
    gc.collect()


def resident_bytes() -> int:
    return int(psutil.Process().memory_info().rss)
