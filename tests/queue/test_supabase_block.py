from __future__ import annotations

import pytest

from blocks.queue.block import SupabaseTaskQueue
from blocks.queue.model import LOCAL_PROJECT
from blocks.supabase.credentials import SupabaseCredentials
from deployments.local.stack import LocalSupabase
from tests.queue.acts import enqueue
from tests.queue.sql import TestDatabase

pytestmark = pytest.mark.stack


def test_the_block_opens_the_queue_of_its_project(supabase: LocalSupabase, database: TestDatabase) -> None:
    credentials = SupabaseCredentials(url=supabase.url, key=supabase.secret_key)
    queue = SupabaseTaskQueue(credentials=credentials, project_id=LOCAL_PROJECT).open()
    assert queue.get(enqueue(queue)).project_id == LOCAL_PROJECT


def test_a_block_shows_no_key(supabase: LocalSupabase) -> None:
    credentials = SupabaseCredentials(url=supabase.url, key=supabase.secret_key)
    assert supabase.secret_key not in repr(SupabaseTaskQueue(credentials=credentials))
