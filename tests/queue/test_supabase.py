"""The suite over HTTP, on a local stack: PostgreSQL, PostgREST's HTTP, edge functions in Deno."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from blocks.queue.model import LOCAL_PROJECT
from blocks.queue.protocol import TaskQueue
from blocks.queue.supabase import SupabaseQueue, Transport
from blocks.queue.supabase_edge import EdgeTransport
from blocks.queue.supabase_rpc import RpcTransport
from blocks.supabase.access import SupabaseAccess
from deployments.local.stack import LocalSupabase
from tests.queue.acts import FakeClock, fresh_id
from tests.queue.sql import TestDatabase
from tests.queue.suite import QueueSuite

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def edge(supabase: LocalSupabase) -> Iterator[Transport]:
    edge = EdgeTransport(SupabaseAccess(supabase.url, supabase.secret_key))
    yield edge
    edge.close()


@pytest.fixture(scope="module")
def rpc(supabase: LocalSupabase) -> Iterator[Transport]:
    rpc = RpcTransport(SupabaseAccess(supabase.url, supabase.service_role_key))
    yield rpc
    rpc.close()


class _OverHttp(QueueSuite):
    """As the service, which alone may rescue and prune."""

    database: TestDatabase
    transport: Transport

    def open_queue(self, clock: FakeClock) -> TaskQueue:
        clock.on_move = self.database.set_clock
        self.database.set_clock(clock.now)
        return SupabaseQueue(self.transport, project_id=LOCAL_PROJECT, look_every=0)

    def new_project(self) -> str:
        return self.database.new_project(fresh_id())


class TestEdgeFunctions(_OverHttp):
    @pytest.fixture(autouse=True)
    def _way(self, database: TestDatabase, edge: Transport) -> None:
        self.database, self.transport = database, edge


class TestRpc(_OverHttp):
    @pytest.fixture(autouse=True)
    def _way(self, database: TestDatabase, rpc: Transport) -> None:
        self.database, self.transport = database, rpc
