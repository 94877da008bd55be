"""Bad input gets a clear answer, and nothing is stored."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from blocks.queue.errors import InvalidTask
from blocks.queue.memory import MemoryQueue
from blocks.queue.model import TaskSpec
from tasks.intake import check, enqueue
from tasks.kinds import KINDS, POOLS, find_kind, types_of
from tasks.params.travel import TravelParams
from tasks.travel import travel_spec

IMAGES = ["/a.jpg", "/b.jpg", "/c.jpg"]


def travel(**details: Any) -> TaskSpec:
    spec = travel_spec(IMAGES)
    asked = {**spec.params["orchestrator_details"], **details}
    return TaskSpec("travel_orchestrator", {"orchestrator_details": {k: v for k, v in asked.items() if v != "drop"}})


def refusal(spec: TaskSpec) -> InvalidTask:
    with pytest.raises(InvalidTask) as refused:
        check(spec)
    return refused.value


def test_a_travel_over_three_images_is_accepted() -> None:
    check(travel())


def test_an_unknown_type_is_refused_naming_the_nearest() -> None:
    assert "'travel_segment'" in str(refusal(TaskSpec("travel_segmnet", {})))


def test_old_names_of_types_are_known() -> None:
    assert find_kind("wgp").task_type == "generate_video"
    assert find_kind("rife_interpolate_images").task_type == "interpolate_images"


def test_every_type_is_served_by_exactly_one_pool() -> None:
    served = [name for pool in POOLS for name in types_of(pool)]
    assert sorted(served) == sorted(name for kind in KINDS for name in kind.names)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("base_prompts_expanded", ["a", "b", "c"]),
        ("negative_prompts_expanded", ["a", "b", "c"]),
        ("segment_frames_expanded", [81, 81, 81]),
        ("segment_frames_expanded", [0]),
        ("frame_overlap_expanded", [12, 12]),
        ("base_prompts_expanded", "drop"),
        ("negative_prompts_expanded", "drop"),
        ("segment_frames_expanded", "drop"),
        ("frame_overlap_expanded", "drop"),
        ("parsed_resolution_wh", "drop"),
        ("parsed_resolution_wh", "wide"),
        ("parsed_resolution_wh", "8x8"),
        ("parsed_resolution_wh", "90000x90000"),
        ("seed_base", "twelve"),
        ("fps_helpers", 0),
        ("chain_segments", "yes"),
        ("additional_loras", ["a.safetensors"]),
        ("params_json_str_override", "{not json"),
        ("params_json_str_override", "[1]"),
        ("num_new_segments_to_generate", 3),
        ("num_new_segments_to_generate", 100_000),
    ],
)
def test_a_wrong_field_of_a_travel_is_named(field: str, value: Any) -> None:
    named = refusal(travel(**{field: value})).data["field"]
    blamed = "input_image_paths_resolved" if value == 3 else field
    assert str(named).startswith(f"orchestrator_details.{blamed}")


def test_one_image_is_not_a_travel_and_the_answer_says_what_to_do() -> None:
    assert "Give at least two" in str(refusal(travel(input_image_paths_resolved=["/a.jpg"])))


def test_one_image_with_one_segment_asked_for_is_an_open_journey() -> None:
    check(travel(input_image_paths_resolved=["/a.jpg"], num_new_segments_to_generate=1))


@pytest.mark.parametrize("count", [0, -1])
def test_zero_segments_or_less_are_legal_and_need_no_images(count: int) -> None:
    check(travel(num_new_segments_to_generate=count, input_image_paths_resolved=[]))


def test_one_element_is_broadcast_to_all_segments() -> None:
    details = TravelParams.read(travel(base_prompts_expanded=["sea"]).params).orchestrator_details
    assert details.base_prompts_expanded == ["sea", "sea"]


def test_the_override_cannot_change_what_the_plan_fixes() -> None:
    spec = travel(params_json_str_override='{"guidance_scale": 3, "steps": 1, "resolution": "1x1", "frames": 9}')
    details = TravelParams.read(spec.params).orchestrator_details
    assert details.override() == {"guidance_scale": 3}


def test_an_unknown_field_is_kept_and_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        check(travel(colour_of_the_bike="red"))
    assert "orchestrator_details.colour_of_the_bike" in caplog.text


def test_a_clip_has_one_length() -> None:
    spec = TaskSpec("generate_video", {"prompt": "sea", "frames": 9, "video_length": 13})
    assert refusal(spec).data["field"] == "frames"


def test_fields_inside_orchestrator_details_count_but_the_top_wins() -> None:
    params = find_kind("single_image").params.read(
        {"orchestrator_details": {"prompt": "inner", "seed": 4}, "prompt": "outer"}
    )
    assert (params.prompt, params.seed) == ("outer", 4)  # type: ignore[attr-defined]


def test_a_frame_is_taken_from_one_source() -> None:
    assert "either" in str(refusal(TaskSpec("extract_frame", {"frame_index": 0})))


def test_a_refused_batch_stores_nothing() -> None:
    queue = MemoryQueue()
    with pytest.raises(InvalidTask):
        enqueue(queue, travel(), travel(seed_base="no"))
    assert queue.list() == []
