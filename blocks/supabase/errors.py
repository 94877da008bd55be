"""What talking to Supabase can refuse. One class for each thing a caller could do differently."""

from __future__ import annotations

from typing import Any


class SupabaseError(Exception):
    """Something about a Supabase project stopped us; `hint` says what to do. Carries no secret."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(f"{message} {hint}".strip())
        self.message = message
        self.hint = hint


class InvalidCredentials(SupabaseError, ValueError):
    """The url or a key cannot be used as it is: correct the settings. A ValueError, so that Prefect's forms show it."""


class KeyExpired(SupabaseError):
    """The key is a JWT that has run out and could not be refreshed: sign in again, or take a key that lasts."""


class SupabaseUnavailable(SupabaseError):
    """No answer, or one that says "later": worth trying again.

    `maybe_done`: the server may have acted on the call. `busy`: it is up and has told us to slow down.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        retry_after: float | None = None,
        maybe_done: bool = True,
        busy: bool = False,
    ) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after
        self.maybe_done = maybe_done
        self.busy = busy


class SupabaseRefused(SupabaseError):
    """The server understood and said no; the same call again gets the same answer.

    `status` is the HTTP status that was meant (Storage answers 400 and writes the real one into the body), `code` the
    server's own word for it (a SQLSTATE, an edge function's code, …), `details` whatever it added.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str = "",
        hint: str = "",
        details: Any = None,
        request_id: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.code = code
        self.details = details
        self.request_id = request_id
