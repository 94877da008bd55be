"""How many rows go over at once. A row may name rows after it, of the batch that it was enqueued in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from graphlib import CycleError, TopologicalSorter

from deployments.migration.older import Row

ROWS = 100
#: A row can have 256 KB of params and 1 MB of result, and a project has little patience with large bodies.
BYTES = 4 << 20


def batches(rows: Sequence[Row], *, most: int = ROWS, largest: int = BYTES) -> Iterator[list[Row]]:
    """The rows in their order, cut only where no row before the cut names one after it."""
    batch: list[Row] = []
    size = 0
    for group in groups(rows):
        grown = sum(len(json.dumps(row)) for row in group)
        if batch and (len(batch) + len(group) > most or size + grown > largest):
            yield batch
            batch, size = [], 0
        batch += group
        size += grown
    if batch:
        yield batch


def groups(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """The smallest runs of neighbours of which none names a row after its run."""
    place = {row["id"]: number for number, row in enumerate(rows)}
    start = reach = 0
    for number, row in enumerate(rows):
        reach = max(reach, number, *(place.get(named, 0) for named in _named(row)))
        if reach == number:
            yield list(rows[start : number + 1])
            start = number + 1


def needed_first(rows: Sequence[Row]) -> list[Row]:
    """Each row after those of them that it names; in their own order if they name each other in a ring."""
    by_id = {row["id"]: row for row in rows}
    order = TopologicalSorter({row["id"]: [named for named in _named(row) if named in by_id] for row in rows})
    try:
        return [by_id[each] for each in order.static_order()]
    except CycleError:
        return list(rows)


def _named(row: Row) -> list[str]:
    return [*(row.get("depends_on") or ()), *([row["parent_id"]] if row.get("parent_id") else ())]
