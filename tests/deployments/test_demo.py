"""The whole of it, once, as a newcomer sees it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from blocks.queue.model import Status, Task
from blocks.queue.sqlite import SqliteQueue
from deployments.demo import FRAMES, OVERLAP, SAMPLES, enqueue_film
from deployments.settings import Settings
from deployments.stack.leftovers import end_all, find_leftovers
from tasks.media.probe import probe
from tests.conftest import private_home
from tests.deployments.test_up import LONGTAKE

pytestmark = pytest.mark.stack


@dataclass(frozen=True)
class Shown:
    """What a demo did in a home where an earlier one was interrupted before it began."""

    result: subprocess.CompletedProcess[str]
    interrupted: Task
    travel: Task
    left: list[psutil.Process]


@pytest.fixture(scope="module")
def shown() -> Iterator[Shown]:
    with private_home() as home:
        settings = Settings.load(home=home)
        try:
            with closing(SqliteQueue(settings.queue_path)) as queue:
                interrupted = enqueue_film(queue, settings, sorted(SAMPLES.glob("*.jpg")))
                argv = [LONGTAKE, "demo", "--home", home]
                result = subprocess.run(argv, capture_output=True, text=True, check=False)
                travel = next(task for task in queue.list() if task.task_type == "travel_orchestrator")
                yield Shown(result, queue.get(interrupted.id), travel, find_leftovers(home))
        finally:
            end_all(find_leftovers(home))


def test_it_succeeds(shown: Shown) -> None:
    assert shown.result.returncode == 0, shown.result.stdout + shown.result.stderr


def test_the_film_is_exactly_as_long_as_promised(shown: Shown) -> None:
    film = probe(Path(str(shown.travel.output_location)))
    assert (film.codec, film.frames) == ("h264", 2 * FRAMES - OVERLAP)


def test_it_says_where_film_and_contact_sheet_are(shown: Shown) -> None:
    paths = [line.split()[-1] for line in shown.result.stdout.splitlines() if line.endswith((".mp4", ".jpg"))]
    assert len(paths) == 2
    assert all(Path(path).exists() for path in paths)


def test_it_says_how_to_look_at_the_run(shown: Shown) -> None:
    assert "longtake up --home" in shown.result.stdout


def test_it_leaves_no_process_behind(shown: Shown) -> None:
    assert shown.left == []


def test_a_travel_that_an_interrupted_demo_left_is_cancelled(shown: Shown) -> None:
    assert shown.interrupted.status is Status.CANCELLED
