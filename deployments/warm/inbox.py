"""The child's end of the socket: a thread that reads what the parent says, also while a run is under way.

What ends a child whose parent is gone: when idle, at once. A run under way gets `orphan_seconds` to finish, is then
asked to stop (the engine reports it as crashed) and killed after `grace_seconds`. It may not go on for longer: nobody
watches it for cancellation, and it holds its GPU against the worker that replaces its own. Where native code holds
the interpreter so that this thread cannot act, the guard (`guard.py`) kills.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import threading
import time
from uuid import UUID

from deployments.warm.messages import (
    BadMessage,
    Cancel,
    Ended,
    Exit,
    Prepare,
    Problem,
    Ready,
    Run,
    decode_for_child,
    encode,
)


class Inbox:
    """Runs for the main thread, which blocks in `next_run`. Cancels and the parent's death arrive as SIGTERM there."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lines = connection.makefile("rb")
        self._runs: queue.SimpleQueue[Run | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._current: UUID | None = None
        self._main = threading.main_thread()
        self.cancelled = False  # so was one of our runs, which is the last one
        self.prepare = self._first()

    def listen(self) -> None:
        threading.Thread(target=self._listen, name="inbox", daemon=True).start()

    def send(self, message: Ready | Ended | Problem) -> None:
        with contextlib.suppress(OSError):  # the parent is gone, which `_listen` notices
            self._connection.sendall(encode(message))

    def next_run(self) -> Run | None:
        """Block until there is a run, which then is under way until `end`; or None: end now."""
        run = self._runs.get()
        with self._lock:
            if run is None or self.cancelled:  # perhaps before it could begin
                return None
            self._current = run.flow_run_id
        return run

    def end(self) -> None:
        """From here on no signal comes because of this run."""
        with self._lock:
            self._current = None

    def _first(self) -> Prepare:
        line = self._lines.readline()
        message = decode_for_child(line)
        if not isinstance(message, Prepare):
            raise BadMessage(line, "the first message must be prepare")
        return message

    def _listen(self) -> None:
        try:
            for line in self._lines:
                self._hear(decode_for_child(line))
        except BadMessage as error:
            self.send(Problem(text=str(error)))
        except OSError:
            pass  # the same as its end
        self._end_as_orphan()

    def _hear(self, message: Prepare | Run | Cancel | Exit) -> None:
        match message:
            case Run():
                self._runs.put(message)
            case Exit():
                self._runs.put(None)
            case Cancel():
                self._cancel(message.flow_run_id)
            case Prepare():
                raise BadMessage(encode(message), "prepare comes once")

    def _cancel(self, run: UUID) -> None:
        """Also before its beginning, which then does not come, and after its end."""
        from deployments.warm.private import claim_cancellation

        with self._lock:
            self.cancelled = True
            if self._current == run:
                claim_cancellation()
                self._interrupt()
        self._runs.put(None)

    def _interrupt(self) -> None:
        """SIGTERM to the main thread, which wakes it from sleeping and waiting. Hold the lock, with a run under way."""
        assert self._main.ident is not None
        signal.pthread_kill(self._main.ident, signal.SIGTERM)

    def _end_as_orphan(self) -> None:
        self._runs.put(None)
        with self._lock:
            busy = self._current is not None
        if busy:
            time.sleep(self.prepare.orphan_seconds)
            with self._lock:
                if self._current is not None:
                    self._interrupt()
        time.sleep(self.prepare.grace_seconds)
        os.killpg(0, signal.SIGKILL)
