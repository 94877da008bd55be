from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from deployments.local.stack import LocalSupabase
from tests.conftest import private_home
from tests.security.catalogue import Connection
from tests.security.world import World


@pytest.fixture(scope="package")
def supabase() -> Iterator[LocalSupabase]:
    """A stack of their own, as the migrations leave it: the shared one has functions that obey other tests' clock."""
    with private_home() as home, LocalSupabase(home) as stack:
        yield stack


@pytest.fixture
def owner(supabase: LocalSupabase) -> Iterator[Connection]:
    """The role that the migrations ran as, in a queue that is empty. Whatever a test does is undone."""
    with psycopg.connect(supabase.database_url) as connection:
        connection.execute("truncate public.tasks, public.projects, public.user_api_token cascade")
        yield connection
        connection.rollback()


@pytest.fixture(scope="package")
def shared_world(supabase: LocalSupabase) -> Iterator[World]:
    with World(supabase) as world:
        yield world


@pytest.fixture
def world(shared_world: World) -> World:
    shared_world.restore()
    return shared_world
