"""Every caller × every table, function and path of the bucket × read, create, change, delete, over HTTP.

What there is to try comes from the catalogue. What counts is what came of it, not the status; A and the service show on
the same rows that a denial is none for all. Edge functions have the same matrix in tests/edge/test_callers.py.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.security.calls import ALL, CALLS, HARMLESS, SERVICE_CALLS
from tests.security.catalogue import strings
from tests.security.world import BUCKET, CALLERS, PNG, SERVICE, STRANGERS, World

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("supabase")]

VERBS = ("read", "create", "change", "delete")
EVERYTHING = set(VERBS)
#: table: (what A may do to A's rows, what the service may).
MAY: dict[str, tuple[set[str], set[str]]] = {
    "projects": (EVERYTHING, EVERYTHING),
    "briefs": (EVERYTHING, EVERYTHING),
    "tasks": ({"read", "create"}, {"read", "create"}),
    "task_dependencies": ({"read"}, {"read"}),
    "workers": (set(), {"read", "create", "change"}),
    "user_api_token": (set(), {"read", "create", "change"}),
    "jobs": ({"read"}, {"read"}),
    "active_jobs": ({"read"}, {"read"}),
    "pending_jobs_queue": ({"read"}, {"read"}),
    "job_stats": ({"read"}, {"read"}),
}
_JOB: tuple[str, dict[str, Any], dict[str, Any]] = ("user_id=eq.{a}", {"type": "analysis"}, {"status": "completed"})
#: table: (where A's rows are, a row to create beside them, a change).
ROWS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "projects": ("id=eq.{project}", {"name": "x"}, {"name": "x"}),
    "briefs": ("id=eq.{brief}", {"project_id": "{project}", "title": "x"}, {"title": "x"}),
    "tasks": (
        "user_id=eq.{a}",
        {"project_id": "{project}", "task_type": "analysis", "params": {}},
        {"status": "Complete"},
    ),
    "task_dependencies": (
        "user_id=eq.{a}",
        {"task_id": "{fresh}", "depends_on": "{ready}", "user_id": "{a}", "position": 0},
        {"position": 5},
    ),
    "workers": ("id=eq.w", {"id": "another"}, {"status": "gone"}),
    "user_api_token": ("user_id=eq.{a}", {"label": "x", "jti_hash": "ab" * 32}, {"label": "y"}),
    "jobs": _JOB,
    "active_jobs": _JOB,
    "pending_jobs_queue": _JOB,
    "job_stats": ("type=eq.analysis", {"type": "x"}, {"type": "x"}),
}
#: What the service has to say in addition, since it is nobody by itself.
OWNED = {"projects": {"user_id": "{a}"}, "briefs": {"user_id": "{a}"}, "user_api_token": {"user_id": "{a}"}}


def test_every_table_of_the_exposed_schema_has_an_expectation(world: World) -> None:
    found = strings(
        world.db,
        "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r','v','m','p','f')",
    )
    assert set(found) == set(MAY) == set(ROWS)


def test_every_function_of_the_exposed_schema_has_a_call(world: World) -> None:
    found = strings(world.db, "select proname from pg_proc where pronamespace = 'public'::regnamespace")
    assert set(found) == set(ALL)


@pytest.mark.parametrize("table", MAY)
def test_a_caller_can_do_to_rows_of_a_what_is_stated_and_no_more(world: World, table: str) -> None:
    own, services = MAY[table]
    expected = {caller: set[str]() for caller in STRANGERS}
    expected |= {"A": own} | dict.fromkeys(SERVICE, services)
    if table == "projects":
        expected["B"] = {"create"}  # one of B's own
    found = {caller: {verb for verb in VERBS if _came_to_pass(world, caller, table, verb)} for caller in CALLERS}
    assert found == expected


def _came_to_pass(world: World, caller: str, table: str, verb: str) -> bool:
    where, create, change = ROWS[table]
    if caller in SERVICE:
        create = create | OWNED.get(table, {})
    path, headers = f"/rest/v1/{table}", world.headers(caller)
    if verb == "read":  # without a filter: whatever there is to see
        answer = world.http.get(path, headers=headers)
        return answer.is_success and any(row.get("id") != world.b_project for row in answer.json())
    before = world.state()
    body = {name: _named(world, value) for name, value in (create if verb == "create" else change).items()}
    place = f"{path}?{where.format(**world.names)}"
    match verb:
        case "create":
            world.http.post(path, json=body, headers=headers)
        case "change":
            world.http.patch(place, json=body, headers=headers)
        case "delete":
            world.http.delete(place, headers=headers)
    changed = world.state() != before
    if changed:
        world.restore()
    return changed


def _named(world: World, value: Any) -> Any:
    return value.format(**world.names) if isinstance(value, str) else value


@pytest.mark.parametrize("function", ALL)
def test_a_function_does_something_for_whom_it_is_meant_and_for_nobody_else(world: World, function: str) -> None:
    expected = set(SERVICE)
    if function in CALLS:
        expected |= {"A"}
    if function in HARMLESS:
        expected |= {"A", "B"}
    found = {caller for caller in CALLERS if world.comes_of_it(caller, function, ALL[function])}
    assert found == expected


@pytest.mark.parametrize("function", SERVICE_CALLS)
def test_what_is_the_services_is_closed_to_a_user_by_right_and_not_only_by_its_body(
    world: World, function: str
) -> None:
    assert world.call("A", function, {}).json()["code"] in ("42501", "PGRST202")


# Files -----------------------------------------------------------------------------------------------------------


def _stored(world: World, caller: str, path: str) -> httpx.Response:
    headers = world.headers(caller) | {"content-type": "image/png"}
    return world.http.post(f"{BUCKET}/{path}", content=PNG, headers=headers)


def _overwritten(world: World, caller: str, path: str) -> httpx.Response:
    headers = world.headers(caller) | {"content-type": "image/png", "x-upsert": "true"}
    return world.http.post(f"{BUCKET}/{path}", content=PNG + b"\0", headers=headers)


def _resumable(world: World, caller: str, path: str) -> httpx.Response:
    said = {"bucketName": "image_uploads", "objectName": path, "contentType": "image/png"}
    metadata = ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in said.items())
    headers = {"tus-resumable": "1.0.0", "upload-length": "60", "upload-metadata": metadata, "x-upsert": "true"}
    return world.http.post("/storage/v1/upload/resumable", headers=world.headers(caller) | headers)


def _posted(world: World, caller: str, route: str, body: dict[str, Any]) -> httpx.Response:
    return world.http.post(f"/storage/v1/object/{route}", json=body, headers=world.headers(caller))


def _own_folder(world: World, caller: str) -> str:
    return f"{world.a if caller == 'A' else world.b}/inputs"


def _moved(world: World, caller: str, source: str, target: str, *, copy: bool = False) -> httpx.Response:
    body = {"bucketId": "image_uploads", "sourceKey": source, "destinationKey": target}
    return _posted(world, caller, "copy" if copy else "move", body)


def _listed(world: World, caller: str, path: str) -> bool:
    folder, _, name = path.rpartition("/")
    answer = _posted(world, caller, "list/image_uploads", {"prefix": folder})
    return answer.is_success and name in [one["name"] for one in answer.json()]


_FILE_VERBS: dict[str, Callable[[World, str, str], Any]] = {
    "read": lambda w, who, path: w.http.get(f"{BUCKET}/{path}", headers=w.headers(who)),
    "list": _listed,
    "make a link": lambda w, who, path: _posted(w, who, f"sign/image_uploads/{path}", {"expiresIn": 60}),
    "copy": lambda w, who, path: _moved(w, who, path, f"{_own_folder(w, who)}/copy.png", copy=True),
    "change": _overwritten,
    "change in parts": _resumable,
    "make a link to change": lambda w, who, path: w.http.post(
        f"/storage/v1/object/upload/sign/image_uploads/{path}",
        json={},
        headers=w.headers(who) | {"x-upsert": "true"},
    ),
    "move away": lambda w, who, path: _moved(w, who, path, f"{_own_folder(w, who)}/moved.png"),
    "delete": lambda w, who, path: w.http.delete(f"{BUCKET}/{path}", headers=w.headers(who)),
}
READS = {"read", "list", "make a link", "copy"}
#: The place of a file: what A may do to it.
PLACES: dict[str, set[str]] = {
    "{a}/inputs/x/picture.png": set(_FILE_VERBS),
    "{a}/{held}/1/film.png": READS,
    "{held}.png": set(),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_caller_can_do_to_a_file_what_is_stated_and_no_more(world: World, place: str) -> None:
    path = place.format(**world.names)
    expected = {caller: set[str]() for caller in STRANGERS}
    expected |= {"A": PLACES[place]} | {caller: set(_FILE_VERBS) for caller in SERVICE}
    found = {
        caller: {verb for verb in _FILE_VERBS if _file_verb_works(world, caller, verb, path)} for caller in CALLERS
    }
    assert found == expected


def _file_verb_works(world: World, caller: str, verb: str, path: str) -> bool:
    world.db.execute("delete from storage.objects")
    world.put(path)
    before = world.files()
    answer = _FILE_VERBS[verb](world, caller, path)
    worked: bool = answer if isinstance(answer, bool) else answer.is_success
    assert worked or world.files() == before
    return worked


@pytest.mark.parametrize(
    "place",
    [
        "{a}/inputs/x/new.png",
        "{a}/{held}/1/new.png",
        "{a}/new.png",
        "new.png",
        "{b}/inputs/%2e%2e/%2e%2e/{a}/inputs/new.png",
        "{B}/inputs/new.png",
        "%2f{b}/inputs/new.png",
        "{b}%2f%2finputs/new.png",
    ],
)
def test_a_file_is_created_where_it_is_stated_and_nowhere_else(world: World, place: str) -> None:
    path = place.format(**world.names)
    for caller in ("B", *STRANGERS):
        assert not _stored(world, caller, path).is_success, caller
    assert world.files() == []
    own = path.replace("new", f"{uuid4()}")
    assert _stored(world, "A", own).is_success == place.startswith("{a}/inputs/")
    assert _stored(world, "B", f"{world.b}/inputs/new.png").is_success


def test_buckets_are_the_services(world: World) -> None:
    before = world.db.execute("select * from storage.buckets").fetchall()
    body = {"id": "mine", "name": "mine", "public": True}
    for caller in ("A", *STRANGERS):
        assert not world.http.post("/storage/v1/bucket", json=body, headers=world.headers(caller)).is_success
    assert world.db.execute("select * from storage.buckets").fetchall() == before
    assert world.http.post("/storage/v1/bucket", json=body, headers=world.headers("the secret key")).is_success
    world.db.execute("delete from storage.buckets where id = 'mine'")
