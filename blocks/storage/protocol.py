"""Where files live: what a storage promises. Locations are opaque strings that stand in task rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class StorageError(Exception):
    """The storage refused: the message says what, why and what to do. Trying again will not help."""


class StorageUnavailable(StorageError):
    """The storage could not be reached or is out of room; trying again may help."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A file that was written, read back and found equal. `sha256` in hex, `size` in bytes."""

    location: str
    sha256: str
    size: int


class Storage(Protocol):
    #: Whether a task may name files of the machine that runs it: only where one person owns tasks and machine.
    local_paths: bool

    def put(self, source: Path, *, owner: str, task_id: str, attempt: int, name: str) -> Stored:
        """Store a finished file under `<owner>/<task>/<attempt>/<name>`, checked before it is visible (I9).

        The same attempt storing again replaces its own file, whole. Refuses: `StorageError`, `StorageUnavailable`.
        """
        ...

    def put_input(self, source: Path, *, owner: str) -> Stored:
        """Store a user's file under its own hash: the same bytes are stored once."""
        ...

    def keeps(self, location: str) -> bool:
        """Whether the location is one of this storage's own, so that `fetch` reads it with the storage's own rights."""
        ...

    def fetch(self, location: str, folder: Path, *, owner: str | None = None) -> Path:
        """A local file with the bytes of `location`: inside `folder`, or the stored file itself. Do not write to it.

        `owner` is the user on whose behalf it is read: what is kept for others is then read as a stranger reads it.
        Refuses: `StorageError` (no such file, a kind of location this storage does not read).
        """
        ...

    def delete(self, location: str) -> None:
        """Remove a stored file; one that is gone already, or that is not ours, is left alone."""
        ...
