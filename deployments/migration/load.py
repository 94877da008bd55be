"""Import into the Supabase project: files first, then rows in batches; what is there already is left alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blocks.queue.errors import QueueError, QueueUnavailable
from blocks.queue.supabase_rpc import RpcTransport
from blocks.storage.protocol import StorageError, StorageUnavailable
from blocks.supabase.http import SupabaseClient
from deployments.migration.source import Row
from deployments.migration.transform import with_files
from deployments.site import SupabaseSite

_BATCH = 100

Say = Callable[[str], None]


@dataclass(slots=True)
class Report:
    """`refused`: (id, why) of rows that could not be imported. `differs`: totals that are not as in the source."""

    imported: int = 0
    already: int = 0
    files: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)
    differs: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.refused and not self.differs


def load(rows: Sequence[Row], site: SupabaseSite, is_file: Callable[[str], Path | None], say: Say) -> Report:
    """Raises `QueueUnavailable`, `StorageUnavailable`: the same command goes on where it was."""
    loader = _Loader(site, is_file)
    try:
        for batch in _batches(rows):
            loader.take(batch)
            say(f"{loader.report.imported + loader.report.already + len(loader.report.refused)} of {len(rows)} tasks")
        loader.compare(rows)
        return loader.report
    finally:
        loader.close()


class _Loader:
    def __init__(self, site: SupabaseSite, is_file: Callable[[str], Path | None]) -> None:
        self.report = Report()
        self._is_file = is_file
        self._owner = site.owner()
        self._storage = site.storage()
        self._queue = RpcTransport(site.access)
        self._client = SupabaseClient(site.access)
        self._stored: dict[Path, str] = {}

    def take(self, batch: Sequence[Row]) -> None:
        known = self._there(batch)
        fresh = [row for row in batch if row["id"] not in known]
        self.report.already += len(batch) - len(fresh)
        ready = [moved for row in fresh if (moved := self._with_files(row)) is not None]
        if ready and not self._imported(ready):
            for row in ready:  # one of them is refused, and with it all: find out which
                self._imported([row], refuse=True)

    def _imported(self, rows: Sequence[Row], *, refuse: bool = False) -> bool:
        try:
            self._queue.call("import_tasks", {"p_tasks": list(rows)})
        except QueueUnavailable:
            raise
        except QueueError as error:
            if refuse:
                self.report.refused.append((rows[0]["id"], str(error)))
            return False
        self.report.imported += len(rows)
        return True

    def _with_files(self, row: Row) -> Row | None:
        def output(path: Path) -> str:
            attempt = max(1, row.get("attempts") or 1)
            put = self._storage.put(path, owner=self._owner, task_id=row["id"], attempt=attempt, name=path.name)
            self.report.files += 1
            self._stored[path] = put.location
            return put.location

        def other(path: Path) -> str:
            if path not in self._stored:
                self._stored[path] = self._storage.put_input(path, owner=self._owner).location
                self.report.files += 1
            return self._stored[path]

        try:
            return with_files(row, self._is_file, output, other)
        except StorageUnavailable:
            raise
        except StorageError as error:
            self.report.refused.append((row["id"], str(error)))
            return None

    def _there(self, batch: Sequence[Row]) -> dict[str, dict[str, Any]]:
        ids = ",".join(row["id"] for row in batch)
        found = self._client.request("GET", f"/rest/v1/tasks?id=in.({ids})&select=id,status,task_type").body
        return {row["id"]: row for row in found}

    def compare(self, rows: Sequence[Row]) -> None:
        """What is there now against what should be, by status and type."""
        refused = {task_id for task_id, _ in self.report.refused}
        wanted = Counter((row["status"], row["task_type"]) for row in rows if row["id"] not in refused)
        found: Counter[tuple[str, str]] = Counter()
        for batch in _batches(rows):
            found.update((row["status"], row["task_type"]) for row in self._there(batch).values())
        for key in sorted(wanted.keys() | found.keys()):
            if wanted[key] != found[key]:
                self.report.differs.append(f"{key[0]} {key[1]}: {found[key]} there, {wanted[key]} in the source")

    def close(self) -> None:
        self._queue.close()
        self._client.close()


def _batches(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    for start in range(0, len(rows), _BATCH):
        yield rows[start : start + _BATCH]
