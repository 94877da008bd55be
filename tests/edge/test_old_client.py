"""A worker of the old system runs unchanged, and one that has lost its task does no harm."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.edge.callers import World
from tests.edge.old_client import OldClient


def _client(world: World, user: str | None = None) -> OldClient:
    return OldClient(world.http, world.supabase.url, world.token_text(user)[0])


def _row(world: World, task_id: str) -> Any:
    return world.service.get(task_id)


def test_a_chain_of_two_segments_and_a_stitch(world: World) -> None:
    """All files have one name, as the old system's did."""
    worker, project = _client(world, world.a.user), world.a.project
    orchestrator = worker.add_task("travel_orchestrator", {"orchestrator_details": {"run_id": "run-1"}}, project)
    assert worker.claim() == {
        "task_id": orchestrator,
        "params": {"orchestrator_details": {"run_id": "run-1"}},
        "task_type": "travel_orchestrator",
        "project_id": project,
    }
    previous = None
    for index in range(2):
        params = {"orchestrator_run_id": "run-1", "segment_index": index}
        previous = worker.add_task("travel_segment", params, project, previous)
    stitch = worker.add_task("travel_stitch", {"orchestrator_run_id": "run-1"}, project, previous)

    before: tuple[str, str] | None = None
    for index in range(2):
        segment = worker.claim()
        assert segment is not None
        assert segment["params"]["segment_index"] == index
        assert worker.predecessor_output(segment["task_id"]) == (before or (None, None))
        done = worker.complete_with_file(segment["task_id"], f"segment {index}".encode(), "output.mp4")
        assert done.status_code == 200, done.text
        assert done.json()["message"] == "Task completed and file uploaded successfully"
        before = (segment["task_id"], done.json()["public_url"])

    claimed = worker.claim()
    assert claimed is not None
    assert claimed["task_id"] == stitch
    segments = worker.completed_segments("run-1")
    assert [index for index, _ in segments] == [0, 1]
    films = [world.http.get(url).content for _, url in segments]
    assert films == [b"segment 0", b"segment 1"]
    assert worker.complete_with_file(stitch, b"".join(films), "output.mp4").status_code == 200
    assert world.http.get(_row(world, stitch)["output_location"]).content == b"segment 0segment 1"
    assert worker.claim() is None


def test_a_task_is_completed_by_url(world: World) -> None:
    worker = _client(world)
    task_id = world.a.session.enqueue(world.a.project)
    worker.claim()
    answer = worker.complete_with_url(task_id, "https://example.com/film.mp4")
    assert answer.json()["public_url"] == "https://example.com/film.mp4"
    assert (_row(world, task_id)["status"], _row(world, task_id)["worker_id"][:5]) == ("Complete", "edge_")


def test_progress_messages_are_read_in_output_location_and_shorten_no_lease(world: World) -> None:
    worker = _client(world)
    task_id = world.a.session.enqueue(world.a.project)
    worker.claim()
    claimed = _row(world, task_id)
    answer = worker.update_status(task_id, "In Progress", "Upscaling 3 of 20")
    assert answer.json() | {"lease_expires_at": "", "cancelled": False} == {
        "success": True,
        "task_id": task_id,
        "status": "In Progress",
        "message": "Progress noted",
        "lease_expires_at": "",
        "cancelled": False,
    }
    row = _row(world, task_id)
    assert row["output_location"] == "Upscaling 3 of 20"
    assert row["generation_started_at"] == claimed["generation_started_at"]
    assert row["lease_expires_at"] >= claimed["lease_expires_at"]


def test_failure_text_stands_in_output_location_and_error_message(world: World) -> None:
    worker = _client(world)
    task_id = world.a.session.enqueue(world.a.project)
    worker.claim()
    assert worker.update_status(task_id, "Failed", "CUDA out of memory").status_code == 200
    row = _row(world, task_id)
    assert (row["status"], row["output_location"], row["error_message"]) == (
        "Failed",
        "CUDA out of memory",
        "CUDA out of memory",
    )


