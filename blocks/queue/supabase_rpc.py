"""The queue's SQL functions through PostgREST, by the client of supabase-py."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import httpx

from blocks.queue.supabase_refusals import REPEATABLE, queue_error
from blocks.supabase.access import SupabaseAccess
from blocks.supabase.errors import SupabaseError
from blocks.supabase.http import SupabaseClient
from blocks.supabase.key import KeyKind
from blocks.supabase.wire import Call, Patience

if TYPE_CHECKING:
    from postgrest import SyncPostgrestClient

#: Long enough for a large batch, short enough for a second try within a running lease.
PATIENCE = Patience(total=60.0, connect=5.0, read=30.0)


def can_call(access: SupabaseAccess) -> bool:
    """An access token is known to the edge functions alone; a user's JWT needs the project's public key beside it."""
    return access.kind.is_service or (access.kind is KeyKind.USER and bool(access.publishable_key))


class RpcTransport:
    def __init__(self, access: SupabaseAccess, *, patience: Patience = PATIENCE) -> None:
        self._access = access
        self._client = SupabaseClient(access, patience=patience)
        self._session = httpx.Client(
            timeout=httpx.Timeout(patience.read, connect=patience.connect),
            trust_env=False,
            follow_redirects=False,  # a key is sent to the project only
            event_hooks={"request": [self._authorise], "response": [self._client.judge]},
        )
        self._lock = threading.Lock()
        self._loaded: SyncPostgrestClient | None = None

    def call(self, function: str, arguments: Mapping[str, Any]) -> Any:
        call = Call("POST", f"/rest/v1/rpc/{function}", self._access.headers, idempotent=function in REPEATABLE)
        try:
            rest = self._rest()
            return self._client.through(call, lambda: rest.rpc(function, dict(arguments)).execute().data)
        except SupabaseError as error:
            raise queue_error(error) from error

    def address(self) -> Mapping[str, Any] | None:
        return self._access.address()

    def close(self) -> None:
        self._session.close()
        self._client.close()

    def _rest(self) -> SyncPostgrestClient:
        """Made at the first call: importing it costs 0.1 s, which a process that never needs it should not pay."""
        with self._lock:
            if self._loaded is None:
                from postgrest import SyncPostgrestClient

                self._loaded = SyncPostgrestClient(f"{self._access.url}/rest/v1", http_client=self._session)
            return self._loaded

    def _authorise(self, request: httpx.Request) -> None:
        request.headers.update(self._access.headers())
        request.headers["x-request-id"] = uuid.uuid4().hex
