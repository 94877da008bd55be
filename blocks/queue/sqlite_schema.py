"""Open a queue's file: settings of a connection, and the schema brought up to date."""

from __future__ import annotations

import sqlite3
from importlib.resources import files
from pathlib import Path

from blocks.queue.errors import QueueUnavailable

#: In order; the number of applied ones is the file's `user_version`. Never edited once released, only added to.
MIGRATIONS = ("sqlite_schema_1.sql",)


#: The first with strict tables.
OLDEST_SQLITE = (3, 37, 0)


def connect(path: Path) -> sqlite3.Connection:
    """A connection in autocommit mode: every transaction is begun by name."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        hint = "Use a Python that brings SQLite 3.37 or later."
        raise QueueUnavailable(f"This Python has SQLite {sqlite3.sqlite_version}.", hint=hint, path=str(path))
    connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=64)
    try:
        _set_up(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _set_up(connection: sqlite3.Connection, path: Path) -> None:
    mode = connection.execute("pragma journal_mode = wal").fetchone()[0]
    if mode != "wal":
        hint = "Put the queue on a local disk; network drives cannot share it between processes."
        raise QueueUnavailable(f"{path} has no write-ahead log (journal mode {mode}).", hint=hint, path=str(path))
    # normal: the log is written at each commit and flushed to disk at checkpoints. A commit survives the kill of every
    # process. A power cut can take the last moments, whole transactions at a time and never out of order: a lost
    # claim or completion is a task that is Queued or In Progress again, which the queue heals as it heals a crash.
    connection.execute("pragma synchronous = normal")
    connection.execute("pragma foreign_keys = on")
    connection.execute("pragma cache_size = -16000")
    connection.execute("pragma journal_size_limit = 67108864")
    if _version(connection) != len(MIGRATIONS):
        migrate(connection, path)


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Apply what is missing, all or nothing; safe beside other processes that do the same."""
    connection.execute("begin immediate")
    try:
        version = _version(connection)
        _refuse_strangers(connection, version, path)
        for name in MIGRATIONS[version:]:
            for statement in statements(files(__package__).joinpath(name).read_text("utf-8")):
                connection.execute(statement)
        connection.execute(f"pragma user_version = {len(MIGRATIONS)}")
        connection.execute("commit")
    except BaseException:
        connection.execute("rollback")
        raise


def _refuse_strangers(connection: sqlite3.Connection, version: int, path: Path) -> None:
    if version > len(MIGRATIONS):
        raise QueueUnavailable(
            f"{path} has schema version {version}; this program knows versions up to {len(MIGRATIONS)}.",
            hint="It was written by a newer Longtake: upgrade this one, or use another file.",
            path=str(path),
            version=version,
        )
    if version == 0 and connection.execute("select 1 from sqlite_schema limit 1").fetchone():
        hint = "Choose a file of its own for the queue."
        raise QueueUnavailable(f"{path} is a database of something else.", hint=hint, path=str(path))


def statements(script: str) -> list[str]:
    """The statements of a script. (`executescript` would commit first, and so migrate by halves.)"""
    found, pending = [], ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            found.append(pending.strip())
            pending = ""
    return found


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("pragma user_version").fetchone()[0]
    return version
