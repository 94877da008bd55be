"""The main job, end to end: real queue, real Prefect server, real workers, real files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from blocks.queue.model import Status, Task, TaskSpec
from tasks.media.video import read_frame
from tasks.travel import travel_spec
from tests.flows.lab import Lab, film_length
from tests.waiting import until

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("lab")]

UUID_LENGTH = 36


@pytest.fixture(scope="module")
def finished(lab: Lab) -> Task:
    task = lab.wait(lab.travel(3))
    lab.until_run(task, "Completed")
    return task


def test_three_pictures_become_a_film_of_exactly_the_promised_length(finished: Task) -> None:
    assert finished.status is Status.COMPLETE, finished.error_message
    assert film_length(finished.output_location) == 17 + 17 - 4


def test_the_travel_has_the_stitchs_output_and_a_contact_sheet_beside_it(lab: Lab, finished: Task) -> None:
    stitch = lab.queue.children(finished.id)[-1]
    assert finished.output_location == stitch.output_location
    assert Path(str((stitch.result or {})["contact_sheet"])).read_bytes().startswith(b"\xff\xd8")


def test_the_ui_draws_all_parts_under_one_orchestrator_run(lab: Lab, finished: Task) -> None:
    children = lab.runs(parent_flow_run_id={"any_": [finished.flow_run_id]})
    family = finished.id[:8]
    assert sorted(run["name"] for run in children) == [
        f"segment 1 · {family}",
        f"segment 2 · {family}",
        f"stitch · {family}",
    ]
    assert {run["state_name"] for run in children} == {"Completed"}


def test_no_run_carries_more_than_ids_in_its_parameters(lab: Lab) -> None:
    for run in lab.runs(tags={"all_": ["longtake-task"]}):
        assert set(run["parameters"]) == {"task_id", "attempt"}
        assert len(run["parameters"]["task_id"]) == UUID_LENGTH
        assert isinstance(run["parameters"]["attempt"], int)


def test_no_other_run_has_parameters_that_are_not_numbers(lab: Lab) -> None:
    for run in lab.runs():
        assert all(isinstance(value, int | float) or name == "task_id" for name, value in run["parameters"].items())


def test_the_artifacts_tell_the_story(lab: Lab, finished: Task) -> None:
    found = lab.api("/artifacts/filter", {"limit": 200})
    kinds = {artifact["key"]: artifact["type"] for artifact in found}
    assert kinds[f"plan-{finished.id}"] == "table"
    assert kinds[f"timings-{finished.id}"] == "table"
    assert kinds[f"film-{finished.id}"] == "markdown"
    assert kinds[f"contact-sheet-{finished.id}"] == "image"
    [bar] = [artifact for artifact in found if artifact["key"] == f"progress-{finished.id}"]
    assert bar["data"] == 100.0


def test_each_segment_was_generated_once(lab: Lab, finished: Task) -> None:
    segments = lab.queue.children(finished.id)[:-1]
    assert [row.attempts for row in segments] == [1, 1]
    assert [lab.generations(row) for row in segments] == [1, 1]


def test_a_run_that_comes_a_second_time_does_nothing(lab: Lab, finished: Task) -> None:
    deployment = lab.run_of(finished)["deployment_id"]
    run = lab.api(f"/deployments/{deployment}/create_flow_run", {"parameters": {"task_id": finished.id, "attempt": 1}})

    def state() -> str:
        return str(lab.runs(id={"any_": [run["id"]]})[0]["state_name"])

    until(lambda: state() == "Superseded", state)
    assert lab.queue.get(finished.id) == finished


def test_unchained_segments_and_zero_overlap_make_a_plain_concatenation(lab: Lab) -> None:
    task = lab.wait(lab.travel(3, overlaps=[0], chain_segments=False))
    assert film_length(task.output_location) == 34


def test_a_travel_continues_a_video_and_begins_with_it(lab: Lab, finished: Task) -> None:
    """The video is segment −1: its 30 frames come first, and one overlap follows it."""
    images = lab.pictures(2)
    spec = travel_spec(
        images,
        frames=[17],
        overlaps=[4],
        size="256x144",
        continue_from_video_resolved_path=finished.output_location,
    )
    task = lab.wait(lab.enqueue(spec))
    assert task.status is Status.COMPLETE, task.error_message
    assert film_length(task.output_location) == 30 + 17 + 17 - 4 - 4
    first = [read_frame(str(location), 0) for location in (task.output_location, finished.output_location)]
    assert np.abs(first[0].astype(int) - first[1]).mean() < 3


def test_zero_segments_complete_at_once_and_say_so(lab: Lab) -> None:
    task = lab.wait(lab.enqueue(travel_spec([], num_new_segments_to_generate=0)))
    assert task.status is Status.COMPLETE
    assert task.result == {"segments": 0, "message": "No segments were asked for."}


def test_a_text_file_named_png_fails_at_once_naming_the_image(lab: Lab, tmp_path: Path) -> None:
    liar = tmp_path / "liar.png"
    liar.write_text("this is no picture")
    task = lab.wait(lab.enqueue(travel_spec([*lab.pictures(1), str(liar)])))
    assert (task.status, task.attempts) == (Status.FAILED, 1)
    assert "image 1" in str(task.error_message)
    assert "liar.png" in str(task.error_message)


def test_a_type_that_nobody_serves_fails_naming_the_nearest(lab: Lab) -> None:
    [entry] = lab.queue.enqueue(TaskSpec("travel_orchestrater", {}))  # past the intake, as raw SQL would
    task = lab.wait(entry.task)
    assert "'travel_orchestrator'" in str(task.error_message)


def test_parameters_that_no_longer_fit_fail_at_once_naming_the_field(lab: Lab) -> None:
    [entry] = lab.queue.enqueue(TaskSpec("extract_frame", {"frame_index": "last", "path": "/x.mp4"}))
    task = lab.wait(entry.task)
    assert (task.status, task.attempts) == (Status.FAILED, 1)
    assert str(task.error_message).startswith("frame_index:")


def test_a_cancelled_travel_stops_all_its_parts(lab: Lab) -> None:
    travel = lab.travel(3, frames=[121], size="832x480")
    lab.generating(travel)
    lab.queue.cancel(travel.id)
    lab.until_run(travel, "Cancelled")
    rows = lab.queue.children(travel.id)
    assert {row.status for row in rows} == {Status.CANCELLED}
    lab.until_run(rows[0], "Cancelled")


def test_a_failed_part_fails_the_travel_and_a_retry_of_the_travel_finishes_it(lab: Lab, tmp_path: Path) -> None:
    late = tmp_path / "late.png"
    task = lab.wait(lab.enqueue(travel_spec([*lab.pictures(1), str(late)], frames=[17], size="256x144")))
    assert task.status is Status.FAILED
    late.write_bytes(Path(lab.pictures(2)[1]).read_bytes())
    lab.queue.retry(task.id)
    task = lab.wait(task)
    assert film_length(task.output_location) == 17


def test_the_block_types_can_be_registered_by_prefects_own_command(lab: Lab) -> None:
    connection = lab.settings.connection()
    assert connection
    command = [sys.executable, "-m", "prefect", "block", "register", "-m", "blocks.workspace"]
    env = {**os.environ, **connection.environment(), "PREFECT_HOME": str(lab.settings.prefect_home)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Longtake workspace" in done.stdout


def test_a_run_that_is_cancelled_in_prefects_ui_cancels_its_task(lab: Lab) -> None:
    travel = lab.travel(3, frames=[121], size="832x480")
    segment = lab.generating(travel)
    lab.api(f"/flow_runs/{segment.flow_run_id}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})
    assert lab.wait(travel).status is Status.CANCELLED
    assert lab.queue.get(segment.id).status is Status.CANCELLED
    lab.until_run(segment, "Cancelled")
