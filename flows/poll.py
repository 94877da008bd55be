"""Scheduled: claim what the pools have room for, and dispatch it."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.logging import get_run_logger

from blocks.queue.errors import QueueError
from tasks.dispatch import UNREACHABLE, Dispatcher
from tasks.polling import Look, look_once, wait_for_change
from tasks.work import Site


@flow(name="poll", flow_run_name="poll")
async def poll(period: float = 60.0, interval: float = 0.5) -> int:
    """Look again and again until just before the next scheduled run is due; the number of tasks dispatched.

    `period`: seconds between scheduled runs, which are due at its full multiples. `interval`: seconds between looks
    when nothing wakes it earlier.
    """
    log, dispatched = get_run_logger(), 0
    ends = time.monotonic() + seconds_left(datetime.now(UTC), period)
    async with Site.open() as site, get_client() as client:
        look = Look(Dispatcher(site.queue, client, site.engines))
        while True:
            try:
                dispatched += await look_once(look)
            except (*UNREACHABLE, QueueError) as error:
                log.warning("poll_look_failed error=%s", error)
                await asyncio.sleep(2.0)  # the server or the store is away: try again
            left = ends - time.monotonic()
            if left <= 0:
                return dispatched
            await wait_for_change(site.queue, min(interval, left))


def seconds_left(now: datetime, period: float, margin: float = 2.0) -> float:
    """Until `margin` before the next full period, when the schedule starts the successor: it finds the slot free.

    Counted by the clock and not from this run's start, so that a run that was late, or started by hand, ends in time.
    One that begins with its successor at the door takes its place: that one finds the slot taken and is cancelled.
    """
    left = period - now.timestamp() % period - margin
    return left if left >= period / 6 else left + period
