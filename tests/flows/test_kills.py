"""`kill -9` at the worst moments: the travel finishes all the same, and nothing finished is made twice."""

from __future__ import annotations

import pytest

from blocks.queue.model import Status, Task
from tests.flows.lab import LONG, Lab, film_length, kill
from tests.waiting import until

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("lab")]


def finished_whole(lab: Lab, travel: Task, length: int) -> list[Task]:
    """The segments of a travel that ended with a film of exactly this length."""
    done = lab.wait(travel, seconds=240)
    assert done.status is Status.COMPLETE, lab.describe(travel)
    assert film_length(done.output_location) == length
    return [row for row in lab.queue.children(travel.id) if row.task_type == "travel_segment"]


def test_a_killed_segment_costs_that_segments_attempt_only(lab: Lab) -> None:
    travel = lab.travel(3, **LONG)
    victim = lab.generating(travel)
    kill([lab.process_of(str(victim.flow_run_id))])
    segments = finished_whole(lab, travel, 121 + 121 - 8)
    assert [row.attempts for row in segments] == [2 if row.id == victim.id else 1 for row in segments]
    assert all(lab.generations(row) == 1 for row in segments if row.id != victim.id)


def test_a_segment_that_is_told_to_end_gives_its_attempt_back(lab: Lab) -> None:
    travel = lab.travel(3, **LONG)
    victim = lab.generating(travel)
    lab.process_of(str(victim.flow_run_id)).terminate()
    segments = finished_whole(lab, travel, 121 + 121 - 8)
    assert [row.attempts for row in segments] == [1, 1]
    assert len(lab.runs_of(victim)) == 2


def test_a_killed_poller_delays_and_loses_nothing(lab: Lab) -> None:
    def polling() -> list[str]:
        return [run["id"] for run in lab.runs(name={"like_": "poll"}, state={"type": {"any_": ["RUNNING"]}})]

    until(lambda: bool(polling()), lambda: "no poll is running")
    kill([lab.process_of(polling()[0])])
    finished_whole(lab, lab.travel(3), 30)
