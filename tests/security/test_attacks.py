"""What B, who has an account and nothing else, does to get at A's rows, to learn of them, or to be in the way."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from blocks.queue import wire
from tests.security.calls import CALLS, filled
from tests.security.crossing import parameters
from tests.security.family import acting, call, claim, enqueue, tenant
from tests.security.world import World

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("supabase")]

_TASK = {"task_type": "analysis", "params": {}}
#: Calls that name a row of A's.
_NAMING = [
    function for function, arguments in CALLS.items() if "_id" in json.dumps(arguments) and "{" in str(arguments)
]


def _enqueued(world: World, caller: str, text: str, way: str) -> Any:
    """A task as JSON text, by function or by insert: `{"…": …}` may say what Python cannot."""
    path, body = ("rpc/enqueue_tasks", f'{{"p_tasks": [{text}]}}') if way == "function" else ("tasks", text)
    headers = world.headers(caller) | {"content-type": "application/json", "prefer": "return=representation"}
    return world.http.post(f"/rest/v1/{path}", content=body, headers=headers)


# What B learns -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", _NAMING)
def test_not_yours_and_no_such_thing_are_one_answer(world: World, function: str) -> None:
    answers = []
    for names in (world.names, {name: str(uuid4()) for name in world.names}):
        answer = world.call("B", function, filled(CALLS[function], names))
        text = answer.text
        for name, value in names.items():
            text = text.replace(value, f"{{{name}}}")
        answers.append((answer.status_code, text))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("way", ["function", "insert"])
@pytest.mark.parametrize("field", ["project_id", "parent_id", "dependant_on", "depends_on", "brief_id"])
@pytest.mark.parametrize("spelling", ["{0}", "{0:upper}", "{{{0}}}", "{0:bare}"])
def test_a_link_to_a_row_of_a_is_a_link_to_nothing(world: World, field: str, spelling: str, way: str) -> None:
    ids = {"project_id": world.names["project"], "brief_id": world.names["brief"]}
    before, answers = world.state(), []
    for target in (ids.get(field, world.names["ready"]), str(uuid4())):
        spelled = spelling.format(_Spelled(target))
        body = _TASK | {"project_id": world.b_project, field: [spelled] if field == "depends_on" else spelled}
        answer = _enqueued(world, "B", json.dumps(body), way)
        answers.append((answer.status_code, answer.text.lower().replace(spelled.lower(), "id").replace(target, "id")))
    assert answers[0] == answers[1]
    assert json.loads(answers[0][1])["code"] in ("lt001", "lt003")
    assert world.state() == before


class _Spelled:
    def __init__(self, text: str) -> None:
        self._text = text

    def __format__(self, way: str) -> str:
        return {"upper": self._text.upper(), "bare": self._text.replace("-", "")}.get(way, self._text)


def test_the_same_link_of_a_is_one(world: World) -> None:
    for field, name in [("parent_id", "ready"), ("dependant_on", "ready"), ("brief_id", "brief")]:
        body = _TASK | {"project_id": world.names["project"], field: world.names[name]}
        assert _enqueued(world, "A", json.dumps(body), "function").status_code == 200, field
    world.restore()


@pytest.mark.parametrize(
    "query",
    [
        "tasks?or=(id.eq.{ready},user_id.neq.{b})",
        "tasks?user_id=eq.{a}",
        "tasks?not.and=(user_id.eq.{b})",
        "tasks?params->>orchestrator_run_id=eq.run",
        "tasks?id=in.({ready},{held})",
        "jobs?id=eq.{ready}",
        "briefs?id=eq.{brief}",
        "rpc/list_tasks?p_project_id={project}",
        "rpc/list_tasks?p_parent_id={held}",
        "rpc/task_children?p_parent_id={held}",
    ],
)
def test_no_way_to_ask_shows_or_counts_a_row_of_a(world: World, query: str) -> None:
    address = f"/rest/v1/{query.format(**world.names)}"
    for prefer in ("count=exact", "count=estimated"):
        answer = world.http.get(address, headers=world.headers("B") | {"prefer": prefer})
        assert answer.json() == []
        assert answer.headers.get("content-range", "*/0") in ("*/0", "*/*")
    asked_by_a = world.http.get(address.replace(f"neq.{world.b}", f"eq.{world.a}"), headers=world.headers("A"))
    assert asked_by_a.json() != []


def test_an_id_of_a_cannot_be_taken_over(world: World) -> None:
    before = world.state()
    body = {"id": world.names["ready"], **_TASK, "project_id": world.b_project}
    assert _enqueued(world, "B", json.dumps(body), "function").json()["code"] == "LT005"
    for resolution in ("ignore-duplicates", "merge-duplicates"):
        for table, row in [
            ("tasks", body),
            ("projects", {"id": world.names["project"], "name": "mine"}),
            ("briefs", {"id": world.names["brief"], "project_id": world.b_project, "title": "mine"}),
        ]:
            headers = world.headers("B") | {"prefer": f"return=representation,resolution={resolution}"}
            answer = world.http.post(f"/rest/v1/{table}", json=row, headers=headers)
            assert answer.is_error or answer.json() == []
    assert world.state() == before


def test_a_conflict_does_not_tell_whether_the_bodies_agree(world: World) -> None:
    """Who guesses A's id and body must not learn that he guessed right."""
    mine = enqueue(world.db, world.b_project)
    for body in ({}, {"a": 1}):
        spec = {"id": world.names["ready"], "task_type": "analysis", "params": body, "project_id": world.b_project}
        assert world.call("B", "enqueue_tasks", {"p_tasks": [spec]}).json()["message"].endswith("another body.")
    spec = {"id": mine, "task_type": "analysis", "params": {}, "project_id": world.b_project}
    assert world.call("B", "enqueue_tasks", {"p_tasks": [spec]}).json()[0]["created"] is False


