"""Scheduled: what died comes back, what has ended is told so, what is old is deleted."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.logging import get_run_logger

from tasks.dispatch import Dispatcher
from tasks.pruning import prune_once
from tasks.rescue import rescue_once
from tasks.work import Site


@flow(name="rescue", flow_run_name="rescue")
async def rescue(keep_days: float = 30.0) -> int:
    """Poll rescues too; this run does it when polling is down, and prunes. The number of claims that came back."""
    async with Site.open() as site, get_client() as client:
        rescued = await rescue_once(Dispatcher(site.queue, client, site.engines))
        pruned = await asyncio.to_thread(prune_once, site.queue, site.storage, site.work_dir, timedelta(days=keep_days))
    get_run_logger().info("rescue_done rescued=%s pruned=%s", rescued, pruned)
    return rescued
