"""How workers end: no new runs, time for those that run, then the workers themselves."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence

import psutil

from deployments.stack.leftovers import wait_gone
from deployments.stack.process import Child

#: What a worker needs to stop its runs and report them, once nobody waits for them any more.
_TO_REPORT = 15.0


def end_workers(workers: Sequence[Child], grace: float, hurried: Callable[[], bool]) -> None:
    """Give running work `grace` seconds unless `hurried`, then end the workers; their runs are reported.

    The first SIGTERM lets a warm worker's runs finish and takes no new ones, the second does not wait for them.
    """
    processes = [psutil.Process(worker.pid) for worker in workers if worker.alive]
    for worker in workers:
        worker.send(signal.SIGTERM)
        worker.send(signal.SIGCONT)  # a frozen one would never hear the first
    wait_gone(processes, grace, hurried)
    for worker in workers:
        worker.end(patience=_TO_REPORT)
