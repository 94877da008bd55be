"""Entry of our Python processes: import early, wait for the gate, then become what was asked for.

Importing Prefect costs about a second of CPU. A process that imports while PostgreSQL and the server start,
and begins its work when they are ready, costs a newcomer no waiting. Started as `-m deployments.stack.launch`.
"""

from __future__ import annotations

import contextlib
import importlib
import signal
import sys

from deployments.stack import lifeline

#: What each kind of process will import anyway.
PRELOAD = {
    "server": ("prefect.cli.server", "prefect.server.api.server"),
    "worker": ("prefect.cli.worker", "deployments.warm.worker", "prefect.cli._worker_utils"),
    "setup": ("deployments.setup", "prefect.cli.deploy", "prefect.cli.deploy._core", "blocks.workspace"),
}


def main() -> None:
    kind, *arguments = sys.argv[1:]
    line = lifeline.take()
    # A parent in the background of a shell hands down SIGINT ignored, and a worker turns its first SIGTERM into one.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for module in PRELOAD[kind]:
        with contextlib.suppress(ImportError):  # only early; what is really missing is told when it is needed
            importlib.import_module(module)
    if not lifeline.wait_at_gate(line):
        return
    lifeline.follow_parent(line)
    if kind == "setup":
        from deployments.setup import main as set_up_main

        set_up_main()
        return
    from prefect.cli import app

    sys.argv = ["prefect", *arguments]
    app()


if __name__ == "__main__":
    main()
