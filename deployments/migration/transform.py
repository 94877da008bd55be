"""From rows of the source to those of the Supabase project: what is kept, what changes, what cannot go along."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from blocks.queue.cascade import MAX_QUOTE
from blocks.queue.errors import InvalidTask
from blocks.queue.model import Status
from blocks.queue.payload import params_text, result_text
from deployments.migration.older import Row

_BADLY = ("Failed", "Cancelled")
_ENDED = ("Complete", *_BADLY)
#: What the import takes; the rest of a source's columns means nothing elsewhere.
_KEPT = (
    "id", "task_type", "params", "status", "depends_on", "output_location", "error_message", "result", "parent_id",
    "root_task_id", "worker_id", "attempts", "max_attempts", "waiting", "scheduled_at", "priority", "mandate", "tick",
    "max_ticks", "correlation_id", "created_at", "updated_at", "generation_started_at", "generation_processed_at",
)  # fmt: skip


@dataclass(slots=True)
class Plan:
    """`rows` as they are imported, in the source's order; their files are still where they were.

    (id, why) of the others: `refused`, which no project could store, and `fell`: rows among `rows` that end on the way,
    because what they need had ended badly and an older worker never told them.
    """

    rows: list[Row] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    fell: list[tuple[str, str]] = field(default_factory=list)


def planned(rows: Sequence[Row], project_id: str) -> Plan:
    plan, by_id = Plan(), dict[str, Row]()
    for number, row in enumerate(rows, 1):
        flaw = _flaw(row, by_id)
        if flaw:
            plan.refused.append((row["id"] or f"row {number}", flaw))
        else:
            by_id[row["id"]] = _one(row, project_id)
    plan.fell = _fall(by_id)
    for row in by_id.values():
        parent = by_id.get(row.get("parent_id") or "")
        if row["status"] == "Queued" and parent and parent["status"] == "Complete":
            row["parent_id"] = None  # a parent that has ended takes no work: its last word is said
    plan.rows = [{name: value for name, value in row.items() if value is not None} for row in by_id.values()]
    return plan


def _flaw(row: Row, before: Mapping[str, Row]) -> str | None:
    """What the queue's own rules say against it; asked here, since the files go up before the row."""
    try:
        UUID(row["id"])
    except ValueError:
        return "It has no id."
    if row["id"] in before:
        return "Another row has the same id."
    if row["status"] not in set(Status):
        return f"Its status {row['status']!r} is none that we know."
    try:
        params_text(row["params"])
        if row.get("result") is not None:
            result_text(row["result"])
    except InvalidTask as error:
        return str(error)
    return None


def _one(row: Row, project_id: str) -> Row:
    kept = {name: row.get(name) for name in _KEPT}
    kept["project_id"] = project_id
    for name in ("output_location", "error_message"):
        kept[name] = _storable(kept[name])
    if row["status"] == "In Progress" and not row.get("waiting"):
        # Its lease and token mean nothing elsewhere: it begins again, the attempt returned.
        kept |= {"status": "Queued", "worker_id": None, "tick": None, "generation_started_at": None}
        kept |= {"attempts": max(0, (row.get("attempts") or 0) - 1)}
    # Older workers leave traces of a former status in a row; ours has none of them.
    if kept["status"] not in _ENDED:
        kept |= {"output_location": None, "generation_processed_at": None, "root_task_id": None}
    if kept["status"] != "Queued":
        kept["scheduled_at"] = None
    if kept["status"] == "Complete":
        kept["error_message"] = None
    if kept["status"] in _BADLY:
        # Older workers wrote the failure where an output would be.
        _end(kept, kept["status"], kept["error_message"] or kept["output_location"] or "No reason was given.")
    return kept


def _end(row: Row, status: str, error: str) -> None:
    row |= {"status": status, "error_message": error, "output_location": error if status == "Failed" else None}


def _fall(by_id: Mapping[str, Row]) -> list[tuple[str, str]]:
    """Ends what waits for a task that has ended badly, as the queue would have (I6). Answers with (id, why)."""
    dependents: dict[str, list[str]] = {}
    children: dict[str, list[str]] = {}
    for row in by_id.values():
        for named in row["depends_on"] or ():
            dependents.setdefault(named, []).append(row["id"])
        if row["parent_id"]:
            children.setdefault(row["parent_id"], []).append(row["id"])
    fell: list[tuple[str, str]] = []
    front = deque(row for row in by_id.values() if row["status"] in _BADLY)
    while front:
        cause = front.popleft()
        near: Iterable[str] = (
            *dependents.get(cause["id"], ()),
            *children.get(cause["id"], ()),
            *([cause["parent_id"]] if cause["parent_id"] else ()),
        )
        for row in (by_id[each] for each in near if each in by_id):
            if row["status"] in _ENDED:
                continue
            root = by_id.get(cause["root_task_id"] or "", cause)
            ended = "failed" if root["status"] == "Failed" else "was cancelled"
            quote = (root["error_message"] or "")[:MAX_QUOTE]
            error = f"{cause['status']} because {root['task_type']} {root['id']} {ended}: {quote}"
            _end(row, cause["status"], error)
            row |= {"root_task_id": root["id"], "waiting": False, "scheduled_at": None}
            fell.append((row["id"], error))
            front.append(row)
    return fell


def _storable(text: str | None) -> str | None:
    """Without what PostgreSQL refuses: an error must not be lost for a character in it."""
    return text.encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}") if text else text
