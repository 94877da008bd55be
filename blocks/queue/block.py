"""The queue as a Prefect block: where it is, never what it decides."""

from __future__ import annotations

from pathlib import Path

from prefect.blocks.core import Block
from pydantic import Field

from blocks.queue.protocol import TaskQueue
from blocks.queue.sqlite import SqliteQueue


class SqliteTaskQueue(Block):
    """The embedded task queue: one SQLite file, shared by all processes of a machine."""

    _block_type_name = "SQLite task queue"
    _block_type_slug = "longtake-sqlite-queue"

    path: Path = Field(description="Absolute path of the queue's file. It is created when it is missing.")

    def open(self) -> TaskQueue:
        return SqliteQueue(self.path)
