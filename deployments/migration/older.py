"""Rows of a worker older than Longtake in our words: ids that are UUIDs, our statuses, a parent where there is one."""

from __future__ import annotations

import json
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

Row = dict[str, Any]

_STATUSES = {
    "queued": "Queued",
    "pending": "Queued",
    "in progress": "In Progress",
    "complete": "Complete",
    "completed": "Complete",
    "failed": "Failed",
    "cancelled": "Cancelled",
}
#: Params that name another task.
_REFERENCES = ("orchestrator_task_id_ref", "input_video_task_id")
_DEFAULT_ATTEMPTS = 3


def translated(rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    """One row for each, in their order. What cannot be read stays as it is: the import refuses it and says why."""
    names: dict[str, str] = {}
    for row in rows:
        ours = _id_of(row)
        names |= {str(row[column]): ours for column in ("id", "task_id") if row.get(column)}
    told = [_told(row, names) for row in rows]
    _find_families(told)
    return told


def as_uuid(said: str) -> str:
    """The same UUID for the same text: a second run must recognise what the first has imported."""
    try:
        return str(uuid.UUID(said))
    except ValueError:
        return str(uuid.uuid5(uuid.NAMESPACE_OID, said))


def _id_of(row: Mapping[str, Any]) -> str:
    """Some tables number their rows and keep the task's own id beside the number. Empty if there is none."""
    said = row.get("task_id") or row["id"]
    return as_uuid(str(said)) if said else ""


def _told(row: Mapping[str, Any], names: Mapping[str, str]) -> Row:
    before = row.get("dependant_on")
    status = _STATUSES.get(str(row["status"]).lower().replace("_", " "), str(row["status"]))
    attempts = row.get("attempts")
    attempts = min(max(attempts, 0), 99) if isinstance(attempts, int) else 0
    return {
        "id": _id_of(row),
        "task_type": str(row["task_type"] or ""),
        "params": _params(row["params"], names),
        "status": status,
        "waiting": False,
        "depends_on": [names.get(str(before), as_uuid(str(before)))] if before else [],
        "output_location": _text(row.get("output_location")),
        "error_message": _text(row.get("error_message")),
        "attempts": attempts,
        "max_attempts": max(_DEFAULT_ATTEMPTS, attempts + 1),
        "created_at": _moment(row.get("created_at")),
        "updated_at": _moment(row.get("updated_at")),
        "generation_started_at": _moment(row.get("generation_started_at")),
        "generation_processed_at": _moment(row.get("generation_processed_at")),
    }


def _params(said: Any, names: Mapping[str, str]) -> Any:
    try:
        params = json.loads(said or "{}")
    except (ValueError, TypeError, RecursionError):
        return _text(said)
    if isinstance(params, dict):
        for name in _REFERENCES:
            if isinstance(params.get(name), str) and params[name] in names:
                params[name] = names[params[name]]
    return params


def _find_families(rows: Sequence[Row]) -> None:
    """An orchestrator that was In Progress with parts under way waits for them: run again, it would plan them twice."""
    by_id = {row["id"]: row for row in rows}
    parts: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows:
        named = row["params"].get(_REFERENCES[0]) if isinstance(row["params"], dict) else None
        parent = by_id.get(named) if isinstance(named, str) else None
        if parent is not None and parent is not row and parent["task_type"] == "travel_orchestrator":
            row["parent_id"] = parent["id"]
            parts[parent["id"]].append(row["status"])
    for parent_id, statuses in parts.items():
        under_way = not {"Failed", "Cancelled"} & set(statuses) and set(statuses) != {"Complete"}
        if by_id[parent_id]["status"] == "In Progress" and under_way:
            by_id[parent_id] |= {"waiting": True, "attempts": max(1, by_id[parent_id]["attempts"])}


def _text(said: object) -> str | None:
    if said is None:
        return None
    return said.decode(errors="replace") if isinstance(said, bytes) else str(said)


def _moment(said: object) -> str | None:
    """ISO 8601 with a time zone: what an older worker wrote without one was UTC. Unreadable is unknown."""
    try:
        moment = (
            datetime.fromtimestamp(said, UTC) if isinstance(said, int | float) else datetime.fromisoformat(str(said))
        )
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()
    except (ValueError, OSError, OverflowError):
        return None
