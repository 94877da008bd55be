"""Rows in SQLite: the statements of `sqlite_queries.sql`, and the way between columns and a `Row`."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from importlib.resources import files
from operator import itemgetter
from typing import Any

from blocks.queue import payload
from blocks.queue.model import CompletedSegment, Counts, Status, Task, TaskFilter, Worker
from blocks.queue.rows import Row


def _named_statements(script: str) -> dict[str, str]:
    named = {}
    for part in script.split("-- name: ")[1:]:
        name, _, statement = part.partition("\n")
        named[name.strip()] = statement.strip()
    return named


QUERIES = _named_statements(files(__package__).joinpath("sqlite_queries.sql").read_text("utf-8"))

_MOMENTS = (
    "lease_expires_at",
    "scheduled_at",
    "created_at",
    "updated_at",
    "generation_started_at",
    "generation_processed_at",
)
_TASK_COLUMNS = tuple(field.name for field in fields(Task))
_NO_LIMIT = -1


class SqliteRows:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def get(self, task_id: str) -> Row | None:
        return next(iter(self._rows("row_by_id", id=task_id)), None)

    def by_correlation(self, user_id: str, correlation_id: str) -> Row | None:
        found = self._rows("row_by_correlation", user_id=user_id, correlation_id=correlation_id)
        return next(iter(found), None)

    def by_claim_request(self, request_id: str) -> list[Row]:
        return self._rows("rows_by_claim_request", request_id=request_id)

    def children(self, parent_id: str) -> list[Task]:
        return self._tasks("children", parent_id=parent_id)

    def dependents(self, task_id: str) -> list[Task]:
        return self._tasks("dependents", id=task_id)

    def ended_because_of(self, root_task_id: str) -> list[Task]:
        return self._tasks("ended_because_of", root_task_id=root_task_id)

    def completed_segments(self, run_id: str) -> list[CompletedSegment]:
        return [CompletedSegment(*found) for found in self._run("completed_segments", run_id=run_id)]

    def counts(self, now: datetime) -> Counts:
        (totals,) = self._dicts("counts", now=_text(now))
        return Counts(**totals, ready_by_type=self.ready_by_type(now))

    def ready_by_type(self, now: datetime) -> dict[str, int]:
        return dict(self._run("ready_by_type", now=_text(now)).fetchall())

    def ready(
        self,
        now: datetime,
        *,
        limit: int | None = None,
        task_types: Sequence[str] | None = None,
        task_ids: Sequence[str] | None = None,
    ) -> list[str]:
        self._run("promote_due", now=_text(now))
        if task_ids is not None:
            ids = dict.fromkeys(task_id.lower() for task_id in task_ids)
            found = [row for each in ids for row in self._run("ready_by_id", id=each)]
            heads = [row[:3] for row in found if task_types is None or row[3] in task_types]
        elif task_types is not None:
            most = _NO_LIMIT if limit is None else limit
            kinds = dict.fromkeys(task_types)
            heads = [row for kind in kinds for row in self._run("ready_of_type", task_type=kind, limit=most)]
        else:
            heads = self._run("ready_next", limit=_NO_LIMIT if limit is None else limit).fetchall()
        heads.sort(key=lambda head: (-head[1], head[2]))
        return [head[0] for head in heads[:limit]]

    def expired(self, now: datetime, limit: int) -> list[str]:
        return [task_id for (task_id,) in self._run("expired", now=_text(now), limit=limit)]

    def ended_before(self, moment: datetime) -> Iterator[Task]:
        for (task_id,) in self._run("ended_before", moment=_text(moment)):
            row = self.get(task_id)
            if row is not None:
                yield row.task

    def insert(self, rows: Sequence[Row]) -> None:
        # All tasks before the first edge: a batch may name its tasks in any order.
        for row in rows:
            self._run("insert_task", **_columns(row))
        for row in rows:
            for position, each in enumerate(row.task.depends_on):
                self._run("insert_dependency", task_id=row.task.id, position=position, depends_on=each)

    def put(self, row: Row) -> None:
        self._run("put", **_columns(row))

    def delete(self, task_ids: Sequence[str]) -> None:
        for task_id in task_ids:
            self._run("delete", id=task_id)

    def register_worker(self, worker_id: str, now: datetime) -> None:
        self._run("register_worker", id=worker_id, now=_text(now))

    def put_worker(self, worker: Worker) -> None:
        now, metadata = _text(worker.last_heartbeat), payload.canonical(worker.metadata)
        self._run("put_worker", id=worker.id, now=now, current_model=worker.current_model, metadata=metadata)

    def workers(self, limit: int) -> Sequence[Worker]:
        return [
            Worker(worker_id, datetime.fromisoformat(heard), model, json.loads(metadata))
            for worker_id, heard, model, metadata in self._run("workers", limit=limit)
        ]

    def _tasks(self, name: str, **values: Any) -> list[Task]:
        return [row.task for row in self._rows(name, **values)]

    def _rows(self, name: str, **values: Any) -> list[Row]:
        return [_row(columns) for columns in self._dicts(name, **values)]

    def _dicts(self, name: str, **values: Any) -> list[dict[str, Any]]:
        cursor = self._run(name, **values)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, found, strict=True)) for found in cursor]

    def _run(self, name: str, **values: Any) -> sqlite3.Cursor:
        return self._connection.execute(QUERIES[name], values)

    def list(self, where: TaskFilter) -> list[Task]:
        limit = max(where.limit, 0)
        narrow = {"task_type": _json_list(where.task_type), "project_id": where.project_id, "limit": limit}
        if where.parent_id is not None:
            status = _json_list(where.status)
            return self._tasks("list_of_parent", parent_id=where.parent_id, status=status, **narrow)
        if where.status is None:
            return self._tasks("list", **narrow)
        found = [
            columns
            for status in dict.fromkeys(where.status)
            for columns in self._dicts("list_of_status", status=str(status), **narrow)
        ]
        found.sort(key=itemgetter("order_key"), reverse=True)
        return [_row(columns).task for columns in found[:limit]]


def _row(columns: dict[str, Any]) -> Row:
    for name in _MOMENTS:
        if columns[name] is not None:
            columns[name] = datetime.fromisoformat(columns[name])
    columns["status"] = Status(columns["status"])
    columns["waiting"] = bool(columns["waiting"])
    columns["params"] = json.loads(columns["params"])
    columns["result"] = None if columns["result"] is None else json.loads(columns["result"])
    columns["depends_on"] = tuple(json.loads(columns["depends_on"]))
    return Row(
        Task(**{name: columns[name] for name in _TASK_COLUMNS}),
        columns["body_digest"],
        columns["claim_token"],
        columns["closed_token"],
        columns["claim_request_id"],
        columns["start_request_id"],
    )


def _columns(row: Row) -> dict[str, Any]:
    columns: dict[str, Any] = {name: getattr(row.task, name) for name in _TASK_COLUMNS}
    for name in _MOMENTS:
        columns[name] = None if columns[name] is None else _text(columns[name])
    columns["status"] = str(row.task.status)
    columns["params"] = payload.canonical(row.task.params)
    columns["result"] = None if row.task.result is None else payload.canonical(row.task.result)
    del columns["depends_on"]
    return columns | {
        "body_digest": row.digest,
        "claim_token": row.claim_token,
        "closed_token": row.closed_token,
        "claim_request_id": row.claim_request_id,
        "start_request_id": row.start_request_id,
    }


def _text(moment: datetime) -> str:
    """32 characters, UTC: the order of the texts is the order of the moments."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _json_list(values: Sequence[str] | None) -> str | None:
    return None if values is None else json.dumps([str(value) for value in values])
