"""What the poll does at each look."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from blocks.queue.protocol import TaskQueue
from tasks.dispatch import Dispatcher
from tasks.kinds import find_kind, is_known
from tasks.rescue import rescue_once

#: Leases and run states are compared this often; a look at the queue alone is much cheaper.
RESCUE_EVERY = 5.0
#: How often a change of the queue is looked for; for SQLite it is one pragma.
_PEEK_EVERY = 0.05


@dataclass(slots=True)
class Look:
    dispatcher: Dispatcher
    rescued_at: float = field(default=float("-inf"))


async def look_once(look: Look) -> int:
    """Dispatch what is ready and has room, and now and then rescue; the number of tasks dispatched."""
    if time.monotonic() - look.rescued_at >= RESCUE_EVERY:
        await rescue_once(look.dispatcher)
        look.rescued_at = time.monotonic()
    ready = await asyncio.to_thread(look.dispatcher.queue.ready_by_type)
    kinds = [find_kind(name) for name, number in ready.items() if number and is_known(name)]
    # Own pools come before stand-ins of theirs: a warm worker is the faster one.
    wanted = dict.fromkeys([*(kind.pool for kind in kinds), *(pool for kind in kinds for pool in kind.pools)])
    return sum([await look.dispatcher.fill(pool) for pool in wanted])


async def wait_for_change(queue: TaskQueue, at_most: float) -> None:
    """Return as soon as somebody else changed the queue, or after `at_most` seconds."""
    seen = await asyncio.to_thread(queue.changed)
    until = time.monotonic() + at_most
    while time.monotonic() < until:
        await asyncio.sleep(min(_PEEK_EVERY, max(0.0, until - time.monotonic())))
        if await asyncio.to_thread(queue.changed) != seen:
            return
