"""Follow a task and its children until the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from blocks.queue.model import Status, Task
from blocks.queue.protocol import TaskQueue
from deployments.cli.exits import ExitCode, Refusal
from deployments.cli.rows import family_document, progress, status_words, title
from deployments.cli.screen import Screen

if TYPE_CHECKING:
    from rich.table import Table

_LOOK_EVERY = 0.4


@dataclass(frozen=True, slots=True)
class Family:
    task: Task
    children: tuple[Task, ...]

    @property
    def members(self) -> tuple[Task, ...]:
        return (self.task, *self.children)


class Show(Protocol):
    def __enter__(self) -> Show: ...
    def __exit__(self, *_: object) -> None: ...
    def update(self, family: Family) -> None: ...


def look(queue: TaskQueue, task_id: str) -> Family:
    return Family(queue.get(task_id), tuple(queue.children(task_id)))


def follow(
    queue: TaskQueue, task_id: str, screen: Screen, *, pause: Callable[[], None] = lambda: time.sleep(_LOOK_EVERY)
) -> Family:
    """Show every change until the task has ended; its last state is the answer."""
    show: Show = Panel(screen) if screen.is_live else Lines(screen)
    try:
        with show:
            while True:
                family = look(queue, task_id)
                show.update(family)
                if family.task.status.is_terminal:
                    return family
                pause()
    except KeyboardInterrupt:
        raise Refusal(
            "You stopped watching; the task goes on.",
            f"Watch it again: longtake task watch {task_id}",
            code="interrupted",
            exit_code=ExitCode.INTERRUPTED,
        ) from None


def conclude(family: Family, screen: Screen, extra: dict[str, Any] | None = None) -> ExitCode:
    """Say how it ended. The exit code is the task's outcome."""
    task = family.task
    screen.document({**family_document(task, family.children), **(extra or {})})
    if task.status is Status.COMPLETE:
        screen.say(task.output_location or "Complete.")
        sheet = (task.result or {}).get("contact_sheet")
        if sheet:
            screen.say(f"Contact sheet: {sheet}")
        return ExitCode.OK
    screen.say(f"{task.status}: {task.error_message or 'no reason was given'}")
    screen.say(f"Try again: longtake task retry {task.root_task_id or task.id}")
    return ExitCode.FAILED


class Lines:
    """One line for each change of a status, and for each quarter of the way: for pipes and logs."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._said: dict[str, tuple[Status, int, int]] = {}

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None: ...

    def update(self, family: Family) -> None:
        for task in family.members:
            now = (task.status, task.attempts, _quarter(task))
            if self._said.get(task.id) != now:
                self._said[task.id] = now
                clock = datetime.now().astimezone()
                parts = (title(task), status_words(task), progress(task))
                self._screen.say(f"{clock:%H:%M:%S} " + "  ".join(part for part in parts if part))


def _quarter(task: Task) -> int:
    return 4 * task.tick // task.max_ticks if task.tick and task.max_ticks else 0


class Panel:
    """A table that changes in place: for a terminal."""

    def __init__(self, screen: Screen) -> None:
        from rich.live import Live

        self._live = Live(console=screen.console(), refresh_per_second=4)

    def __enter__(self) -> Panel:
        self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.__exit__(None, None, None)

    def update(self, family: Family) -> None:
        self._live.update(_drawn(family))


def _drawn(family: Family) -> Table:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False)
    for task in family.members:
        total, done = _way(task, family)
        bar = ProgressBar(total=total, completed=done, width=30)
        parts = family.children if task is family.task else ()
        again = f"attempt {task.attempts}" if task.attempts > 1 else ""
        table.add_row(
            Text(title(task)), bar, Text(progress(task, parts)), Text(status_words(task), _colour(task)), Text(again)
        )
    return table


def _way(task: Task, family: Family) -> tuple[float, float]:
    """(steps in all, steps done). A parent's steps are its children."""
    if task.status is Status.COMPLETE:
        return 1.0, 1.0
    if task is family.task and family.children:
        shares = [done / total for total, done in (_way(child, family) for child in family.children)]
        return float(len(shares)), sum(shares)
    return float(task.max_ticks or 1), float(task.tick or 0) if task.max_ticks else 0.0


def _colour(task: Task) -> str:
    return {Status.COMPLETE: "green", Status.FAILED: "red", Status.CANCELLED: "yellow"}.get(task.status, "")
