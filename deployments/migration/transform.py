"""From a row of the source to one of the Supabase project: what is kept, what changes, which files go along."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deployments.migration.source import Row

_ENDED = ("Complete", "Failed", "Cancelled")
#: What the import takes; the rest of a source's columns means nothing elsewhere.
_KEPT = (
    "id", "task_type", "params", "status", "depends_on", "output_location", "error_message", "result", "parent_id",
    "root_task_id", "worker_id", "attempts", "max_attempts", "waiting", "scheduled_at", "priority", "mandate", "tick",
    "max_ticks", "correlation_id", "created_at", "updated_at", "generation_started_at", "generation_processed_at",
)  # fmt: skip


def transformed(rows: Sequence[Row], project_id: str) -> list[Row]:
    """The rows as they are imported, in the same order; files are still where they were."""
    by_id = {row["id"]: row for row in rows}
    return [_one(row, by_id, project_id) for row in rows]


def _one(row: Row, by_id: Mapping[str, Row], project_id: str) -> Row:
    kept = {name: row.get(name) for name in _KEPT}
    kept["project_id"] = project_id
    if row["status"] == "In Progress" and not row.get("waiting"):
        # Its lease and token mean nothing elsewhere: it begins again, the attempt returned.
        kept |= {"status": "Queued", "worker_id": None, "tick": None, "generation_started_at": None}
        kept |= {"attempts": max(0, (row.get("attempts") or 0) - 1), "output_location": None}
    if kept["status"] == "Queued":
        kept["output_location"] = None
        parent = by_id.get(row.get("parent_id") or "")
        if parent and parent["status"] in _ENDED:
            kept["parent_id"] = None  # a parent that has ended takes no work: its last word is said
    if kept["status"] in ("Failed", "Cancelled"):
        # Older workers wrote the failure where an output would be.
        kept["error_message"] = kept["error_message"] or kept["output_location"] or "No reason was given."
        kept["output_location"] = kept["error_message"] if kept["status"] == "Failed" else None
        kept["attempts"] = max(kept["attempts"] or 0, 0)
    return {name: value for name, value in kept.items() if value is not None}


def with_files(
    row: Row, is_file: Callable[[str], Path | None], output: Callable[[Path], str], other: Callable[[Path], str]
) -> Row:
    """The row with every text that names a stored file replaced by the address of its copy.

    `is_file` knows the files; `output` stores the row's own output, `other` any file that it names.
    """

    def moved(value: Any) -> Any:
        match value:
            case str():
                found = is_file(value)
                return other(found) if found else value
            case list():
                return [moved(item) for item in value]
            case dict():
                return {key: moved(item) for key, item in value.items()}
        return value

    row = dict(row)
    if row["status"] == "Complete" and (found := is_file(str(row.get("output_location") or ""))):
        row["output_location"] = output(found)
    for name in ("params", "result"):
        if name in row:
            row[name] = moved(row[name])
    return row


#: A text of a task can name any file of this machine; what goes into a bucket that is readable by link are media alone.
_MEDIA = {
    ".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".mp4", ".mov", ".webm", ".mkv", ".avi", ".m4v",
    ".wav", ".mp3", ".m4a", ".flac", ".ogg",
}  # fmt: skip


def local_file(root: Path) -> Callable[[str], Path | None]:
    """Knows media files by their absolute path, or relative to the storage's folder. Anything else is no file."""

    def is_file(said: str) -> Path | None:
        if not said or len(said) > 4096 or "\0" in said or "://" in said.removeprefix("file://"):
            return None
        path = Path(said.removeprefix("file://"))
        if not path.is_absolute():
            if "/" not in said:
                return None  # a word of a prompt can be the name of a file
            path = root / path
        try:
            return path if path.suffix.lower() in _MEDIA and path.is_file() else None
        except OSError:
            return None

    return is_file
