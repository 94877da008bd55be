"""The main of a warm child: everything slow once, then one flow run after another through Prefect's engine.

`python -m deployments.warm.child <socket> <lifeline>`, started by `process.py` as leader of a process group: killing
the group ends the child and whatever its runs have started.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from typing import Any, NoReturn

from deployments.warm import guard
from deployments.warm.inbox import Inbox
from deployments.warm.lanefile import LaneFile
from deployments.warm.messages import Ended, Prepare, Problem, Ready

#: As a shell reports a process that SIGTERM has ended.
_TERMINATED = 128 + signal.SIGTERM


def main(connection: int, lifeline: int) -> int:
    begun = time.monotonic()
    os.set_inheritable(connection, False)
    inbox = Inbox(socket.socket(fileno=connection))
    prepare = inbox.prepare
    guard.start(lifeline, prepare.orphan_seconds + prepare.grace_seconds)
    os.close(lifeline)
    inbox.listen()
    lane = LaneFile(prepare.lane_file)
    try:
        flows = _import_all(prepare)
        lane.acquire(max(0.0, prepare.start_seconds - (time.monotonic() - begun)))
        models = _load_models(prepare)
    except Exception as error:  # noqa: BLE001  # whatever a user's module raises: the worker tells it to people
        inbox.send(Problem(text=f"{type(error).__name__}: {error}".splitlines()[0]))
        return 1
    from deployments.warm.private import shared_client

    inbox.send(Ready(pid=os.getpid(), seconds=time.monotonic() - begun, models=models))
    with shared_client():
        return _serve(inbox, lane, flows)


def _import_all(prepare: Prepare) -> dict[str, Any]:
    import importlib

    if prepare.working_dir:
        os.chdir(prepare.working_dir)
        sys.path.insert(0, str(prepare.working_dir))
    from deployments.warm import execution

    for module in prepare.preload:
        importlib.import_module(module)
    return {entrypoint: execution.load(entrypoint) for entrypoint in prepare.entrypoints}


def _load_models(prepare: Prepare) -> tuple[str, ...]:
    """After the lane is ours: they go to the GPU. The engines' modules are not touched unless somebody wants them."""
    from deployments.warm import models

    if prepare.memory_bytes is not None:
        models.limit(prepare.memory_bytes)
    for name in prepare.models:
        models.load(name)
    return models.loaded()


def _serve(inbox: Inbox, lane: LaneFile, flows: dict[str, Any]) -> int:
    from deployments.warm import execution, models
    from deployments.warm.private import TerminationSignal

    def terminate(_number: int, _frame: object) -> NoReturn:
        raise TerminationSignal(signal.SIGTERM)

    signal.signal(signal.SIGTERM, terminate)
    execution.settle()
    try:
        while run := inbox.next_run():
            lane.note(run.flow_run_id)
            try:
                code, problem = execution.execute(run, flows)
            finally:
                inbox.end()
            signal.signal(signal.SIGTERM, terminate)  # a cancelled run leaves Prefect's in place
            lane.note(None)
            execution.tidy()
            inbox.send(
                Ended(
                    flow_run_id=run.flow_run_id,
                    code=code,
                    problem=problem,
                    rss_bytes=execution.resident_bytes(),
                    models=models.loaded(),
                )
            )
    except TerminationSignal:  # the run that it ended has reported itself as crashed, or the worker does it
        return _TERMINATED
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
