"""The worker as a process, on a real Prefect server: how runs end, and what is left."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import psycopg
import pytest

from deployments.stack.stack import Stack
from deployments.warm.lanes import running_flow_runs
from tests.waiting import until
from tests.warm.bench import Bench, Worker, group_of

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def pool(bench: Bench) -> str:
    return bench.pool(grace_seconds=1, recycle_after_runs=0)


@pytest.fixture(scope="module")
def worker(bench: Bench, pool: str) -> Iterator[Worker]:
    """One for most tests. Its next poll is a minute away: what it does sooner, an event or a free slot has told it."""
    running = Worker(bench, pool, query_seconds=60)
    running.wait_ready()
    yield running
    running.end()


def child_pid(worker: Worker) -> int:
    def ready() -> int | None:
        children = worker.children()
        return children[0].pid if len(children) == 1 else None

    return until(ready, "one child") or 0


def assert_gone(*pids: int, seconds: float = 3) -> None:
    """Nothing is left of these process groups. What was killed takes a moment to be dead."""
    until(lambda: not [process for pid in pids for process in group_of(pid)], "the end of all processes", seconds)


def test_runs_are_taken_at_once_and_one_after_the_other_by_the_same_process(
    bench: Bench, pool: str, worker: Worker
) -> None:
    first, second = (bench.submit(pool, "quick", note=str(bench.folder / name)) for name in ("q1", "q2"))
    assert bench.ended(first)["type"] == "COMPLETED"
    assert bench.ended(second)["type"] == "COMPLETED"
    assert bench.said("q1")[0] == bench.said("q2")[0] == str(child_pid(worker))


@pytest.fixture
def slow_commits(stack: Stack) -> Iterator[None]:
    """The database takes its time to commit a new run, of which the server has told before."""
    url = stack.supervisor.child("server").recipe.env["PREFECT_SERVER_DATABASE_CONNECTION_URL"]
    with psycopg.connect(url.replace("+asyncpg", ""), autocommit=True) as connection:
        connection.execute(
            "create function slow_commit() returns trigger language plpgsql"
            " as $$ begin perform pg_sleep(0.5); return null; end $$;"
            "create constraint trigger slow_commit after insert on flow_run deferrable initially deferred"
            " for each row execute function slow_commit()"
        )
        yield
        connection.execute("drop trigger slow_commit on flow_run; drop function slow_commit")


@pytest.mark.usefixtures("slow_commits")
def test_a_run_that_was_announced_too_early_is_taken_soon(bench: Bench, pool: str, worker: Worker) -> None:
    assert bench.ended(bench.submit(pool, "quick"), 20)["type"] == "COMPLETED"


def test_a_runs_log_lines_are_in_prefect(bench: Bench, pool: str, worker: Worker) -> None:
    run = bench.submit(pool, "quick", note=str(bench.folder / "logged"))
    bench.ended(run)
    assert until(lambda: "pid=" in bench.logs(run), "the flow's own line", 20)


def test_what_a_run_leaves_behind_does_not_reach_the_next(bench: Bench, pool: str, worker: Worker) -> None:
    for name in ("u1", "u2"):
        bench.ended(bench.submit(pool, "untidy", note=str(bench.folder / name)))
    (pid, _, left, folder, first), (again, _, _, folder_again, second) = bench.said("u1"), bench.said("u2")
    assert (pid, folder) == (again, folder_again)
    assert left == "None"
    assert first != second


def test_an_exception_fails_the_run_and_keeps_the_child(bench: Bench, pool: str, worker: Worker) -> None:
    before = child_pid(worker)
    assert bench.ended(bench.submit(pool, "failing"))["type"] == "FAILED"
    assert bench.ended(bench.submit(pool, "sync"))["type"] == "COMPLETED"
    assert child_pid(worker) == before


@pytest.mark.parametrize(("flow", "how"), [("exiting", "exit code 3"), ("segfault", "signal 11 (SIGSEGV)")])
def test_a_process_that_ends_crashes_its_run_and_is_replaced(
    bench: Bench, pool: str, worker: Worker, flow: str, how: str
) -> None:
    state = bench.ended(bench.submit(pool, flow))
    assert state["type"] == "CRASHED"
    assert how in state["message"]
    assert bench.ended(bench.submit(pool, "quick"))["type"] == "COMPLETED"


def test_a_killed_child_crashes_its_run_and_the_next_run_is_fine(bench: Bench, pool: str, worker: Worker) -> None:
    run = bench.submit(pool, "sleeping", note=str(bench.folder / "killed"))
    pid = int(bench.said("killed")[0])
    assert running_flow_runs(bench.home) == {run}
    os.kill(pid, signal.SIGKILL)
    state = bench.ended(run, 10)
    assert (state["type"], f"(pid {pid}) ended with signal 9" in state["message"]) == ("CRASHED", True)
    assert bench.ended(bench.submit(pool, "quick"))["type"] == "COMPLETED"
    assert_gone(pid)


def test_a_cancelled_run_stops_and_nothing_of_its_group_is_left(bench: Bench, pool: str, worker: Worker) -> None:
    run = bench.submit(pool, "sleeping", note=str(bench.folder / "cancelled"))
    pid = int(bench.said("cancelled")[0])
    bench.cancel(run)
    assert bench.ended(run, 10)["type"] == "CANCELLED"
    assert_gone(pid)
    assert "Traceback" not in bench.logs(run)


def test_a_cancelled_runs_hooks_run_before_it_is_reported(bench: Bench, pool: str, worker: Worker) -> None:
    run = bench.submit(pool, "hooked", note=str(bench.folder / "hooked"))
    pid, _ = bench.said("hooked")
    bench.cancel(run)
    assert bench.ended(run, 10)["type"] == "CANCELLED"
    hook_pid, _, state = bench.said("hooked-hook", 0)
    assert (hook_pid, state) == (pid, "CANCELLING")


def test_a_cancelled_run_that_does_not_listen_is_killed_with_its_helpers(
    bench: Bench, pool: str, worker: Worker
) -> None:
    run = bench.submit(pool, "deaf", note=str(bench.folder / "deaf"))
    pid, _, helper = (int(float(word)) for word in bench.said("deaf"))
    assert helper in [process.pid for process in group_of(pid)]
    bench.cancel(run)
    assert bench.ended(run, 10)["type"] == "CANCELLED"
    assert_gone(pid)


def test_a_run_that_waits_for_a_child_can_be_cancelled(bench: Bench, pool: str, worker: Worker) -> None:
    child_pid(worker)
    deployment = bench.deployment(pool, "quick", job_variables={"preload": ["tests.warm.slow_module"]})
    run = bench.submit_to(deployment)
    until(lambda: bench.run(run)["state_name"] == "Pending", "that it is ours", 20)
    bench.cancel(run)
    assert bench.ended(run, 10)["type"] == "CANCELLED"


def test_a_run_can_be_cancelled_on_its_way_to_a_child(bench: Bench, pool: str, worker: Worker) -> None:
    child_pid(worker)
    bench.ended(bench.submit(pool, "sync"))  # the next one waits a moment for its slot
    run = bench.submit(pool, "sleeping", note=str(bench.folder / "on its way"))
    until(lambda: bench.run(run)["state_name"] != "Scheduled", "that it is ours", 20)
    bench.cancel(run)
    assert bench.ended(run, 10)["type"] == "CANCELLED"
    assert bench.ended(bench.submit(pool, "quick"))["type"] == "COMPLETED"


def test_a_child_that_cannot_start_crashes_the_run_with_its_reason(bench: Bench, pool: str, worker: Worker) -> None:
    deployment = bench.deployment(pool, "sync", job_variables={"preload": ["no_such_module"]})
    state = bench.ended(bench.submit_to(deployment))
    assert state["type"] == "CRASHED"
    assert "No module named 'no_such_module'" in state["message"]
    assert bench.ended(bench.submit(pool, "quick"))["type"] == "COMPLETED"


def test_code_that_would_have_to_be_fetched_is_refused(bench: Bench, pool: str, worker: Worker) -> None:
    step = {"prefect.deployments.steps.git_clone": {"repository": "https://example.invalid/x"}}
    deployment = bench.deployment(pool, "failing", pull_steps=[step])
    state = bench.ended(bench.submit_to(deployment))
    assert state["type"] == "CRASHED"
    assert "git_clone" in state["message"]
    assert "installed" in state["message"]


def test_an_entrypoint_that_is_not_there_crashes_the_run_with_its_reason(
    bench: Bench, pool: str, worker: Worker
) -> None:
    deployment = bench.deployment(pool, "exiting", entrypoint="tests.warm.sample.missing")
    state = bench.ended(bench.submit_to(deployment))
    assert state["type"] == "CRASHED"
    assert "missing" in state["message"]


def test_a_worn_child_is_replaced_and_a_stopping_worker_lets_runs_finish(bench: Bench) -> None:
    pool = bench.pool(grace_seconds=60, recycle_after_runs=2, drain_seconds=6)
    worker = Worker(bench, pool, limit=2)
    try:
        worker.wait_ready()
        for name in ("w1", "w2", "w3", "w4", "w5"):
            bench.ended(bench.submit(pool, "quick", note=str(bench.folder / name)))
        served = [bench.said(name)[0] for name in ("w1", "w2", "w3", "w4", "w5")]
        assert max(map(served.count, served)) <= 2
        short = bench.submit(pool, "sleeping", note=str(bench.folder / "short"), seconds=4)
        long = bench.submit(pool, "sleeping", note=str(bench.folder / "long"))
        pids = [int(bench.said(name)[0]) for name in ("short", "long")]
        assert worker.stop(seconds=30) == 0  # what listens needs none of its grace
        assert bench.ended(short, 1)["type"] == "COMPLETED"
        assert bench.ended(long, 1)["type"] == "CRASHED"
        assert_gone(*pids)
    finally:
        worker.end()


def test_the_children_of_a_killed_worker_end_by_themselves(bench: Bench) -> None:
    pool = bench.pool(grace_seconds=1, drain_seconds=0)
    worker = Worker(bench, pool, limit=2)
    try:
        worker.wait_ready()
        assert len(worker.children()) == 1  # on a CPU one stands by, and the next when that one is at work
        bench.submit(pool, "deaf", note=str(bench.folder / "orphan"))
        bench.said("orphan")
        worker.wait_ready(2)
        groups = [child.pid for child in worker.children()]
        worker.process.kill()
        worker.process.wait()
        assert_gone(*groups, seconds=20)
        assert len(groups) == 2
    finally:
        worker.end()


def test_a_worker_whose_machine_lacks_something_refuses_to_start(bench: Bench) -> None:
    worker = Worker(bench, bench.pool(gpus=["0"], children_per_gpu=1))
    try:
        until(lambda: worker.process.poll() is not None, worker.text, 30)
        assert worker.process.returncode == 1
        assert "GPU" in worker.text()
        assert "Traceback" not in worker.text()
    finally:
        worker.end()
