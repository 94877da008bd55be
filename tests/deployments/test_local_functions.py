"""Edge functions in the real Deno."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from deployments.local.functions.proxy import BODY_LIMIT
from deployments.local.stack import LocalSupabase
from tests.conftest import private_home
from tests.supabase_stack import SMALL_PROJECT
from tests.supabase_stack import small_supabase as small_supabase

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("supabase")]


@pytest.fixture
def call(small_supabase: LocalSupabase) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{small_supabase.url}/functions/v1", timeout=30) as client:
        yield client


def test_a_function_gets_the_request_as_it_was_sent(call: httpx.Client) -> None:
    answer = call.put("/hello/world?q=1%202", content="hä".encode(), headers={"apikey": "mine"}).json()
    assert {name: answer[name] for name in ("greeting", "path", "length", "method", "apikey")} == {
        "greeting": "hello",
        "path": "/hello/world?q=1%202",
        "length": 2,
        "method": "PUT",
        "apikey": "mine",
    }


def test_a_function_knows_url_and_keys_and_nothing_else_of_supabase(
    call: httpx.Client, small_supabase: LocalSupabase
) -> None:
    answer = call.post("/hello").json()
    assert answer["secret"] == small_supabase.secret_key
    assert answer["names"] == [
        "SUPABASE_ANON_KEY",
        "SUPABASE_PUBLISHABLE_KEYS",
        "SUPABASE_SECRET_KEYS",
        "SUPABASE_SERVICE_ROLE_KEY",
        "SUPABASE_URL",
    ]


def test_a_function_may_not_write_nor_read_elsewhere_nor_run_programs_nor_leave_the_machine(call: httpx.Client) -> None:
    answer = call.post("/hello").json()
    assert [answer[name] for name in ("write", "read", "run", "net")] == ["NotCapable"] * 4


@pytest.mark.parametrize("name", ["no-entry", "_shared", "absent", "hello%2F..", "constructor"])
def test_only_folders_with_an_index_are_served(call: httpx.Client, name: str) -> None:
    assert call.post(f"/{name}").status_code == 404


def test_an_empty_answer_stays_empty(call: httpx.Client) -> None:
    answer = call.post("/hello", content=b"empty")
    assert (answer.status_code, answer.content) == (204, b"")


def test_an_exception_is_an_answer_and_the_function_lives_on(call: httpx.Client) -> None:
    crashed = call.post("/hello", content=b"crash")
    assert (crashed.status_code, crashed.json()["code"]) == (500, "WORKER_ERROR")
    assert call.post("/hello").status_code == 200


def test_a_function_that_dies_later_is_started_again(call: httpx.Client) -> None:
    with contextlib.suppress(httpx.RemoteProtocolError):  # it may take its answer along
        call.post("/hello", content=b"late crash")
    statuses = []
    for _ in range(20):
        with contextlib.suppress(httpx.RemoteProtocolError):
            statuses.append(call.post("/hello").status_code)
    assert statuses[-1] == 200


def test_a_body_over_the_limit_is_refused(call: httpx.Client) -> None:
    too_long = call.post("/hello", content=b"x" * (BODY_LIMIT + 1))
    streamed = call.post("/hello", content=iter([b"x" * 10**6] * (BODY_LIMIT // 10**6 + 1)))
    assert (too_long.status_code, streamed.status_code) == (413, 413)


def test_a_function_is_served_as_it_is_after_a_change() -> None:
    with private_home() as home:
        project = home / "project"
        shutil.copytree(SMALL_PROJECT, project)
        entry = project / "functions" / "changing" / "index.ts"
        entry.parent.mkdir()
        write_answer(entry, "before")
        with LocalSupabase(home, project=project, function_env={"WORD": "given"}) as stack:
            bearer = {"authorization": f"Bearer {stack.anon_key}"}
            url = f"{stack.url}/functions/v1/changing"
            assert httpx.post(url).status_code == 401  # config.toml does not say verify_jwt = false
            assert httpx.post(url, headers=bearer).text == "before given"
            write_answer(entry, "after")
            answers = (httpx.post(url, headers=bearer).text for _ in range(500))
            assert next(answer for answer in answers if answer != "before given") == "after given"


def write_answer(entry: Path, word: str) -> None:
    entry.write_text(f'Deno.serve(() => new Response("{word} " + Deno.env.get("WORD")));\n')
