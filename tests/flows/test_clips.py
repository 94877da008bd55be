"""Single images and clips, end to end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from blocks.queue.model import Status, Task, TaskSpec
from tasks.media.images import read_image
from tasks.media.probe import probe
from tests.flows.lab import Lab

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("lab")]

SIZE = "256x144"


def done(lab: Lab, task_type: str, **params: Any) -> Task:
    task = lab.wait(lab.enqueue(TaskSpec(task_type, params)))
    assert task.status is Status.COMPLETE, task.error_message
    return task


@pytest.fixture(scope="module")
def clip(lab: Lab) -> Task:
    first, second = lab.pictures(2)
    return done(
        lab, "generate_video", image_start_paths=[first], image_end_paths=[second], frames=17, resolution=SIZE, seed=7
    )


def test_a_clip_between_two_images_has_the_asked_length_and_size(clip: Task) -> None:
    info = probe(str(clip.output_location))
    assert (info.frames, info.width, info.height) == (17, 256, 144)


def test_the_result_records_the_seed_and_the_files_hash(clip: Task) -> None:
    assert (clip.result or {})["seed"] == 7
    assert len((clip.result or {})["sha256"]) == 64


def test_a_clip_from_a_prompt_alone_is_made_under_its_old_name_too(lab: Lab) -> None:
    task = done(lab, "wgp", prompt="a calm sea at dusk", video_length=9, resolution=SIZE)
    assert probe(str(task.output_location)).frames == 9
    assert (task.result or {})["seed"] >= 0


def test_a_single_image_is_painted_from_its_prompt(lab: Lab) -> None:
    task = done(lab, "single_image", prompt="mountains at dawn", resolution="320x180", seed=3)
    assert read_image(str(task.output_location)).shape == (180, 320, 3)


def test_an_interpolation_takes_the_size_of_its_first_image(lab: Lab) -> None:
    first, second = lab.pictures(2)
    task = done(lab, "interpolate_images", input_image_path1=first, input_image_path2=second, frames=9)
    info = probe(str(task.output_location))
    assert (info.frames, info.width, info.height) == (9, 416, 240)


def test_the_last_frame_of_a_finished_task_can_be_extracted(lab: Lab, clip: Task) -> None:
    spec = TaskSpec("extract_frame", {"input_video_task_id": clip.id, "frame_index": -1}, depends_on=(clip.id,))
    task = lab.wait(lab.enqueue(spec))
    assert Path(str(task.output_location)).suffix == ".png"
    assert read_image(str(task.output_location)).shape == (144, 256, 3)


@pytest.mark.parametrize(("blend", "frames"), [("generate", 17 + 6 + 17), ("crossfade", 17 + 17 - 4)])
def test_clips_are_joined_to_exactly_the_promised_length(lab: Lab, clip: Task, blend: str, frames: int) -> None:
    location = clip.output_location
    task = done(lab, "join_clips", clips=[location, location], context_frame_count=4, gap_frame_count=6, blend=blend)
    assert probe(str(task.output_location)).frames == frames
