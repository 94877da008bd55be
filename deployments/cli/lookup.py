"""Find the queue, and in it the task that a person means."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from blocks.queue.errors import UnknownTask
from blocks.queue.model import Task, TaskFilter
from blocks.queue.protocol import TaskQueue
from deployments.cli.exits import Refusal
from deployments.cli.rows import title

if TYPE_CHECKING:
    from deployments.settings import Settings

#: How far back a shortened id is looked for.
NEWEST = 10_000
_UUID_LENGTH = 36


@contextlib.contextmanager
def opened_queue(settings: Settings) -> Iterator[TaskQueue]:
    """The queue of these settings; a SQLite one is made when it is missing. Prefect is not imported."""
    from deployments.site import open_queue

    try:
        settings.home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refusal(
            f"{settings.home} cannot be made: {error.strerror}.", "Choose another folder with --home or LONGTAKE_HOME."
        ) from None
    queue = open_queue(settings)
    try:
        yield queue
    finally:
        queue.close()


def find_task(queue: TaskQueue, said: str) -> Task:
    """By its whole id or by a beginning of it that no other task has."""
    said = said.strip().lower()
    if len(said) == _UUID_LENGTH:
        return queue.get(said)
    found = [task for task in queue.list(TaskFilter(limit=NEWEST)) if said and task.id.startswith(said)]
    if not found:
        raise UnknownTask(f"No task's id begins with {said!r}.", hint="See them with: longtake task list", task_id=said)
    if len(found) > 1:
        shown = ", ".join(f"{task.id} ({title(task)})" for task in found[:5])
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        raise Refusal(
            f"{len(found)} tasks begin with {said!r}: {shown}{more}.", "Give more of the id.", code="ambiguous_id"
        )
    return found[0]


def is_anybody_working(settings: Settings) -> bool:
    """Whether the Prefect server that would dispatch this queue's tasks answers at all."""
    connection = settings.connection()
    if connection is None:
        return False
    url = urlsplit(connection.api_url)
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        with socket.create_connection((url.hostname or "localhost", port), timeout=1.0):
            return True
    except OSError:
        return False
