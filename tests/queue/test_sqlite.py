from __future__ import annotations

import os
import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from blocks.queue import sqlite_schema
from blocks.queue.address import open_queue
from blocks.queue.errors import QueueUnavailable
from blocks.queue.protocol import TaskQueue
from blocks.queue.sqlite import SqliteQueue
from blocks.queue.sqlite_rows import QUERIES
from tests.queue.acts import FakeClock, complete, enqueue, fresh_id, hold, spec, waiting_parent
from tests.queue.suite import QueueSuite

CLAIM_STATEMENTS = ("promote_due", "ready_next", "ready_of_type", "ready_by_id")


class TestSqliteQueue(QueueSuite):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.path = tmp_path / "queue.db"

    def open_queue(self, clock: FakeClock) -> TaskQueue:
        return SqliteQueue(self.path, clock=clock)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queue.db"


@pytest.fixture
def queue(path: Path) -> Iterator[SqliteQueue]:
    with closing(SqliteQueue(path)) as queue:
        yield queue


@pytest.fixture
def database(queue: SqliteQueue, path: Path) -> Iterator[sqlite3.Connection]:
    """The file as somebody else sees it."""
    with closing(sqlite_schema.connect(path)) as connection:
        yield connection


class TestTheFile:
    def test_two_queues_on_one_file_are_one_queue(self, queue: SqliteQueue, path: Path) -> None:
        task_id = enqueue(queue)
        with closing(SqliteQueue(path)) as other:
            assert other.get(task_id) == queue.get(task_id)

    def test_its_address_opens_the_same_queue(self, queue: SqliteQueue) -> None:
        task_id = enqueue(queue)
        address = queue.address()
        assert Path(address["path"]).is_absolute()
        with closing(open_queue(address)) as other:
            assert other.get(task_id).id == task_id

    def test_its_folder_is_made_when_it_is_missing(self, tmp_path: Path) -> None:
        with closing(SqliteQueue(tmp_path / "not" / "there" / "queue.db")) as queue:
            assert queue.list() == []

    def test_a_change_by_another_connection_is_noticed_from_any_thread(self, queue: SqliteQueue, path: Path) -> None:
        seen = [queue.changed()]
        thread = threading.Thread(target=lambda: seen.append(queue.changed()))
        thread.start()
        thread.join()
        with closing(SqliteQueue(path)) as other:
            enqueue(other)
        assert seen[0] == seen[1] != queue.changed()

    def test_a_claim_that_finds_nothing_changes_nothing(self, queue: SqliteQueue) -> None:
        before = queue.changed()
        queue.claim("gpu-1")
        assert queue.changed() == before

    def test_a_closed_queue_says_so(self, path: Path) -> None:
        queue = SqliteQueue(path)
        queue.close()
        with pytest.raises(QueueUnavailable, match="closed"):
            queue.list()

    def test_a_file_that_is_no_database_is_refused(self, path: Path) -> None:
        path.write_text("dear diary, " * 100)
        with pytest.raises(QueueUnavailable, match="not a database"):
            SqliteQueue(path)

    def test_a_database_of_something_else_is_refused_and_left_alone(self, path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("create table tasks (mine)")
        with pytest.raises(QueueUnavailable, match="something else"):
            SqliteQueue(path)
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("select count(*) from sqlite_schema").fetchone() == (1,)

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
    @pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
    def test_a_forked_child_writes_safely_after_its_parent_has_closed(self, queue: SqliteQueue, path: Path) -> None:
        enqueue(queue)
        closed, task_id = os.pipe(), fresh_id()
        child = os.fork()
        if child == 0:
            os.read(closed[0], 1)
            queue.enqueue(spec(id=task_id))
            os._exit(0)
        queue.close()
        os.write(closed[1], b"!")
        assert os.waitpid(child, 0)[1] == 0
        with closing(SqliteQueue(path)) as again:
            assert again.get(task_id).id == task_id


class TestMigrations:
    def test_the_version_of_a_file_is_the_number_of_migrations(self, database: sqlite3.Connection) -> None:
        assert database.execute("pragma user_version").fetchone() == (len(sqlite_schema.MIGRATIONS),)

    def test_opening_twice_changes_nothing(self, path: Path) -> None:
        def schema() -> list[tuple[str]]:
            with closing(SqliteQueue(path)), closing(sqlite3.connect(path)) as connection:
                return connection.execute("select sql from sqlite_schema order by name").fetchall()

        assert schema() == schema()

    def test_a_newer_schema_is_refused_by_its_number(self, queue: SqliteQueue, path: Path) -> None:
        queue.close()
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("pragma user_version = 99")
        with pytest.raises(QueueUnavailable, match=r"version 99.*upgrade"):
            SqliteQueue(path)

    def test_a_migration_that_fails_half_way_leaves_nothing(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = sqlite_schema.statements
        monkeypatch.setattr(sqlite_schema, "statements", lambda script: [*whole(script)[:3], "create table tasks (x)"])
        with pytest.raises(QueueUnavailable):
            SqliteQueue(path)
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("select count(*) from sqlite_schema").fetchone() == (0,)

    def test_threads_that_open_a_new_file_together_all_succeed(self, path: Path) -> None:
        failures: list[BaseException] = []

        def open_and_enqueue() -> None:
            try:
                with closing(SqliteQueue(path)) as queue:
                    enqueue(queue)
            except BaseException as error:  # noqa: BLE001  whatever it is, the test must see it
                failures.append(error)

        threads = [threading.Thread(target=open_and_enqueue) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []


class TestBusy:
    def test_a_writer_waits_for_another_one(self, queue: SqliteQueue, database: sqlite3.Connection) -> None:
        database.execute("begin immediate")
        writer = threading.Thread(target=enqueue, args=(queue,))
        writer.start()
        writer.join(0.1)
        assert writer.is_alive()
        database.execute("commit")
        writer.join(10)
        assert len(queue.list()) == 1

    def test_readers_do_not_wait_for_a_writer(self, queue: SqliteQueue, database: sqlite3.Connection) -> None:
        enqueue(queue)
        database.execute("begin immediate")
        assert len(queue.list()) == queue.counts().ready == 1

    def test_who_has_waited_too_long_is_told_in_words(self, queue: SqliteQueue, path: Path) -> None:
        with closing(SqliteQueue(path, patience=0.01)) as hasty, closing(sqlite_schema.connect(path)) as other:
            other.execute("begin immediate")
            with pytest.raises(QueueUnavailable, match="stayed locked"):
                enqueue(hasty)

    def test_a_verb_that_is_refused_leaves_no_transaction_open(self, queue: SqliteQueue, path: Path) -> None:
        claim = hold(queue, enqueue(queue))
        with pytest.raises(Exception, match="children"):
            queue.wait(claim.task.id, claim.token)
        with closing(SqliteQueue(path, patience=0.01)) as other:
            enqueue(other)


class TestCost:
    """Claims must not grow with what they cannot take: shown by plans and by counted steps, not by time."""

    @pytest.mark.parametrize("name", CLAIM_STATEMENTS)
    def test_no_claim_statement_scans_or_sorts(self, database: sqlite3.Connection, name: str) -> None:
        steps = [row[3] for row in database.execute(f"explain query plan {QUERIES[name]}", _parameters(name))]
        for step in steps:
            assert "TEMP B-TREE" not in step
            # "SCAN … USING INDEX tasks_ready" is the walk along the ready rows, which ends at the limit.
            assert step.startswith("SEARCH") or step == "SCAN tasks USING INDEX tasks_ready", step

    @pytest.mark.parametrize("name", sorted(set(QUERIES) - {*CLAIM_STATEMENTS, "list"}))
    def test_no_other_statement_reads_the_whole_table(self, database: sqlite3.Connection, name: str) -> None:
        steps = [row[3] for row in database.execute(f"explain query plan {QUERIES[name]}", _parameters(name))]
        assert "SCAN tasks" not in steps
        assert not [step for step in steps if "tasks_by_status" in step and name not in ("counts", "list_of_status")]

    def test_a_claim_takes_as_many_steps_beside_rows_it_cannot_take(
        self, queue: SqliteQueue, database: sqlite3.Connection
    ) -> None:
        root = enqueue(queue, priority=-1)
        later = queue.get(root).created_at + timedelta(days=9)
        queue.enqueue(spec(task_type="travel_segment"), spec(scheduled_at=later))

        def steps() -> dict[str, int]:
            return {name: _steps(database, name) for name in CLAIM_STATEMENTS}

        before = steps()
        queue.enqueue(*(spec(depends_on=(root,), priority=9) for _ in range(500)))
        queue.enqueue(*(spec(scheduled_at=later, priority=9) for _ in range(500)))
        done = queue.enqueue(*(spec() for _ in range(500)))
        for claim in queue.claim("gpu-1", limit=500, task_ids=[answer.task.id for answer in done]):
            queue.complete(claim.task.id, claim.token)
        assert steps() == before


class TestRowRules:
    """What no program may write into the file, also none that goes around the verbs."""

    @pytest.mark.parametrize(
        ("rule", "change"),
        [
            ("status_known", "status = 'Done'"),
            ("attempts_within_max", "attempts = 9"),
            ("queued_has_attempts_left", "attempts = max_attempts"),
            ("waiting_only_in_progress", "waiting = 1"),
            ("held_has_lease", "status = 'In Progress'"),
            ("held_has_token_and_worker", "status = 'In Progress', lease_expires_at = created_at"),
            ("queued_has_no_token", "claim_token = 'x'"),
            ("ended_has_its_moment", "status = 'Complete'"),
            ("failed_says_why", "status = 'Failed', generation_processed_at = created_at"),
            ("root_only_of_ended", "root_task_id = id"),
            ("params_are_an_object", "params = '[]'"),
            ("params_are_bounded", "params = json_object('t', hex(zeroblob(140000)))"),
            ("result_is_an_object", "result = '1'"),
            ("moments_are_comparable", "scheduled_at = '2030-01-01'"),
            ("unmet_not_negative", "unmet = -1"),
            ("priority_in_range", "priority = 5000"),
            ("ticks_in_range", "tick = -1"),
            ("parent_is_another", "parent_id = id"),
        ],
    )
    def test_a_row_that_breaks_a_rule_is_refused_by_its_name(
        self, queue: SqliteQueue, database: sqlite3.Connection, rule: str, change: str
    ) -> None:
        enqueue(queue)
        with pytest.raises(sqlite3.IntegrityError, match=rule):
            database.execute(f"update tasks set {change}")

    def test_a_task_cannot_be_deleted_while_another_names_it(
        self, queue: SqliteQueue, database: sqlite3.Connection
    ) -> None:
        parent, _ = waiting_parent(queue, {})
        with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
            database.execute("delete from tasks where id = ?", [parent])

    def test_unknown_workers_are_registered_once(self, queue: SqliteQueue, database: sqlite3.Connection) -> None:
        queue.enqueue(spec(), spec())
        queue.claim("edge_7")
        queue.claim("edge_7")
        assert database.execute("select id from workers").fetchall() == [("edge_7",)]

    def test_readiness_follows_a_status_that_was_set_by_hand(
        self, queue: SqliteQueue, database: sqlite3.Connection
    ) -> None:
        first = enqueue(queue)
        enqueue(queue, depends_on=(first,))
        complete(queue, first)
        assert queue.counts().ready == 1
        database.execute("update tasks set status = 'Queued', generation_processed_at = null where id = ?", [first])
        assert (queue.counts().ready, queue.counts().blocked) == (1, 1)


def _parameters(name: str) -> dict[str, object]:
    known = {"now": "2020", "limit": 1, "task_type": "travel_segment", "id": fresh_id()}
    return {each: known.get(each) for each in re.findall(r":(\w+)", QUERIES[name])}


def _steps(database: sqlite3.Connection, name: str) -> int:
    """How many steps of SQLite's virtual machine a statement takes."""
    count = 0

    def step() -> int:
        nonlocal count
        count += 1
        return 0

    database.execute("begin")
    database.set_progress_handler(step, 1)
    database.execute(QUERIES[name], _parameters(name)).fetchall()
    database.set_progress_handler(None, 1)
    database.execute("rollback")
    return count
