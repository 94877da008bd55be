from __future__ import annotations

import io
import json
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from blocks.queue.model import Status, Task, TaskSpec
from blocks.queue.sqlite import SqliteQueue
from deployments.cli.rows import age

IMAGE = '{"prompt": "a pond"}'


def create(longtake, *more: object) -> str:
    return longtake("task", "create", "single_image", "--params", IMAGE, "--json", *more).document["task"]["id"]


def test_a_created_task_is_in_the_queue(longtake, queue: SqliteQueue) -> None:
    task = queue.get(create(longtake))
    assert task.params == {"prompt": "a pond"}
    assert task.status is Status.QUEUED


def test_create_says_how_to_watch_it_and_that_nothing_works_on_it(longtake) -> None:
    answer = longtake("task", "create", "single_image", "--params", IMAGE)
    assert "longtake task watch" in answer.out
    assert "longtake up" in answer.out


def test_a_task_document_has_every_field_of_the_row(longtake) -> None:
    document = longtake("task", "show", create(longtake), "--json").document
    assert set(document["task"]) == {field.name for field in fields(Task)}
    assert datetime.fromisoformat(document["task"]["created_at"]).tzinfo


def test_params_come_from_a_file_or_from_stdin(longtake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "params.json").write_text(IMAGE)
    assert longtake("task", "create", "single_image", "--params", f"@{tmp_path}/params.json").code == 0
    monkeypatch.setattr("sys.stdin", io.StringIO(IMAGE))
    assert longtake("task", "create", "single_image", "--params", "-").code == 0


@pytest.mark.parametrize("params", ["{", "[]", "@/nowhere/params.json", '{"prompt": 3}', "{}"])
def test_bad_params_are_refused_and_nothing_is_stored(longtake, queue: SqliteQueue, params: str) -> None:
    answer = longtake("task", "create", "single_image", "--params", params)
    assert answer.code == 2
    assert answer.err.startswith("error: ")
    assert queue.list() == []


def test_an_unknown_type_names_the_nearest_one(longtake) -> None:
    answer = longtake("task", "create", "single_imag", "--params", IMAGE)
    assert answer.code == 2
    assert "'single_image'" in answer.err


def test_params_that_nothing_reads_are_named(longtake, caplog: pytest.LogCaptureFixture) -> None:
    answer = longtake("task", "create", "single_image", "--params", '{"prompt": "x", "promt": "y"}')
    assert answer.code == 0
    assert "promt" in caplog.text


def test_a_secret_in_params_is_refused(longtake) -> None:
    answer = longtake("task", "create", "single_image", "--params", '{"prompt": "x", "api_key": "abc"}', "--json")
    assert answer.code == 2
    assert answer.document["error"]["code"] == "invalid_task"


def test_the_same_id_and_body_again_creates_nothing(longtake, queue: SqliteQueue) -> None:
    id = str(uuid4())
    first, second = (
        longtake("task", "create", "single_image", "--params", IMAGE, "--id", id, "--json") for _ in range(2)
    )
    assert (first.document["created"], second.document["created"]) == (True, False)
    assert len(queue.list()) == 1


def test_the_same_id_with_another_body_is_a_conflict(longtake) -> None:
    id = str(uuid4())
    longtake("task", "create", "single_image", "--params", IMAGE, "--id", id)
    answer = longtake("task", "create", "single_image", "--params", '{"prompt": "x"}', "--id", id)
    assert answer.code == 4


def test_a_dependency_may_be_named_by_the_beginning_of_its_id(longtake, queue: SqliteQueue) -> None:
    first = create(longtake)
    second = create(longtake, "--depends-on", first[:8])
    assert queue.get(second).depends_on == (first,)


def test_a_priority_may_be_negative(longtake, queue: SqliteQueue) -> None:
    assert queue.get(create(longtake, "--priority", "-5")).priority == -5


def test_a_task_may_wait_for_a_moment(longtake, queue: SqliteQueue) -> None:
    moment = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    assert queue.get(create(longtake, "--at", moment.isoformat())).scheduled_at == moment


def test_a_moment_that_is_none_is_refused(longtake) -> None:
    answer = longtake("task", "create", "single_image", "--params", IMAGE, "--at", "tomorrow")
    assert answer.code == 2
    assert "2026-12-31T18:00" in answer.err


