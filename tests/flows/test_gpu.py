"""Diffusion models in the warm worker, from the queue to the storage, and what happens when something is killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from pydantic import SecretStr

from blocks.queue.model import LOCAL_USER, Status, Task, TaskSpec
from blocks.storage.block import SupabaseFileStorage
from blocks.storage.supabase import SupabaseStorage
from blocks.supabase.credentials import SupabaseCredentials
from blocks.workspace import WORKSPACE, Workspace
from deployments.local.stack import LocalSupabase
from deployments.settings import Settings
from deployments.stack.api import PrefectApi
from deployments.stack.stack import Stack
from tasks.media.images import read_image
from tests.conftest import private_home
from tests.engines import tiny
from tests.flows.lab import Lab, film_length, kill
from tests.supabase_stack import private_bucket, supabase  # noqa: F401  (one is a fixture)
from tests.waiting import until

pytest.importorskip("diffusers")
pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("gpu")]

SIZE = f"{tiny.SIDE}x{tiny.SIDE}"
ROOT = str(Path(__file__).parents[2])
#: Steps of a clip and of a picture that the tiny models work at for some five seconds.
LONG_CLIP: dict[str, Any] = {"steps": 60, "frames": [81], "size": "128x128"}
LONG_IMAGE = 600
#: Times that the tests cancel; more by hand: LONGTAKE_TEST_CANCELS=50.
CANCELS = int(os.environ.get("LONGTAKE_TEST_CANCELS", "5"))


class GpuLab(Lab):
    """A home whose engines are diffusion models, of a few kilobytes each; the pool gpu has one child."""

    models: Path

    def film(self, images: int, steps: int = 2, **asked: Any) -> Task:
        asked = {"frames": [9], "overlaps": [2], "size": SIZE, "chain_segments": False, **asked}
        return self.travel(images, num_inference_steps=steps, **asked)

    def image(self, prompt: str = "a calm sea", **params: Any) -> Task:
        return self.enqueue(TaskSpec("single_image", {"prompt": prompt, "resolution": SIZE, "seed": 3, **params}))

    def long_image(self) -> Task:
        return self.image(steps=LONG_IMAGE)

    def segments(self, travel: Task) -> list[Task]:
        return [row for row in self.queue.children(travel.id) if row.task_type == "travel_segment"]

    def logs(self, task: Task) -> list[str]:
        wanted = {"flow_run_id": {"any_": [run["id"] for run in self.runs_of(task)]}}
        return [line["message"] for line in self.api("/logs/filter", {"logs": wanted, "limit": 200})]

    def loads(self, tasks: list[Task]) -> int:
        """How often their runs loaded a model."""
        return sum("model_loaded" in line for task in tasks for line in self.logs(task))

    def working(self, task: Task) -> psutil.Process:
        """The child that generates this task, once it does."""
        until(lambda: (self.queue.get(task.id).tick or 0) > 0, lambda: self.describe(task))
        return self.process_of(str(self.queue.get(task.id).flow_run_id))

    def worker(self) -> psutil.Process:
        [worker] = [p for p in self.processes() if {"--pool", "gpu"} <= set(p.cmdline())]
        return worker


@pytest.fixture(scope="module")
def gpu() -> Iterator[GpuLab]:
    with private_home() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # the models are so small that torch's threads only wait for each other
        video, image = tiny.flf2v(folder / "flf2v"), tiny.image(folder / "image")
        engines = {"engine": "wan", "model": str(video), "image_engine": "image", "image_model": str(image)}
        settings = Settings.load(home=folder / "home", stop_grace_seconds=0, device="cpu", **engines)
        with Stack(settings, durable=False):
            lab = GpuLab(settings, folder)
            lab.models = folder
            yield lab


def complete(lab: GpuLab, task: Task, seconds: float = 150) -> Task:
    done = lab.wait(task, seconds)
    assert done.status is Status.COMPLETE, lab.describe(task)
    return done


def test_a_travel_of_eight_segments_loads_its_model_once(gpu: GpuLab) -> None:
    travel = gpu.film(9)
    done = complete(gpu, travel)
    segments = gpu.segments(travel)
    assert film_length(done.output_location) == 8 * 9 - 7 * 2
    assert [row.attempts for row in segments] == [1] * 8
    assert gpu.loads(segments) == 1


def test_a_travel_names_another_model_and_gets_it(gpu: GpuLab) -> None:
    travel = gpu.film(3, model_name=str(tiny.vace(gpu.models / "vace")), chain_segments=True)
    done = complete(gpu, travel)
    assert film_length(done.output_location) == 9 + 9 - 2
    assert gpu.loads(gpu.segments(travel)) == 1


def test_an_image_is_generated_and_stored(gpu: GpuLab) -> None:
    done = complete(gpu, gpu.image())
    assert read_image(str(done.output_location)).shape == (tiny.SIDE, tiny.SIDE, 3)
    assert (done.result or {})["seed"] == 3


def test_the_queue_knows_which_model_a_worker_has_loaded(gpu: GpuLab) -> None:
    run = gpu.queue.get(complete(gpu, gpu.image()).id)
    worker = until(
        lambda: next((w for w in gpu.queue.workers() if w.id == run.worker_id and w.current_model), None), "its note"
    )
    assert worker.current_model == f"image:{gpu.models / 'image'}"
    [loaded] = [model for model in worker.metadata["models"] if model["engine"] == "image"]
    assert loaded["hits"] >= 0
    assert loaded["seconds"] > 0


def test_a_lora_changes_the_picture_and_is_gone_with_its_task(gpu: GpuLab) -> None:
    lora = tiny.lora(gpu.models / "loras", gpu.models / "image")
    asked: list[dict[str, Any]] = [{}, {"additional_loras": {str(lora): 1.0}}, {}]
    before, changed, after = [read_image(str(complete(gpu, gpu.image(**each)).output_location)) for each in asked]
    assert (before == after).all()
    assert (before != changed).any()


@pytest.fixture
def bucket(gpu: GpuLab, supabase: LocalSupabase) -> Iterator[SupabaseStorage]:  # noqa: F811
    """The site keeps its files in a private bucket of a project that several users share."""
    made = private_bucket(supabase)
    connection = gpu.settings.connection()
    assert connection
    server = {PREFECT_API_URL: connection.api_url, PREFECT_API_AUTH_STRING: connection.auth_string}
    with temporary_settings(server):
        workspace = Workspace.load(WORKSPACE)
        folder = workspace.storage
        access, key = made.access, SecretStr(made.access.key)
        credentials = SupabaseCredentials(url=access.url, key=key, bucket=access.bucket)
        workspace.storage = SupabaseFileStorage(credentials=credentials, allow_loopback=True)
        workspace.save(WORKSPACE, overwrite=True)
        yield made
        workspace.storage = folder
        workspace.save(WORKSPACE, overwrite=True)


def test_a_lora_in_a_private_bucket_changes_its_owners_picture_and_nobody_elses(
    gpu: GpuLab, bucket: SupabaseStorage, tmp_path: Path
) -> None:
    lora = tiny.lora(gpu.models / "loras", gpu.models / "image", seed=8)
    own, others = (bucket.put_input(lora, owner=user).location for user in (LOCAL_USER, str(uuid.uuid4())))
    path = own.partition("/public/")[2]
    made = [complete(gpu, gpu.image(additional_loras=loras)).output_location for loras in ({}, {path: 1.0})]
    before, changed = [read_image(bucket.fetch(str(location), tmp_path)) for location in made]
    assert (before != changed).any()
    refused = gpu.wait(gpu.image(additional_loras={others: 1.0}))
    assert (refused.status, refused.attempts) == (Status.FAILED, 1)
    assert "not found" in str(refused.error_message)
    [kept] = (gpu.settings.work_dir / "loras").iterdir()
    assert kept.read_bytes() == lora.read_bytes()


def test_a_killed_child_costs_one_segments_attempt(gpu: GpuLab) -> None:
    travel = gpu.film(4, **LONG_CLIP)
    victim = gpu.generating(travel)
    kill([gpu.working(victim)])
    complete(gpu, travel)
    segments = gpu.segments(travel)
    assert [row.attempts for row in segments] == [2 if row.id == victim.id else 1 for row in segments]
    assert gpu.loads(segments) <= 2  # once by each of the two children, if they were to be asked


def test_a_killed_worker_loses_no_task(gpu: GpuLab) -> None:
    task = gpu.long_image()
    gpu.working(task)
    kill([gpu.worker()])
    assert complete(gpu, task).attempts <= 2


def test_worker_and_child_killed_at_once_lose_no_task(gpu: GpuLab) -> None:
    task = gpu.long_image()
    kill([gpu.working(task), gpu.worker()])
    assert complete(gpu, task).attempts == 2


def cancel_by_api(lab: GpuLab, task: Task) -> None:
    """As the button in Prefect's UI does; before there is a run there is nothing to press."""
    run = until(lambda: lab.queue.get(task.id).flow_run_id, lambda: lab.describe(task))
    connection = lab.settings.connection()
    assert connection
    with PrefectApi(connection) as api:
        api.post(f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})