def test_the_token_names_the_holder_and_nobody_else_ends_its_task(world: World) -> None:
    holder, other = _client(world, world.a.user), _client(world, world.a.user)
    task_id = world.a.session.enqueue(world.a.project)
    assert holder.claim()
    for answer in (
        other.complete_with_url(task_id, "https://example.com/other.mp4"),
        other.complete_with_file(task_id, b"other", "output.mp4"),
        other.update_status(task_id, "Failed", "not mine"),
        other.update_status(task_id, "In Progress", "not mine"),
        OldClient(world.http, world.supabase.url, world.supabase.secret_key).complete_with_url(
            task_id, "https://example.com/x.mp4"
        ),
    ):
        assert (answer.status_code, answer.json()["code"]) == (409, "stale_claim")
    assert _row(world, task_id)["status"] == "In Progress"
    assert holder.complete_with_url(task_id, "https://example.com/mine.mp4").status_code == 200


def test_after_a_refused_completion_the_failure_that_follows_changes_nothing(world: World) -> None:
    """A slow worker's task went to another: it completes too late, and then posts Failed at once."""
    slow, quick = _client(world, world.a.user), _client(world, world.a.user)
    task_id = world.a.session.enqueue(world.a.project)
    slow.claim()
    world.service.ok("queue", {"verb": "rescue", "lost": [[task_id, 1]]})
    world.database.run("update private.queue set place = 'ready', scheduled_at = null where task_id = %s", task_id)
    assert quick.claim()
    assert slow.complete_with_url(task_id, "https://example.com/late.mp4").status_code == 409
    assert slow.update_status(task_id, "Failed", "could not complete").status_code == 409
    assert quick.complete_with_url(task_id, "https://example.com/film.mp4").status_code == 200
    assert slow.update_status(task_id, "Failed", "could not complete").status_code == 409
    row = _row(world, task_id)
    assert (row["status"], row["output_location"]) == ("Complete", "https://example.com/film.mp4")


def test_an_ended_task_refuses_every_status(world: World) -> None:
    worker = _client(world)
    task_id = world.a.session.enqueue(world.a.project)
    worker.claim()
    worker.complete_with_url(task_id, "https://example.com/film.mp4")
    for status in ("In Progress", "Complete", "Failed", "Cancelled", "Queued"):
        assert worker.update_status(task_id, status, "late").status_code == 409
    assert _row(world, task_id)["output_location"] == "https://example.com/film.mp4"


def test_the_shared_key_without_a_claim_token_counts_in_the_first_attempt_only(world: World) -> None:
    shared = OldClient(world.http, world.supabase.url, world.supabase.secret_key)
    task_id = world.a.session.enqueue(world.a.project)
    assert shared.claim()
    world.service.ok("queue", {"verb": "rescue", "lost": [[task_id, 1]]})
    world.database.run("update private.queue set place = 'ready', scheduled_at = null where task_id = %s", task_id)
    assert shared.claim()
    assert shared.complete_with_url(task_id, "https://example.com/film.mp4").status_code == 409
    first = world.a.session.enqueue(world.a.project)
    assert shared.claim()
    assert shared.complete_with_url(first, "https://example.com/film.mp4").status_code == 200


# The matrix of the seed: who gets which task


def test_a_user_gets_nothing_from_an_empty_queue(world: World) -> None:
    assert _client(world, world.a.user).claim() is None


def test_a_user_gets_his_own_task(world: World) -> None:
    task_id = world.a.session.enqueue(world.a.project)
    claimed = _client(world, world.a.user).claim()
    assert claimed is not None
    assert claimed["task_id"] == task_id
    assert _row(world, task_id)["status"] == "In Progress"


def test_another_user_gets_nothing(world: World) -> None:
    world.a.session.enqueue(world.a.project)
    assert _client(world, world.b.user).claim() is None


@pytest.mark.parametrize("key", ["secret_key", "service_role_key", "a worker's token"])
def test_the_operator_gets_the_oldest_of_all(world: World, key: str) -> None:
    first = world.b.session.enqueue(world.b.project)
    second = world.a.session.enqueue(world.a.project)
    token = getattr(world.supabase, key, None) or world.token_text()[0]
    operator = OldClient(world.http, world.supabase.url, token)
    assert [task["task_id"] for task in (operator.claim(), operator.claim()) if task] == [first, second]


def test_workers_that_claim_at_once_get_distinct_tasks(world: World) -> None:
    ids = {world.a.session.enqueue(world.a.project) for _ in range(16)}
    workers = [_client(world, world.a.user) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        claimed = [task["task_id"] for task in pool.map(lambda n: workers[n % 4].claim(), range(16)) if task]
    assert sorted(claimed) == sorted(ids)
