"""Scheduled: claim what the pools have room for, and dispatch it."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from tasks.dispatch import UNREACHABLE, Dispatcher
from tasks.polling import Look, look_once, wait_for_change
from tasks.runs import Site


@flow(name="poll")
async def poll(period: float = 60.0, interval: float = 0.5) -> int:
    """Look again and again until just before the next scheduled run is due; the number of tasks dispatched.

    `period`: seconds between scheduled runs. `interval`: seconds between looks when nothing wakes it earlier.
    """
    log, dispatched = get_run_logger(), 0
    ends = time.monotonic() + seconds_left(flow_run.scheduled_start_time, datetime.now(UTC), period)
    async with Site.open() as site, get_client() as client:
        look = Look(Dispatcher(site.queue, client))
        while time.monotonic() < ends:
            try:
                dispatched += await look_once(look)
            except UNREACHABLE as error:
                log.warning("poll_look_failed error=%s", error)
                await asyncio.sleep(2.0)  # the server is away; its own worker retries as patiently
            await wait_for_change(site.queue, min(interval, max(0.0, ends - time.monotonic())))
    return dispatched


def seconds_left(due: datetime | None, now: datetime, period: float, margin: float = 2.0) -> float:
    """Until `margin` before the next multiple of `period` after `due`: the successor then finds the slot free."""
    late = (now - due).total_seconds() if due else 0.0
    return max(margin, period - late % period - margin)
