"""Hold a claim around a body: renew its lease, report its progress, stop it when the claim is gone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue as inboxes
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Protocol

from blocks.queue.model import Claim
from blocks.queue.protocol import RUNNING_LEASE, TaskQueue
from tasks.errors import Stopped
from tasks.heartbeat import CANCELLED, GRACE, STALLED, Inbox, Post, Progress, beat, first_line

_REPORT_EVERY = 0.5
_LOST = "the claim was lost: another attempt may be running"
_REASONS = {CANCELLED: "the task was cancelled", STALLED: "there was no progress for too long"}


class _Beat(Protocol):
    def report(self, progress: Progress) -> None: ...
    def end(self) -> None: ...


class Hold:
    """A claim that is being kept alive. `on_step` may be called from any thread."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.progress: Progress | None = None
        self.stopped: Stopped | None = None
        self._beat: _Beat | None = None
        self._on_stop: list[Callable[[], None]] = []
        self._reported = 0.0
        self._sealed = False
        self._lock = threading.Lock()
        self._computing = 0
        self._end: Callable[[], None] | None = None

    def on_step(self, done: int, total: int) -> None:
        """Report `done` of `total` steps. Raises `Stopped` once the claim is gone: call it within every step."""
        if self.stopped:
            raise self.stopped
        self.progress = Progress(done, total)
        now = time.monotonic()
        if self._beat and (done >= total or now - self._reported >= _REPORT_EVERY):
            self._reported = now
            self._beat.report(self.progress)

    def when_stopped(self, call: Callable[[], None]) -> None:
        """Call this (from another thread) when the claim is gone."""
        self._on_stop.append(call)

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """Around blocking work in a thread, which goes on when the coroutine that waits for it is cancelled."""
        with self._lock:
            self._computing += 1
        try:
            yield
        finally:
            with self._lock:
                self._computing -= 1
                end = self._end if not self._computing else None
            if end:
                end()

    def _end_when_idle(self, end: Callable[[], None]) -> None:
        """End the heartbeat, now or when the last thread comes back: until then it guards against one that hangs."""
        with self._lock:
            self._end = end if self._computing else None
        if self._end is None:
            end()

    def seal(self) -> None:
        """The body is about to give the claim up itself: that it is gone is no news any more."""
        self._sealed = True

    def _stop(self, what: str) -> None:
        if self._sealed:
            return
        self.stopped = Stopped(_REASONS.get(what, _LOST), cancelled=what == CANCELLED)
        for call in self._on_stop:
            call()


@contextlib.asynccontextmanager
async def hold(
    queue: TaskQueue, claim: Claim, *, lease: float = RUNNING_LEASE, stall: float | None = None, grace: float = GRACE
) -> AsyncIterator[Hold]:
    """Keep `claim` alive while the body runs. Completing or failing it is the body's last act, inside.

    A body without progress for `stall` seconds is taken for hung: its attempt fails. A process that does not stop by
    itself within `grace` seconds of losing its claim is killed.
    """
    held = Hold(claim)
    post = Post(claim.task.id, claim.attempt, claim.token, lease, stall, grace)
    address = queue.address()
    keeper: _Beat = _ThreadBeat(queue, post, held._stop) if address is None else _ProcessBeat(address, post, held._stop)
    held._beat = keeper
    try:
        yield held
    finally:
        held._beat = None
        await asyncio.to_thread(held._end_when_idle, keeper.end)


class _ThreadBeat:
    """For a queue that no other process can open (memory): as good as a thread can be."""

    def __init__(self, queue: TaskQueue, post: Post, tell: Callable[[str], None]) -> None:
        self._inbox: Inbox = inboxes.SimpleQueue()
        self._thread = threading.Thread(target=beat, args=(queue, post, self._inbox, tell), daemon=True)
        self._thread.start()

    def report(self, progress: Progress) -> None:
        self._inbox.put(progress)

    def end(self) -> None:
        self._inbox.put(None)
        self._thread.join()


class _ProcessBeat:
    """The heartbeat process and a thread that listens to it; one that dies is started again."""

    def __init__(self, address: object, post: Post, tell: Callable[[str], None]) -> None:
        self._opening = first_line(address, post)  # type: ignore[arg-type]  # a Mapping, by the protocol
        self._tell = tell
        self._ending = False
        self._lock = threading.Lock()
        self._process = self._start()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tasks.heartbeat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdin
        process.stdin.write(self._opening)
        process.stdin.flush()
        return process

    def _listen(self) -> None:
        while True:
            assert self._process.stdout
            said = self._process.stdout.readline().strip()
            if said:
                return self._tell(said)
            self._process.wait()
            with self._lock:
                if self._ending:
                    return None
                self._process = self._start()

    def report(self, progress: Progress) -> None:
        line = json.dumps({"tick": progress.tick, "max_ticks": progress.max_ticks}) + "\n"
        with self._lock, contextlib.suppress(OSError, ValueError):  # it is being replaced, or has told its last word
            assert self._process.stdin
            self._process.stdin.write(line)
            self._process.stdin.flush()

    def end(self) -> None:
        with self._lock:
            self._ending = True
            with contextlib.suppress(OSError, ValueError):
                assert self._process.stdin
                self._process.stdin.close()
        self._process.wait()
        self._listener.join()
