"""The plan of a travel: children, references, arithmetic."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from blocks.queue.memory import MemoryQueue
from blocks.queue.model import Task, TaskSpec
from tasks.intake import check
from tasks.params.travel import SegmentParams, StitchParams
from tasks.travel import children, details_of, timeline_of, travel_spec

GRID = (4, 1)


def orchestrator(images: int = 3, **asked: Any) -> Task:
    queue = MemoryQueue()
    return queue.enqueue(travel_spec([f"/{i}.jpg" for i in range(images)], **asked))[0].task


def plan(task: Task) -> tuple[TaskSpec, ...]:
    details = details_of(task)
    return children(task, details, timeline_of(details, grid=GRID), size_multiple=16)


def test_three_images_become_two_segments_and_a_stitch() -> None:
    assert [spec.task_type for spec in plan(orchestrator())] == ["travel_segment"] * 2 + ["travel_stitch"]


def test_planning_twice_gives_the_same_children() -> None:
    task = orchestrator()
    assert plan(task) == plan(task)


def test_two_travels_have_no_child_in_common() -> None:
    assert not {spec.id for spec in plan(orchestrator())} & {spec.id for spec in plan(orchestrator())}


def test_chained_segments_wait_for_their_predecessor_and_the_stitch_for_all() -> None:
    first, second, stitch = plan(orchestrator())
    assert first.depends_on == ()
    assert second.depends_on == (first.id,)
    assert set(stitch.depends_on) == {first.id, second.id}


def test_unchained_segments_do_not_wait_for_each_other() -> None:
    *segments, _ = plan(orchestrator(4, chain_segments=False))
    assert all(segment.depends_on == () for segment in segments)


def test_children_carry_a_reference_and_not_the_payload() -> None:
    task = orchestrator()
    for spec in plan(task):
        assert spec.params["orchestrator_task_id_ref"] == task.id
        assert "orchestrator_details" not in spec.params
        assert spec.parent_id == task.id


def test_every_planned_child_would_be_accepted_by_the_queue() -> None:
    for spec in plan(orchestrator(5, frames=[81, 17, 81, 3], overlaps=[20, 20, 1])):
        check(spec)


def test_segments_count_their_seeds_from_the_base() -> None:
    seeds = [spec.params["seed_to_use"] for spec in plan(orchestrator(seed=100))[:-1]]
    assert seeds == [100, 101]


def test_sizes_are_floored_to_the_engines_multiple() -> None:
    assert plan(orchestrator(size="839x495"))[0].params["parsed_resolution_wh"] == "832x480"


def test_a_readable_run_id_joins_the_children() -> None:
    assert {spec.params["orchestrator_run_id"] for spec in plan(orchestrator(run_id="holiday"))} == {"holiday"}


def test_the_override_reaches_every_segment() -> None:
    specs = plan(orchestrator(params_json_str_override='{"guidance_scale": 2.5}'))
    assert [spec.params["guidance_scale"] for spec in specs[:-1]] == [2.5, 2.5]


@given(
    lengths=st.lists(st.integers(1, 200), min_size=1, max_size=8),
    overlaps=st.lists(st.integers(0, 60), min_size=7, max_size=7),
)
def test_the_children_agree_with_each_other_about_every_length(lengths: list[int], overlaps: list[int]) -> None:
    count = len(lengths)
    joins = overlaps[: count - 1] or [0]
    *segments, stitch = plan(orchestrator(count + 1, frames=lengths, overlaps=joins))
    asked = [SegmentParams.read(spec.params) for spec in segments]
    film = StitchParams.read(stitch.params)
    assert film.segment_frames == [one.segment_frames_target for one in asked]
    assert film.frame_overlaps == [one.frame_overlap_with_next for one in asked[:-1]]
    assert [one.frame_overlap_from_previous for one in asked[1:]] == film.frame_overlaps
    assert asked[0].frame_overlap_from_previous == asked[-1].frame_overlap_with_next == 0
