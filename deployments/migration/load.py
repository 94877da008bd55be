"""Import into the Supabase project: files first, then rows in batches; what is there already is left alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from blocks.queue.errors import NotAllowed, QueueError, QueueUnavailable
from blocks.queue.supabase_rpc import RpcTransport
from blocks.storage.protocol import StorageError, StorageUnavailable
from blocks.supabase.http import SupabaseClient
from deployments.migration.batches import ROWS, batches, groups, needed_first
from deployments.migration.older import Row
from deployments.migration.paths import LocalFiles
from deployments.migration.transform import Plan
from deployments.migration.upload import Uploads
from deployments.migration.verify import compare
from deployments.site import SupabaseSite

Say = Callable[[str], None]


@dataclass(slots=True)
class Report:
    """`refused`: (id, why) of rows that could not be imported. `differs`, `went_on`: see `Comparison`."""

    imported: int = 0
    already: int = 0
    files: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)
    differs: list[str] = field(default_factory=list)
    went_on: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def ok(self) -> bool:
        return not self.refused and not self.differs


def load(plan: Plan, site: SupabaseSite, files: LocalFiles, say: Say) -> Report:
    """Raises `QueueUnavailable`, `StorageUnavailable`: the same command goes on where it was. `NotAllowed`: a key that
    may not import."""
    loader = _Loader(site, files)
    loader.report.refused += plan.refused
    total, done = len(plan.rows), 0
    try:
        for batch in batches(plan.rows):
            loader.take(batch)
            done += len(batch)
            say(f"{done} of {total} tasks")
        return loader.compared(plan.rows)
    finally:
        loader.close()


class _Loader:
    def __init__(self, site: SupabaseSite, files: LocalFiles) -> None:
        self.report = Report()
        self._project_id = site.project_id
        self._queue = RpcTransport(site.access)
        self._client = SupabaseClient(site.access)
        self._uploads = Uploads(site, site.owner(), files, self._client)
        self._imported: set[str] = set()

    def take(self, batch: Sequence[Row]) -> None:
        fresh = self._not_there(batch)
        ready = [moved for row in fresh if (moved := self._with_files(row)) is not None]
        if not ready or self._import(ready):
            return
        # One of them is refused, and with it all: find out which, and keep their order where it can be kept.
        for group in groups(ready):
            if len(group) == 1 or not self._import(group):
                for row in needed_first(group):
                    self._import([row], refuse=True)

    def compared(self, rows: Sequence[Row]) -> Report:
        refused = {task_id for task_id, _ in self.report.refused}
        rows = [row for row in rows if row["id"] not in refused]
        comparison = compare(rows, self._there(rows), self._imported)
        self.report.differs, self.report.went_on = comparison.differs, comparison.went_on
        self.report.files = self._uploads.count
        return self.report

    def close(self) -> None:
        self._queue.close()
        self._client.close()

    def _import(self, rows: Sequence[Row], *, refuse: bool = False) -> bool:
        try:
            self._queue.call("import_tasks", {"p_tasks": list(rows)})
        except (QueueUnavailable, NotAllowed):
            raise
        except QueueError as error:
            if refuse:
                self.report.refused.append((rows[0]["id"], str(error)))
            return False
        self._imported |= {row["id"] for row in rows}
        self.report.imported = len(self._imported)
        return True

    def _with_files(self, row: Row) -> Row | None:
        try:
            return self._uploads.moved(row)
        except StorageUnavailable:
            raise
        except StorageError as error:
            self.report.refused.append((row["id"], str(error)))
            return None

    def _not_there(self, batch: Sequence[Row]) -> list[Row]:
        there, fresh = self._there(batch), []
        for row in batch:
            found = there.get(row["id"])
            if found is None:
                fresh.append(row)
            elif found["project_id"] == self._project_id:
                self.report.already += 1
            else:
                self.report.refused.append(
                    (row["id"], f"A task with this id belongs to another project there, {found['project_id']}.")
                )
        return fresh

    def _there(self, rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for start in range(0, len(rows), ROWS):
            ids = ",".join(row["id"] for row in rows[start : start + ROWS])
            path = f"/rest/v1/tasks?id=in.({ids})&select=id,status,task_type,project_id"
            found |= {row["id"]: row for row in self._client.request("GET", path).body}
        return found
