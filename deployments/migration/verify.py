"""Whether everything that should be in the project is there, by what it says itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from deployments.migration.older import Row

_UNFINISHED = ("Queued", "In Progress")


@dataclass(slots=True)
class Comparison:
    """`differs`: totals by status and type that are not as they should be. `went_on`: tasks that the project's own
    workers, or a person there, have since brought from one status to another."""

    differs: list[str] = field(default_factory=list)
    went_on: Counter[tuple[str, str]] = field(default_factory=Counter)


def compare(rows: Sequence[Row], there: Mapping[str, Mapping[str, Any]], imported: Collection[str]) -> Comparison:
    """`rows`: what should be there; `imported`: the ids that this run brought. The project may be at work already."""
    answer, wanted, found = Comparison(), Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for row in rows:
        wanted[row["status"], row["task_type"]] += 1
        now = there.get(row["id"])
        if now is None:
            continue
        status = now["status"]
        # What is unfinished may go on at any time. What has ended badly may have been retried, but hardly just now.
        may_change = row["status"] in _UNFINISHED or (row["status"] != "Complete" and row["id"] not in imported)
        if status != row["status"] and may_change:
            answer.went_on[row["status"], status] += 1
            status = row["status"]
        found[status, now["task_type"]] += 1
    for key in sorted(wanted.keys() | found.keys()):
        if wanted[key] != found[key]:
            answer.differs.append(f"{key[0]} {key[1]}: {found[key]} there, {wanted[key]} should be")
    return answer
