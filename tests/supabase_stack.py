"""Local Supabase stacks for tests: one for each project folder, shared by the whole session.

A module that uses them says `from tests.supabase_stack import supabase`, or a conftest names this as a plugin.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.storage.supabase import SupabaseStorage
from blocks.supabase.access import SupabaseAccess
from deployments.local.project import OURS
from deployments.local.stack import LocalSupabase
from tests.conftest import private_home

#: A project of a few tables and one function, for tests of the stack itself.
SMALL_PROJECT = Path(__file__).parent / "deployments" / "local_project"

_running: dict[Path, LocalSupabase] = {}


@contextlib.contextmanager
def shared(project: Path) -> Iterator[LocalSupabase]:
    """The session's stack of this project: a fixture that is imported twice must not start it twice."""
    if project in _running:
        yield _running[project]
        return
    with private_home() as home, LocalSupabase(home, project=project) as stack:
        _running[project] = stack
        try:
            yield stack
        finally:
            del _running[project]


def private_bucket(stack: LocalSupabase) -> SupabaseStorage:
    """A new bucket, whose objects nobody reads by their link."""
    access = SupabaseAccess(stack.url, stack.secret_key, bucket=f"private-{secrets.token_hex(4)}")
    storage = SupabaseStorage(access)
    storage.client.request("POST", "/storage/v1/bucket", json={"id": access.bucket, "name": access.bucket})
    return storage


@pytest.fixture(scope="session")
def supabase() -> Iterator[LocalSupabase]:
    """The project's own migrations and edge functions."""
    with shared(OURS) as stack:
        yield stack


@pytest.fixture(scope="session")
def small_supabase() -> Iterator[LocalSupabase]:
    with shared(SMALL_PROJECT) as stack:
        yield stack
