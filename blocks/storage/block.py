"""The storage as a Prefect block."""

from __future__ import annotations

from pathlib import Path

from prefect.blocks.core import Block
from pydantic import Field

from blocks.storage.local import LocalStorage
from blocks.storage.protocol import Storage


class LocalFileStorage(Block):
    """Inputs and outputs in a folder that every worker of this machine can read and write."""

    _block_type_name = "Local file storage"
    _block_type_slug = "longtake-local-storage"

    root: Path = Field(description="Absolute path of the folder that holds inputs and outputs.")

    def open(self) -> Storage:
        return LocalStorage(self.root)