@pytest.mark.parametrize("schema", ["private", "auth", "storage", "pg_catalog", "information_schema"])
def test_no_other_schema_is_reached_by_its_name(world: World, schema: str) -> None:
    for caller in ("B", "the secret key"):
        headers = world.headers(caller) | {"accept-profile": schema}
        assert world.http.get("/rest/v1/queue", headers=headers).status_code == 406


@pytest.mark.parametrize("function", ["pg_sleep", "pg_advisory_lock", "set_config", "lock_owner", "acting_user"])
def test_no_other_function_is_reached_by_its_name(world: World, function: str) -> None:
    for body in ({}, {"seconds": 1}, {"p_user_id": world.b}):
        assert world.call("B", function, body).status_code == 404


# Whom B pretends to be -----------------------------------------------------------------------------------------------


def test_nobody_acts_for_another_by_saying_so(world: World) -> None:
    before = world.state()
    tried = []
    for function, arguments in CALLS.items():
        if "p_user_id" in parameters(world.db, function):
            tried.append(function)
            for somebody in (world.a, str(uuid4())):
                asked = filled(arguments, world.names) | {"p_user_id": somebody}
                assert world.call("B", function, asked).json()["code"] == "LT009", function
    assert len(tried) > 15
    assert world.state() == before


@pytest.mark.parametrize("function", ["complete_task", "fail_task", "release_task", "renew_task", "upload_target"])
def test_a_user_cannot_pass_for_the_holder_that_the_service_is(world: World, function: str) -> None:
    before = world.state()
    for holder in ("service", f"user:{world.a}", "token:x", "", None):
        asked = {"p_task_id": world.names["lent"], "p_holder": holder}
        assert world.call("A", function, asked).json()["code"] == "LT006"
    assert world.state() == before
    assert world.call("the secret key", function, asked | {"p_holder": None}).status_code == 200
    world.restore()


@pytest.mark.parametrize("role", ["postgres", "supabase_admin", "authenticator", "none", 'anon"; reset role; --', ""])
def test_a_signed_token_with_an_odd_role_gets_no_further(world: World, role: str) -> None:
    token = world.supabase.sign_user_jwt(world.a, role=role)
    headers = {"apikey": world.supabase.publishable_key, "authorization": f"Bearer {token}"}
    assert world.http.post("/rest/v1/rpc/list_tasks", json={}, headers=headers).status_code in (401, 403)


def test_a_request_id_of_a_is_another_request_of_b(world: World) -> None:
    asked = {"p_worker_id": "w", "p_request_id": "r"}
    assert len(world.call("A", "claim_tasks", asked).json()) == 1
    assert world.call("B", "claim_tasks", asked).json() == []
    world.restore()


