from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest
import respx

from blocks.supabase.access import SupabaseAccess
from blocks.supabase.errors import SupabaseRefused, SupabaseUnavailable
from blocks.supabase.http import SupabaseClient
from blocks.supabase.wire import Patience
from tests.blocks.supabase_keys import PUBLISHABLE, SECRET, TOKEN, URL, user_jwt

PATH = "/functions/v1/claim-next-task"


class Clock:
    """Notes the pauses instead of making them."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(clock: Clock) -> Iterator[SupabaseClient]:
    client = SupabaseClient(SupabaseAccess(URL, SECRET), patience=Patience(sleep=clock.sleep))
    yield client
    client.close()


@pytest.fixture
def router() -> Iterator[respx.MockRouter]:
    with respx.mock(base_url=URL, assert_all_called=False) as router:
        yield router


@pytest.fixture
def server(router: respx.MockRouter) -> respx.Route:
    return router.post(PATH)


def test_an_answer_comes_with_status_body_and_headers(client: SupabaseClient, server: respx.Route) -> None:
    server.respond(200, json={"task_id": "a"}, headers={"x-request-id": "r1"})
    answer = client.post_json(PATH, {"limit": 1}, idempotent=True)
    assert (answer.status, answer.body, answer.headers["x-request-id"]) == (200, {"task_id": "a"}, "r1")


def test_an_empty_answer_has_no_body(client: SupabaseClient, server: respx.Route) -> None:
    server.respond(204)
    assert client.post_json(PATH, {}, idempotent=True).body is None


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 522, 544, 546])
def test_a_passing_failure_is_tried_again(client: SupabaseClient, server: respx.Route, status: int) -> None:
    server.side_effect = [httpx.Response(status), httpx.Response(200, json=1)]
    assert client.post_json(PATH, {}, idempotent=True).body == 1


@pytest.mark.parametrize("failure", [httpx.ConnectError("x"), httpx.ReadTimeout("x"), httpx.RemoteProtocolError("x")])
def test_a_broken_connection_is_tried_again(client: SupabaseClient, server: respx.Route, failure: Exception) -> None:
    server.side_effect = [failure, failure, httpx.Response(200, json=1)]
    assert client.post_json(PATH, {}, idempotent=True).body == 1


@pytest.mark.parametrize("failure", [httpx.Response(500), httpx.Response(503), httpx.ReadTimeout("x")])
def test_what_must_not_happen_twice_is_not_sent_twice(
    client: SupabaseClient, server: respx.Route, failure: Any
) -> None:
    server.side_effect = [failure, httpx.Response(200, json=1)]
    with pytest.raises(SupabaseUnavailable) as unavailable:
        client.post_json(PATH, {}, idempotent=False)
    assert unavailable.value.maybe_done
    assert server.call_count == 1


@pytest.mark.parametrize("failure", [httpx.Response(429), httpx.ConnectError("x"), httpx.ConnectTimeout("x")])
def test_what_was_surely_not_done_is_sent_again(client: SupabaseClient, server: respx.Route, failure: Any) -> None:
    server.side_effect = [failure, httpx.Response(200, json=1)]
    assert client.post_json(PATH, {}, idempotent=False).body == 1


def test_one_call_keeps_its_request_id_over_all_tries(client: SupabaseClient, server: respx.Route) -> None:
    server.side_effect = [httpx.Response(503), httpx.Response(200), httpx.Response(200)]
    client.post_json(PATH, {}, idempotent=True)
    client.post_json(PATH, {}, idempotent=True, request_id="mine")
    first, again, other = (call.request.headers["x-request-id"] for call in server.calls)
    assert first == again != other == "mine"


def test_pauses_grow_and_differ(client: SupabaseClient, server: respx.Route, clock: Clock) -> None:
    server.respond(503)
    with pytest.raises(SupabaseUnavailable):
        client.post_json(PATH, {}, idempotent=True)
    assert len(set(clock.pauses)) == len(clock.pauses) == 11
    assert all(pause <= min(0.25 * 2**n, 8) for n, pause in enumerate(clock.pauses))


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_the_server_says_when_to_come_back(
    client: SupabaseClient, server: respx.Route, clock: Clock, form: str
) -> None:
    value = "20" if form == "seconds" else format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    server.side_effect = [httpx.Response(429, headers={"retry-after": value}), httpx.Response(200)]
    client.post_json(PATH, {}, idempotent=True)
    assert 18 <= clock.pauses[0] <= 26


@pytest.mark.parametrize("odd", ["soon", "-5", "nan", "Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 99 Oct 2015 07:28:00 GMT"])
def test_an_odd_retry_after_does_no_harm(client: SupabaseClient, server: respx.Route, clock: Clock, odd: str) -> None:
    server.side_effect = [httpx.Response(429, headers={"retry-after": odd}), httpx.Response(200)]
    client.post_json(PATH, {}, idempotent=True)
    assert 0 <= clock.pauses[0] < 1


def test_a_wait_longer_than_the_call_may_take_is_not_begun(
    client: SupabaseClient, server: respx.Route, clock: Clock
) -> None:
    server.respond(429, headers={"retry-after": "86400"})
    with pytest.raises(SupabaseUnavailable) as unavailable:
        client.post_json(PATH, {}, idempotent=True)
    assert unavailable.value.retry_after == 60
    assert clock.pauses == []


def test_a_refusal_carries_what_the_server_said(client: SupabaseClient, server: respx.Route) -> None:
    said = {"code": "stale_claim", "message": "Not yours.", "hint": "Stop.", "details": {"task_id": "a"}}
    server.respond(409, json=said)
    with pytest.raises(SupabaseRefused) as refused:
        client.post_json(PATH, {}, idempotent=True, request_id="mine")
    error = refused.value
    assert (error.status, error.code, error.message, error.hint) == (409, "stale_claim", "Not yours.", "Stop.")
    assert (error.details, error.request_id) == ({"task_id": "a"}, "mine")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"msg": "bad_jwt", "error_code": "x"}', "bad_jwt"),
        ('{"error": "invalid_grant", "error_description": "Wrong."}', "Wrong."),
        ("plain words", "plain words"),
        ("", "HTTP 400"),
        ("[" * 100_000, "[[["),
    ],
)
def test_every_dialect_of_refusal_is_read(client: SupabaseClient, server: respx.Route, body: str, message: str) -> None:
    server.respond(400, text=body)
    with pytest.raises(SupabaseRefused) as refused:
        client.post_json(PATH, {}, idempotent=True)
    assert refused.value.message.startswith(message)


def test_the_status_that_storage_hides_in_its_body_is_found(client: SupabaseClient, server: respx.Route) -> None:
    hidden = {"statusCode": "429", "error": "too_many", "message": "slow down"}
    not_there = {"statusCode": "404", "error": "not_found", "message": "Object not found"}
    server.side_effect = [httpx.Response(400, json=hidden), httpx.Response(400, json=not_there)]
    with pytest.raises(SupabaseRefused) as refused:
        client.post_json(PATH, {}, idempotent=True)
    assert (refused.value.status, server.call_count) == (404, 2)


def test_a_redirect_is_not_followed_with_the_key(client: SupabaseClient, server: respx.Route) -> None:
    server.respond(308, headers={"location": "https://elsewhere.example/"})
    with pytest.raises(SupabaseRefused, match="redirect"):
        client.post_json(PATH, {}, idempotent=True)
    assert server.call_count == 1


@pytest.mark.parametrize("key", [SECRET, TOKEN, user_jwt(9e9)])
def test_no_key_stands_in_an_error_that_repeats_it(server: respx.Route, key: str) -> None:
    client = SupabaseClient(SupabaseAccess(URL, key, "refresh-secret", PUBLISHABLE))
    server.respond(422, json={"message": f"Invalid Bearer {key}", "hint": f"?token={key}&a refresh-secret"})
    with pytest.raises(SupabaseRefused) as refused:
        client.post_json(PATH, {}, idempotent=True)
    assert key not in str(refused.value) + repr(refused.value)
    assert "refresh-secret" not in str(refused.value)


def test_no_key_and_no_signature_is_logged(
    client: SupabaseClient, server: respx.Route, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.side_effect = [httpx.Response(503), httpx.Response(200)]
    client.request("POST", f"{PATH}?token=signature", idempotent=True)
    assert "supabase_retry" in caplog.text
    assert "signature" not in caplog.text
    assert SECRET not in caplog.text


def test_proxies_of_the_environment_get_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy, socket.create_server(("127.0.0.1", 0)) as nobody:
        monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        client = SupabaseClient(SupabaseAccess(url, SECRET), patience=Patience(total=0.1, read=0.1))
        with pytest.raises(SupabaseUnavailable):
            client.post_json(PATH, {}, idempotent=False)
        proxy.settimeout(0)
        with pytest.raises(BlockingIOError):
            proxy.accept()


def test_a_server_that_never_answers_ends_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        access = SupabaseAccess(f"http://127.0.0.1:{silent.getsockname()[1]}", SECRET)
        client = SupabaseClient(access, patience=Patience(total=0.3, read=0.1))
        with pytest.raises(SupabaseUnavailable, match="does not answer POST"):
            client.post_json(PATH, {}, idempotent=True)


def test_a_token_that_the_server_calls_expired_is_renewed_once(server: respx.Route, router: respx.MockRouter) -> None:
    router.post("/auth/v1/token").respond(json={"access_token": user_jwt(9.5e9), "refresh_token": "refresh-2"})
    server.respond(401, json={"message": "JWT expired"})
    with pytest.raises(SupabaseRefused):
        SupabaseClient(SupabaseAccess(URL, user_jwt(9e9), "refresh-1")).post_json(PATH, {}, idempotent=False)
    sent = [call.request.headers["authorization"] for call in server.calls]
    assert sent == [f"Bearer {user_jwt(9e9)}", f"Bearer {user_jwt(9.5e9)}"]