def cancel_by_cli(lab: GpuLab, task: Task) -> None:
    command = [sys.executable, "-m", "deployments.cli", "task", "cancel", task.id, "--home", str(lab.settings.home)]
    subprocess.run(command, check=True, capture_output=True)


def over(lab: GpuLab, task: Task) -> bool:
    """The row is Cancelled, every run of it too, and no process works on one."""
    runs = lab.runs_of(task)
    at_work = [lane for lane in (lab.settings.prefect_home / "lanes").glob("*.json") if task_in(lane, runs)]
    ended = all(run["state_type"] == "CANCELLED" for run in runs)
    return lab.queue.get(task.id).status is Status.CANCELLED and ended and not at_work


def task_in(lane: Path, runs: list[dict[str, Any]]) -> bool:
    return any(run["id"] in lane.read_text() for run in runs)


@pytest.mark.parametrize("number", range(CANCELS))
def test_a_cancelled_task_is_stopped_in_time_whatever_it_was_doing(gpu: GpuLab, number: int) -> None:
    phase = random.Random(number)
    task = gpu.long_image()
    if phase.random() < 0.7:
        gpu.working(task)
    moment = time.monotonic() + phase.uniform(0, 0.5)  # a random phase: nothing is expected of its end
    until(lambda: time.monotonic() > moment, "the moment")
    if gpu.queue.get(task.id).status.is_terminal:
        pytest.fail("the task was too short to be cancelled")
    (cancel_by_api if number % 2 else cancel_by_cli)(gpu, task)
    asked = time.monotonic()
    until(lambda: over(gpu, task), lambda: f"{gpu.describe(task)} {[run['state'] for run in gpu.runs_of(task)]}", 10)
    print(f"cancelled after {time.monotonic() - asked:.1f} s")  # noqa: T201  (shown with -s)


