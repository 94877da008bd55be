"""What every flow run needs to find: one block that names the queue, the storage and the engines.

`prefect block register -m blocks.workspace` registers all of Longtake's block types.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import cast
from uuid import UUID

from prefect.blocks.core import Block
from pydantic import Field

from blocks.engine import EngineChoice
from blocks.queue.block import SqliteTaskQueue, SupabaseTaskQueue
from blocks.storage.block import LocalFileStorage, SupabaseFileStorage
from blocks.supabase.credentials import SupabaseCredentials

#: The block document that flows load.
WORKSPACE = "longtake"
#: Longer than loading the largest model from a slow disk takes, during which nothing moves.
STALL_SECONDS = 1800.0


class Workspace(Block):
    """Queue, storage and engines of one Longtake. Its name is "longtake"; set-up writes it."""

    _block_type_name = "Longtake workspace"
    _block_type_slug = "longtake-workspace"

    queue: SqliteTaskQueue | SupabaseTaskQueue = Field(description="The task queue: the truth about every task.")
    storage: LocalFileStorage | SupabaseFileStorage = Field(description="Where inputs are read and outputs are stored.")
    engines: EngineChoice = Field(description="The engines that generate here.")
    work_dir: Path = Field(description="Scratch folder of this machine: finished clips wait here to be stored.")
    stall_seconds: float = Field(
        STALL_SECONDS, gt=0, description="A run without progress for so long is taken for hung, ended and tried again."
    )


def save_workspace(queue_path: Path, storage_root: Path, engines: EngineChoice, work_dir: Path) -> None:
    """Write the workspace block on the Prefect server that the environment points at.

    What an operator set in the block stays: of `engines`, only the fields that were given are written anew.
    """
    queue = SqliteTaskQueue(path=queue_path.resolve())
    _save(queue, LocalFileStorage(root=storage_root.resolve()), engines, work_dir)


def save_supabase_workspace(
    credentials: SupabaseCredentials,
    project_id: UUID | None,
    engines: EngineChoice,
    work_dir: Path,
    *,
    allow_loopback: bool,
) -> None:
    """The same for a Supabase project. The key is stored once, in a block of its own that the others refer to."""
    credentials.save(WORKSPACE, overwrite=True)
    queue = SupabaseTaskQueue(credentials=credentials, project_id=project_id)
    _save(queue, SupabaseFileStorage(credentials=credentials, allow_loopback=allow_loopback), engines, work_dir)


def _save(
    queue: SqliteTaskQueue | SupabaseTaskQueue,
    storage: LocalFileStorage | SupabaseFileStorage,
    engines: EngineChoice,
    work_dir: Path,
) -> None:
    workspace = Workspace(queue=queue, storage=storage, engines=engines, work_dir=work_dir.resolve())
    # ValueError: there is none yet, or one that an older version cannot have meant.
    with contextlib.suppress(ValueError):
        before = cast(Workspace, Workspace.load(WORKSPACE))
        given = {name: getattr(engines, name) for name in engines.model_fields_set}
        workspace.engines = before.engines.model_copy(update=given)
        workspace.stall_seconds = before.stall_seconds
    workspace.save(WORKSPACE, overwrite=True)
