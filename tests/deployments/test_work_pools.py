"""Pools, automations and deployments on a real Prefect server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.deploy import PREFECT_FILE
from deployments.settings import POOLS, Connection, Settings
from deployments.setup import set_up
from deployments.stack.api import PrefectApi
from deployments.stack.errors import SetupFailed, WrongPoolType
from deployments.stack.stack import Stack
from deployments.work_pools import ensure_automations, ensure_pools, pool_template

pytestmark = pytest.mark.stack


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load(home=tmp_path)


@pytest.fixture(scope="module")
def ready(stack: Stack) -> Stack:
    set_up(stack.settings, stack.connection)
    return stack


def everything(stack: Stack) -> list[Any]:
    """All that set-up writes, without the times of writing."""
    with PrefectApi(stack.connection) as api:
        answers = [api.post(f"/{kind}/filter", {}) for kind in ("work_pools", "automations", "deployments")]
        answers.append(api.post("/block_documents/filter", {"include_secrets": True}))
        answers.append(api.post("/v2/concurrency_limits/filter", {}))
    return json.loads(json.dumps(answers), object_hook=_without_times)


def _without_times(found: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if key not in ("updated", "status", "last_polled")}


def test_the_template_of_our_pools_is_what_prefect_prints_for_the_worker_type(settings: Settings) -> None:
    from deployments.warm.worker import WarmWorker

    template = pool_template("gpu", settings)["base_job_template"]
    printed = WarmWorker.get_default_base_job_template()
    for name in ("entrypoints", "drain_seconds"):
        printed["variables"]["properties"][name]["default"] = template["variables"]["properties"][name]["default"]
    assert template == printed


@pytest.mark.parametrize("pool", POOLS)
def test_a_child_loads_the_flows_of_its_pool_up_front(pool: str, settings: Settings) -> None:
    deployed = yaml.safe_load(PREFECT_FILE.read_text())["deployments"]
    expected = {one["entrypoint"] for one in deployed if one["work_pool"]["name"] == pool}
    variables = pool_template(pool, settings)["base_job_template"]["variables"]["properties"]
    assert set(variables["entrypoints"]["default"]) == expected


def test_set_up_twice_changes_nothing(ready: Stack) -> None:
    before = everything(ready)
    set_up(ready.settings, ready.connection)
    assert everything(ready) == before


def test_prefect_deploy_by_hand_changes_nothing_either(ready: Stack) -> None:
    before = everything(ready)
    prefect = Path(sys.executable).with_name("prefect")
    deploy = [str(prefect), "deploy", "--all", "--no-prompt"]
    env = {**os.environ, **ready.connection.environment()}
    subprocess.run(deploy, cwd=PREFECT_FILE.parent, env=env, check=True, capture_output=True)
    assert everything(ready) == before


def test_pools_have_the_limits_of_the_settings(ready: Stack) -> None:
    with PrefectApi(ready.connection) as api:
        limits = {pool["name"]: pool["concurrency_limit"] for pool in api.post("/work_pools/filter", {})}
    assert limits == {"control": 4, "cpu": 1, "gpu": 1, "gpu-docker": 1}


def test_a_pool_that_somebody_changed_is_corrected(ready: Stack) -> None:
    with PrefectApi(ready.connection) as api:
        api.patch("/work_pools/cpu", {"concurrency_limit": 9})
        assert ensure_pools(api, ready.settings) == ["cpu"]


def test_what_an_operator_set_for_the_children_stays(ready: Stack) -> None:
    with PrefectApi(ready.connection) as api:
        template = api.get("/work_pools/gpu")["base_job_template"]
        template["variables"]["properties"]["models"]["default"] = ["wan:/models/flf2v"]
        template["variables"]["properties"]["entrypoints"]["default"] = []
        api.patch("/work_pools/gpu", {"base_job_template": template})
        assert ensure_pools(api, ready.settings) == ["gpu"]
        variables = api.get("/work_pools/gpu")["base_job_template"]["variables"]["properties"]
        assert variables["models"]["default"] == ["wan:/models/flf2v"]
        assert "flows.travel_segment.travel_segment" in variables["entrypoints"]["default"]


def test_an_automation_that_somebody_disabled_stays_disabled(ready: Stack) -> None:
    with PrefectApi(ready.connection) as api:
        found = api.post("/automations/filter", {})[0]
        api.patch(f"/automations/{found['id']}", {"enabled": False})
        assert ensure_automations(api) == []
        api.patch(f"/automations/{found['id']}", {"enabled": True})


def test_a_pool_of_another_type_is_refused_with_the_way_out(ready: Stack) -> None:
    with PrefectApi(ready.connection) as api:
        wanted = api.get("/work_pools/cpu")
        api.delete("/work_pools/cpu")
        api.post("/work_pools/", {"name": "cpu", "type": "docker"})
        with pytest.raises(WrongPoolType, match="prefect work-pool delete cpu"):
            ensure_pools(api, ready.settings)
        api.delete("/work_pools/cpu")
        ensure_pools(api, ready.settings)
        assert api.get("/work_pools/cpu")["type"] == wanted["type"]


def test_the_api_answers_nobody_without_the_auth_string(ready: Stack) -> None:
    stranger = Connection(ready.connection.api_url, None, "a stranger")
    with pytest.raises(SetupFailed, match="401"):
        set_up(ready.settings, stranger)


def test_set_up_without_a_server_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(SetupFailed, match="longtake up"):
        set_up(Settings.load(home=tmp_path))
