"""What a running stack leaves in its home for `longtake supabase status`, and for those who use it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from deployments.stack.home import write_private

_FILE = "state.json"


def folder_in(home: Path) -> Path:
    """Where a home keeps its local Supabase: data, logs, and what is said here."""
    return home / "supabase"


@dataclass(frozen=True, slots=True)
class State:
    """Written when all is ready, mode 0600, removed at the end."""

    url: str
    keys: dict[str, str] = field(repr=False)
    database_url: str = field(repr=False)
    schema_version: str | None
    project: str
    pids: dict[str, int]

    def write(self, folder: Path) -> None:
        write_private(folder / _FILE, json.dumps(asdict(self), indent=2))

    @classmethod
    def read(cls, folder: Path) -> State | None:
        """Of the stack that runs in `folder`, if it is ready."""
        try:
            return cls(**json.loads((folder / _FILE).read_text()))
        except (OSError, ValueError, TypeError):
            return None

    @staticmethod
    def forget(folder: Path) -> None:
        (folder / _FILE).unlink(missing_ok=True)
        (folder / "service.json").unlink(missing_ok=True)