def test_a_run_by_the_same_name_puts_nothing_into_the_film_of_a(world: World) -> None:
    """To the service a run id is a text that two users may have said; whose run is meant has to be known."""
    run = {"orchestrator_run_id": "run", "segment_index": 0}
    evil = enqueue(world.db, world.b_project, kind="travel_segment", params=run)
    world.db.execute("select public.complete_task(%s, %s, 'evil.mp4')", [evil, claim(world.db, evil)])
    asked = {"p_run_id": "run"}
    for function in ("completed_segments", "func_get_completed_generation_segments_for_stitch"):
        answer = world.call("the secret key", function, asked)
        assert (answer.status_code, answer.json()["code"]) == (400, "LT001")
    found = world.call("the secret key", "completed_segments", asked | {"p_project_id": world.names["project"]}).json()
    assert [segment["task_id"] for segment in found] == [world.names["segment"]]
    world.restore()


def test_the_id_of_an_orchestrator_names_its_owners_run(world: World) -> None:
    run = {"orchestrator_run_id": world.names["held"], "segment_index": 0}
    evil = enqueue(world.db, world.b_project, kind="travel_segment", params=run)
    world.db.execute("select public.complete_task(%s, %s, 'evil.mp4')", [evil, claim(world.db, evil)])
    asked = {"p_run_id": world.names["held"]}
    assert world.call("the secret key", "completed_segments", asked).json() == []
    assert len(world.call("B", "completed_segments", asked).json()) == 1
    world.restore()


def test_a_project_that_is_handed_over_takes_its_place_in_the_queue_with_it(world: World) -> None:
    with psycopg.connect(world.supabase.admin_database_url) as db:
        (giver, project), (taker, _) = tenant(db), tenant(db)
        task = enqueue(db, project)
        db.execute("update public.projects set user_id = %s where id = %s", [taker, project])
        asked = {"p_worker_id": "w"}
        with acting(db, giver):
            assert call(db, "claim_tasks", asked) == []
        with acting(db, taker):
            assert [one["task"]["id"] for one in call(db, "claim_tasks", asked)] == [task]
        db.rollback()


# Being in everybody's way --------------------------------------------------------------------------------------------

_NESTED = "[" * 1200 + "]" * 1200
#: Fields that some reader of the operator's could not take in: one such row would hide everybody's.
_ODD = {
    "a moment that never comes": '"scheduled_at": "infinity"',
    "a moment before all": '"scheduled_at": "-infinity"',
    "a year of five digits": '"scheduled_at": "12000-01-01T00:00:00Z"',
    "a year of five digits in UTC": '"scheduled_at": "9999-12-31T23:59:59-12:00"',
    "a year before the first": '"scheduled_at": "0001-01-01T00:00:00+12:00"',
    "a date BC": '"scheduled_at": "0044-03-15 00:00:00+00 BC"',
    "a number of 5000 digits": '"params": {"a": 1e5000}',
    "a negative one": '"params": {"a": [-1e5000]}',
    "one with a fraction": f'"params": {{"a": {"1" * 5000}.5}}',
    "deep params": f'"params": {{"a": {_NESTED}}}',
    "half a character": '"params": {"a": "\\ud800"}',
    "a null character": '"correlation_id": "\\u0000"',
    "a table of dependencies": '"depends_on": [["{0}"]]',
    "a wide table of dependencies": '"depends_on": [["{0}", "{0}"]]',
    "dependencies that count from nought": '"depends_on": "[0:0]={{{0}}}"',
    "a dependency that is null": '"depends_on": [null]',
    "no params": '"params": null',
    "a type of control characters": '"task_type": "\\u001b[2J"',
}


@pytest.mark.parametrize("way", ["function", "insert"])
@pytest.mark.parametrize("odd", _ODD)
def test_no_row_of_b_is_one_that_the_service_cannot_read(world: World, odd: str, way: str) -> None:
    first = enqueue(world.db, world.b_project)
    text = _ODD[odd].replace("{{{0}}}", f"{{{first}}}").replace("{0}", first)
    common = {"project_id": world.b_project, **_TASK}
    named = text.split('"')[1]
    rest = json.dumps({name: value for name, value in common.items() if name != named})
    _enqueued(world, "B", f"{rest[:-1]}, {text}}}", way)
    readable = wire.tasks(json.loads(world.call("the secret key", "list_tasks", {}).text))
    assert first in [task.id for task in readable]
    assert all(isinstance(one, str) for task in readable for one in task.depends_on)
    world.restore()


