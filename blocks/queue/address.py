"""Open a queue from its address, in a process that shares nothing with the one that knew it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from blocks.queue.errors import QueueError
from blocks.queue.protocol import TaskQueue


def open_queue(address: Mapping[str, Any]) -> TaskQueue:
    """The inverse of `TaskQueue.address()`. Imports only the backend that is asked for."""
    match address:
        case {"backend": "sqlite", "path": str(path)}:
            from blocks.queue.sqlite import SqliteQueue

            return SqliteQueue(path)
        case {"backend": "supabase", "access": dict(access), "project_id": str() | None as project_id}:
            from blocks.queue.supabase_fallback import open_supabase
            from blocks.supabase.access import SupabaseAccess

            return open_supabase(SupabaseAccess(**access), project_id=project_id)
    raise QueueError(
        f"Unknown queue backend {address.get('backend')!r}.",
        hint="Known: sqlite, supabase. Check the queue block's fields.",
    )
