"""The embedded default: one SQLite file, several processes. The verbs are in `embedded.py`, the SQL in .sql files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from random import Random
from sqlite3 import Connection
from typing import Any

from blocks.queue import sqlite_schema
from blocks.queue.embedded import Clock, EmbeddedQueue, utc_now
from blocks.queue.sqlite_connections import PATIENCE, Connections
from blocks.queue.sqlite_rows import SqliteRows


class SqliteQueue(EmbeddedQueue):
    """Creates the file, its folder and its schema if they are not there."""

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        clock: Clock = utc_now,
        random: Random | None = None,
        patience: float = PATIENCE,
    ) -> None:
        super().__init__(clock=clock, random=random)
        self._path = Path(path).expanduser().resolve()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._connections = Connections(self._connect, str(self._path), patience=patience)
        self._watcher = Connections(self._connect, str(self._path), patience=patience)
        with self._read():
            pass  # a file that cannot be used is refused here, not at the first task

    def _connect(self) -> Connection:
        return sqlite_schema.connect(self._path)

    @contextmanager
    def _write(self) -> Iterator[SqliteRows]:
        # immediate: takes the write lock first. A reader that turns writer would fail if another wrote meanwhile.
        with self._connections.transaction("begin immediate") as connection:
            yield SqliteRows(connection)

    @contextmanager
    def _read(self) -> Iterator[SqliteRows]:
        # The first read takes the snapshot, and the lock that goes with it.
        with self._connections.transaction("begin", "select 1 from sqlite_schema limit 1") as connection:
            yield SqliteRows(connection)

    def changed(self) -> object:
        # A connection of its own, since the number counts the commits of all others as this one has seen them.
        with self._watcher.lend() as connection:
            return self._watcher.patiently(lambda: connection.execute("pragma data_version").fetchone()[0])

    def address(self) -> Mapping[str, Any] | None:
        return {"backend": "sqlite", "path": str(self._path)}

    def close(self) -> None:
        self._connections.close()
        self._watcher.close()
