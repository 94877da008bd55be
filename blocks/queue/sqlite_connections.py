"""Connections to one SQLite file: patient with other writers, shared by no two threads, crossing no fork."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from random import Random
from typing import TypeVar

from blocks.queue.errors import QueueUnavailable

T = TypeVar("T")

#: Another writer is done within milliseconds. Two minutes covers a machine that swaps or checkpoints a huge log.
PATIENCE = 120.0
LONGEST_WAIT = 0.05
#: Busy is another connection's lock; protocol is a lost race for the write-ahead log's locks while it is opened.
_PASSING = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
#: How long a fork waits for transactions of other threads; they take milliseconds.
_FORK_PATIENCE = 10.0


class Connections:
    """A connection is lent to one thread at a time and kept for the next; there are as many as threads at once."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], path: str, *, patience: float = PATIENCE) -> None:
        self._connect = connect
        self._path = path
        self._patience = patience
        self._jitter = Random()  # noqa: S311  spreads waiting processes
        self._closed = False
        self._forget()
        _alive.add(self)

    def _forget(self) -> None:
        self._change = threading.Condition()
        self._idle: list[sqlite3.Connection] = []
        self._lent = 0

    @contextmanager
    def transaction(self, *begin: str) -> Iterator[sqlite3.Connection]:
        """A transaction: committed when the block ends, undone when it raises.

        `begin` are the statements that take its locks; only these have to wait for others.
        """
        with self.lend() as connection:
            try:
                for statement in begin:
                    self.patiently(partial(connection.execute, statement))
                yield connection
                self.patiently(partial(connection.execute, "commit"))
            except BaseException:
                if connection.in_transaction:
                    connection.execute("rollback")
                raise

    @contextmanager
    def lend(self) -> Iterator[sqlite3.Connection]:
        with self._change:
            if self._closed:
                raise QueueUnavailable("The queue was closed.", hint="Open it again.", path=self._path)
            connection = self._idle.pop() if self._idle else None
            self._lent += 1
        try:
            connection = connection or self.patiently(self._connect)
            with _named_errors(self._path):
                yield connection
        finally:
            self._take_back(connection)

    def _take_back(self, connection: sqlite3.Connection | None) -> None:
        with self._change:
            self._lent -= 1
            if connection is not None:
                self._idle.append(connection)
            if self._closed:
                self._close_idle()
            self._change.notify_all()

    def patiently(self, step: Callable[[], T]) -> T:
        """Repeat a step while the file is busy.

        SQLite's own busy handler waits without jitter, up to a tenth of a second, and gives up in some cases at
        once; under many writers some then starve.
        """
        deadline = time.monotonic() + self._patience
        wait = 0.0005
        while True:
            try:
                with _named_errors(self._path):
                    return step()
            except _Busy as busy:
                if time.monotonic() >= deadline:
                    raise QueueUnavailable(
                        f"{self._path} stayed locked by another writer for {self._patience:.0f} seconds.",
                        hint="Look for a process that keeps a transaction open on it, such as a database browser.",
                        path=self._path,
                    ) from busy
                time.sleep(wait * self._jitter.uniform(0.5, 1.0))
                wait = min(wait * 2, LONGEST_WAIT)

    def close(self) -> None:
        with self._change:
            self._closed = True
            self._close_idle()

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()

    # SQLite keeps locks per process and does not survive a fork: a child with an inherited connection, even an
    # unused one, believes it holds locks that only its parent has, and the parent's last close then deletes the log
    # under it. So nothing is open while a process forks, and both sides open anew.

    def before_fork(self) -> None:
        self._change.acquire()
        self._change.wait_for(lambda: self._lent == 0, timeout=_FORK_PATIENCE)
        self._close_idle()

    def after_fork_in_parent(self) -> None:
        self._change.release()

    def after_fork_in_child(self) -> None:
        self._forget()


class _Busy(QueueUnavailable):
    pass


@contextmanager
def _named_errors(path: str) -> Iterator[None]:
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError):
        raise  # a fault of ours, to be seen as what it is
    except sqlite3.DatabaseError as error:
        passing = getattr(error, "sqlite_errorcode", 0) & 0xFF in _PASSING
        hint = "Check the disk, the permissions, and that it is a queue's file on a local disk."
        kind = _Busy if passing else QueueUnavailable
        raise kind(f"{path}: {error}.", hint=hint, path=path) from error


_alive: weakref.WeakSet[Connections] = weakref.WeakSet()
_held_for_fork: list[Connections] = []


def _before_fork() -> None:
    for each in list(_alive):
        each.before_fork()
        _held_for_fork.append(each)


def _after_fork_in_parent() -> None:
    while _held_for_fork:
        _held_for_fork.pop().after_fork_in_parent()


def _after_fork_in_child() -> None:
    while _held_for_fork:
        _held_for_fork.pop().after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