@pytest.mark.parametrize("result", ['{"a": 1e5000}', f'{{"a": {_NESTED}}}', f'{{"a": "{"x" * 1_100_000}"}}'])
def test_no_result_of_b_is_one_that_the_service_cannot_read(world: World, result: str) -> None:
    task = enqueue(world.db, world.b_project)
    token = claim(world.db, task)
    body = f'{{"p_task_id": "{task}", "p_claim_token": "{token}", "p_result": {result}}}'
    headers = world.headers("B") | {"content-type": "application/json"}
    assert world.http.post("/rest/v1/rpc/complete_task", content=body, headers=headers).status_code == 400
    assert wire.tasks(json.loads(world.call("the secret key", "list_tasks", {}).text))
    world.restore()


@pytest.mark.parametrize(
    "said",
    [
        {"p_expires_at": "infinity"},
        {"p_expires_at": "20000-01-01T00:00:00Z"},
        {"p_label": "x\x1b[2J"},
        {"p_prefix": "\x1b[2J"},
        {"p_scopes": ["work"] * 1000},
        {"p_scopes": [["work"]]},
    ],
)
def test_no_token_of_b_is_one_that_spoils_the_operators_list(world: World, said: dict[str, Any]) -> None:
    asked = {"p_hash": "ef" * 32, "p_label": "x", "p_prefix": "lt_"}
    assert world.call("B", "create_token", asked | said).json()["code"] == "LT001"
    assert world.call("B", "create_token", asked).status_code == 200
    world.restore()


@pytest.mark.parametrize("function", _NAMING)
def test_b_waits_for_nothing_that_a_holds_and_holds_nothing_of_as(world: World, function: str) -> None:
    """Otherwise the wait tells that the row exists, and B's lock makes the claims of others pass it over."""
    with _everything_of_a_locked(world), psycopg.connect(world.supabase.admin_database_url) as db:
        db.execute("set lock_timeout = '300ms'")
        with acting(db, world.b):
            try:
                call(db, function, filled(CALLS[function], world.names))
            except psycopg.errors.LockNotAvailable:
                pytest.fail(f"{function} waits for a lock on a row of A's")
            except psycopg.Error as refused:
                assert (refused.sqlstate or "").startswith("LT")  # noqa: PT017
                db.rollback()
        db.rollback()


@contextmanager
def _everything_of_a_locked(world: World) -> Iterator[None]:
    with psycopg.connect(world.supabase.admin_database_url) as db:
        db.execute("select private.lock_owner(%s)", [world.a])
        for table in ("public.tasks", "private.queue", "public.projects", "public.user_api_token"):
            db.execute(f"select from {table} where user_id = %s for update", [world.a])
        yield
        db.rollback()


def test_a_user_has_fewer_priorities_than_the_service(world: World) -> None:
    """Claims by type and by user look at each priority that anybody has ready work of."""
    for priority in (-1000, -101, 101, 1000):
        text = json.dumps(_TASK | {"project_id": world.b_project, "priority": priority})
        for way in ("function", "insert"):
            assert _enqueued(world, "B", text, way).json()["code"] == "LT001"
        assert _enqueued(world, "the secret key", text, "function").status_code == 200
    for priority in (-100, 100):
        text = json.dumps(_TASK | {"project_id": world.b_project, "priority": priority})
        assert _enqueued(world, "B", text, "function").status_code == 200
    world.restore()


def test_a_project_deleted_at_the_wrong_moment_stops_no_rescue(world: World) -> None:
    """Rescue stands at B's lock while B's project, with a dead claim in it, goes away."""
    url = world.supabase.admin_database_url
    dead = enqueue(world.db, world.b_project)
    enqueue(world.db, world.b_project, dead)
    for task in (dead, world.names["ready"]):
        claim(world.db, task)
        world.db.execute("update public.tasks set lease_expires_at = now() - interval '1 h' where id = %s", [task])
    answers = []
    with psycopg.connect(url) as holder:
        holder.execute("select private.lock_owner(%s)", [world.b])
        rescue = threading.Thread(target=lambda: answers.append(world.call("the secret key", "rescue_tasks", {})))
        rescue.start()
        waits = "select 1 from pg_locks where locktype = 'advisory' and not granted"
        while rescue.is_alive() and not world.db.execute(waits).fetchone():
            pass
        world.db.execute("delete from public.projects where id = %s", [world.b_project])
        holder.rollback()
        rescue.join()
    assert answers[0].status_code == 200, answers[0].text
    assert [one["task"]["id"] for one in answers[0].json()] == [world.names["ready"]]
    world.restore()
