"""Edge functions first, and the SQL functions behind them when those do not answer and the key opens both."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from blocks.queue import supabase_rpc
from blocks.queue.errors import InvalidTask, QueueUnavailable
from blocks.queue.supabase import SupabaseQueue, Transport
from blocks.queue.supabase_edge import PATIENCE, EdgeTransport, has_own_function
from blocks.queue.supabase_refusals import REPEATABLE
from blocks.queue.supabase_rpc import RpcTransport
from blocks.supabase.access import SupabaseAccess

log = logging.getLogger(__name__)

#: After a failure the edge functions are left alone for so long: not every call should wait for them.
LEAVE_ALONE = 30.0
#: How often a key that opens edge functions alone asks them whether anything changed: each call of them is paid for.
LOOK_BY_EDGE_EVERY = 5.0


def open_supabase(access: SupabaseAccess, *, project_id: str | None = None) -> SupabaseQueue:
    """The queue of a project by every way that the key opens. `project_id`: where tasks go that name no project."""
    if supabase_rpc.can_call(access):
        return SupabaseQueue(FallbackTransport(access), project_id=project_id)
    return SupabaseQueue(EdgeTransport(access), project_id=project_id, look_every=LOOK_BY_EDGE_EVERY)


class FallbackTransport:
    """A call means the same on both ways, its ids included, so the second finds what the first has done unheard."""

    def __init__(
        self,
        access: SupabaseAccess,
        *,
        edge: Transport | None = None,
        rpc: Transport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._access = access
        self._edge = edge or EdgeTransport(access, patience=replace(PATIENCE, only_busy=True))
        self._rpc = rpc or RpcTransport(access)
        self._clock = clock
        self._edge_again_at = float("-inf")

    def call(self, function: str, arguments: Mapping[str, Any]) -> Any:
        if not has_own_function(function) or self._clock() < self._edge_again_at:
            return self._rpc.call(function, arguments)
        try:
            return self._edge.call(function, arguments)
        except InvalidTask as error:
            if not error.data.get("too_large"):  # a batch over a megabyte; the other way has no such limit
                raise
        except QueueUnavailable as error:
            if error.data["busy"]:  # the limit holds for the caller, not for the way
                raise
            self._edge_again_at = self._clock() + LEAVE_ALONE
            log.warning("supabase_edge_left_alone seconds=%d function=%s reason=%s", LEAVE_ALONE, function, error)
            if error.data["maybe_done"] and function not in REPEATABLE:
                raise
        return self._rpc.call(function, arguments)

    def address(self) -> Mapping[str, Any] | None:
        return self._access.address()

    def close(self) -> None:
        self._edge.close()
        self._rpc.close()
