"""Shared by all tests: real servers, one a session, each started by the first test that asks for it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deployments.settings import Settings
from deployments.stack.stack import Stack


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several test processes, one of them runs all tests that need a server: each server costs two cores."""
    for item in items:
        if item.get_closest_marker("stack") and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group("stack"))


@contextmanager
def private_home() -> Iterator[Path]:
    """A folder that PostgreSQL's own user may enter too: pytest's tmp_path lies below a private one."""
    home = Path(tempfile.mkdtemp(prefix="longtake-test-"))
    home.chmod(0o755)
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def home() -> Iterator[Path]:
    with private_home() as folder:
        yield folder


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """PostgreSQL and a Prefect server without pools, deployments or workers."""
    with private_home() as folder, Stack(Settings.load(home=folder), deploy=False, durable=False) as running:
        yield running


@pytest.fixture(scope="session")
def stack_with_workers() -> Iterator[Stack]:
    """Everything that `longtake up` starts, polling included."""
    settings_for_tests = {"stop_grace_seconds": 0.0}
    with private_home() as folder, Stack(Settings.load(home=folder, **settings_for_tests), durable=False) as running:
        yield running


@pytest.fixture
def prefect_api(stack: Stack) -> Iterator[Stack]:
    """Prefect code called in this test talks to the server of `stack`."""
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    server = {PREFECT_API_URL: stack.connection.api_url, PREFECT_API_AUTH_STRING: stack.connection.auth_string}
    with temporary_settings(server):
        yield stack


@pytest.fixture(autouse=True, scope="session")
def _no_settings_from_outside() -> Iterator[None]:
    """A developer's LONGTAKE_… and PREFECT_… must not decide what a test sees."""
    patch = pytest.MonkeyPatch()
    for name in list(os.environ):
        if name.upper().startswith(("LONGTAKE_", "PREFECT_")):
            patch.delenv(name)
    yield
    patch.undo()
