"""The right to store one output, for workers whose key may not write into the bucket itself."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from blocks.storage.protocol import StorageError
from blocks.storage.supabase_objects import Objects

_EARLY = 120.0


class Ticket:
    """From the edge function that checks who holds the task; asked for again when it is about to run out."""

    def __init__(self, objects: Objects, task_id: str, attempt: int, name: str, content_type: str) -> None:
        self._objects = objects
        self._asked = {"task_id": task_id, "filename": name, "content_type": content_type}
        self._attempt = attempt
        self._ask()

    def token(self) -> str:
        if datetime.now(UTC).timestamp() > self._expires - _EARLY:
            self._ask()
        return self._token

    def _ask(self) -> None:
        answer = self._objects.client.post_json("/functions/v1/generate-upload-url", self._asked, idempotent=True)
        match answer.body:
            case {"storage_path": str(said), "token": str(token), **rest}:
                path = self._objects.path_of(said)
            case _:
                path = None
        if path is None:
            raise StorageError("generate-upload-url answered without a path and a token. Deploy its current version.")
        self.path, self._token, self._expires = path, token, _timestamp(rest.get("expires_at"))
        if path.split("/")[1:3] != [self._asked["task_id"], str(self._attempt)]:
            raise StorageError(
                f"Attempt {self._attempt} does not hold task {self._asked['task_id']} any more, so its output has no "
                "place. Stop working on it."
            )


def _timestamp(value: Any) -> float:
    """Of an ISO date; without one, a signed upload is good for two hours less some."""
    try:
        return datetime.fromisoformat(value).timestamp()
    except (TypeError, ValueError):
        return datetime.now(UTC).timestamp() + 6000
