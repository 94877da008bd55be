"""`kill -9` at the worst moments: the travel finishes all the same, and nothing finished is made twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.queue.model import Status, Task
from deployments.settings import Settings
from tests.flows.lab import LONG, Lab, Up, film_length, kill
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


@pytest.fixture
def own(home: Path) -> Iterator[Lab]:
    """A home whose `longtake up` is a program of its own."""
    lab = Lab(Settings.load(home=home / "home"), home)
    yield lab
    kill(lab.processes())


def test_everything_is_killed_and_up_again_finishes_the_travel(own: Lab) -> None:
    Up(own.settings)
    travel = own.travel(4, **LONG)
    second = lambda: own.queue.children(travel.id)[1:2]  # noqa: E731
    until(lambda: any((row.tick or 0) > 0 for row in second()), lambda: own.describe(travel), 180)
    finished_first = own.queue.children(travel.id)[0]
    assert finished_first.status is Status.COMPLETE
    kill(own.processes())
    until(lambda: not own.processes(), lambda: f"alive: {own.processes()}")

    again = Up(own.settings)
    segments = finished_whole(own, travel, 3 * 121 - 2 * 8)
    assert [row.attempts for row in segments] == [1, 2, 1]
    assert [own.generations(row) for row in (segments[0], segments[2])] == [1, 1]
    assert own.queue.get(finished_first.id).output_location == finished_first.output_location
    assert again.stop() == 0
    assert own.processes() == []
