"""Read a SQLite queue without touching it: ours, or the table of a worker older than Longtake."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deployments.stack.errors import StackError

Row = dict[str, Any]

#: What an older worker's table must have; everything else gets a default.
_NEEDED = {"id", "task_type", "params", "status"}
_OURS = """
    select tasks.*, (select json_group_array(e.depends_on) from
      (select depends_on from task_dependencies where task_id = tasks.id order by position) as e) as depends_on
    from tasks order by order_key
"""


class SourceRefused(StackError):
    """The file cannot be read as a queue."""


@dataclass(frozen=True, slots=True)
class Source:
    """All tasks in the order of enqueue, as columns of the Postgres table; `held` names rows that somebody works on."""

    rows: tuple[Row, ...]
    held: tuple[str, ...]
    is_ours: bool


def read(path: Path) -> Source:
    """Raises `SourceRefused`."""
    if not path.is_file():
        raise SourceRefused(f"There is no file {path}.", "Name the queue with --queue.")
    try:
        with _copy_of(path) as copy, closing(sqlite3.connect(copy)) as connection:
            connection.row_factory = sqlite3.Row
            columns = {row["name"] for row in connection.execute("pragma table_info(tasks)")}
            if not columns >= _NEEDED:
                raise SourceRefused(
                    f"{path} has no table of tasks: {', '.join(sorted(_NEEDED - columns))} missing.",
                    "Name the queue.db of a Longtake home, or the database of an older worker.",
                )
            if "order_key" in columns:
                return _ours([dict(row) for row in connection.execute(_OURS)])
            order = "created_at, rowid" if "created_at" in columns else "rowid"
            return _older([dict(row) for row in connection.execute(f"select * from tasks order by {order}")])  # noqa: S608
    except sqlite3.Error as error:
        raise SourceRefused(f"{path} cannot be read: {error}.", "Is it a SQLite file?") from error


@contextmanager
def _copy_of(path: Path) -> Iterator[Path]:
    """Even reading would write beside a database in WAL mode. So a copy is read, with what is not merged yet."""
    with tempfile.TemporaryDirectory(prefix="longtake-migrate-") as folder:
        copy = Path(folder) / "queue.db"
        for suffix in ("", "-wal"):
            if (file := path.with_name(path.name + suffix)).exists():
                shutil.copyfile(file, copy.with_name(copy.name + suffix))
        yield copy


def _ours(rows: list[Row]) -> Source:
    held = tuple(row["id"] for row in rows if row["lease_expires_at"] and _is_to_come(row["lease_expires_at"]))
    for row in rows:
        row["params"] = json.loads(row["params"])
        row["result"] = json.loads(row["result"]) if row["result"] else None
        row["depends_on"] = json.loads(row["depends_on"])
        row["waiting"] = bool(row["waiting"])
    return Source(tuple(rows), held, is_ours=True)


def _older(rows: list[Row]) -> Source:
    """Ids need not have been UUIDs: the others get one that is always the same for the same id."""
    told = [_told(row) for row in rows]
    return Source(tuple(told), tuple(row["id"] for row in told if row["status"] == "In Progress"), is_ours=False)


def _told(row: Mapping[str, Any]) -> Row:
    try:
        params = json.loads(row["params"] or "{}")
    except ValueError:
        params = row["params"]  # the import refuses it and says so
    before = row.get("dependant_on")
    return {
        "id": as_uuid(str(row["id"])),
        "task_type": row["task_type"],
        "params": params,
        "status": _STATUSES.get(str(row["status"]).lower().replace("_", " "), row["status"]),
        "depends_on": [as_uuid(str(before))] if before else [],
        "output_location": row.get("output_location"),
        "error_message": row.get("error_message"),
        "attempts": 0,
        "created_at": _moment(row.get("created_at")),
        "updated_at": _moment(row.get("updated_at")),
        "generation_processed_at": _moment(row.get("generation_processed_at")),
    }


_STATUSES = {
    "queued": "Queued",
    "pending": "Queued",
    "in progress": "In Progress",
    "complete": "Complete",
    "completed": "Complete",
    "failed": "Failed",
    "cancelled": "Cancelled",
}


def as_uuid(said: str) -> str:
    try:
        return str(uuid.UUID(said))
    except ValueError:
        return str(uuid.uuid5(uuid.NAMESPACE_OID, said))


def _moment(said: object) -> str | None:
    """ISO 8601 with a time zone: what an older worker wrote without one was UTC. Unreadable is unknown."""
    try:
        moment = (
            datetime.fromtimestamp(said, UTC) if isinstance(said, int | float) else datetime.fromisoformat(str(said))
        )
    except (ValueError, OSError, OverflowError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()


def _is_to_come(moment: str) -> bool:
    return datetime.fromisoformat(moment) > datetime.now(UTC)
