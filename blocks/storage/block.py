"""The storages as Prefect blocks."""

from __future__ import annotations

from pathlib import Path

from prefect.blocks.core import Block
from pydantic import Field

from blocks.storage.local import LocalStorage
from blocks.storage.protocol import Storage
from blocks.storage.supabase import SupabaseStorage
from blocks.supabase.credentials import SupabaseCredentials


class LocalFileStorage(Block):
    """Inputs and outputs in a folder that every worker of this machine can read and write."""

    _block_type_name = "Local file storage"
    _block_type_slug = "longtake-local-storage"

    root: Path = Field(description="Absolute path of the folder that holds inputs and outputs.")

    def open(self) -> Storage:
        return LocalStorage(self.root)


class SupabaseFileStorage(Block):
    """Inputs and outputs in the Storage of a Supabase project."""

    _block_type_name = "Supabase file storage"
    _block_type_slug = "longtake-supabase-storage"

    credentials: SupabaseCredentials = Field(description="The project, its bucket and the key to it.")
    allow_loopback: bool = Field(
        default=False,
        description="Also fetch inputs from this machine's own addresses. For the local stack only: with it, whoever "
        "may enqueue a task can make a worker read from servers of its machine.",
    )

    def open(self) -> Storage:
        return SupabaseStorage(self.credentials.access(), allow_loopback=self.allow_loopback)
