"""Read a SQLite queue without touching it: ours, or the table of a worker older than Longtake."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from deployments.migration.older import Row, translated
from deployments.stack.errors import StackError

#: What an older worker's table must have; everything else gets a default.
_NEEDED = {"id", "task_type", "params", "status"}
_OURS = """
    select tasks.*, (select json_group_array(e.depends_on) from
      (select depends_on from task_dependencies where task_id = tasks.id order by position) as e) as depends_on
    from tasks order by order_key
"""
#: What is written before it stands in the file itself: the write-ahead log, or a transaction that was cut off.
_BESIDE = ("", "-wal", "-journal")
_TRIES = 5


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
            connection.text_factory = lambda text: text.decode(errors="replace")
            columns = {row["name"] for row in connection.execute("pragma table_info(tasks)")}
            if not columns >= _NEEDED:
                raise SourceRefused(
                    f"{path} has no table of tasks: {', '.join(sorted(_NEEDED - columns))} missing.",
                    "Name the queue.db of a Longtake home, or the database of an older worker.",
                )
            if "order_key" in columns:
                return _ours([dict(row) for row in connection.execute(_OURS)])
            order = "created_at, rowid" if "created_at" in columns else "rowid"
            rows = translated([dict(row) for row in connection.execute(f"select * from tasks order by {order}")])  # noqa: S608
    except sqlite3.Error as error:
        raise SourceRefused(f"{path} cannot be read: {error}.", "Is it a SQLite file?") from error
    except OSError as error:
        raise SourceRefused(f"{path} cannot be read: {error}.", "Check its rights and the room for a copy.") from error
    # An older worker has no leases: whatever it says it works on may be worked on.
    held = tuple(row["id"] for row in rows if row["status"] == "In Progress" and not row["waiting"])
    return Source(tuple(rows), held, is_ours=False)


@contextmanager
def _copy_of(path: Path) -> Iterator[Path]:
    """Even reading would write beside a database in WAL mode. So a copy is read, with what is not merged yet."""
    with tempfile.TemporaryDirectory(prefix="longtake-migrate-") as folder:
        copy = Path(folder) / "queue.db"
        for _ in range(_TRIES):
            before = _versions(path)
            for suffix in _BESIDE:
                there, here = path.with_name(path.name + suffix), copy.with_name(copy.name + suffix)
                here.unlink(missing_ok=True)
                if suffix in before:
                    shutil.copyfile(there, here)
            if _versions(path) == before:
                break
        else:  # pieces of different moments are no database
            raise SourceRefused(f"{path} changes while it is copied.", "Stop whatever writes to it, then try again.")
        yield copy


def _versions(path: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for suffix in _BESIDE:
        file = path.with_name(path.name + suffix)
        if file.exists():
            told = file.stat()
            found[suffix] = (told.st_mtime_ns, told.st_size)
    return found


def _ours(rows: list[Row]) -> Source:
    held = tuple(row["id"] for row in rows if row["lease_expires_at"] and _is_to_come(row["lease_expires_at"]))
    for row in rows:
        row["params"] = json.loads(row["params"])
        row["result"] = json.loads(row["result"]) if row["result"] else None
        row["depends_on"] = json.loads(row["depends_on"])
        row["waiting"] = bool(row["waiting"])
    return Source(tuple(rows), held, is_ours=True)


def _is_to_come(moment: str) -> bool:
    return datetime.fromisoformat(moment) > datetime.now(UTC)