def test_list_shows_what_is_asked_for(longtake) -> None:
    kept, cancelled = create(longtake), create(longtake)
    longtake("task", "cancel", cancelled)
    listed = longtake("task", "list", "--status", "queued", "--json").document["tasks"]
    assert [task["id"] for task in listed] == [kept]


def test_list_in_a_pipe_is_one_line_for_each_task(longtake) -> None:
    ids = [create(longtake), create(longtake)]
    lines = longtake("task", "list").out.splitlines()
    assert lines[0].split() == ["id", "type", "status", "attempts", "age", "progress"]
    assert [line.split()[0] for line in lines[1:]] == [id[:8] for id in reversed(ids)]


def test_an_empty_queue_says_what_to_do(longtake) -> None:
    assert "longtake travel create" in longtake("task", "list").out


def test_a_task_that_does_not_exist_is_not_found(longtake) -> None:
    assert longtake("task", "show", "0000").code == 3
    assert longtake("task", "show", uuid4()).code == 3


def test_a_beginning_of_several_ids_lists_them(longtake, queue: SqliteQueue) -> None:
    twins = [f"abcdef00-0000-4000-8000-00000000000{n}" for n in (1, 2)]
    queue.enqueue(*(TaskSpec("single_image", {"prompt": "x"}, id=id) for id in twins))
    answer = longtake("task", "show", "abcdef", "--json")
    assert answer.code == 2
    assert answer.document["error"]["code"] == "ambiguous_id"
    assert all(id in answer.err for id in twins)


def test_show_tells_parts_and_dependencies(longtake, queue: SqliteQueue) -> None:
    parent = queue.enqueue(TaskSpec("single_image", {"prompt": "x"}))[0].task
    first = queue.enqueue(TaskSpec("single_image", {"prompt": "x"}, parent_id=parent.id))[0].task
    spec = TaskSpec("single_image", {"prompt": "x"}, parent_id=parent.id, depends_on=(first.id,))
    second = queue.enqueue(spec)[0].task
    shown = longtake("task", "show", parent.id, "--json").document
    assert [child["id"] for child in shown["children"]] == [first.id, second.id]
    assert longtake("task", "show", second.id, "--json").document["dependencies"] == [
        {"id": first.id, "status": "Queued", "output_location": None}
    ]
    assert f"waits for    {first.id}  Queued" in longtake("task", "show", second.id).out


def test_cancel_names_what_ends_with_it(longtake, queue: SqliteQueue) -> None:
    first = create(longtake)
    second = create(longtake, "--depends-on", first)
    document = longtake("task", "cancel", first, "--json").document
    assert document["task"]["status"] == "Cancelled"
    assert [task["id"] for task in document["ended"]] == [second]
    assert queue.get(second).status is Status.CANCELLED


def test_a_complete_task_cannot_be_cancelled(longtake, queue: SqliteQueue) -> None:
    create(longtake)
    claim = queue.claim("worker", start=True)[0]
    queue.complete(claim.task.id, claim.token, output_location="/film.mp4")
    assert longtake("task", "cancel", claim.task.id).code == 4


def test_a_cancelled_task_is_queued_again_by_retry(longtake, queue: SqliteQueue) -> None:
    id = create(longtake)
    longtake("task", "cancel", id)
    assert longtake("task", "retry", id[:8]).code == 0
    assert queue.get(id).status is Status.QUEUED


def test_a_queued_task_cannot_be_retried(longtake) -> None:
    assert longtake("task", "retry", create(longtake)).code == 4


def test_json_keeps_the_characters_that_people_wrote(longtake) -> None:
    params = json.dumps({"prompt": "ein Weiher im Mai – früh"})
    answer = longtake("task", "create", "single_image", "--params", params, "--json")
    assert "früh" in answer.out


@pytest.mark.parametrize(("seconds", "words"), [(-3, "0s"), (59, "59s"), (61, "1m"), (7300, "2h"), (200_000, "2d")])
def test_an_age_is_its_largest_unit(seconds: int, words: str) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert age(now - timedelta(seconds=seconds), now) == words
