"""What a Supabase project says no with, as the queue's errors."""

from __future__ import annotations

from blocks.queue import wire
from blocks.queue.errors import InvalidTask, NotAllowed, QueueError, QueueUnavailable
from blocks.supabase.errors import SupabaseError, SupabaseRefused, SupabaseUnavailable

#: The verbs that the queue answers the same when it hears them twice, so that one whose answer was lost is sent again:
#: reading, and what is named by an id that stays the same (`SupabaseQueue` gives every claim, start and new task one).
#: Of the others, the second would be told that there is nothing left to do, and its caller would believe it.
REPEATABLE = frozenset(
    {
        "enqueue_tasks",
        "claim_tasks",
        "start_task",
        "dispatched_task",
        "renew_task",
        "wait_task",
        "complete_task",
        "fail_task",
        "cancel_task",
        "note_worker",
        "list_workers",
        "get_task",
        "task_children",
        "list_tasks",
        "task_counts",
        "task_predecessors",
        "completed_segments",
        "queue_pulse",
    }
)
_DEPLOY = "Apply this version's migrations and deploy its edge functions; `longtake doctor` shows what is missing."


def queue_error(error: SupabaseError) -> QueueError:
    """For whoever knows another way, data say more: `maybe_done` and `busy` (up, and asks us to wait) of
    `QueueUnavailable`, `too_large` of `InvalidTask` (for this way).
    """
    if isinstance(error, SupabaseUnavailable):
        hint = error.hint or "Try again later; if it stays so, look at the project's status and its logs."
        return QueueUnavailable(error.message, hint=hint, maybe_done=error.maybe_done, busy=error.busy)
    if not isinstance(error, SupabaseRefused):  # KeyExpired, InvalidCredentials
        return NotAllowed(error.message, hint=error.hint)
    refusal = wire.refusal(error.code, error.message, error.hint, error.details)
    if refusal is not None:
        return refusal
    if error.code.startswith("22"):  # SQLSTATE class 22: a value that the parameter's type cannot hold
        return InvalidTask(f"A value cannot be stored: {error.message}.", hint="Correct the arguments.")
    match error.status:
        case 401 | 403:
            hint = error.hint or "Check that the key belongs to this project and has not been revoked."
            return NotAllowed(f"The project refuses the key: {error.message}", hint=hint)
        case 404:
            message = f"The project does not have what this needs: {error.message}."
            return QueueUnavailable(message, hint=_DEPLOY, maybe_done=False, busy=False)
        case 413:
            hint = "Enqueue fewer tasks at once, or put large content into storage and send its path."
            return InvalidTask(error.message, hint=hint, field="tasks", too_large=True)
    return QueueError(f"The project answers with status {error.status}: {error.message}", hint=error.hint or _DEPLOY)


def not_ours(address: str) -> QueueUnavailable:
    """An answer that no version of ours would give: somebody else's page, or another version."""
    message = f"{address} answers in words that this version does not know."
    return QueueUnavailable(message, hint=f"Check the url. {_DEPLOY}", maybe_done=True, busy=False)
