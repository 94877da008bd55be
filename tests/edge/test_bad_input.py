"""What clients get wrong, by accident or not: a clear refusal each time, and never a 500."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from tests.edge.callers import FUNCTIONS, World

MEGABYTE = 1024 * 1024


def _task(world: World, **fields: Any) -> dict[str, Any]:
    return {"task_type": "single_image", "params": {}, "project_id": world.a.project} | fields


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_body_that_is_no_json_object_is_400(world: World, function: str) -> None:
    for body in ("{", "nonsense", "[1]", '"text"', b"\xff\xfe", '{"task_id": NaN}', "{'a': 1}"):
        answer = world.a.session.post(function, body)
        assert (body, answer.status_code, answer.json()["code"]) == (body, 400, "malformed")


@pytest.mark.parametrize("function", FUNCTIONS)
def test_an_unknown_field_is_refused_by_the_nearest_name(world: World, function: str) -> None:
    known = {
        "task-counts": "run_type",
        "claim-next-task": "worker_id",
        "get-completed-segments": "run_id",
        "queue": "verb",
    }
    name = known.get(function, "task_id")
    answer = world.a.session.post(function, {f"{name}s": "x"})
    assert answer.status_code == 422
    assert f"Did you mean {name}?" in answer.json()["message"]
    assert answer.json()["details"]["field"] == f"{name}s"


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_nul_character_is_refused_by_its_place(world: World, function: str) -> None:
    for body, path in (({"params": {"a": [1, "x\0y"]}}, "params.a[1]"), ({"params": {"x\0y": 1}}, "params")):
        answer = world.a.session.post(function, body)
        assert (answer.status_code, answer.json()["details"]["path"]) == (422, path)


@pytest.mark.parametrize("depth", [100, 5_000, 300_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":[', "]}")])
def test_a_depth_bomb_is_refused(world: World, depth: int, opening: str, closing: str) -> None:
    bomb = opening * depth + closing * depth
    answer = world.a.session.post("create-task", f'{{"params":{{"bomb":{bomb}}}}}')
    assert answer.status_code == (413 if len(bomb) > MEGABYTE else 422)
    assert world.a.session.post("create-task", f'{{"params":{opening * depth}').status_code in (400, 413, 422)


def test_params_may_be_as_deep_as_the_queue_allows_and_no_deeper(world: World) -> None:
    def nested(levels: int) -> Any:
        return {"a": nested(levels - 1)} if levels else 1

    assert world.a.session.post("create-task", _task(world, params=nested(64))).status_code == 200
    answer = world.a.session.post("create-task", _task(world, params=nested(65)))
    assert (answer.status_code, answer.json()["details"]["field"]) == (422, "params")


def test_params_over_256_kilobytes_are_refused_with_their_size(world: World) -> None:
    answer = world.a.session.post("create-task", _task(world, params={"prompt": "x" * 262_144}))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_task")
    assert answer.json()["details"]["field"] == "params"
    assert world.a.session.post("create-task", _task(world, params={"p": "x" * 262_000})).status_code == 200


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_body_over_the_limit_is_413(world: World, function: str) -> None:
    size = 29 * MEGABYTE if function == "complete-task" else MEGABYTE + 1
    answer = world.a.session.post(function, json.dumps({"task_id": "x" * size}))
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    if function == "complete-task":
        assert "generate-upload-url" in answer.json()["hint"]


SERVERS = (
    "status user_id worker_id attempts claim_token waiting lease_expires_at output_location error_message result tick"
    " root_task_id order_key flow_run_id created_at updated_at generation_started_at generation_processed_at"
)


@pytest.mark.parametrize("field", SERVERS.split())
def test_a_field_of_the_servers_is_refused_by_name(world: World, field: str) -> None:
    for body in (_task(world, **{field: None}), {"tasks": [_task(world, **{field: "x"})]}):
        answer = world.a.session.post("create-task", body)
        assert (answer.status_code, answer.json()["details"]["field"]) == (422, field)
        assert "server" in answer.json()["message"]


def test_no_field_of_the_task_is_left_to_guess(world: World) -> None:
    """Every column is either a client's to say or refused as the server's: a new one must be sorted."""
    columns = {
        row[0]
        for row in world.database.run(
            "select column_name from information_schema.columns where table_schema = 'public' and table_name = 'tasks'"
        )
    }
    wrong = set()
    for column in columns:
        answer = world.a.session.post("create-task", {column: {}})
        if "Did you mean" in answer.text:
            wrong.add(column)
    assert wrong <= {"body_hash", "closed_token", "lost_token"}  # inner workings, which no answer shows


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"task_type": None}, "task_type"),
        ({"task_type": 7}, "task_type"),
        ({"params": None}, "params"),
        ({"params": "{}"}, "params"),
        ({"params": {"api_key": "sk-123"}}, "params"),
        ({"task_id": "not-a-uuid"}, "id"),
        ({"task_id": 7}, "task_id"),
        ({"project_id": None}, "project_id"),
        ({"project_id": "mine"}, "project_id"),
        ({"priority": "high"}, "priority"),
        ({"priority": 1e12}, "priority"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"scheduled_at": "tomorrow"}, "scheduled_at"),
        ({"depends_on": "x"}, "depends_on"),
        ({"dependant_on": [7]}, "depends_on"),
        ({"parent_id": "x"}, "parent_id"),
    ],
)
def test_a_field_of_the_wrong_kind_is_refused_by_name(world: World, fields: dict[str, Any], field: str) -> None:
    answer = world.a.session.post("create-task", _task(world, **fields))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_task")
    assert answer.json()["details"]["field"] == field


def test_a_foreign_and_a_missing_project_look_the_same(world: World) -> None:
    answers = [
        world.a.session.post("create-task", _task(world, project_id=project))
        for project in (world.b.project, str(uuid.uuid4()))
    ]
    said = [answer.json() | {"request_id": ""} for answer in answers]
    for one, project in zip(said, (world.b.project, json.loads(answers[1].request.content)["project_id"]), strict=True):
        one["message"] = one["message"].replace(project, "…")
    assert [answer.status_code for answer in answers] == [422, 422]
    assert said[0] == said[1]


def test_a_foreign_and_a_missing_dependency_look_the_same(world: World) -> None:
    foreign = world.b.session.enqueue(world.b.project)
    for dependency in (foreign, str(uuid.uuid4())):
        answer = world.a.session.post("create-task", _task(world, dependant_on=dependency))
        assert (answer.status_code, answer.json()["code"]) == (422, "unknown_dependency")
        assert answer.json()["details"] == {"field": "depends_on"}


def test_a_cycle_is_refused(world: World) -> None:
    ids = [str(uuid.uuid4()) for _ in range(2)]
    tasks = [_task(world, id=ids[0], depends_on=[ids[1]]), _task(world, id=ids[1], depends_on=[ids[0]])]
    answer = world.a.session.post("create-task", {"tasks": tasks})
    assert (answer.status_code, answer.json()["code"]) == (422, "dependency_cycle")
    alone = world.a.session.post("create-task", _task(world, task_id=ids[0], dependant_on=ids[0]))
    assert (alone.status_code, alone.json()["code"]) == (422, "dependency_cycle")


@pytest.mark.parametrize("task_id", ["x", "", "'; drop table tasks; --", "0" * 10_000, "../..", str(uuid.uuid4())])
def test_an_id_that_names_no_task_is_404(world: World, task_id: str) -> None:
    bodies: dict[str, dict[str, Any]] = {
        "complete-task": {"output_location": "x"},
        "update-task-status": {"status": "In Progress"},
        "get-predecessor-output": {},
        "generate-upload-url": {"filename": "a.mp4"},
        "heartbeat": {},
        "queue": {"verb": "get"},
    }
    for function, body in bodies.items():
        answer = world.a.session.post(function, body | {"task_id": task_id})
        assert (function, answer.status_code, answer.json()["code"]) == (function, 404, "unknown_task")


@pytest.mark.parametrize(
    ("function", "body", "field"),
    [
        ("claim-next-task", {"worker_id": ""}, "worker_id"),
        ("claim-next-task", {"worker_id": "w" * 129}, "worker_id"),
        ("claim-next-task", {"worker_id": "a\nb"}, "worker_id"),
        ("claim-next-task", {"worker_id": 7}, "worker_id"),
        ("claim-next-task", {"lease": 0}, "lease"),
        ("claim-next-task", {"lease": -1}, "lease"),
        ("claim-next-task", {"lease": 1e9}, "lease"),
        ("claim-next-task", {"limit": "all"}, "limit"),
        ("claim-next-task", {"limit": 1e10}, "limit"),
        ("claim-next-task", {"task_types": "single_image"}, "task_types"),
        ("claim-next-task", {"run_type": "tpu"}, "run_type"),
        ("claim-next-task", {"request_id": ""}, "request_id"),
        ("update-task-status", {"task_id": "x", "status": "Done"}, "status"),
        ("update-task-status", {"task_id": "x"}, "status"),
        ("heartbeat", {}, "task_id"),
        ("heartbeat", {"task_id": "x", "tick": -1}, "tick"),
        ("heartbeat", {"task_id": "x", "tick": 1.5}, "tick"),
        ("get-completed-segments", {}, "run_id"),
        ("get-completed-segments", {"run_id": "x", "project_id": "y"}, "project_id"),
        ("generate-upload-url", {"task_id": "x"}, "filename"),
        ("generate-upload-url", {"task_id": "x", "filename": "a", "content_type": "video"}, "content_type"),
        ("complete-task", {"task_id": "x"}, "file_data"),
        ("complete-task", {"task_id": "x", "file_data": "AAAA"}, "filename"),
        ("complete-task", {"task_id": "x", "file_data": "%%%%", "filename": "a"}, "file_data"),
        ("complete-task", {"task_id": "x", "file_data": "", "filename": "a"}, "file_data"),
        ("complete-task", {"task_id": "x", "output_location": "a", "storage_path": "b"}, "storage_path"),
        ("complete-task", {"task_id": "x", "output_location": ""}, "output_location"),
        ("complete-task", {"task_id": "x", "output_location": "a", "result": []}, "result"),
        ("queue", {"verb": "drop"}, "verb"),
        ("queue", {"verb": "get", "task_id": "x", "p_user_id": "y"}, "p_user_id"),
        ("queue", {"verb": "dispatched", "task_id": "x", "claim_token": "y", "flow_run_id": "z"}, "flow_run_id"),
        ("queue", {"verb": "start", "task_id": "x", "attempt": "1", "worker_id": "w"}, "attempt"),
    ],
)
def test_an_argument_that_cannot_be_is_refused_by_name(
    world: World, function: str, body: dict[str, Any], field: str
) -> None:
    answer = world.service.post(function, body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_task"), answer.text
    assert answer.json()["details"]["field"] == field
