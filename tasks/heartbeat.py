"""Keep one claim alive while its body runs: renew the lease, carry progress, notice a cancel or a lost claim.

It runs as a process of its own (`python -m tasks.heartbeat`), because native code that holds the interpreter lock
stops every thread of the body's process. It lives exactly as long as the body's process: its standard input is a
pipe from there, and end of file ends it, also after `kill -9`.

Standard input, a JSON object a line: first the `Post`, then `{"tick": n, "max_ticks": m}`. Standard output: one
line, `cancelled` or `lost`, and then nothing.
"""

from __future__ import annotations

import json
import queue as inboxes
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from blocks.queue.address import open_queue
from blocks.queue.errors import NotAllowed, QueueUnavailable, StaleClaim, UnknownTask
from blocks.queue.model import Status
from blocks.queue.protocol import RUNNING_LEASE, TaskQueue

CANCELLED, LOST = "cancelled", "lost"
#: How often the beat looks whether the queue changed; a cancel is noticed within this and a query.
LOOK_EVERY = 0.5
#: Progress is written at most this often.
WRITE_EVERY = 1.0


@dataclass(frozen=True, slots=True)
class Post:
    """What a beat keeps alive."""

    task_id: str
    attempt: int
    token: str
    lease: float = RUNNING_LEASE


@dataclass(frozen=True, slots=True)
class Progress:
    tick: int
    max_ticks: int | None = None


Inbox = inboxes.SimpleQueue[Progress | None]  # None: the body has ended


def beat(queue: TaskQueue, post: Post, inbox: Inbox, tell: Callable[[str], None]) -> None:
    """Renew until the inbox says None or the claim is gone; in the latter case tell why."""
    renewed = time.monotonic()
    pending: Progress | None = None
    seen: object = None  # unknown: what happened before this process was up is looked at first
    while True:
        try:
            pending = inbox.get(timeout=LOOK_EVERY)
            if pending is None:
                return None
        except inboxes.Empty:
            pass
        since = time.monotonic() - renewed
        try:
            now_seen = queue.changed()
            disturbed = now_seen != seen and not _still_ours(queue, post)
            seen = now_seen
            if not (disturbed or since >= post.lease / 3 or (pending and since >= WRITE_EVERY)):
                continue
            if _renew(queue, post, pending).cancelled:
                return tell(CANCELLED)
            renewed, pending = time.monotonic(), None
        except (StaleClaim, UnknownTask):
            return tell(LOST)
        except (QueueUnavailable, NotAllowed):  # a key that has expired may be renewed yet
            if since >= post.lease:  # by now a rescue may have given it to somebody else
                return tell(LOST)


def _still_ours(queue: TaskQueue, post: Post) -> bool:
    task = queue.get(post.task_id)
    return task.status is Status.IN_PROGRESS and task.attempts == post.attempt


def _renew(queue: TaskQueue, post: Post, progress: Progress | None) -> Any:
    tick, max_ticks = (progress.tick, progress.max_ticks) if progress else (None, None)
    return queue.renew(post.task_id, post.token, lease=post.lease, tick=tick, max_ticks=max_ticks)


def first_line(address: Mapping[str, Any], post: Post) -> str:
    return json.dumps({"address": dict(address), "post": asdict(post)}) + "\n"


def main() -> None:
    # The body's process decides when a run ends; a Ctrl-C for the whole group must not stop the renewal before it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    opening = json.loads(sys.stdin.readline())
    inbox: Inbox = inboxes.SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            inbox.put(Progress(**json.loads(line)))
        inbox.put(None)

    threading.Thread(target=read, daemon=True).start()

    def tell(what: str) -> None:
        sys.stdout.write(what + "\n")
        sys.stdout.flush()

    beat(open_queue(opening["address"]), Post(**opening["post"]), inbox, tell)


if __name__ == "__main__":
    main()
