"""Who may call what: each denial beside the same call of somebody who may."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jwt
import pytest

from tests.edge.callers import FUNCTIONS, Edge, World


def _held(world: World) -> dict[str, Any]:
    """A task of A, held by A's session."""
    return world.a.session.claim(world.a.session.enqueue(world.a.project))


def _queued(world: World) -> dict[str, Any]:
    return {"task_ids": [world.a.session.enqueue(world.a.project)]}


def _segment(world: World) -> dict[str, Any]:
    params = {"orchestrator_run_id": "run", "segment_index": 0}
    held = world.a.session.claim(world.a.session.enqueue(world.a.project, task_type="travel_segment", params=params))
    world.a.session.ok("complete-task", {"task_id": held["task_id"], "output_location": "https://example.com/0.mp4"})
    return {"run_id": "run"}


def _fence(held: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"task_id": held["task_id"], "claim_token": held["claim_token"], **more}


#: What A may do, and what somebody else gets for the very same call: he may even have stolen the claim token.
CALLS: dict[str, tuple[Callable[[World], dict[str, Any]], int]] = {
    "create-task": (lambda w: {"task_type": "single_image", "params": {}, "project_id": w.a.project}, 422),
    "claim-next-task": (_queued, 204),
    "complete-task": (lambda w: _fence(_held(w), output_location="https://example.com/film.mp4"), 404),
    "update-task-status": (lambda w: _fence(_held(w), status="In Progress", output_location="half"), 404),
    "get-predecessor-output": (lambda w: {"task_id": _held(w)["task_id"]}, 404),
    "get-completed-segments": (_segment, 200),
    "generate-upload-url": (lambda w: _fence(_held(w), filename="film.mp4", content_type="video/mp4"), 404),
    "task-counts": (lambda w: {"run_type": "gpu"} if _queued(w) else {}, 200),
    "heartbeat": (lambda w: _fence(_held(w), tick=1), 404),
    "queue": (lambda w: {"verb": "cancel", "task_id": _held(w)["task_id"]}, 404),
}
ALLOWED: dict[str, Callable[[World], Edge]] = {
    "A": lambda world: world.a.session,
    "A's token": lambda world: world.a.token,
    "a worker of the operator": lambda world: world.worker,
    "the secret key": lambda world: world.service,
    "the service_role key": lambda world: world.edge(world.supabase.service_role_key),
}


def test_every_function_is_in_the_matrix() -> None:
    assert set(CALLS) == set(FUNCTIONS)


@pytest.mark.parametrize("function", CALLS)
@pytest.mark.parametrize("who", ALLOWED)
def test_the_owner_his_token_and_the_operator_may(world: World, who: str, function: str) -> None:
    body, _ = CALLS[function]
    answer = ALLOWED[who](world).post(function, body(world))
    assert answer.status_code == 200, answer.text
    if isinstance(answer.json(), list):
        assert answer.json() != []


@pytest.mark.parametrize("function", CALLS)
@pytest.mark.parametrize("who", ["B", "B's token"])
def test_to_another_tenant_it_does_not_exist(world: World, who: str, function: str) -> None:
    make, status = CALLS[function]
    body = make(world)
    before = world.database.run("select * from public.tasks")
    answer = (world.b.session if who == "B" else world.b.token).post(function, body)
    assert answer.status_code == status, answer.text
    assert world.database.run("select * from public.tasks") == before
    if function == "get-completed-segments":
        assert answer.json() == []
    if function == "task-counts":
        assert answer.json()["ready"] == 0


@pytest.mark.parametrize("function", FUNCTIONS)
def test_whoever_is_nobody_stays_outside(world: World, function: str) -> None:
    make, _ = CALLS[function]
    body = make(world)
    before = world.database.run("select * from public.tasks")
    for name, (edge, status) in world.nobodies().items():
        answer = edge.post(function, body)
        assert (name, answer.status_code) == (name, status)
        assert answer.json()["code"] in ("unauthorized", "unknown_token")
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert world.database.run("select * from public.tasks") == before