def test_after_all_that_the_slot_is_free_and_nothing_is_left(gpu: GpuLab) -> None:
    complete(gpu, gpu.image("after"))

    def left() -> list[object]:
        """Orphans; and of the worker's own, what is more than the child and its guard, such as a run's heartbeat."""
        try:
            strays = [p for p in gpu.processes() if p.ppid() == 1 and "deployments.warm.child" in p.cmdline()]
            return [*strays, *gpu.worker().children(recursive=True)[3:]]
        except psutil.NoSuchProcess as gone:
            return [gone]  # while it was looked at

    until(lambda: not left(), lambda: f"left: {left()}", 20)  # what has ended takes a moment to be gone


@pytest.fixture
def hanging(gpu: GpuLab) -> Iterator[GpuLab]:
    """The image engine is one that hangs once, and two seconds without progress are a hang."""
    connection = gpu.settings.connection()
    assert connection
    with PrefectApi(connection) as api:
        block = api.get("/block_types/slug/longtake-workspace/block_documents/name/longtake")
        data = block["data"]
        changed = {**data, "stall_seconds": 2.0, "engines": {**data["engines"], "image": "hanging", "image_model": ""}}
        pool = api.get("/work_pools/gpu")
        template = pool["base_job_template"]
        variables = template["variables"]["properties"]
        variables["preload"]["default"], variables["working_dir"]["default"] = ["tests.flows.hanging"], ROOT
        api.patch(f"/block_documents/{block['id']}", {"data": changed, "merge_existing_data": False})
        api.patch("/work_pools/gpu", {"base_job_template": template})
        yield gpu
        variables["preload"]["default"], variables["working_dir"]["default"] = [], None
        api.patch(f"/block_documents/{block['id']}", {"data": data, "merge_existing_data": False})
        api.patch("/work_pools/gpu", {"base_job_template": template})


def test_a_run_that_hangs_with_its_heartbeat_alive_is_ended_and_the_task_finishes(
    hanging: GpuLab, tmp_path: Path
) -> None:
    task = hanging.image(str(tmp_path / "hung"))
    done = complete(hanging, task)
    assert done.attempts == 2
    assert signal.SIGKILL.name in " ".join(run["state"]["message"] or "" for run in hanging.runs_of(task))
