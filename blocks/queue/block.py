"""The queue as a Prefect block: where it is, never what it decides."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from prefect.blocks.core import Block
from pydantic import Field

from blocks.queue.protocol import TaskQueue
from blocks.queue.sqlite import SqliteQueue
from blocks.queue.supabase_fallback import open_supabase
from blocks.supabase.credentials import SupabaseCredentials


class SqliteTaskQueue(Block):
    """The embedded task queue: one SQLite file, shared by all processes of a machine."""

    _block_type_name = "SQLite task queue"
    _block_type_slug = "longtake-sqlite-queue"

    path: Path = Field(description="Absolute path of the queue's file. It is created when it is missing.")

    def open(self) -> TaskQueue:
        return SqliteQueue(self.path)


class SupabaseTaskQueue(Block):
    """The task queue of a Supabase project, shared by all who hold a key to it."""

    _block_type_name = "Supabase task queue"
    _block_type_slug = "longtake-supabase-queue"

    credentials: SupabaseCredentials = Field(description="The project and the key to it.")
    project_id: UUID | None = Field(
        default=None,
        description="The row of the table projects that new tasks belong to when they name none. Empty: each must.",
    )

    def open(self) -> TaskQueue:
        project = None if self.project_id is None else str(self.project_id)
        return open_supabase(self.credentials.access(), project_id=project)
