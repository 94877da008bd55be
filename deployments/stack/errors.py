"""What can go wrong between `up` and a running stack."""

from __future__ import annotations


class StackError(Exception):
    """The stack cannot start or has ended. `hint` says what to do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message} {hint}".strip())
        self.message = message
        self.hint = hint


class HomeInUse(StackError):
    """Another `longtake up` owns this home."""


class ProcessDied(StackError):
    """A process that we started ended by itself; its log says why."""


class DatabaseMismatch(StackError):
    """The database folder was written by another major version of PostgreSQL."""


class NotReady(StackError):
    """A process is alive but did not answer in time."""


class SetupFailed(StackError):
    """The Prefect server cannot be set up."""


class WrongPoolType(SetupFailed):
    """A pool of that name exists and is of another type, which Prefect cannot change."""


class DeployFailed(SetupFailed):
    """`prefect deploy --all` refused; its output says why."""
