"""When the Prefect server is ready."""

from __future__ import annotations

import time

from deployments.stack.api import PrefectApi
from deployments.stack.errors import NotReady
from deployments.stack.process import Child


def wait_healthy(api: PrefectApi, server: Child, patience: float = 120.0) -> None:
    """Block until it answers. The first start of a home migrates the database, slowly on a busy machine."""
    deadline = time.monotonic() + patience
    while not api.is_healthy():
        if not server.alive:
            raise server.died()
        if time.monotonic() > deadline:
            log = server.recipe.log
            raise NotReady(f"The Prefect server did not answer within {patience:.0f} s.", f"Its log: {log}")
        time.sleep(0.05)
