"""Pool gpu-docker: its template through prefect-docker's worker and docker-py, up to what an engine is asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

import docker.errors
import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.events.clients import AssertingEventsClient
from prefect.events.worker import EventsWorker
from prefect.server.schemas.actions import WorkPoolCreate
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from prefect_docker.worker import DockerWorker, DockerWorkerJobConfiguration, DockerWorkerResult

from tests.images.engine import DockerEngine

POOL = Path(__file__).parents[2] / "deployments" / "pools" / "gpu-docker.json"
IMAGE = "longtake-worker:0.1.0"
API, SECRET = "https://prefect.example/api", "longtake:a-secret-of-the-server"
Template = dict[str, Any]


@pytest.fixture
def template() -> Template:
    found: Template = json.loads(POOL.read_text())["base_job_template"]
    return found


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[DockerEngine]:
    with DockerEngine(images={IMAGE}).serving() as serving:
        monkeypatch.setenv("DOCKER_HOST", serving.address)
        yield serving


@pytest.fixture(autouse=True)
def _a_server_far_away() -> Iterator[None]:
    """Its address and auth string are known to the worker; its events go nowhere."""
    EventsWorker.set_client_override(AssertingEventsClient)
    with temporary_settings({PREFECT_API_URL: API, PREFECT_API_AUTH_STRING: SECRET}):
        yield
        EventsWorker.drain_all()
    EventsWorker.set_client_override(None)


async def configuration(template: Template, **variables: Any) -> tuple[DockerWorkerJobConfiguration, FlowRun]:
    """As a worker prepares it for one run, with the job variables of a deployment."""
    made = await DockerWorkerJobConfiguration.from_template_and_values(template, variables)
    run = FlowRun(id=uuid4(), flow_id=uuid4(), name="segment 2 · 3f2a9c1d", tags=["task:1"])
    made.prepare_for_flow_run(run)
    return made, run


def worker() -> DockerWorker:
    return DockerWorker(work_pool_name="gpu-docker", name="gpu-docker@host", test_mode=True)


async def container(template: Template, **variables: Any) -> DockerWorkerResult:
    made, run = await configuration(template, **variables)
    return await worker().run(run, made)


async def test_a_run_is_a_container_of_our_image_that_runs_the_flow(template: Template, engine: DockerEngine) -> None:
    await container(template)
    assert (engine.created["Image"], engine.created["Cmd"]) == (IMAGE, ["python", "-m", "prefect.engine"])
    assert "POST /containers/c0ffee/start" in engine.calls


async def test_it_sees_the_gpus_that_the_pool_gives_it(template: Template, engine: DockerEngine) -> None:
    await container(template, gpus=["1", "GPU-3f2a"])
    asked = engine.created["HostConfig"]["DeviceRequests"]
    assert [(one["Driver"], one["DeviceIDs"], one["Capabilities"]) for one in asked] == [
        ("nvidia", ["1", "GPU-3f2a"], [["gpu"]])
    ]


async def test_without_a_word_it_sees_the_first_gpu(template: Template, engine: DockerEngine) -> None:
    await container(template)
    assert engine.created["HostConfig"]["DeviceRequests"][0]["DeviceIDs"] == ["0"]


async def test_models_and_unstored_work_outlive_it(template: Template, engine: DockerEngine) -> None:
    await container(template)
    host = engine.created["HostConfig"]
    assert host["Binds"] == ["longtake-models:/models", "longtake-work:/var/lib/longtake"]
    assert host["AutoRemove"] is True


async def test_it_gets_more_shared_memory_than_dockers_own(template: Template, engine: DockerEngine) -> None:
    await container(template, shm_size="8g")
    assert engine.created["HostConfig"]["ShmSize"] == 8 * 2**30


async def test_it_has_no_privileges_and_no_run_can_ask_for_them(template: Template, engine: DockerEngine) -> None:
    kwargs = {"privileged": True, "cap_add": ["SYS_ADMIN"], "pid_mode": "host"}
    await container(template, privileged=True, container_create_kwargs=kwargs, network_mode="host")
    host = engine.created["HostConfig"]
    assert not host.keys() & {"Privileged", "CapAdd", "PidMode"}
    assert (host["CapDrop"], host["SecurityOpt"]) == (["ALL"], ["no-new-privileges:true"])
    assert host["NetworkMode"] == "default"


async def test_it_joins_the_networks_that_it_is_given(template: Template, engine: DockerEngine) -> None:
    await container(template, networks=["longtake"])
    assert engine.created["HostConfig"]["NetworkMode"] == "longtake"


async def test_the_auth_string_is_in_its_environment_and_nowhere_else(template: Template, engine: DockerEngine) -> None:
    await container(template)
    environment = engine.created.pop("Env")
    assert f"PREFECT_API_AUTH_STRING={SECRET}" in environment
    assert SECRET not in json.dumps([engine.created, engine.calls])


async def test_its_name_is_the_runs_and_its_labels_say_which_it_is(template: Template, engine: DockerEngine) -> None:
    made, run = await configuration(template)
    await worker().run(run, made)
    assert engine.created["query"] == "name=segment-2-3f2a9c1d"
    assert engine.created["Labels"]["io.prefect.flow-run-id"] == str(run.id)


async def test_an_image_that_is_here_is_not_pulled(template: Template, engine: DockerEngine) -> None:
    await container(template)
    assert engine.pulled == []


async def test_an_image_that_is_not_here_is_pulled_by_its_tag(template: Template, engine: DockerEngine) -> None:
    with pytest.raises(docker.errors.ImageNotFound):  # this engine pulls, and still has none
        await container(template, image="registry.example/longtake-worker:0.2.0")
    assert engine.pulled == ["tag=0.2.0&fromImage=registry.example%2Flongtake-worker"]


async def test_a_container_that_crashed_is_told_when_it_stays(template: Template, engine: DockerEngine) -> None:
    engine.exit_code = 137
    assert (await container(template, auto_remove=False)).status_code == 137


async def test_one_that_is_removed_may_take_its_exit_code_along(template: Template, engine: DockerEngine) -> None:
    """Why docs/how-to/containers.md says that a crash is then found by lease and heartbeat, not by the worker."""
    engine.exit_code = 137
    assert (await container(template)).status_code == 0


async def test_a_worker_without_an_engine_says_so(template: Template, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    made, run = await configuration(template)
    with pytest.raises(RuntimeError, match="Could not connect to Docker"):
        await worker().run(run, made)


def test_a_prefect_server_takes_the_template(template: Template) -> None:
    assert WorkPoolCreate(name="gpu-docker", type="docker", base_job_template=template).base_job_template == template


def test_the_image_has_this_version(template: Template) -> None:
    assert template["variables"]["properties"]["image"]["default"] == f"longtake-worker:{version('longtake')}"


def test_every_place_in_the_template_has_its_variable_and_every_variable_its_place(template: Template) -> None:
    used = set(re.findall(r"{{ (\w+) }}", json.dumps(template["job_configuration"])))
    assert used == template["variables"]["properties"].keys()
