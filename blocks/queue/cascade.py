"""Who ends with whom (I6), what holds a task down, what comes back, and what is pruned together.

Pure decisions over the rows of one transaction. Three relations carry an end from one task to the next:
to its dependents, to its parent, and from a parent to its children.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from blocks.queue.model import Status, Task
from blocks.queue.rows import Rows

#: How much of a root's error each of possibly a thousand others repeats; the root has it whole.
MAX_QUOTE = 1000

BADLY = frozenset({Status.FAILED, Status.CANCELLED})


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a task must end: like whom, and whose end began it."""

    status: Status
    root_task_id: str

    @classmethod
    def of(cls, ended: Task) -> Cause:
        return cls(ended.status, ended.root_task_id or ended.id)


def sentence(cause: Cause, root: Task) -> str:
    """The error of a task that ended because of another: names the root and says what was wrong with it."""
    ended = "failed" if root.status is Status.FAILED else "was cancelled"
    return f"{cause.status} because {root.task_type} {root.id} {ended}: {(root.error_message or '')[:MAX_QUOTE]}"


def falls_with(rows: Rows, first: Task, status: Status) -> list[Task]:
    """The tasks that end when `first` ends with `status`, nearest first, without `first` itself.

    A failure lets running children finish, since their work can be used after a retry; a cancel takes them too.
    """

    def neighbours(task: Task) -> Iterable[Task]:
        yield from rows.dependents(task.id)
        yield from _parent(rows, task)
        for child in rows.children(task.id):
            if child.status is Status.QUEUED or status is Status.CANCELLED:
                yield child

    return list(_reach([first], neighbours, lambda task: not task.status.is_terminal))[1:]


def held_down(rows: Rows, task: Task) -> Cause | None:
    """What keeps `task` from being Queued: a dependency or a parent that has ended badly."""
    for dependency in task.depends_on:
        row = rows.get(dependency)
        if row is not None and row.task.status in BADLY:
            return Cause.of(row.task)
    return next((Cause.of(parent) for parent in _parent(rows, task) if parent.status in BADLY), None)


def still_down(rows: Rows, fallen: Sequence[Task]) -> dict[str, Cause]:
    """Of tasks that fell together: those that another end, outside of them, holds down, directly or through others.

    `fallen` is one root and all that names it. The fixed point: what is not in the answer can be revived.
    """
    by_id = {task.id: task for task in fallen}
    causes: dict[str, Cause] = {}
    for task in fallen:
        others = (each for each in _pullers(rows, task) if each.id not in by_id and each.status in BADLY)
        source = next(others, None)
        if source is None or task.id in causes:
            continue
        down = _reach([task], lambda each: _pulled(rows, each), lambda each: each.id in by_id)
        for each in down:
            causes.setdefault(each.id, Cause.of(source))
    return causes


def closing_child(children: Sequence[Task]) -> Task:
    """The child whose output is its parent's: the one no sibling depends on; of several, the last enqueued."""
    needed = {dependency for child in children for dependency in child.depends_on}
    return [child for child in children if child.id not in needed][-1]


def goes_with(rows: Rows, task: Task, is_prunable: Callable[[Task], bool]) -> list[Task] | None:
    """`task` and all that must be pruned with it, or None if some of that must stay.

    A row stays while its parent, a child or a dependent stays.
    """

    def neighbours(each: Task) -> Iterable[Task]:
        yield from _parent(rows, each)
        yield from rows.children(each.id)
        yield from rows.dependents(each.id)

    family = []
    for each in _reach([task], neighbours, lambda _: True):
        if not is_prunable(each):
            return None
        family.append(each)
    return family


def waits_for(rows: Rows, task_id: str) -> list[Task]:
    """The stored tasks that cannot go on before this one has ended, itself included: dependents and ancestors."""
    row = rows.get(task_id)
    if row is None:
        return []

    def neighbours(task: Task) -> Iterable[Task]:
        yield from rows.dependents(task.id)
        yield from _parent(rows, task)

    return list(_reach([row.task], neighbours, lambda _: True))


def _pullers(rows: Rows, task: Task) -> Iterable[Task]:
    for dependency in task.depends_on:
        row = rows.get(dependency)
        if row is not None:
            yield row.task
    yield from _parent(rows, task)
    yield from rows.children(task.id)


def _pulled(rows: Rows, task: Task) -> Iterable[Task]:
    yield from rows.dependents(task.id)
    yield from _parent(rows, task)
    yield from rows.children(task.id)


def _parent(rows: Rows, task: Task) -> Iterable[Task]:
    row = rows.get(task.parent_id) if task.parent_id else None
    return [] if row is None else [row.task]


def _reach(
    start: Sequence[Task], neighbours: Callable[[Task], Iterable[Task]], counts: Callable[[Task], bool]
) -> Iterator[Task]:
    """Breadth first from `start` over the tasks that count; lazily, so that a reader can stop early."""
    found = {task.id for task in start}
    frontier = deque(start)
    yield from start
    while frontier:
        for task in neighbours(frontier.popleft()):
            if task.id not in found and counts(task):
                found.add(task.id)
                frontier.append(task)
                yield task
