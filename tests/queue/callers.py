"""Who calls the queue of a project, and by which ways."""

from __future__ import annotations

import hashlib
import secrets

from blocks.queue.supabase import SupabaseQueue, Transport
from blocks.queue.supabase_edge import EdgeTransport
from blocks.queue.supabase_fallback import open_supabase
from blocks.queue.supabase_rpc import RpcTransport
from blocks.supabase.access import SupabaseAccess
from deployments.local.stack import LocalSupabase
from tests.queue.acts import fresh_id
from tests.queue.sql import TestDatabase

WAYS: dict[str, type[EdgeTransport] | type[RpcTransport]] = {"edge": EdgeTransport, "rpc": RpcTransport}


class User:
    """A signed-up user with a project."""

    def __init__(self, supabase: LocalSupabase, database: TestDatabase, user_id: str | None = None) -> None:
        self._supabase = supabase
        self._database = database
        self.id = user_id or fresh_id()
        if user_id is None:
            database.run("insert into auth.users (id) values (%s)", self.id)
        self.project = database.new_project(fresh_id(), self.id)

    def session(self, url: str | None = None, **claims: object) -> SupabaseAccess:
        jwt = self._supabase.sign_user_jwt(self.id, **claims)
        return SupabaseAccess(url or self._supabase.url, jwt, publishable_key=self._supabase.publishable_key)

    def token(self, url: str | None = None) -> SupabaseAccess:
        return SupabaseAccess(url or self._supabase.url, token_of(self._database, self.id))

    def queue(self, caller: str) -> SupabaseQueue:
        """As `session over edge`, `session over rpc`, or `token`."""
        if caller == "token":
            return open_supabase(self.token(), project_id=self.project)
        transport: Transport = WAYS[caller.removeprefix("session over ")](self.session())
        return SupabaseQueue(transport, project_id=self.project)


CALLERS = ("session over edge", "session over rpc", "token")


def token_of(database: TestDatabase, user_id: str | None) -> str:
    """A new access token; of a worker that serves everybody, if there is no user."""
    token = f"lt_{secrets.token_urlsafe(32)}"
    hashed = hashlib.sha256(token.encode()).hexdigest()
    database.run("select public.create_token(%s, 'test', %s, p_user_id => %s)", hashed, token[:8], user_id)
    return token
