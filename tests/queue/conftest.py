from __future__ import annotations

from collections.abc import Iterator

import pytest

from deployments.local.stack import LocalSupabase
from tests.queue.sql import TestDatabase
from tests.supabase_stack import supabase  # noqa: F401  (a fixture)

# The suite's modules are no test files, and their asserts should explain themselves all the same.
pytest.register_assert_rewrite(
    "tests.queue.acts",
    "tests.queue.crowd",
    "tests.queue.suite_enqueue",
    "tests.queue.suite_claim",
    "tests.queue.suite_holder",
    "tests.queue.suite_cascade",
    "tests.queue.suite_children",
    "tests.queue.suite_retry",
    "tests.queue.suite_upkeep",
    "tests.queue.suite_readers",
    "tests.queue.suite_workers",
)


@pytest.fixture(scope="session")
def project_database(supabase: LocalSupabase) -> Iterator[TestDatabase]:  # noqa: F811
    """The database of the stack, behind its back."""
    database = TestDatabase(supabase.admin_database_url)
    yield database
    database.close()


@pytest.fixture
def database(project_database: TestDatabase) -> TestDatabase:
    """Empty but for one user and one project, and on real time."""
    project_database.empty()
    return project_database
