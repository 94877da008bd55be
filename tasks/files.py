"""Inputs in, outputs out: a finished file is kept until it is stored, so that storing again costs no generation."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from blocks.storage.protocol import Storage, StorageUnavailable, Stored


class WorkFolder:
    """One task's scratch folder on this machine, the same for all its attempts."""

    def __init__(self, root: Path, task_id: str) -> None:
        self.path = root / task_id
        self.path.mkdir(parents=True, exist_ok=True)

    def made_once(self, name: str, recipe: Mapping[str, Any], make: Callable[[Path], None]) -> tuple[Path, bool]:
        """(file, whether it was made now). `make` writes the file unless one of the same recipe is finished here.

        The note beside the file is written last and carries its hash: a file cut off by a kill is made again.
        """
        path, note = self.path / name, self.path / f"{name}.json"
        wanted = {"recipe": _digest(recipe), "sha256": None}
        if path.is_file() and note.is_file():
            try:
                kept = json.loads(note.read_text())
            except ValueError:
                kept = {}
            if kept.get("recipe") == wanted["recipe"] and kept.get("sha256") == _hash_of(path):
                return path, False
        note.unlink(missing_ok=True)
        make(path)
        part = note.with_suffix(".part")
        part.write_text(json.dumps({**wanted, "sha256": _hash_of(path)}))
        part.replace(note)
        return path, True

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


def store(storage: Storage, source: Path, *, owner: str, task_id: str, attempt: int, name: str) -> Stored:
    """Store a finished file, trying again with jittered backoff while the storage is unavailable (about a minute)."""
    retrying = Retrying(
        retry=retry_if_exception_type(StorageUnavailable),
        wait=wait_random_exponential(multiplier=0.5, max=15),
        stop=stop_after_attempt(6),
        reraise=True,
    )
    return retrying(storage.put, source, owner=owner, task_id=task_id, attempt=attempt, name=name)


def _digest(recipe: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(recipe, sort_keys=True, default=str).encode()).hexdigest()


def _hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
