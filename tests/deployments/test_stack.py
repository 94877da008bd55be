"""A running stack, and what happens when parts of it die."""

from __future__ import annotations

import httpx
import psutil
import pytest

from deployments.settings import MARKER
from deployments.stack.api import PrefectApi
from deployments.stack.stack import ProcessStatus, Stack
from tests.deployments.test_up import polls, wait_for

pytestmark = pytest.mark.stack


def status(stack: Stack, name: str) -> ProcessStatus:
    return next(one for one in stack.status() if one.name == name)


def kill(stack: Stack, name: str) -> None:
    stack.supervisor.child(name).process.kill()


def test_it_polls_at_once(stack_with_workers: Stack) -> None:
    assert wait_for(lambda: polls(stack_with_workers.settings.home, "RUNNING"))


def test_a_killed_worker_is_replaced(stack_with_workers: Stack) -> None:
    kill(stack_with_workers, "worker-cpu")
    wait_for(lambda: status(stack_with_workers, "worker-cpu").restarts)
    assert status(stack_with_workers, "worker-cpu").alive


def test_a_killed_server_is_replaced_at_the_same_address(stack_with_workers: Stack) -> None:
    kill(stack_with_workers, "server")
    with PrefectApi(stack_with_workers.connection) as api:
        wait_for(lambda: not api.is_healthy())
        assert wait_for(api.is_healthy)


def test_the_ui_asks_for_the_auth_string(stack: Stack) -> None:
    assert httpx.get(f"{stack.connection.ui_url}/ui-settings").json()["auth"] == "BASIC"


def test_a_web_page_of_another_origin_may_not_talk_to_the_server(stack: Stack) -> None:
    question = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    answer = httpx.options(f"{stack.connection.api_url}/flow_runs/filter", headers=question)
    assert "access-control-allow-origin" not in answer.headers


def test_flow_runs_get_neither_the_database_nor_the_encryption_key(stack_with_workers: Stack) -> None:
    environment = psutil.Process(status(stack_with_workers, "worker-gpu").pid).environ()
    assert MARKER in environment
    assert [name for name in environment if "DATABASE" in name or "ENCRYPTION" in name] == []
