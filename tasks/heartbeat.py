"""Keep one claim alive while its body runs: renew the lease, carry progress, notice a cancel, a lost claim, a hang.

It runs as a process of its own (`python -m tasks.heartbeat`), because native code that holds the interpreter lock
stops every thread of the body's process. It lives exactly as long as the body's process: its standard input is a
pipe from there, and end of file ends it, also after `kill -9`.

Standard input, a JSON object a line: first the `Post`, then `{"tick": n, "max_ticks": m}`. Standard output: one
line, `cancelled`, `lost` or `stalled`. A body that has not closed the pipe `grace` seconds after it is killed: it hangs
where no exception reaches it, and nobody else would notice, since its worker sees a living process.
"""

from __future__ import annotations

import json
import os
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

CANCELLED, LOST, STALLED = "cancelled", "lost", "stalled"
#: Seconds that a body has to stop by itself: a generation stops within a step. Cancelled to gone is 10 s at most.
GRACE = 8.0
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
    stall: float | None = None  # seconds without progress after which the body is taken for hung
    grace: float = GRACE


@dataclass(frozen=True, slots=True)
class Progress:
    tick: int
    max_ticks: int | None = None


Inbox = inboxes.SimpleQueue[Progress | None]  # None: the body has ended


def beat(queue: TaskQueue, post: Post, inbox: Inbox, tell: Callable[[str], None]) -> None:
    """Renew until the inbox says None or the claim is gone; in the latter case tell why.

    A body without progress for `post.stall` seconds loses its claim: the attempt fails and is tried again.
    """
    renewed = moved = time.monotonic()
    pending: Progress | None = None
    seen: object = None  # unknown: what happened before this process was up is looked at first
    while True:
        try:
            pending = inbox.get(timeout=LOOK_EVERY)
            if pending is None:
                return None
            moved = time.monotonic()
        except inboxes.Empty:
            pass
        since = time.monotonic() - renewed
        try:
            if post.stall is not None and time.monotonic() - moved > post.stall:
                hung = f"It hung: there was no progress for {post.stall:g} s."
                queue.fail(post.task_id, post.token, hung, retry=True)
                return tell(STALLED)
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
        inbox.put(None)  # one for the beat, one for who waits after it

    threading.Thread(target=read, daemon=True).start()

    def tell(what: str) -> None:
        sys.stdout.write(what + "\n")
        sys.stdout.flush()

    body = os.getppid()
    post = Post(**opening["post"])
    beat(open_queue(opening["address"]), post, inbox, tell)
    if not _has_ended(inbox, post.grace) and os.getppid() == body:
        os.kill(body, signal.SIGKILL)


def _has_ended(inbox: Inbox, within: float) -> bool:
    """Whether the body closes the pipe in time. True at once if that is what ended the beat."""
    deadline = time.monotonic() + within
    try:
        while inbox.get(timeout=max(0.0, deadline - time.monotonic())) is not None:
            pass
    except inboxes.Empty:
        return False
    return True


if __name__ == "__main__":
    main()
