from __future__ import annotations

import re
from pathlib import Path

import pytest
from prefect.blocks.core import Block
from pydantic import SecretStr

from blocks.engine import EngineChoice
from blocks.queue.block import SqliteTaskQueue, SupabaseTaskQueue
from blocks.queue.model import TaskSpec
from blocks.storage.block import LocalFileStorage, SupabaseFileStorage
from blocks.supabase.credentials import SupabaseCredentials
from blocks.workspace import WORKSPACE, Workspace, save_supabase_workspace, save_workspace
from deployments.stack.api import PrefectApi
from deployments.stack.stack import Stack

BLOCKS = [
    Workspace,
    SqliteTaskQueue,
    SupabaseTaskQueue,
    LocalFileStorage,
    SupabaseFileStorage,
    SupabaseCredentials,
    EngineChoice,
]
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
        "longtake-supabase-queue",
        "longtake-local-storage",
        "longtake-supabase-storage",
        "longtake-supabase-credentials",
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


@pytest.mark.stack
def test_a_workspace_is_loaded_as_it_was_saved_whichever_queue_it_names(prefect_api: object, tmp_path: Path) -> None:
    save_workspace(tmp_path / "queue.db", tmp_path / "storage", EngineChoice(video="motion"), tmp_path)
    assert isinstance(Workspace.load(WORKSPACE).queue, SqliteTaskQueue)
    credentials = SupabaseCredentials(url="http://127.0.0.1:1", key=SecretStr("sb_secret_" + "x" * 30))
    save_supabase_workspace(credentials, None, EngineChoice(), tmp_path, allow_loopback=True)
    loaded = Workspace.load(WORKSPACE)
    assert isinstance(loaded.queue, SupabaseTaskQueue)
    assert isinstance(loaded.storage, SupabaseFileStorage)
    assert loaded.queue.credentials.key == loaded.storage.credentials.key == credentials.key


@pytest.mark.stack
def test_what_an_operator_set_in_the_block_outlives_a_set_up(prefect_api: object, tmp_path: Path) -> None:
    save_workspace(tmp_path / "queue.db", tmp_path / "storage", EngineChoice(video="motion"), tmp_path)
    own = Workspace.load(WORKSPACE)
    own.engines.offload, own.stall_seconds = "model", 99.0
    own.save(WORKSPACE, overwrite=True)
    save_workspace(tmp_path / "queue.db", tmp_path / "storage", EngineChoice(video="wan"), tmp_path)
    kept = Workspace.load(WORKSPACE)
    assert (kept.engines.video, kept.engines.offload, kept.stall_seconds) == ("wan", "model", 99.0)


@pytest.mark.stack
def test_the_key_of_a_project_stands_in_one_document_and_is_hidden_there(prefect_api: Stack, tmp_path: Path) -> None:
    credentials = SupabaseCredentials(url="http://127.0.0.1:1", key=SecretStr("sb_secret_" + "y" * 30))
    save_supabase_workspace(credentials, None, EngineChoice(), tmp_path, allow_loopback=True)
    with PrefectApi(prefect_api.connection) as api:
        documents = api.post("/block_documents/filter", {"include_secrets": True, "block_documents": {}})
        shown = api.post("/block_documents/filter", {"include_secrets": False, "block_documents": {}})
    with_key = [one["name"] for one in documents if one["data"].get("key") == "sb_secret_" + "y" * 30]
    assert with_key == [WORKSPACE]
    assert "sb_secret_y" not in str(shown)
