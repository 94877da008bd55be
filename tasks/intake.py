"""The way in: every task is checked against its kind before the queue stores it."""

from __future__ import annotations

import logging

from blocks.queue.errors import InvalidTask
from blocks.queue.model import Enqueued, TaskSpec
from blocks.queue.protocol import TaskQueue
from tasks.errors import InvalidInput
from tasks.kinds import find_kind

log = logging.getLogger(__name__)


def check(spec: TaskSpec) -> None:
    """Raises `InvalidTask` with the field's name; warns of parameters that nothing reads."""
    try:
        params = find_kind(spec.task_type).params.read(spec.params)
    except InvalidInput as error:
        field = str(error).split(":", 1)[0]
        raise InvalidTask(str(error), hint="Nothing was stored; correct it and enqueue again.", field=field) from None
    if unknown := params.unknown():
        log.warning("task_params_ignored type=%s fields=%s", spec.task_type, ",".join(unknown))


def enqueue(queue: TaskQueue, *specs: TaskSpec) -> list[Enqueued]:
    """Check all, then store all or none; see `TaskQueue.enqueue`."""
    for spec in specs:
        check(spec)
    return queue.enqueue(*specs)
