from __future__ import annotations

from collections.abc import Iterator

import pytest

from deployments.settings import Settings
from deployments.stack.stack import Stack
from tests.flows.lab import Lab


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A real Prefect server on PostgreSQL with a worker for each pool, one slot each for cpu and gpu."""
    folder = tmp_path_factory.mktemp("lab")
    settings = Settings.load({}, home=folder / "home")
    with Stack(settings, durable=False):
        yield Lab(settings, folder)
