from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from deployments.local.stack import LocalSupabase
from tests.edge.callers import World
from tests.queue.sql import TestDatabase
from tests.supabase_stack import supabase  # noqa: F401  (a fixture)


@pytest.fixture(scope="session")
def database(supabase: LocalSupabase) -> Iterator[TestDatabase]:  # noqa: F811
    database = TestDatabase(supabase.admin_database_url)
    yield database
    database.connection.close()


@pytest.fixture(scope="session")
def http() -> Iterator[httpx.Client]:
    """One for all callers: making one costs 20 ms."""
    with httpx.Client(timeout=30, trust_env=False) as client:
        yield client


@pytest.fixture
def world(supabase: LocalSupabase, database: TestDatabase, http: httpx.Client) -> World:  # noqa: F811
    """An empty queue."""
    database.empty()
    return World(supabase, database, http)
