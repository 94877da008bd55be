"""How workers end: no new runs, time for those that run, then the workers themselves."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence

from deployments.stack.leftovers import end_all, flow_run_processes, wait_gone
from deployments.stack.process import Child

#: The runs of this pool are short and repeatable, or loop through a window: nobody waits for them.
_NOT_WAITED_FOR = "worker-control"


def end_workers(workers: Sequence[Child], grace: float, hurried: Callable[[], bool]) -> None:
    """Give running work `grace` seconds unless `hurried`, end what is left, then end the workers.

    A stock worker that is asked to stop kills its runs at once, and it cannot be told to take no new ones. So it is
    frozen while its runs finish: they report to the server themselves.
    """
    for worker in workers:
        worker.send(signal.SIGSTOP)
    waited = flow_run_processes(worker.pid for worker in workers if worker.name != _NOT_WAITED_FOR)
    wait_gone(waited, grace, hurried)
    end_all(flow_run_processes(worker.pid for worker in workers), patience=5.0)
    for worker in workers:
        worker.send(signal.SIGTERM)
        worker.send(signal.SIGCONT)
    for worker in workers:
        worker.end(patience=4.0)
