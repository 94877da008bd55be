from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from deployments.local.stack import LocalSupabase
from tests.security.catalogue import Connection
from tests.supabase_stack import supabase  # noqa: F401  (a fixture)


@pytest.fixture
def owner(supabase: LocalSupabase) -> Iterator[Connection]:  # noqa: F811
    """The role that the migrations ran as. Whatever a test does is undone."""
    with psycopg.connect(supabase.database_url) as connection:
        connection.execute("truncate public.tasks, public.projects, public.user_api_token cascade")
        yield connection
        connection.rollback()
