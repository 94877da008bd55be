"""What PostgREST and edge functions answer when they refuse or fail, as errors of the queue."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
import respx

from blocks.queue import errors, supabase_edge, wire
from blocks.queue.model import Status
from blocks.queue.supabase import SupabaseQueue
from blocks.queue.supabase_edge import EdgeTransport
from blocks.queue.supabase_refusals import REPEATABLE
from blocks.queue.supabase_rpc import PATIENCE, RpcTransport
from blocks.supabase.access import SupabaseAccess
from tests.blocks.supabase_keys import SECRET, URL
from tests.queue.acts import fresh_id, spec

TASK_ID = "0b9f4a52-6f0c-4c53-9d5e-0c3a5cb0a7d1"


@pytest.fixture
def server() -> Iterator[respx.MockRouter]:
    with respx.mock(base_url=URL, assert_all_called=False) as router:
        yield router


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def rpc(pauses: list[float]) -> Iterator[SupabaseQueue]:
    patience = replace(PATIENCE, total=20, sleep=pauses.append)
    queue = SupabaseQueue(RpcTransport(SupabaseAccess(URL, SECRET), patience=patience))
    yield queue
    queue.close()


@pytest.fixture
def edge(pauses: list[float]) -> Iterator[SupabaseQueue]:
    patience = replace(PATIENCE, total=20, sleep=pauses.append)
    queue = SupabaseQueue(EdgeTransport(SupabaseAccess(URL, SECRET), patience=patience))
    yield queue
    queue.close()


def refusal(code: str, message: str = "No.", **more: Any) -> dict[str, Any]:
    """As PostgREST hands on what SQL raises."""
    return {"code": code, "message": message, "details": None, "hint": None} | more


@pytest.mark.parametrize(("state", "kind"), wire.REFUSALS.items())
def test_a_private_sqlstate_is_the_queues_own_refusal(
    rpc: SupabaseQueue, server: respx.MockRouter, state: str, kind: type[errors.QueueError]
) -> None:
    details = json.dumps({"task_id": TASK_ID, "status": "Failed"})
    server.post("/rest/v1/rpc/get_task").respond(400, json=refusal(state, hint="Do this.", details=details))
    with pytest.raises(kind, match=r"No\. Do this\.") as refused:
        rpc.get(TASK_ID)
    assert type(refused.value) is kind
    assert refused.value.data == {"task_id": TASK_ID, "status": Status.FAILED}


@pytest.mark.parametrize("kind", wire.REFUSALS.values())
def test_an_edge_function_refuses_by_the_public_code(
    edge: SupabaseQueue, server: respx.MockRouter, kind: type[errors.QueueError]
) -> None:
    body = {"code": kind.code, "message": "No.", "details": {"field": "params"}, "request_id": "r"}
    server.post("/functions/v1/queue").respond(409, json=body)
    with pytest.raises(kind) as refused:
        edge.get(TASK_ID)
    assert (type(refused.value), refused.value.data) == (kind, {"field": "params"})


PASSING = [
    (500, "40P01"),  # deadlock
    (500, "40001"),  # serialization
    (500, "57014"),  # statement timeout
    (503, "57P01"),  # the database shuts down
    (503, "53300"),  # too many connections
    (503, "PGRST000"),
    (503, "PGRST001"),
    (503, "PGRST002"),  # schema cache is loading
    (504, "PGRST003"),  # no free connection in the pool
]


@pytest.mark.parametrize(("status", "code"), PASSING)
def test_what_passes_is_tried_again(
    rpc: SupabaseQueue, server: respx.MockRouter, pauses: list[float], status: int, code: str
) -> None:
    answers = [httpx.Response(status, json=refusal(code)), httpx.Response(200, json=[])]
    server.post("/rest/v1/rpc/claim_tasks").mock(side_effect=answers)
    assert rpc.claim("gpu-1") == []
    assert len(pauses) == 1


@pytest.mark.parametrize(("status", "code"), PASSING)
def test_what_does_not_pass_is_unavailable_and_says_what_to_do(
    rpc: SupabaseQueue, server: respx.MockRouter, status: int, code: str
) -> None:
    server.post("/rest/v1/rpc/claim_tasks").respond(status, json=refusal(code, "It is busy."))
    with pytest.raises(errors.QueueUnavailable, match=r"It is busy\.") as refused:
        rpc.claim("gpu-1")
    assert refused.value.hint


@pytest.mark.parametrize("failure", [httpx.ConnectError("refused"), httpx.ReadTimeout("slow"), httpx.ReadError("cut")])
def test_a_network_that_fails_is_unavailable(
    rpc: SupabaseQueue, server: respx.MockRouter, failure: httpx.TransportError
) -> None:
    server.post("/rest/v1/rpc/get_task").mock(side_effect=failure)
    with pytest.raises(errors.QueueUnavailable, match="does not answer"):
        rpc.get(TASK_ID)


@pytest.mark.parametrize("body", ["<html>Bad gateway</html>", "", "[]", "null"])
def test_a_failure_without_words_is_unavailable(rpc: SupabaseQueue, server: respx.MockRouter, body: str) -> None:
    server.post("/rest/v1/rpc/get_task").respond(502, text=body)
    with pytest.raises(errors.QueueUnavailable, match="502"):
        rpc.get(TASK_ID)


@pytest.mark.parametrize(
    ("status", "code", "kind", "hint"),
    [
        (401, "PGRST301", errors.NotAllowed, "key"),
        (401, "", errors.NotAllowed, "key"),
        (403, "42501", errors.NotAllowed, "key"),
        (400, "22P02", errors.InvalidTask, "arguments"),
        (400, "22003", errors.InvalidTask, "arguments"),
        (404, "PGRST202", errors.QueueUnavailable, "migrations"),
        (400, "P0001", errors.QueueError, "migrations"),
    ],
)
def test_other_refusals_say_what_to_do(
    rpc: SupabaseQueue, server: respx.MockRouter, status: int, code: str, kind: type[errors.QueueError], hint: str
) -> None:
    server.post("/rest/v1/rpc/get_task").respond(status, json=refusal(code))
    with pytest.raises(kind) as refused:
        rpc.get(TASK_ID)
    assert hint in refused.value.hint


def test_a_batch_that_is_too_large_for_the_edge_function_says_so(edge: SupabaseQueue, server: respx.MockRouter) -> None:
    body = {"code": "too_large", "message": "The body has more than 1048576 bytes."}
    server.post("/functions/v1/create-task").respond(413, json=body)
    with pytest.raises(errors.InvalidTask, match="fewer tasks at once"):
        edge.enqueue(spec(project_id=fresh_id()))


def test_a_call_that_must_not_happen_twice_is_sent_once(
    rpc: SupabaseQueue, server: respx.MockRouter, pauses: list[float]
) -> None:
    server.post("/rest/v1/rpc/retry_task").respond(500, json=refusal("XX000"))
    with pytest.raises(errors.QueueUnavailable):
        rpc.retry(TASK_ID)
    assert pauses == []


def test_every_try_of_a_claim_carries_the_same_request(rpc: SupabaseQueue, server: respx.MockRouter) -> None:
    route = server.post("/rest/v1/rpc/claim_tasks")
    route.mock(side_effect=[httpx.Response(503), httpx.ReadError("cut"), httpx.Response(200, json=[])])
    rpc.claim("gpu-1")
    requests = {json.loads(call.request.content)["p_request_id"] for call in route.calls}
    assert len(route.calls) == 3
    assert len(requests) == 1
    rpc_again = json.loads(route.calls.last.request.content)
    assert rpc_again["p_request_id"] is not None


def test_every_verb_is_known_by_both_ways_and_is_repeatable_or_not() -> None:
    once = {"release_task", "retry_task", "rescue_tasks", "prune_tasks"}
    by_edge = {*supabase_edge._ROUTES, *supabase_edge._VERBS}
    assert by_edge == REPEATABLE | once
