"""Other processes on the same queue: the heartbeat, and whatever else opens it by its address."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from blocks.queue.address import open_queue
from blocks.queue.errors import InvalidTask, NotAllowed
from blocks.queue.model import LOCAL_PROJECT, Task
from blocks.queue.supabase import SupabaseQueue
from blocks.queue.supabase_fallback import open_supabase
from blocks.supabase.access import SupabaseAccess
from deployments.local.stack import LocalSupabase
from tasks.heartbeat import CANCELLED, LOST, Post, first_line
from tests.queue.acts import enqueue, hold, spec
from tests.queue.callers import User, token_of
from tests.queue.sql import TestDatabase

pytestmark = pytest.mark.stack


@pytest.fixture(params=["secret key", "token"])
def queue(request: pytest.FixtureRequest, supabase: LocalSupabase, database: TestDatabase) -> Iterator[SupabaseQueue]:
    key = supabase.secret_key if request.param == "secret key" else token_of(database, None)
    queue = open_supabase(SupabaseAccess(supabase.url, key), project_id=LOCAL_PROJECT)
    yield queue
    queue.close()


def test_another_process_opens_the_same_queue_by_its_address(queue: SupabaseQueue) -> None:
    address = json.loads(json.dumps(queue.address()))
    other = open_queue(address)
    task_id = enqueue(other)
    assert queue.get(task_id).project_id == LOCAL_PROJECT
    other.close()


def test_an_address_carries_no_refresh_token(supabase: LocalSupabase, database: TestDatabase) -> None:
    access = User(supabase, database).session()
    access.refresh_token = "good once"
    assert "good once" not in json.dumps(open_supabase(access).address())


@contextmanager
def heartbeat(queue: SupabaseQueue, post: Post) -> Iterator[subprocess.Popen[str]]:
    address = queue.address()
    assert address
    command = [sys.executable, "-m", "tasks.heartbeat"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        process.stdin.write(first_line(address, post))
        process.stdin.flush()
        yield process


def test_a_heartbeat_process_renews_and_notices_a_cancel(queue: SupabaseQueue, database: TestDatabase) -> None:
    claim = hold(queue, enqueue(queue))
    with heartbeat(queue, Post(claim.task.id, claim.attempt, claim.token, lease=1.5)) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write('{"tick": 5, "max_ticks": 9}\n')
        process.stdin.flush()
        seen = _once_it_ticks(queue, claim.task.id, 5)
        assert (seen.max_ticks, seen.lease_expires_at != claim.lease_expires_at) == (9, True)
        queue.cancel(claim.task.id)
        assert process.stdout.readline() == f"{CANCELLED}\n"


def _once_it_ticks(queue: SupabaseQueue, task_id: str, tick: int) -> Task:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if (task := queue.get(task_id)).tick == tick:
            return task
    raise AssertionError(f"No tick {tick} within 30 s.")


def test_a_heartbeat_process_notices_that_the_claim_was_lost(
    queue: SupabaseQueue, supabase: LocalSupabase, database: TestDatabase
) -> None:
    claim = hold(queue, enqueue(queue))
    with heartbeat(queue, Post(claim.task.id, claim.attempt, claim.token, lease=1.5)) as process:
        open_supabase(SupabaseAccess(supabase.url, supabase.secret_key)).rescue(lost=[(claim.task.id, claim.attempt)])
        assert process.stdout
        assert process.stdout.readline() == f"{LOST}\n"


OPEN_AND_RENEW = """
import json, sys
import tasks.heartbeat
said = json.loads(sys.stdin.readline())
queue = tasks.heartbeat.open_queue(said["address"])
queue.renew(said["post"]["task_id"], said["post"]["token"])
print([name for name in ("prefect", "supabase", "postgrest", "sqlalchemy") if name in sys.modules])
"""


def test_a_heartbeat_loads_neither_prefect_nor_the_supabase_client(queue: SupabaseQueue) -> None:
    claim = hold(queue, enqueue(queue))
    address = queue.address()
    assert address
    said = subprocess.run(
        [sys.executable, "-c", OPEN_AND_RENEW],
        input=first_line(address, Post(claim.task.id, claim.attempt, claim.token)),
        capture_output=True,
        text=True,
    )
    assert said.stdout == "[]\n", said.stderr


def test_a_task_without_a_project_is_refused_where_none_is_set(supabase: LocalSupabase, database: TestDatabase) -> None:
    queue = open_supabase(SupabaseAccess(supabase.url, supabase.secret_key))
    with pytest.raises(InvalidTask, match="names no project") as refusal:
        queue.enqueue(spec())
    assert (refusal.value.data["field"], queue.list()) == ("project_id", [])


def test_a_project_that_does_not_exist_is_refused_by_its_field(supabase: LocalSupabase, database: TestDatabase) -> None:
    nowhere = "00000000-0000-4000-8000-00000000dead"
    queue = open_supabase(SupabaseAccess(supabase.url, supabase.secret_key), project_id=nowhere)
    with pytest.raises(InvalidTask, match="project_id"):
        queue.enqueue(spec())


def test_a_users_jwt_without_the_publishable_key_goes_by_edge_functions_only(
    supabase: LocalSupabase, database: TestDatabase
) -> None:
    user = User(supabase, database)
    access = SupabaseAccess(supabase.url, supabase.sign_user_jwt(user.id))
    queue = open_supabase(access, project_id=user.project)
    assert queue.get(enqueue(queue)).user_id == user.id
    with pytest.raises(NotAllowed):
        queue.rescue()
