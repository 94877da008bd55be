from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from blocks.queue.memory import MemoryQueue
from blocks.queue.model import Claim, Status, TaskSpec
from deployments.cli.exits import ExitCode, Refusal
from deployments.cli.screen import Screen
from deployments.cli.watch import _drawn, conclude, follow, look

SPEC = TaskSpec("single_image", {"prompt": "x"})


@pytest.fixture
def queue() -> MemoryQueue:
    return MemoryQueue()


def steps(*calls: Callable[[], object]) -> Callable[[], None]:
    """What happens to the task between two looks, one call each; after the last one nothing may be awaited."""
    left: Iterator[Callable[[], object]] = iter(calls)
    return lambda: (next(left)(), None)[1]


def started(queue: MemoryQueue) -> Claim:
    return queue.claim("worker", start=True)[0]


def test_a_complete_task_ends_the_watch_with_its_output(queue, capsys) -> None:
    task = queue.enqueue(SPEC)[0].task
    screen = Screen(as_json=False)

    def finish() -> None:
        claim = started(queue)
        queue.complete(task.id, claim.token, output_location="/out.png")

    family = follow(queue, task.id, screen, pause=steps(finish))
    assert conclude(family, screen) is ExitCode.OK
    assert capsys.readouterr().out.splitlines()[-1] == "/out.png"


def test_a_failed_task_ends_the_watch_with_its_error_and_how_to_retry(queue, capsys) -> None:
    task = queue.enqueue(SPEC)[0].task
    screen = Screen(as_json=False)

    def fail() -> None:
        queue.fail(task.id, started(queue).token, "the prompt is empty", retry=False)

    assert conclude(follow(queue, task.id, screen, pause=steps(fail)), screen) is ExitCode.FAILED
    said = capsys.readouterr().out
    assert "the prompt is empty" in said
    assert f"longtake task retry {task.id}" in said


def test_every_change_is_one_line_in_a_pipe(queue, capsys) -> None:
    task = queue.enqueue(SPEC)[0].task
    claims: list[Claim] = []
    moves = (
        lambda: None,
        lambda: claims.append(started(queue)),
        lambda: queue.renew(task.id, claims[0].token, tick=1, max_ticks=100),
        lambda: queue.renew(task.id, claims[0].token, tick=60, max_ticks=100),
        lambda: queue.complete(task.id, claims[0].token),
    )
    follow(queue, task.id, Screen(as_json=False), pause=steps(*moves))
    lines = [line.split("  ", 1)[1] for line in capsys.readouterr().out.splitlines()]
    assert lines == ["Queued", "In Progress", "In Progress  60/100", "Complete"]


def test_with_json_only_the_end_is_on_stdout(queue, capsys) -> None:
    task = queue.enqueue(SPEC)[0].task
    queue.cancel(task.id)
    screen = Screen(as_json=True)
    conclude(follow(queue, task.id, screen), screen)
    out, err = capsys.readouterr()
    assert out.startswith("{")
    assert '"status": "Cancelled"' in out
    assert "Cancelled" in err


def test_ctrl_c_leaves_the_task_alone(queue) -> None:
    task = queue.enqueue(SPEC)[0].task

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(Refusal, match="the task goes on") as refused:
        follow(queue, task.id, Screen(as_json=False), pause=interrupt)
    assert refused.value.exit_code is ExitCode.INTERRUPTED
    assert queue.get(task.id).status is Status.QUEUED


def test_the_live_table_shows_a_parent_and_its_parts(queue) -> None:
    parent = queue.enqueue(SPEC)[0].task
    queue.enqueue(TaskSpec("travel_stitch", {}, parent_id=parent.id))
    table = _drawn(look(queue, parent.id))
    assert table.row_count == 2


def test_watching_an_ended_task_needs_no_waiting(longtake) -> None:
    made = longtake("task", "create", "single_image", "--params", '{"prompt": "x"}', "--json").document["task"]["id"]
    longtake("task", "cancel", made)
    answer = longtake("task", "watch", made[:8], "--json")
    assert answer.code == 1
    assert set(answer.document) == {"task", "children", "dependencies"}
