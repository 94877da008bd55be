"""A pool with one slot for everything, orchestrators too: a parent must never hold the slot its children need."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from blocks.queue.model import Status
from tests.flows.lab import Lab, film_length

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("lab")]

FLOWS = ("travel_orchestrator", "travel_segment", "travel_stitch")


def move(lab: Lab, pools: dict[str, str]) -> dict[str, str]:
    """Move deployments to other pools; answers with where they were."""
    connection = lab.settings.connection()
    assert connection
    user, _, password = (connection.auth_string or "").partition(":")
    before = {}
    with httpx.Client(base_url=connection.api_url, auth=(user, password)) as http:
        for flow, pool in pools.items():
            found = http.get(f"/deployments/name/{flow}/{flow}").raise_for_status().json()
            before[flow] = found["work_pool_name"]
            http.patch(f"/deployments/{found['id']}", json={"work_pool_name": pool}).raise_for_status()
    return before


@pytest.fixture
def one_slot(lab: Lab) -> Iterator[Lab]:
    assert lab.settings.gpu_slots == 1
    before = move(lab, dict.fromkeys(FLOWS, "gpu"))
    yield lab
    move(lab, before)


def test_two_travels_at_once_finish_in_a_single_slot(one_slot: Lab) -> None:
    travels = [one_slot.travel(3), one_slot.travel(3, chain_segments=False)]
    done = [one_slot.wait(travel, 240) for travel in travels]
    assert [task.status for task in done] == [Status.COMPLETE] * 2
    assert [film_length(task.output_location) for task in done] == [30, 30]
    for task in done:
        one_slot.until_run(task, "Completed")
