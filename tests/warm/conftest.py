"""What the tests of the warm worker share."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.stack.stack import Stack
from tests.warm.bench import Bench


@pytest.fixture(scope="session")
def bench(stack: Stack) -> Iterator[Bench]:
    folder = Path(tempfile.mkdtemp(prefix="longtake-warm-"))
    running = Bench(stack.connection, folder)
    yield running
    running.close()
    shutil.rmtree(folder, ignore_errors=True)
