from __future__ import annotations

from collections.abc import Iterator

import pytest

from deployments.stack.stack import Stack
from tests.conftest import private_home
from tests.flows.lab import Lab


@pytest.fixture(scope="session")
def lab(stack_with_workers: Stack) -> Iterator[Lab]:
    """The session's stack with workers: a real Prefect server on PostgreSQL, one slot each for cpu and gpu."""
    with private_home() as folder:
        yield Lab(stack_with_workers.settings, folder)
