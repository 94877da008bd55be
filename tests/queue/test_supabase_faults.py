"""What only a network has: answers that get lost, functions that are down, limits, sessions that end."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest

from blocks.queue.errors import NotAllowed, QueueUnavailable
from blocks.queue.model import LOCAL_PROJECT, Status
from blocks.queue.supabase import SupabaseQueue
from blocks.queue.supabase_edge import PATIENCE, EdgeTransport
from blocks.queue.supabase_fallback import LEAVE_ALONE, FallbackTransport
from blocks.supabase.access import SupabaseAccess
from deployments.local.stack import LocalSupabase
from tests.queue.acts import enqueue, fresh_id, hold, spec
from tests.queue.callers import WAYS, User, token_of
from tests.queue.gateway import Gateway
from tests.queue.sql import TestDatabase

pytestmark = pytest.mark.stack


@pytest.fixture
def gateway(supabase: LocalSupabase) -> Iterator[Gateway]:
    with Gateway(supabase.url) as gateway:
        yield gateway


@pytest.fixture
def access(gateway: Gateway, supabase: LocalSupabase, database: TestDatabase) -> SupabaseAccess:
    return SupabaseAccess(gateway.url, supabase.secret_key)


class Later:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def later() -> Later:
    return Later()


@pytest.fixture
def queue(access: SupabaseAccess, later: Later) -> Iterator[SupabaseQueue]:
    """By both ways, edge functions first."""
    queue = SupabaseQueue(FallbackTransport(access, clock=later), project_id=LOCAL_PROJECT)
    yield queue
    queue.close()


@pytest.fixture(params=WAYS)
def one_way(request: pytest.FixtureRequest, access: SupabaseAccess) -> Iterator[SupabaseQueue]:
    queue = SupabaseQueue(WAYS[request.param](access), project_id=LOCAL_PROJECT)
    yield queue
    queue.close()


def ways_gone(gateway: Gateway) -> list[str]:
    """Which way each call went, since the last look."""
    gone = ["edge" if "/functions/" in path else "rpc" for path in gateway.calls]
    gateway.calls.clear()
    return gone


# Lost answers


def test_a_claim_whose_answer_was_lost_is_answered_with_the_same_task(one_way: SupabaseQueue, gateway: Gateway) -> None:
    first = enqueue(one_way)
    enqueue(one_way)
    gateway.lose_answer("claim")
    (claim,) = one_way.claim("gpu-1")
    assert (claim.task.id, claim.attempt) == (first, 1)
    assert (one_way.counts().in_progress, one_way.counts().ready) == (1, 1)
    assert one_way.complete(first, claim.token).task.status is Status.COMPLETE


def test_a_claim_whose_answer_was_lost_is_the_same_claim_by_the_other_way(
    queue: SupabaseQueue, gateway: Gateway
) -> None:
    first = enqueue(queue)
    enqueue(queue)
    ways_gone(gateway)
    gateway.lose_answer("/functions/v1/claim-next-task")
    (claim,) = queue.claim("gpu-1")
    assert ways_gone(gateway) == ["edge", "rpc"]
    assert (claim.task.id, claim.attempt) == (first, 1)
    assert (queue.counts().in_progress, queue.counts().ready) == (1, 1)
    assert queue.complete(first, claim.token).task.status is Status.COMPLETE


@pytest.mark.parametrize("caller", ["session", "token"])
def test_a_users_claim_whose_answer_was_lost_is_no_phantom(
    gateway: Gateway, supabase: LocalSupabase, database: TestDatabase, caller: str
) -> None:
    user = User(supabase, database)
    access = user.session(gateway.url) if caller == "session" else user.token(gateway.url)
    transport = FallbackTransport(access) if caller == "session" else EdgeTransport(access)
    queue = SupabaseQueue(transport, project_id=user.project)
    task_id = enqueue(queue)
    gateway.lose_answer("claim")
    (claim,) = queue.claim("gpu-1")
    assert (claim.task.id, claim.attempt, queue.counts().in_progress) == (task_id, 1, 1)


def test_a_start_whose_answer_was_lost_is_answered_with_the_same_claim(
    one_way: SupabaseQueue, gateway: Gateway
) -> None:
    task_id = enqueue(one_way)
    (claim,) = one_way.claim("control-1")
    gateway.lose_answer("start_task")
    gateway.lose_answer("functions/v1/queue")
    started = one_way.start(task_id, claim.attempt, "gpu-1")
    assert one_way.complete(task_id, started.token).task.status is Status.COMPLETE


def test_tasks_whose_enqueue_was_not_answered_are_stored_once(one_way: SupabaseQueue, gateway: Gateway) -> None:
    gateway.lose_answer("enqueue_tasks")
    gateway.lose_answer("create-task")
    answers = one_way.enqueue(spec(), spec())
    assert {answer.task.id for answer in answers} == {task.id for task in one_way.list()}
    assert len(answers) == 2


@pytest.mark.parametrize("verb", ["renew", "complete", "fail", "cancel"])
def test_a_holders_word_that_was_heard_twice_counts_once(queue: SupabaseQueue, gateway: Gateway, verb: str) -> None:
    task_id = enqueue(queue)
    token = hold(queue, task_id).token
    act = {
        "renew": lambda: queue.renew(task_id, token, tick=3),
        "complete": lambda: queue.complete(task_id, token, output_location="a.mp4"),
        "fail": lambda: queue.fail(task_id, token, "broken", retry=True),
        "cancel": lambda: queue.cancel(task_id),
    }[verb]
    ways_gone(gateway)
    gateway.lose_answer("/functions/")
    act()
    assert ways_gone(gateway) == ["edge", "rpc"]
    assert queue.get(task_id).attempts == 1


def test_what_must_not_be_said_twice_is_said_once_and_reported(queue: SupabaseQueue, gateway: Gateway) -> None:
    task_id = enqueue(queue)
    (claim,) = queue.claim("gpu-1")
    ways_gone(gateway)
    gateway.lose_answer("/functions/")
    with pytest.raises(QueueUnavailable):
        queue.release(task_id, claim.token)
    assert ways_gone(gateway) == ["edge"]
    assert queue.get(task_id).status is Status.QUEUED


# Edge functions that are down


def down(gateway: Gateway, how: str) -> None:
    match how:
        case "cut":
            gateway.cut("/functions/", times=1000)
        case "503" | "500" | "546":
            gateway.reply("/functions/", int(how), times=1000)
        case "not deployed":
            body = b'{"code":"NOT_FOUND","message":"Requested function was not found"}'
            gateway.reply("/functions/", 404, times=1000, body=body)
        case "a page":
            gateway.reply("/functions/", 200, times=1000, body=b"<html>Welcome</html>")


DOWN = ["cut", "500", "503", "546", "not deployed", "a page"]


@pytest.mark.parametrize("how", DOWN)
def test_without_edge_functions_the_queue_is_called_directly(queue: SupabaseQueue, gateway: Gateway, how: str) -> None:
    down(gateway, how)
    task_id = enqueue(queue)
    (claim,) = queue.claim("gpu-1")
    assert queue.complete(task_id, claim.token, output_location="a.mp4").task.status is Status.COMPLETE


def test_edge_functions_that_were_down_are_left_alone_for_a_while(
    queue: SupabaseQueue, gateway: Gateway, later: Later
) -> None:
    down(gateway, "503")
    for _ in range(3):
        queue.counts()
    assert ways_gone(gateway) == ["edge", "rpc", "rpc", "rpc"]
    gateway.heal()
    later.now = LEAVE_ALONE
    queue.counts()
    assert ways_gone(gateway) == ["edge"]


def test_what_has_no_edge_function_of_its_own_goes_directly(queue: SupabaseQueue, gateway: Gateway) -> None:
    task_id = enqueue(queue)
    ways_gone(gateway)
    queue.get(task_id)
    queue.list()
    queue.changed()
    assert ways_gone(gateway) == ["rpc"] * 3


def test_a_refusal_of_an_edge_function_is_final(queue: SupabaseQueue, gateway: Gateway) -> None:
    ways_gone(gateway)
    gateway.reply("/functions/", 403, body=b'{"code":"forbidden","message":"These are not your tasks."}')
    with pytest.raises(NotAllowed):
        queue.counts()
    assert ways_gone(gateway) == ["edge"]


def test_a_batch_that_is_too_large_for_the_edge_function_goes_directly(queue: SupabaseQueue, gateway: Gateway) -> None:
    assert len(queue.enqueue(*(spec(params={"prompt": "x" * 200_000}) for _ in range(6)))) == 6
    assert ways_gone(gateway) == ["edge", "rpc"]
    queue.counts()
    assert ways_gone(gateway) == ["edge"]


@pytest.mark.parametrize("how", DOWN)
def test_a_token_has_no_other_way_and_the_error_says_so(gateway: Gateway, database: TestDatabase, how: str) -> None:
    down(gateway, how)
    access = SupabaseAccess(gateway.url, token_of(database, None))
    queue = SupabaseQueue(EdgeTransport(access, patience=replace(PATIENCE, total=0.1)))
    with pytest.raises(QueueUnavailable, match=r"access token.*edge functions only"):
        queue.counts()
    assert "rpc" not in ways_gone(gateway)


def test_when_nothing_answers_the_error_says_what_to_look_at(supabase: LocalSupabase) -> None:
    with Gateway(supabase.url) as gateway:
        gone = gateway.url
    queue = SupabaseQueue(EdgeTransport(SupabaseAccess(gone, supabase.secret_key), patience=replace(PATIENCE, total=0)))
    with pytest.raises(QueueUnavailable, match=r"does not answer.*Check the url and the network"):
        queue.counts()


# Limits


@pytest.mark.parametrize("both", [False, True], ids=["one way", "both ways"])
def test_a_server_that_asks_for_a_pause_gets_it(
    access: SupabaseAccess, gateway: Gateway, both: bool, database: TestDatabase
) -> None:
    pauses: list[float] = []
    edge = EdgeTransport(access, patience=replace(PATIENCE, sleep=pauses.append, only_busy=both))
    queue = SupabaseQueue(FallbackTransport(access, edge=edge) if both else edge)
    gateway.reply("/functions/", 429, body=b'{"code":"too_many_requests"}', retry_after="7")
    assert queue.counts().ready == 0
    assert ways_gone(gateway) == ["edge", "edge"]
    assert len(pauses) == 1
    assert pauses[0] >= 7


def test_a_limit_is_not_passed_by_on_the_other_way(access: SupabaseAccess, gateway: Gateway) -> None:
    edge = EdgeTransport(access, patience=replace(PATIENCE, sleep=lambda seconds: None, only_busy=True))
    queue = SupabaseQueue(FallbackTransport(access, edge=edge))
    gateway.reply("/functions/", 429, times=1000, retry_after="50")
    with pytest.raises(QueueUnavailable):
        queue.counts()
    assert "rpc" not in ways_gone(gateway)


# Sessions


@pytest.fixture
def signed_up(supabase: LocalSupabase, database: TestDatabase) -> tuple[User, str]:
    """A user with a password, and the refresh token of a session."""
    name = f"{fresh_id()}@example.org"
    user = User(supabase, database, supabase.create_user(name, "correct horse battery"))
    answer = httpx.post(
        f"{supabase.url}/auth/v1/token?grant_type=password",
        json={"email": name, "password": "correct horse battery"},
        headers={"apikey": supabase.publishable_key},
        trust_env=False,
    )
    return user, answer.json()["refresh_token"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("how", ["by our clock", "by the server's"])
def test_a_session_that_has_run_out_is_renewed(
    supabase: LocalSupabase, signed_up: tuple[User, str], way: str, how: str
) -> None:
    user, refresh_token = signed_up
    expired = user.session(exp=1_000_000_000).key
    clock = (lambda: 2_000_000_000.0) if how == "by our clock" else (lambda: 0.0)
    access = SupabaseAccess(supabase.url, expired, refresh_token, supabase.publishable_key, clock=clock)
    queue = SupabaseQueue(WAYS[way](access), project_id=user.project)
    assert queue.get(enqueue(queue)).user_id == user.id
    assert access.key != expired


@pytest.mark.parametrize("way", WAYS)
def test_a_session_that_is_over_is_refused_with_what_to_do(
    supabase: LocalSupabase, database: TestDatabase, way: str
) -> None:
    queue = SupabaseQueue(WAYS[way](User(supabase, database).session(exp=1_000_000_000)))
    with pytest.raises(NotAllowed, match=r"expired.*Sign in again"):
        queue.counts()


@pytest.mark.parametrize("way", WAYS)
def test_a_key_of_another_project_is_refused_without_repeating_it(
    supabase: LocalSupabase, database: TestDatabase, way: str
) -> None:
    key = "sb_secret_" + "x" * 31
    queue = SupabaseQueue(WAYS[way](SupabaseAccess(supabase.url, key)))
    with pytest.raises(NotAllowed) as refused:
        queue.counts()
    assert key not in str(refused.value)


def test_no_key_stands_in_a_log(queue: SupabaseQueue, access: SupabaseAccess, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        enqueue(queue)
        queue.list()
    assert access.key not in caplog.text
