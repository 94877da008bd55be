"""The Prefect server goes away under workers, and comes back on the same port with the same database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psutil
import pytest

from deployments.stack.stack import Stack
from tests.waiting import until
from tests.warm.bench import Bench, Worker

pytestmark = pytest.mark.stack


@dataclass
class Outage:
    """What was before: two workers, and three runs. The two of `patient` and that of `hasty` ended in these states."""

    patient: Worker
    hasty: Worker
    pools: dict[str, str]
    children: list[psutil.Process]
    ended_meanwhile: dict[str, object]
    went_on: dict[str, object]
    unreported: dict[str, object]


@pytest.fixture(scope="module")
def outage(bench: Bench, stack: Stack) -> Iterator[Outage]:
    """Some five seconds, which the server takes to start again.

    `patient` is as it comes, but polls once a minute: it needs events. In `hasty`, which polls each second, Prefect
    does not ask a second time, as it does not after a minute of outage; and what is due later is left for later.
    """
    pools = {name: bench.pool(grace_seconds=1) for name in ("patient", "hasty")}
    at_once = {"PREFECT_CLIENT_MAX_RETRIES": "0", "PREFECT_WORKER_PREFETCH_SECONDS": "0"}
    workers = [
        Worker(bench, pools["patient"], limit=2),
        Worker(bench, pools["hasty"], query_seconds=1, env=at_once),
    ]
    now, later = bench.folder / "now", bench.folder / "later"
    try:
        notes = {name: str(bench.folder / name) for name in ("meanwhile", "on", "hasty")}
        meanwhile = bench.submit(pools["patient"], "until_told", note=notes["meanwhile"], word=str(now))
        on = bench.submit(pools["patient"], "until_told", note=notes["on"], word=str(later))
        unreported = bench.submit(pools["hasty"], "until_told", note=notes["hasty"], word=str(now))
        for name in notes:
            bench.said(name)
        children = [child for worker in workers for child in worker.children()]
        stack.supervisor.child("server").process.kill()
        until(lambda: not bench.api.is_healthy(), "the end of the server", 10)
        now.touch()
        for name in ("meanwhile-end", "hasty-end"):
            bench.said(name)
        until(lambda: "warm_server_away attempt" in workers[1].text(), workers[1].text, 20)
        assert not bench.api.is_healthy()
        until(bench.api.is_healthy, "the server's return", 60)
        later.touch()
        ends = [bench.ended(run) for run in (meanwhile, on, unreported)]
        yield Outage(*workers, pools, children, *ends)
    finally:
        for worker in workers:
            worker.end()


def test_a_run_that_ended_meanwhile_gets_its_end_afterwards(outage: Outage) -> None:
    assert outage.ended_meanwhile["type"] == "COMPLETED"


def test_a_run_goes_on_without_a_server(outage: Outage) -> None:
    assert outage.went_on["type"] == "COMPLETED"


def test_the_worker_reports_an_end_that_its_child_could_not_report(outage: Outage) -> None:
    assert outage.unreported["type"] == "CRASHED"
    assert "ConnectError" in str(outage.unreported["message"])


def test_workers_and_children_are_still_the_same(outage: Outage) -> None:
    assert [child for worker in (outage.patient, outage.hasty) for child in worker.children()] == outage.children


def test_new_runs_are_taken_by_events_again(bench: Bench, outage: Outage) -> None:
    for _ in range(2):  # the first might be found as the worker connects; its next poll is a minute away
        assert bench.ended(bench.submit(outage.pools["patient"], "quick"), 20)["type"] == "COMPLETED"


def test_new_runs_are_taken_by_polls_again(bench: Bench, outage: Outage) -> None:
    deployment = bench.deployment(outage.pools["hasty"], "quick")
    run = bench.submit_to(deployment, after=3)  # long after the event
    assert bench.ended(run, 20)["type"] == "COMPLETED"
