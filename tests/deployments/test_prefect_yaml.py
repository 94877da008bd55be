"""prefect.yaml against the code that it names. Reads the flows, starts nothing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
import yaml

from deployments.deploy import PREFECT_FILE
from deployments.settings import GPU_DOCKER, POOLS
from tasks.kinds import GPU, KINDS
from tasks.labels import TAG

CONTENT: dict[str, Any] = yaml.safe_load(PREFECT_FILE.read_text())
DEPLOYMENTS: list[dict[str, Any]] = CONTENT["deployments"]
BY_NAME = {one["name"]: one for one in DEPLOYMENTS}


@pytest.mark.parametrize("name", BY_NAME)
def test_file_flow_and_deployment_have_one_name(name: str) -> None:
    module, _, function = BY_NAME[name]["entrypoint"].rpartition(".")
    assert (module, function) == (f"flows.{name.removesuffix('-docker')}", name.removesuffix("-docker"))
    assert getattr(import_module(module), function).name == function


@pytest.mark.parametrize("name", BY_NAME)
def test_every_deployment_is_described_and_goes_to_a_pool_of_ours(name: str) -> None:
    assert BY_NAME[name]["description"].endswith(".")
    assert BY_NAME[name]["work_pool"]["name"] in (*POOLS, GPU_DOCKER)


def test_every_kind_of_task_has_its_deployment_in_its_pool() -> None:
    served = {f"{name}/{name}": one["work_pool"]["name"] for name, one in BY_NAME.items()}
    assert {kind.deployment: kind.pool for kind in KINDS}.items() <= served.items()


def test_every_kind_of_the_gpu_has_the_same_deployment_in_a_container() -> None:
    kinds = [kind for kind in KINDS if kind.pool == GPU]
    pairs = [(BY_NAME[kind.task_type], BY_NAME[kind.deployment_in(GPU_DOCKER).partition("/")[2]]) for kind in kinds]
    assert all({**docker, "name": own["name"], "work_pool": {"name": GPU}} == own for own, docker in pairs)
    assert {docker["work_pool"]["name"] for _own, docker in pairs} == {GPU_DOCKER}


@pytest.mark.parametrize("name", ["poll", "rescue"])
def test_scheduled_runs_never_pile_up(name: str) -> None:
    limit = BY_NAME[name]["concurrency_limit"]
    assert (limit["limit"], limit["collision_strategy"]) == (1, "CANCEL_NEW")


@pytest.mark.parametrize("name", ["poll", "rescue"])
def test_scheduled_runs_do_not_count_as_dispatched_tasks(name: str) -> None:
    assert TAG not in BY_NAME[name]["tags"]


def test_poll_is_told_the_period_of_its_schedule() -> None:
    assert BY_NAME["poll"]["parameters"]["period"] == BY_NAME["poll"]["schedules"][0]["interval"]


def test_a_suspended_orchestrator_is_not_watched_for_heartbeats() -> None:
    assert "watched" not in BY_NAME["travel_orchestrator"]["tags"]


def test_nothing_is_pulled() -> None:
    assert CONTENT["pull"] == []
