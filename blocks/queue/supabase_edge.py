"""The queue through the edge functions: the only way for an access token, and the first for every other key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from blocks.queue.errors import QueueError, QueueUnavailable
from blocks.queue.supabase_refusals import REPEATABLE, not_ours, queue_error
from blocks.queue.wire import Json
from blocks.supabase.access import SupabaseAccess
from blocks.supabase.errors import SupabaseError
from blocks.supabase.http import SupabaseClient
from blocks.supabase.key import KeyKind
from blocks.supabase.wire import Patience

PATIENCE = Patience(total=60.0, connect=5.0, read=30.0)


def _itself(body: Json) -> Json:
    if isinstance(body, str):  # a page in HTML, say; no verb answers with a text
        raise TypeError(body)
    return body


def _claims(body: Json) -> Json:
    """No content is no claim; one claim lies open, several beside the first of them."""
    if body is None:
        return []
    return body.get("claims", [body])


def _part(name: str) -> Callable[[Json], Json]:
    def part(body: Json) -> Json:
        return body[name]

    return part


@dataclass(frozen=True, slots=True)
class _Route:
    """An edge function, what it is told beside the arguments, and the SQL function's answer in its own."""

    function: str
    fixed: Mapping[str, Json] = field(default_factory=dict)
    answer: Callable[[Json], Json] = _itself


_ROUTES: Mapping[str, _Route] = {
    "enqueue_tasks": _Route("create-task", answer=_part("tasks")),
    "claim_tasks": _Route("claim-next-task", answer=_claims),
    "renew_task": _Route("heartbeat"),
    "complete_task": _Route("complete-task", answer=_part("outcome")),
    "fail_task": _Route("update-task-status", {"status": "Failed"}, _part("outcome")),
    "release_task": _Route("update-task-status", {"status": "Queued"}, _part("outcome")),
    "cancel_task": _Route("update-task-status", {"status": "Cancelled"}, _part("outcome")),
    "task_counts": _Route("task-counts"),
    "task_predecessors": _Route("get-predecessor-output", answer=_part("predecessors")),
    "completed_segments": _Route("get-completed-segments"),
}
#: The others share one function.
_VERBS: Mapping[str, _Route] = {
    name: _Route("queue", {"verb": verb})
    for name, verb in {
        "start_task": "start",
        "dispatched_task": "dispatched",
        "wait_task": "wait",
        "retry_task": "retry",
        "rescue_tasks": "rescue",
        "prune_tasks": "prune",
        "note_worker": "note_worker",
        "list_workers": "workers",
        "get_task": "get",
        "task_children": "children",
        "list_tasks": "list",
        "queue_pulse": "pulse",
    }.items()
}


def has_own_function(function: str) -> bool:
    """Whether there is an edge function for this verb alone, which does more than pass it on."""
    return function in _ROUTES


class EdgeTransport:
    def __init__(self, access: SupabaseAccess, *, patience: Patience = PATIENCE) -> None:
        self._access = access
        self._client = SupabaseClient(access, patience=patience)

    def call(self, function: str, arguments: Mapping[str, Any]) -> Any:
        route = _ROUTES.get(function) or _VERBS[function]
        given = {name.removeprefix("p_"): value for name, value in arguments.items() if value is not None}
        path = f"/functions/v1/{route.function}"
        try:
            answer = self._client.post_json(path, {**given, **route.fixed}, idempotent=function in REPEATABLE)
        except SupabaseError as error:
            raise self._explained(queue_error(error)) from error
        try:
            return route.answer(answer.body)
        except (AttributeError, KeyError, TypeError) as error:
            raise self._explained(not_ours(f"{self._access.url}{path}")) from error

    def address(self) -> Mapping[str, Any] | None:
        return self._access.address()

    def close(self) -> None:
        self._client.close()

    def _explained(self, error: QueueError) -> QueueError:
        if isinstance(error, QueueUnavailable) and not error.data["busy"] and self._access.kind is KeyKind.TOKEN:
            only = "An access token (lt_…) works through the edge functions only; a secret key would have another way."
            return QueueUnavailable(error.message, hint=f"{error.hint} {only}".strip(), **error.data)
        return error
