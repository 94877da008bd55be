"""Why a task's body ends early. What is not listed here is unexpected and is tried again."""

from __future__ import annotations


class InvalidInput(Exception):
    """The task can never succeed as it is: it fails at once. The message says what, why and what to do."""


class Stopped(BaseException):
    """The claim is gone: cancelled or lost. A BaseException, so that no body catches it as a failure of its own."""

    def __init__(self, reason: str, *, cancelled: bool) -> None:
        super().__init__(reason)
        self.cancelled = cancelled