@pytest.mark.parametrize("header", ["Bearer", "Basic abc", "Bearer a b", "nothing"])
def test_a_malformed_header_is_401(world: World, header: str) -> None:
    answer = world.edge(None).post("task-counts", {}, authorization=header)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_session_by_the_shared_secret_needs_auth_to_vouch_for_it(world: World) -> None:
    """The functions are not told the secret: whoever invents one is refused, whatever he says he is."""
    claims = {"sub": world.a.user, "aud": "authenticated", "role": "authenticated", "exp": 4102444800}
    assert world.edge(jwt.encode(claims, "y" * 40, "HS256")).post("task-counts").status_code == 401


def test_the_secret_key_may_stand_in_the_apikey_header(world: World) -> None:
    key = world.supabase.secret_key
    assert world.edge(None).post("task-counts", {}, apikey=key).status_code == 200
    assert world.edge(None).post("task-counts", {}, apikey=world.supabase.publishable_key).status_code == 401


def test_a_session_is_not_lifted_by_an_apikey_beside_it(world: World) -> None:
    world.b.session.enqueue(world.b.project)
    counts = world.a.session.post("task-counts", {}, apikey=world.supabase.secret_key).json()
    assert counts["ready"] == 0


@pytest.mark.parametrize(
    ("scope", "function", "body"),
    [
        ("work", "create-task", {"task_type": "single_image"}),
        ("work", "queue", {"verb": "cancel", "task_id": "x"}),
        ("work", "queue", {"verb": "retry", "task_id": "x"}),
        ("work", "update-task-status", {"task_id": "x", "status": "Cancelled"}),
        ("enqueue", "claim-next-task", {}),
        ("enqueue", "complete-task", {"task_id": "x", "output_location": "y"}),
        ("enqueue", "heartbeat", {"task_id": "x"}),
        ("enqueue", "generate-upload-url", {"task_id": "x", "filename": "y"}),
        ("enqueue", "update-task-status", {"task_id": "x", "status": "Failed"}),
        ("enqueue", "queue", {"verb": "start", "task_id": "x", "attempt": 1, "worker_id": "w"}),
        ("enqueue", "queue", {"verb": "note_worker", "worker_id": "w", "metadata": {}}),
    ],
)
def test_a_token_may_do_what_its_scopes_say(world: World, scope: str, function: str, body: dict[str, Any]) -> None:
    answer = world.token(world.a.user, p_scopes=[scope]).post(function, body)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    other = world.token(world.a.user).post(function, body)
    assert other.status_code != 403


@pytest.mark.parametrize("body", [{"verb": "rescue"}, {"verb": "prune", "older_than_seconds": 0}])
def test_rescue_and_prune_are_the_services(world: World, body: dict[str, Any]) -> None:
    for edge in (world.a.session, world.a.token, world.worker):
        assert edge.post("queue", body).status_code == 403
    assert world.service.ok("queue", body) == []


def test_a_revoked_token_is_out_at_once(world: World) -> None:
    text, token_id = world.token_text(world.a.user)
    edge = world.edge(text)
    assert edge.post("task-counts").status_code == 200
    world.rpc("revoke_token", {"p_id": token_id})
    assert edge.post("task-counts").status_code == 403


def test_an_address_that_keeps_guessing_has_to_wait(world: World) -> None:
    guesser = world.edge(f"lt_{'b' * 43}")
    answers = [guesser.post("queue", {"verb": "pulse"}) for _ in range(60)]
    assert answers[0].status_code == 403
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["retry-after"]) >= 1


@pytest.mark.parametrize("function", [*FUNCTIONS, *(name.replace("-", "_") for name in FUNCTIONS if "-" in name)])
def test_both_spellings_answer_post_and_a_browsers_question_and_nothing_else(world: World, function: str) -> None:
    assert world.a.session.post(function, "").status_code != 404
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        answer = world.a.session.request(method, function)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST, OPTIONS")
    asked = world.edge(None).request("OPTIONS", function, origin="https://app.example")
    assert asked.status_code == 204
    assert "authorization" in asked.headers["access-control-allow-headers"]
