"""How a command ends: its exit code, and the one refusal that the CLI itself makes."""

from __future__ import annotations

import re
from enum import IntEnum


class ExitCode(IntEnum):
    """Public contract: programs branch on these numbers. Documented in docs/reference/cli.md from here."""

    OK = 0, "Done."
    FAILED = 1, "The thing itself failed: a watched task Failed or was Cancelled, a check of doctor, a start."
    INVALID = 2, "Wrong usage or invalid input; nothing was stored."
    NOT_FOUND = 3, "There is no such task."
    CONFLICT = 4, "The task is in another state: ended, taken, or its id is used by another body."
    UNAVAILABLE = 5, "The queue, the storage or the Prefect server cannot be reached; try again."
    INTERRUPTED = 130, "Stopped by Ctrl-C or SIGTERM."
    READER_GONE = 141, "The program that read the output went away."

    meaning: str

    def __new__(cls, value: int, meaning: str) -> ExitCode:
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member


class Refusal(Exception):
    """The command cannot go on. `code` is stable; `hint` says what to do."""

    def __init__(
        self, message: str, hint: str = "", *, code: str = "invalid_input", exit_code: ExitCode = ExitCode.INVALID
    ) -> None:
        super().__init__(f"{message} {hint}".strip())
        self.message = message
        self.hint = hint
        self.code = code
        self.exit_code = exit_code


def explain(error: Exception) -> Refusal | None:
    """What an expected error of the layers below means to a caller; None for one that nobody expected."""
    # Imported here: a command that succeeds needs none of them.
    from blocks.queue import errors as queue_errors
    from blocks.storage.protocol import StorageError, StorageUnavailable
    from blocks.supabase.errors import SupabaseError, SupabaseUnavailable
    from deployments.stack.errors import StackError
    from tasks.errors import InvalidInput
    from tasks.media.errors import MediaError

    match error:
        case Refusal():
            return error
        case queue_errors.QueueError():
            return Refusal(error.message, error.hint, code=error.code, exit_code=_exit_code(error))
        case InvalidInput():
            return Refusal(str(error), code="invalid_task")
        case MediaError():
            return Refusal(str(error), code="invalid_media")
        case StorageUnavailable():
            return Refusal(str(error), code="storage_unavailable", exit_code=ExitCode.UNAVAILABLE)
        case StorageError():
            return Refusal(str(error), code="storage_error")
        case SupabaseUnavailable():
            return Refusal(str(error), code="supabase_unavailable", exit_code=ExitCode.UNAVAILABLE)
        case SupabaseError():
            return Refusal(str(error), code="supabase_refused")
        case StackError():
            return Refusal(error.message, error.hint, code=_snake(type(error).__name__), exit_code=ExitCode.FAILED)
    return None


def _snake(name: str) -> str:
    """HomeInUse to home_in_use."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _exit_code(error: Exception) -> ExitCode:
    from blocks.queue import errors as queue_errors

    match error:
        case queue_errors.UnknownTask():
            return ExitCode.NOT_FOUND
        case queue_errors.InvalidTask() | queue_errors.NotAllowed():
            return ExitCode.INVALID
        case queue_errors.QueueUnavailable():
            return ExitCode.UNAVAILABLE
        case (
            queue_errors.TaskConflict()
            | queue_errors.StaleClaim()
            | queue_errors.TaskEnded()
            | queue_errors.NotRetryable()
        ):
            return ExitCode.CONFLICT
    return ExitCode.FAILED
