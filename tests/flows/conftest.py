from __future__ import annotations

from collections.abc import Iterator

import pytest

from deployments.settings import Settings
from deployments.stack.stack import Stack
from tests.conftest import private_home
from tests.flows.lab import Lab


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """A real Prefect server on PostgreSQL with a worker for each pool, one slot each for cpu and gpu."""
    with private_home() as folder:
        settings = Settings.load(home=folder / "home", stop_grace_seconds=0)
        with Stack(settings, durable=False):
            yield Lab(settings, folder)
