"""The queue's SQL by itself: the suite, and a crowd of claimers some of whom are killed in mid-transaction."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from blocks.queue.model import LOCAL_PROJECT
from blocks.queue.protocol import TaskQueue
from blocks.queue.supabase import SupabaseQueue
from deployments.local.stack import LocalSupabase
from tests.conftest import private_home
from tests.queue.acts import FakeClock, fresh_id
from tests.queue.crowd import Referee, Seen
from tests.queue.sql import SqlTransport, TestDatabase
from tests.queue.suite import QueueSuite

pytestmark = pytest.mark.stack

#: The oldest version that hosted projects run; the other one is what the stack brings along.
POSTGRES_15 = Path("/usr/lib/postgresql/15/bin")
PROCESSES, CLAIMERS = 4, 8
TASKS = 2000
TERMINATED, KILLED = 20, 5


@pytest.fixture(scope="module", params=["bundled", "15"])
def pg(request: pytest.FixtureRequest) -> Iterator[LocalSupabase]:
    if request.param == "bundled":
        yield request.getfixturevalue("supabase")
        return
    if not POSTGRES_15.exists():
        pytest.skip(f"There is no PostgreSQL 15 in {POSTGRES_15}.")
    with private_home() as home, LocalSupabase(home, binaries=POSTGRES_15) as stack:
        yield stack


@pytest.fixture(scope="module")
def inside(pg: LocalSupabase) -> Iterator[TestDatabase]:
    database = TestDatabase(pg.admin_database_url)
    yield database
    database.close()


@pytest.fixture(scope="module")
def sql(pg: LocalSupabase) -> Iterator[SqlTransport]:
    transport = SqlTransport(pg.database_url)
    yield transport
    transport.close()


class TestSql(QueueSuite):
    @pytest.fixture(autouse=True)
    def _database(self, inside: TestDatabase, sql: SqlTransport) -> None:
        self.database, self.transport = inside, sql

    def open_queue(self, clock: FakeClock) -> TaskQueue:
        self.database.empty()
        clock.on_move = self.database.set_clock
        self.database.set_clock(clock.now)
        return SupabaseQueue(self.transport, project_id=LOCAL_PROJECT, look_every=0)

    def new_project(self) -> str:
        return self.database.new_project(fresh_id())


class Crew:
    """Processes of claimers, and the two ways in which some of them die."""

    def __init__(self, stack: LocalSupabase) -> None:
        self._stack = stack
        self._url = f"{stack.database_url}?application_name=crowd"
        # Before the others work: on a busy machine a program takes seconds to start.
        self._victims = [self._hire("victim", name=f"victim-{number}") for number in range(KILLED)]
        for victim in self._victims:
            assert victim.stdout
            assert victim.stdout.readline() == "ready\n"
        names = [[f"gpu-{process}-{claimer}" for claimer in range(CLAIMERS)] for process in range(PROCESSES)]
        self._workers = [self._hire("work", names=some) for some in names]
        self.seen = Seen()

    def _hire(self, job: str, **told: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.queue.crowd", job]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        _tell(process, json.dumps({"url": self._url, **told}))
        return process

    def work(self) -> Seen:
        """Until all tasks have ended."""
        with ThreadPoolExecutor(1) as pool:
            killing = pool.submit(self._kill)
            for process in self._workers:
                said, _ = process.communicate(timeout=300)
                assert process.returncode == 0
                self.seen.add(Seen(**json.loads(said)))
            killing.result()
        return self.seen

    def _kill(self) -> None:
        """One after the other, spread over the whole work."""
        deaths = KILLED + TERMINATED
        with psycopg.connect(self._stack.admin_database_url, autocommit=True) as connection:
            for death in range(deaths):
                while _count(connection, "private.test_claims") < death * TASKS // (deaths + 1):
                    connection.execute("select pg_sleep(0.005)")
                if death % (deaths // KILLED) == 0:
                    self._kill_between_begin_and_commit(connection, self._victims[death * KILLED // deaths])
                else:
                    self._terminate_one_at_work(connection)

    def _kill_between_begin_and_commit(self, connection: psycopg.Connection, victim: subprocess.Popen[str]) -> None:
        assert victim.stdout
        begun = time.monotonic()
        _tell(victim, "go")
        backend, locked = json.loads(victim.stdout.readline())
        victim.kill()
        victim.communicate()
        while _count(connection, f"pg_stat_activity where pid = {backend}"):
            connection.execute("select pg_sleep(0.005)")
        self.seen.cut += [(begun, time.monotonic())] * locked

    def _terminate_one_at_work(self, connection: psycopg.Connection) -> None:
        """A claimer's connection in the midst of a statement, which is its transaction."""
        while not connection.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name = 'crowd' "
            "and state = 'active' and query ~ 'claim_tasks|complete_task' order by random() limit 1"
        ).fetchone():
            pass

    def dismiss(self) -> None:
        for process in (*self._workers, *self._victims):
            process.kill()
            process.communicate()


def _tell(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin
    process.stdin.write(line + "\n")
    process.stdin.flush()


def _count(connection: psycopg.Connection, rows: str) -> int:
    row = connection.execute(f"select count(*) from {rows}").fetchone()
    assert row
    return int(row[0])


def test_claimers_killed_in_mid_transaction_lose_nothing_and_do_nothing_twice(
    pg: LocalSupabase, inside: TestDatabase, sql: SqlTransport
) -> None:
    inside.empty()
    with Referee(inside) as referee:
        referee.enqueue(SupabaseQueue(sql), TASKS)
        crew = Crew(pg)
        try:
            seen = crew.work()
        finally:
            crew.dismiss()
        assert len(seen.cut) >= KILLED
        referee.judge(seen)
        # A referee that saw nothing would be no proof: an empty answer while most of the work lay ready.
        seen.empty.append((referee.enqueued_at + 1e-6, referee.enqueued_at + 2e-6))
        with pytest.raises(AssertionError, match="were ready"):
            referee.judge(seen)
