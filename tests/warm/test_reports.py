"""What Prefect hears of a run that cannot tell its end itself."""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import Any

import pytest
from prefect.client.orchestration import OrchestrationResult, PrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling, State

from deployments.stack.stack import Stack
from deployments.warm import worker as module
from deployments.warm.worker import WarmWorker
from tests.waiting import until
from tests.warm.bench import Bench


class CancelledMeanwhile(PrefectClient):
    """Somebody cancels the run in the moment in which its crash is proposed."""

    async def set_flow_run_state(self, flow_run_id: uuid.UUID | str, state: State[Any], force: bool = False) -> Any:
        if state.is_crashed():
            await super().set_flow_run_state(flow_run_id, Cancelling())
        result: OrchestrationResult[Any] = await super().set_flow_run_state(flow_run_id, state, force=force)
        return result


@pytest.mark.stack
@pytest.mark.parametrize("meanwhile", [True, False])
async def test_a_crash_is_reported_as_cancelled_if_a_cancel_comes_meanwhile(
    bench: Bench, prefect_api: Stack, meanwhile: bool
) -> None:
    run = bench.submit(bench.pool(), "quick")
    bench.api.post(f"/flow_runs/{run}/set_state", {"state": {"type": "RUNNING", "name": "Running"}})
    connection = prefect_api.connection
    client = CancelledMeanwhile(connection.api_url, auth_string=connection.auth_string) if meanwhile else get_client()
    worker = WarmWorker(work_pool_name="any")
    async with client as worker._client:
        await worker.crashed(uuid.UUID(run), "its child died")
    assert bench.run(run)["state"]["type"] == ("CANCELLED" if meanwhile else "CRASHED")


async def test_a_worker_that_stops_without_a_server_gives_up_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_REPORT_SECONDS", 0.1)
    monkeypatch.setenv("PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED", "false")
    run = FlowRun(id=uuid.uuid4(), flow_id=uuid.uuid4())
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}), caplog.at_level(logging.WARNING):
        worker = WarmWorker(work_pool_name="any")

        async def crash(_run: FlowRun) -> None:
            await worker.crashed(run.id, "its child died")

        monkeypatch.setattr(worker, "_submit_and_report", crash)
        async with worker:
            assert worker._runs_task_group
            worker._runs_task_group.start_soon(worker._submit_run, run)
            await asyncio.to_thread(until, lambda: "warm_server_away attempt=1" in caplog.text, "an attempt", 20)
    assert f"warm_run_unreported flow_run_id={run.id}" in caplog.text
