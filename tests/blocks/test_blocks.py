from __future__ import annotations

import re
from pathlib import Path

import pytest
from prefect.blocks.core import Block
from pydantic import SecretStr

from blocks.engine import EngineChoice
from blocks.queue.block import SqliteTaskQueue
from blocks.queue.model import TaskSpec
from blocks.storage.block import LocalFileStorage
from blocks.workspace import Workspace

BLOCKS = [Workspace, SqliteTaskQueue, LocalFileStorage, EngineChoice]
SECRET_NAME = re.compile(r"key|token|secret|password|auth", re.IGNORECASE)


@pytest.mark.parametrize("block", BLOCKS)
def test_every_field_of_a_block_tells_the_operator_what_it_is(block: type[Block]) -> None:
    for name, field in block.model_fields.items():
        assert field.description, f"{block.__name__}.{name}"


@pytest.mark.parametrize("block", BLOCKS)
def test_a_field_that_is_named_like_a_secret_is_a_secret(block: type[Block]) -> None:
    named = [field for name, field in block.model_fields.items() if SECRET_NAME.search(name)]
    assert all(field.annotation is SecretStr for field in named)


def test_slugs_never_change() -> None:
    assert [block.get_block_type_slug() for block in BLOCKS] == [
        "longtake-workspace",
        "longtake-sqlite-queue",
        "longtake-local-storage",
        "longtake-engines",
    ]


def test_the_queue_block_opens_the_queue_of_its_file(tmp_path: Path) -> None:
    block = SqliteTaskQueue(path=tmp_path / "queue.db")
    entry = block.open().enqueue(TaskSpec("single_image", {"prompt": "sea"}))[0]
    assert block.open().get(entry.task.id) == entry.task


def test_the_storage_block_opens_its_folder(tmp_path: Path) -> None:
    source = tmp_path / "a.txt"
    source.write_text("a")
    stored = LocalFileStorage(root=tmp_path / "storage").open().put_input(source, owner="u")
    assert stored.location.startswith(str(tmp_path / "storage"))
