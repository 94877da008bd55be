from __future__ import annotations

import importlib.metadata
import sqlite3
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest
import respx

from deployments import doctor
from deployments.doctor import checks
from deployments.findings import Check
from deployments.settings import Connection, Settings
from deployments.setup import set_up
from deployments.stack.api import PrefectApi
from deployments.stack.home import HomeLock, write_connection
from deployments.stack.stack import Stack
from deployments.work_pools import ensure_pools
from deployments.workspace import save
from tests.deployments.test_up import polls, wait_for
from tests.waiting import until
from tests.warm.bench import Bench, Worker

SERVER = Connection("http://127.0.0.1:9/api", None, "test")


def find(settings: Settings, name: str) -> Check:
    return next(check for check in checks(settings) if check.name == name)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load(home=tmp_path)


def test_this_machine_can_make_films(settings: Settings) -> None:
    wrong = [check for check in checks(settings) if not check.ok]
    assert [check.name for check in wrong] == ["server"]


def test_every_problem_says_what_to_do(settings: Settings) -> None:
    assert find(settings, "server").fix == "Start one with: longtake up, or set PREFECT_API_URL."


def test_a_server_that_is_down_is_told_with_its_address(settings: Settings) -> None:
    write_connection(settings, SERVER, 9)
    assert SERVER.api_url in find(settings, "server").detail


def test_a_prefect_that_cannot_schedule_is_found(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"prefect": "3.8.8", "sqlalchemy": "2.1.0"}
    monkeypatch.setattr(importlib.metadata, "version", lambda name: versions.get(name, "1"))
    assert find(settings, "packages").fix == "pip install 'sqlalchemy<2.1'"


def test_a_full_disk_is_found(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _path: usage(10, 9, 1))
    assert not find(settings, "disk").ok


def test_a_queue_file_that_is_none_is_found(settings: Settings) -> None:
    settings.queue_path.write_text("not a database at all, but long enough to look like a file of somebody")
    assert not find(settings, "queue").ok


def test_a_queue_of_a_later_version_is_found(settings: Settings) -> None:
    with sqlite3.connect(settings.queue_path) as connection:
        connection.execute("pragma user_version = 99")
    assert "99" in find(settings, "queue").detail


def test_processes_of_a_running_up_are_no_problem(settings: Settings) -> None:
    lock = HomeLock(settings.home)
    lock.acquire()
    assert find(settings, "processes").ok
    lock.release()


def test_a_bare_server_lacks_pools_deployments_and_the_block(settings: Settings) -> None:
    with respx.mock(base_url=SERVER.api_url) as server:
        server.get("/admin/version").respond(json="3.8.8")
        server.get().respond(404)
        write_connection(settings, SERVER, 9)
        wrong = {check.name: check.fix for check in checks(settings) if not check.ok}
    assert wrong == dict.fromkeys(("pools", "deployments", "block"), "longtake setup")


@pytest.mark.stack
def test_a_server_without_workers_is_told_how_to_start_each(stack: Stack) -> None:
    set_up(stack.settings, stack.connection)
    assert find(stack.settings, "worker gpu").fix == "prefect worker start --pool gpu"


@pytest.mark.stack
def test_a_wrong_auth_string_is_told_from_a_dead_server(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", stack.connection.api_url)
    assert "PREFECT_API_AUTH_STRING" in find(stack.settings, "server").fix


@pytest.mark.stack
def test_nothing_is_wrong_with_a_running_stack(stack_with_workers: Stack) -> None:
    wait_for(lambda: polls(stack_with_workers.settings.home, "RUNNING", "COMPLETED"))
    assert [check for check in checks(stack_with_workers.settings) if not check.ok] == []


def test_without_a_server_a_gpu_worker_is_judged_by_the_settings(tmp_path: Path) -> None:
    settings = Settings.load(home=tmp_path, engine="wan", model=f"{tmp_path}/none", image_engine="image")
    wrong = {check.name: check.fix for check in checks(settings, gpu=True, models=["image:./none"]) if not check.ok}
    assert "model_index.json" in wrong[f"model {tmp_path}/none"]
    assert "model_index.json" in wrong["model ./none"]


@pytest.fixture
def wan_without_its_model(stack: Stack, prefect_api: Stack, tmp_path: Path) -> Iterator[str]:
    """The block's engines are one of diffusion, with a model that is not there, and one that needs none."""
    model = str(tmp_path / "none")
    with PrefectApi(stack.connection) as api:
        ensure_pools(api, stack.settings)
    save(Settings.load(home=stack.settings.home, engine="wan", model=model))
    yield model
    save(stack.settings)


@pytest.mark.stack
def test_what_a_gpu_worker_refuses_to_start_without_is_found(
    stack: Stack, wan_without_its_model: str, tmp_path: Path
) -> None:
    worker = Worker(Bench(stack.connection, tmp_path), "gpu")
    try:
        until(lambda: worker.process.poll() is not None, worker.text, 60)
        others = {check.name for check in checks(stack.settings)}
        found = [check for check in checks(stack.settings, gpu=True) if check.name not in others]
        lines = [f"{check.name}: {check.detail}. {check.fix}" for check in found]
        assert worker.process.returncode == 1
        assert any(f"model {wan_without_its_model}: there is no such folder" in line for line in lines)
        assert worker.text().splitlines()[-len(lines) :] == lines
    finally:
        worker.end()


def test_without_a_word_about_gpus_none_is_looked_for(settings: Settings) -> None:
    assert find(settings, "engines").detail == "nothing is missing for motion, sketch"
