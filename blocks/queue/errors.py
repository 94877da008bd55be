"""What a queue refuses. One class for each thing a caller could do differently."""

from __future__ import annotations


class QueueError(Exception):
    """The queue refused. `code` is stable and public; `hint` says what to do."""

    code = "queue_error"

    def __init__(self, message: str, *, hint: str = "", **data: object) -> None:
        super().__init__(f"{message} {hint}".strip())
        self.message = message
        self.hint = hint
        self.data = data


class InvalidTask(QueueError):
    """The task is malformed; nothing was stored. `data['field']` names the field."""

    code = "invalid_task"


class UnknownTask(QueueError):
    """There is no such task, or it is not yours: the two look the same."""

    code = "unknown_task"


class UnknownDependency(InvalidTask):
    """A dependency (or the parent) is no task of this owner; nothing was stored."""

    code = "unknown_dependency"


class DependencyCycle(InvalidTask):
    """The dependencies would wait for each other for ever; nothing was stored."""

    code = "dependency_cycle"


class TaskConflict(QueueError):
    """The id (or correlation_id) is taken by a task with another body; nothing was stored."""

    code = "task_conflict"


class StaleClaim(QueueError):
    """The claim token does not hold this task any more; nothing was changed. Stop working on it."""

    code = "stale_claim"


class TaskEnded(QueueError):
    """The task has already ended in another way; nothing was changed."""

    code = "task_ended"


class NotRetryable(QueueError):
    """Only a Failed or Cancelled task can be retried; nothing was changed."""

    code = "not_retryable"


class NotAllowed(QueueError):
    """Your key does not allow this, on this queue or for these tasks; nothing was changed."""

    code = "forbidden"


class QueueUnavailable(QueueError):
    """The store could not be reached or stayed busy; nothing is known to have changed. Try again."""

    code = "queue_unavailable"
