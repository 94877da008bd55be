"""A finished travel done again: which tasks are made, which are kept, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from blocks.queue.errors import InvalidTask
from blocks.queue.memory import MemoryQueue
from blocks.queue.model import Task, TaskSpec
from tasks.errors import InvalidInput
from tasks.intake import enqueue
from tasks.redo import Change, Earlier, earlier, redo_spec
from tasks.travel import children, details_of, timeline_of, travel_spec


def planned(queue: MemoryQueue, travel: Task) -> tuple[TaskSpec, ...]:
    """The children that the orchestrator would enqueue."""
    details = details_of(travel)
    timeline = timeline_of(details, grid=(4, 1))
    parts = children(travel, details, timeline, size_multiple=16)
    kept = earlier(queue, travel, details).kept(details, parts)
    return children(travel, details, timeline, size_multiple=16, kept=kept)


def act(queue: MemoryQueue, task_id: str, output: str | None) -> None:
    claim = queue.claim("worker", task_ids=[task_id])[0]
    started = queue.start(task_id, claim.task.attempts, "worker")
    queue.complete(task_id, started.token, output_location=output)


def finish(queue: MemoryQueue, travel: Task) -> Task:
    claim = queue.claim("worker", task_ids=[travel.id])[0]
    started = queue.start(travel.id, claim.task.attempts, "worker")
    parts = planned(queue, travel)
    queue.enqueue(*parts)
    queue.wait(travel.id, started.token)
    for part in parts:
        act(queue, str(part.id), f"/{travel.id}/{part.params.get('segment_index', 'film')}.mp4")
    return queue.get(travel.id)


def made(queue: MemoryQueue, images: int = 5, **asked: Any) -> Task:
    return finish(queue, queue.enqueue(travel_spec([f"/{i}.jpg" for i in range(images)], **asked))[0].task)


def again(queue: MemoryQueue, travel: Task, *segments: int, **change: Any) -> Task:
    return enqueue(queue, redo_spec(travel, segments, Change(**change)))[0].task


@pytest.fixture
def queue() -> MemoryQueue:
    return MemoryQueue()


def test_only_the_named_segment_and_a_stitch_are_made(queue: MemoryQueue) -> None:
    segment, stitch = planned(queue, again(queue, made(queue), 2))
    assert (segment.params["segment_index"], stitch.task_type) == (2, "travel_stitch")


def test_the_other_segments_are_those_of_the_finished_travel(queue: MemoryQueue) -> None:
    travel = made(queue)
    old = [child.id for child in queue.children(travel.id)]
    segment, stitch = planned(queue, again(queue, travel, 2))
    assert stitch.params["segment_task_ids"] == [old[0], old[1], segment.id, old[3]]
    assert list(stitch.depends_on) == stitch.params["segment_task_ids"]


def test_a_chained_segment_continues_the_kept_one_before_it(queue: MemoryQueue) -> None:
    travel = made(queue)
    segment, _ = planned(queue, again(queue, travel, 2))
    assert segment.depends_on == (queue.children(travel.id)[1].id,)


def test_the_film_that_is_there_stays(queue: MemoryQueue) -> None:
    travel = made(queue)
    finish(queue, again(queue, travel, 2))
    assert queue.get(travel.id) == travel


def test_a_redone_travel_can_be_redone(queue: MemoryQueue) -> None:
    first = made(queue)
    second = finish(queue, again(queue, first, 2))
    segment, stitch = planned(queue, again(queue, second, 0))
    old, newer = ([child.id for child in queue.children(travel.id)] for travel in (first, second))
    assert stitch.params["segment_task_ids"] == [segment.id, old[1], newer[0], old[3]]
    assert earlier(queue, queue.get(second.id), details_of(queue.get(second.id))).travels == (first.id,)


def test_the_changed_prompt_and_seed_are_those_of_the_segment_alone(queue: MemoryQueue) -> None:
    travel = made(queue, prompts=["a pond"], seed=100)
    segment, _ = planned(queue, again(queue, travel, 2, prompt="a storm", seed=7))
    assert (segment.params["base_prompt"], segment.params["seed_to_use"]) == ("a storm", 7)
    details = details_of(again(queue, travel, 2, prompt="a storm", seed=7))
    assert details.base_prompts_expanded == ["a pond", "a pond", "a storm", "a pond"]
    assert details.seeds == [100, 101, 7, 103]


def test_without_any_change_the_seed_is_a_new_one(queue: MemoryQueue) -> None:
    travel = made(queue, seed=100)
    assert details_of(again(queue, travel, 2)).seeds[2] != 102
    assert details_of(again(queue, travel, 2, prompt="a storm")).seeds[2] == 102


def test_the_run_id_of_the_first_travel_is_not_used_again(queue: MemoryQueue) -> None:
    travel = made(queue, run_id="mine")
    new = again(queue, travel, 1)
    assert {part.params["orchestrator_run_id"] for part in planned(queue, new)} == {new.id}


def test_a_travel_without_a_film_is_refused(queue: MemoryQueue) -> None:
    travel = queue.enqueue(travel_spec(["/a.jpg", "/b.jpg"]))[0].task
    new = again(queue, travel, 0)
    with pytest.raises(InvalidInput, match=r"is Queued, and only a finished one.*longtake task retry"):
        earlier(queue, new, details_of(new))


def test_another_owners_travel_and_none_are_told_apart_by_nobody(queue: MemoryQueue) -> None:
    travel = made(queue)
    details = details_of(again(queue, travel, 1))
    for stranger in ({"user_id": "somebody"}, {"project_id": "another"}):
        task = replace(again(queue, travel, 1), **stranger)
        with pytest.raises(InvalidInput, match=f"there is no travel '{travel.id}'"):
            earlier(queue, task, details)


def test_another_shape_is_refused_before_anything_is_made(queue: MemoryQueue) -> None:
    spec = redo_spec(made(queue), [1], Change())
    asked = {**spec.params["orchestrator_details"], "segment_frames_expanded": [49]}
    new = queue.enqueue(TaskSpec("travel_orchestrator", {"orchestrator_details": asked}))[0].task
    with pytest.raises(InvalidInput, match=r"segment 0 was made with 81, and the new film has 49"):
        planned(queue, new)


def test_a_missing_segment_is_named(queue: MemoryQueue) -> None:
    travel = again(queue, made(queue), 2)
    details = details_of(travel)
    parts = children(travel, details, timeline_of(details, grid=(4, 1)), size_multiple=16)
    with pytest.raises(InvalidInput, match=r"segment 0 of travel x is no longer there.*redo_segments \[0, 1, 2, 3\]"):
        Earlier(("x",)).kept(details, parts)


def test_a_segment_that_the_film_does_not_have_is_refused(queue: MemoryQueue) -> None:
    with pytest.raises(InvalidInput, match=r"there is no segment 4; travel .* has 0 to 3"):
        redo_spec(made(queue), [4], Change())


@pytest.mark.parametrize(
    ("asked", "why"),
    [({"redo_segments": [1]}, "of which travel"), ({"redo_of": "x"}, "name the segments"),
     ({"redo_of": "x", "redo_segments": [9]}, "there is no segment 9; the film has 0 to 3")],
)  # fmt: skip
def test_half_a_redo_is_refused_at_enqueue(queue: MemoryQueue, asked: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidTask, match=why):
        enqueue(queue, travel_spec([f"/{i}.jpg" for i in range(5)], **asked))
