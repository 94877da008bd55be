"""Eight claimers over HTTP; `test_postgres.py` has thirty-two in SQL, and kills some."""

from __future__ import annotations

import pytest

from blocks.queue.supabase import SupabaseQueue
from blocks.supabase.access import SupabaseAccess
from deployments.local.stack import LocalSupabase
from tests.queue.callers import WAYS
from tests.queue.crowd import Referee, run_claimers
from tests.queue.sql import TestDatabase

pytestmark = pytest.mark.stack

TASKS = 1000


@pytest.mark.parametrize("way", WAYS)
def test_claimers_over_http_lose_nothing_and_do_nothing_twice(
    supabase: LocalSupabase, database: TestDatabase, way: str
) -> None:
    queue = SupabaseQueue(WAYS[way](SupabaseAccess(supabase.url, supabase.secret_key)))
    with Referee(database) as referee:
        referee.enqueue(queue, TASKS)
        referee.judge(run_claimers(queue, [f"gpu-{number}" for number in range(8)]))
    queue.close()
