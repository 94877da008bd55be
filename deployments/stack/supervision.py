"""Watches the children: restarts those that may be restarted, says which death ends it all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from deployments.stack.errors import ProcessDied
from deployments.stack.process import Child

_LOOK_SECONDS = 0.25
_FIRST_DELAY, _LONGEST_DELAY = 1.0, 30.0
#: So many deaths in a row, the last after half a minute of waiting, are no accident: its log is what a person needs.
GIVE_UP_AFTER = 5
#: A process that lived this long has earned a quick restart again.
_STEADY_SECONDS = 60.0


@dataclass(slots=True)
class Backoff:
    """Doubling delays between restarts of one process."""

    failures: int = 0

    def next_delay(self, lived: float) -> float:
        self.failures = 1 if lived >= _STEADY_SECONDS else self.failures + 1
        return float(min(_FIRST_DELAY * 2 ** (self.failures - 1), _LONGEST_DELAY))


@dataclass(slots=True)
class Watched:
    """`revive` starts a successor and answers with it; without it the child's death is the stack's."""

    child: Child
    revive: Callable[[], Child] | None
    backoff: Backoff = field(default_factory=Backoff)
    due: float | None = None
    restarts: int = 0


class Supervisor:
    """A thread with one loop. Stopped before anything is ended on purpose."""

    def __init__(self) -> None:
        self.watched: dict[str, Watched] = {}
        self.failure: ProcessDied | None = None
        self.failed = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, child: Child, revive: Callable[[], Child] | None = None) -> None:
        self.watched[child.name] = Watched(child, revive)

    def child(self, name: str) -> Child:
        return self.watched[name].child

    def end(self, name: str) -> None:
        if name in self.watched:
            self.child(name).end()

    def start(self) -> None:
        self._thread = threading.Thread(target=self._loop, name="supervisor", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread:
            self._thread.join()

    def _loop(self) -> None:
        while not self._stopping.wait(_LOOK_SECONDS):
            for entry in self.watched.values():
                self.look(entry, time.monotonic())

    def look(self, entry: Watched, now: float) -> None:
        if entry.child.alive:
            return
        if entry.due is None:
            entry.due = now + entry.backoff.next_delay(now - entry.child.started_at)
        if entry.revive is None or entry.backoff.failures > GIVE_UP_AFTER:
            self.failure = self.failure or entry.child.died()
            self.failed.set()
        elif now >= entry.due:
            try:
                successor = entry.revive()
            except OSError:  # no memory or no process to be had just now
                entry.due = now + entry.backoff.next_delay(lived=0)
                return
            entry.child.close()
            entry.child, entry.due, entry.restarts = successor, None, entry.restarts + 1
