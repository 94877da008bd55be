from __future__ import annotations

import re
from pathlib import Path

import pytest

from blocks.queue.sqlite import SqliteQueue


@pytest.fixture
def travel(longtake, queue: SqliteQueue, pictures: list[Path]) -> str:
    """Of two segments, with a film."""
    task = longtake("travel", "create", *pictures, "--seed", 100, "--prompt", "a pond", "--json").document["task"]
    (claim,) = queue.claim("worker", task_ids=[task["id"]])
    token = queue.start(task["id"], claim.attempt, "worker").token
    queue.complete(task["id"], token, output_location="/film.mp4")
    return str(task["id"])


def test_a_redo_is_a_travel_of_its_own_that_names_the_other(longtake, queue: SqliteQueue, travel: str) -> None:
    answer = longtake("travel", "redo", travel, "--segment", 1, "--prompt", "a storm", "--seed", 7, "--json").document
    details = queue.get(answer["task"]["id"]).params["orchestrator_details"]
    assert (details["redo_of"], details["redo_segments"]) == (travel, [1])
    assert details["base_prompts_expanded"] == ["a pond", "a storm"]
    assert details["seeds_expanded"] == [100, 7]


def test_people_are_told_which_pictures_the_segment_lies_between(longtake, travel: str, pictures) -> None:
    answer = longtake("travel", "redo", travel, "--segment", 0, "--prompt", "a storm")
    assert f"Segment 0 ({pictures[0].name} to {pictures[1].name}) with seed 100: a storm" in answer.out
    assert "longtake task watch" in answer.out


def test_the_segments_after_it_are_made_again_on_request(longtake, queue: SqliteQueue, travel: str) -> None:
    answer = longtake("travel", "redo", travel, "--segment", 0, "--successors", "--json").document
    assert [each["segment"] for each in answer["redo"]] == [0, 1]


def test_the_same_id_twice_creates_one(longtake, queue: SqliteQueue, travel: str) -> None:
    asked = ("travel", "redo", travel, "--segment", 1, "--seed", 7, "--id", "0b1f5c62-9a0e-4c0d-8f2e-6c6f6e677461")
    assert [longtake(*asked, "--json").document["created"] for _ in range(2)] == [True, False]


@pytest.mark.parametrize(
    ("segment", "why"), [(2, "there is no segment 2; travel .* has 0 to 1"), (-1, "there is no segment -1")]
)
def test_a_segment_that_is_not_there_is_refused(longtake, queue: SqliteQueue, travel: str, segment, why) -> None:
    answer = longtake("travel", "redo", travel, f"--segment={segment}")
    assert answer.code == 2
    assert re.search(why, answer.err)
    assert len(queue.list()) == 1


def test_an_unfinished_travel_is_refused(longtake, queue: SqliteQueue, pictures: list[Path]) -> None:
    task = longtake("travel", "create", *pictures, "--json").document["task"]
    answer = longtake("travel", "redo", task["id"], "--segment", 0)
    assert answer.code == 2
    assert "is Queued, and only a finished one has segments to keep" in answer.err
    assert len(queue.list()) == 1


def test_what_is_no_travel_is_refused(longtake, queue: SqliteQueue) -> None:
    task = longtake("task", "create", "single_image", "--params", '{"prompt": "a pond"}', "--json").document["task"]
    answer = longtake("travel", "redo", task["id"], "--segment", 0)
    assert (answer.code, "is a single_image, not a travel" in answer.err) == (2, True)
