"""What every flow run needs to find: one block that names the queue, the storage and the engines.

`prefect block register -m blocks.workspace` registers all of Longtake's block types.
"""

from __future__ import annotations

from pathlib import Path

from prefect.blocks.core import Block
from pydantic import Field

from blocks.engine import EngineChoice
from blocks.queue.block import SqliteTaskQueue
from blocks.storage.block import LocalFileStorage

#: The block document that flows load.
WORKSPACE = "longtake"


class Workspace(Block):
    """Queue, storage and engines of one Longtake. Its name is "longtake"; set-up writes it."""

    _block_type_name = "Longtake workspace"
    _block_type_slug = "longtake-workspace"

    queue: SqliteTaskQueue = Field(description="The task queue: the truth about every task.")
    storage: LocalFileStorage = Field(description="Where inputs are read and outputs are stored.")
    engines: EngineChoice = Field(description="The engines that generate here.")
    work_dir: Path = Field(description="Scratch folder of this machine: finished clips wait here to be stored.")


def save_workspace(queue_path: Path, storage_root: Path, engine: str, work_dir: Path) -> None:
    """Write (or overwrite) the workspace block on the Prefect server that the environment points at."""
    Workspace(
        queue=SqliteTaskQueue(path=queue_path.resolve()),
        storage=LocalFileStorage(root=storage_root.resolve()),
        engines=EngineChoice(video=engine),
        work_dir=work_dir.resolve(),
    ).save(WORKSPACE, overwrite=True)
