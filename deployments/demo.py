"""`longtake demo`: three pictures become one film, by the real queue and real Prefect flows, in a private folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from blocks.queue.model import LOCAL_USER, Status, Task, TaskFilter
from blocks.queue.protocol import TaskQueue
from deployments.cli.exits import ExitCode
from deployments.cli.screen import Screen
from deployments.cli.watch import Family, follow
from deployments.demo_account import account, tell
from deployments.settings import Settings
from deployments.stack.api import PrefectApi
from deployments.stack.errors import StackError
from deployments.stack.stack import Stack

SAMPLES = Path(__file__).parent.parent / "samples"
HOME = Path(".longtake") / "demo"
#: On two idle cores it takes a third of this; a film that is not there by then will not come.
DEADLINE_SECONDS = 300.0
#: After the film is there, its orchestrator wakes up and writes the summary for the Prefect UI.
SUMMARY_SECONDS = 20.0

FRAMES, OVERLAP, SIZE = 49, 12, "832x480"


class DemoFailed(StackError):
    """The film did not come, or not in time."""


def run_demo(
    home: Path = HOME,
    images: Sequence[Path] = (),
    screen: Screen | None = None,
    *,
    deadline: float = DEADLINE_SECONDS,
) -> ExitCode:
    """Start everything, make the film, stop everything. Raises `StackError` or `QueueError` with the reason."""
    begun = time.monotonic()
    screen = screen or Screen(as_json=False)
    settings = Settings.load(home=home, supabase_url="")  # whatever is set: a demo touches nobody's project
    pictures = list(images) or sorted(SAMPLES.glob("*.jpg"))[:3]
    if len(pictures) < 2:
        raise DemoFailed(f"There are no pictures in {SAMPLES}.", "Run this from a clone of the repository.")
    screen.say(f"From {len(pictures)} pictures to one film, in {settings.home}")
    with Stack(settings, on_step=lambda name, took: screen.say(f"  {name:<9} {took:5.1f} s")) as stack:
        connection = stack.connection
        screen.say(f"See it in Prefect: {connection.ui_url}  (sign in with {connection.auth_string})")
        with closing(_open(settings)) as queue:
            task = enqueue_film(queue, settings, pictures)
            family = follow(queue, task.id, screen, pause=_pause(stack, begun + deadline))
        _wait_for_summary(stack, family)
    took = time.monotonic() - begun
    if family.task.status is not Status.COMPLETE:
        raise DemoFailed(f"The travel is {family.task.status}: {family.task.error_message}", _where(settings))
    screen.document({"task": family.task.id, "output": family.task.output_location, "seconds": round(took, 1)})
    tell(screen, settings, family, account(stack.timings, family), took)
    return ExitCode.OK


def enqueue_film(queue: TaskQueue, settings: Settings, pictures: Sequence[Path]) -> Task:
    """One new travel over copies of the pictures. What an interrupted demo left behind is cancelled."""
    from blocks.storage.local import LocalStorage
    from tasks.intake import enqueue
    from tasks.travel import travel_spec

    for left in queue.list(TaskFilter(status=(Status.QUEUED, Status.IN_PROGRESS), limit=1000)):
        if left.parent_id is None:
            queue.cancel(left.id)
    storage = LocalStorage(settings.storage_root)
    images = [storage.put_input(picture, owner=LOCAL_USER).location for picture in pictures]
    return enqueue(queue, travel_spec(images, frames=(FRAMES,), overlaps=(OVERLAP,), size=SIZE))[0].task


def _open(settings: Settings) -> TaskQueue:
    from blocks.queue.address import open_queue

    return open_queue({"backend": "sqlite", "path": str(settings.queue_path)})


def _pause(stack: Stack, deadline: float) -> Callable[[], None]:
    """Between two looks: wait a little, and give up when there is nothing left to wait for."""

    def pause() -> None:
        if stack.wait(0.3) and stack.failure:
            raise stack.failure
        if time.monotonic() > deadline:
            raise DemoFailed("The film did not come in time.", _where(stack.settings))

    return pause


def _wait_for_summary(stack: Stack, family: Family) -> None:
    """The film is there already: what goes wrong here costs only a page in the UI."""
    until = time.monotonic() + SUMMARY_SECONDS
    with PrefectApi(stack.connection) as api:
        while time.monotonic() < until and api.is_unfinished(family.task.flow_run_id):
            stack.wait(0.2)


def _where(settings: Settings) -> str:
    return f"The logs in {settings.logs_dir} say more."
