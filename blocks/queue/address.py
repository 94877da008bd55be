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
    raise QueueError(
        f"Unknown queue backend {address.get('backend')!r}.",
        hint="Known: sqlite. Check the queue block's fields.",
    )
