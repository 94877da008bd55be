"""How the statements of claim and complete run: planned once, and never over rows that a claim cannot take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from blocks.queue.model import LOCAL_PROJECT, LOCAL_USER
from deployments.local.stack import LocalSupabase
from tests.queue.sql import TestDatabase

pytestmark = pytest.mark.stack

OTHER_USER, OTHER_PROJECT = "00000000-0000-4000-8000-0000000000b1", "00000000-0000-4000-8000-0000000000b2"
#: PostgreSQL decides after five runs whether one plan serves all arguments.
WARM = 8
#: The pages of a claim that finds its task at once: some levels of a dozen indexes, and the rows.
FEW = 120

WAYS: dict[str, dict[str, Any]] = {
    "any": {},
    "by type": {"p_task_types": ["single_image"]},
    "by types, as the dispatcher does": {
        "p_task_types": ["travel_stitch", "single_image", "travel_orchestrator"],
        "p_request_id": "{fresh}",
    },
    "by a type behind others": {"p_task_types": ["analysis"]},
    "by user": {"p_user_id": OTHER_USER},
}

#: With a limit that varies PostgreSQL may plan anew each time: little, beside ten tasks.
MANY: dict[str, dict[str, Any]] = {
    "many": {"p_limit": 10},
    "many by type": {"p_limit": 10, "p_task_types": ["travel_stitch", "single_image"]},
}

_ROWS = """
insert into public.tasks (task_type, params, project_id, user_id, order_key, body_hash, created_at, updated_at, status,
    attempts, worker_id, generation_processed_at, scheduled_at)
  select %(kind)s, '{}', %(project)s, %(user)s, nextval('private.enqueue_order'), 1, now(), now(),
    %(status)s::public.task_status, %(attempts)s, 'w', case when %(status)s = 'Complete' then now() end,
    case when %(place)s = 'delayed' then now() + interval '1 day' end
  from generate_series(1, %(count)s)
"""
_PLACES = """
insert into private.queue (task_id, user_id, task_type, priority, order_key, place, unmet, scheduled_at, has_kin)
  select t.id, t.user_id, t.task_type, t.priority, t.order_key, %(place)s::private.place,
    (%(place)s = 'blocked')::integer, t.scheduled_at, false
  from public.tasks t where t.status = 'Queued' and not exists (select from private.queue q where q.task_id = t.id)
"""


class Session:
    """One connection of the service, which keeps its plans; it can tell how it ran a call."""

    def __init__(self, url: str) -> None:
        self.connection = psycopg.connect(url, autocommit=True, prepare_threshold=None)
        self._leave_the_marks()
        self.planned = 0
        self.connection.add_notice_handler(self._notice)
        self.connection.execute("set client_min_messages = log; set log_planner_stats = on; set role service_role")

    def _leave_the_marks(self) -> None:
        """One claim in fifty moves the marks, by chance: look for chances by which none of the next hundred does."""
        for seed in range(100):
            (lowest,) = self.connection.execute(
                "select min(random()) from (select setseed(%s)) s, generate_series(1, 100)", [seed / 100]
            ).fetchone() or (0,)
            if lowest > 0.02:
                self.connection.execute("select setseed(%s)", [seed / 100])
                return
        raise AssertionError("no luck with any seed")

    def _notice(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        self.planned += diagnostic.message_primary == "PLANNER STATISTICS"

    def plans_of(self, function: str, **arguments: Any) -> tuple[int, Any]:
        """How many statements were planned for this call, apart from the call itself, and its answer."""
        before = self.planned
        row = self.connection.execute(_call(function, arguments)).fetchone()
        assert row
        return self.planned - before - 1, row[0]

    def pages_of(self, function: str, **arguments: Any) -> int:
        """How many pages this call looked at, with all that it did inside."""
        explain = sql.SQL("explain (analyze, buffers, format json) ") + _call(function, arguments)
        row = self.connection.execute(explain).fetchone()
        assert row
        plan = row[0][0]["Plan"]
        return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])

    def claim(self, **arguments: Any) -> dict[str, Any]:
        return self.plans_of("claim_tasks", **_claiming(arguments))[1][0]  # type: ignore[no-any-return]


def _claiming(arguments: dict[str, Any]) -> dict[str, Any]:
    fresh = {name: str(uuid4()) if value == "{fresh}" else value for name, value in arguments.items()}
    return {"p_worker_id": "w", **fresh}


def _call(function: str, arguments: dict[str, Any]) -> sql.Composed:
    named = sql.SQL(", ").join(
        sql.SQL("{} => {}").format(sql.Identifier(name), sql.Literal(value)) for name, value in arguments.items()
    )
    return sql.SQL("select {}({})").format(sql.Identifier("public", function), named)


class Rows:
    """A queue filled past the triggers, which would take minutes for so many rows."""

    def __init__(self, database: TestDatabase) -> None:
        self._connection = database.connection
        self.empty()

    def empty(self) -> None:
        """As after the last task has gone and autovacuum has come by: PostgreSQL knows the tables to be empty."""
        self._connection.execute(
            "truncate public.tasks, private.cursors, private.latecomers, private.claim_requests cascade"
        )
        self._connection.execute("insert into private.cursors values (0, 0)")
        self._connection.execute("insert into public.workers (id) values ('w') on conflict do nothing")
        self._connection.execute("insert into auth.users (id) values (%s) on conflict do nothing", [OTHER_USER])
        self._connection.execute(
            "insert into public.projects (id, user_id) values (%s, %s) on conflict do nothing",
            [OTHER_PROJECT, OTHER_USER],
        )
        self.settle()

    def settle(self) -> None:
        for table in ("public.tasks", "private.queue", "private.cursors", "private.claim_requests"):
            self._connection.execute(f"vacuum (analyze) {table}".encode())

    def add(self, place: str, count: int, **given: str) -> None:
        named = {
            "kind": "single_image",
            "user": LOCAL_USER,
            "project": LOCAL_PROJECT,
            "status": "Queued",
            "attempts": 0,
        }
        values = {**named, **given, "place": place, "count": count}
        if place == "finished":
            values |= {"status": "Complete", "attempts": 1}
        with self._connection.transaction():
            self._connection.execute("set local session_replication_role = replica")
            self._connection.execute(_ROWS, values)
            if place != "finished":
                self._connection.execute(_PLACES, values)

    def add_hindrances(self, count: int) -> None:
        """Everything a claim must not walk, older than what it takes."""
        self.add("finished", count)
        self.add("blocked", count)
        self.add("delayed", count)
        self.add("ready", count, kind="generate_video")

    def add_work(self, count: int) -> None:
        self.add("ready", count)
        self.add("ready", count, kind="analysis")
        self.add("ready", count, user=OTHER_USER, project=OTHER_PROJECT)

    @contextmanager
    def read_by_index_only(self, session: Session) -> Iterator[None]:
        before = self._scans(session)
        yield
        after = self._scans(session)
        tables = ("public.tasks", "public.task_dependencies", "private.queue", "private.claim_requests")
        assert {table: after[table] - before[table] for table in tables} == dict.fromkeys(tables, 0)

    def _scans(self, session: Session) -> dict[str, int]:
        """How often each table was read from end to end."""
        for connection in (session.connection, self._connection):
            connection.execute("select pg_stat_force_next_flush()")
        counted = "select schemaname || '.' || relname, seq_scan from pg_stat_user_tables"
        return dict(self._connection.execute(counted).fetchall())


@pytest.fixture
def rows(database: TestDatabase) -> Iterator[Rows]:
    # The clock that tests can move is a query of its own.
    (moved,) = database.connection.execute("select pg_get_functiondef('private.now'::regproc)").fetchone() or ("",)
    database.run(
        "create or replace function private.now() returns timestamptz language plpgsql volatile set search_path = '' "
        "as $$ begin return clock_timestamp(); end $$"
    )
    yield Rows(database)
    database.run(moved)


@pytest.fixture
def session(supabase: LocalSupabase) -> Iterator[Session]:
    session = Session(supabase.admin_database_url)
    yield session
    session.connection.close()


@pytest.mark.parametrize("way", WAYS)
def test_a_session_plans_the_statements_of_a_claim_once(rows: Rows, session: Session, way: str) -> None:
    rows.add_hindrances(2000)
    rows.add_work(100)
    rows.settle()
    first, _ = session.plans_of("claim_tasks", **_claiming(WAYS[way]))
    assert first > 0, "the count is blind"
    for _ in range(WARM):
        session.claim(**WAYS[way])
    for _ in range(5):
        assert session.plans_of("claim_tasks", **_claiming(WAYS[way]))[0] == 0


def test_a_session_plans_the_statements_of_a_completion_once(rows: Rows, session: Session) -> None:
    rows.add_work(100)
    rows.settle()
    planned = []
    for _ in range(WARM + 5):
        claim = session.claim()
        arguments = {"p_task_id": claim["task"]["id"], "p_claim_token": claim["claim_token"]}
        planned.append(session.plans_of("complete_task", **arguments, p_output_location="https://example.com/f.mp4")[0])
    assert planned[0] > 0, "the count is blind"
    assert planned[WARM:] == [0] * 5


@pytest.mark.parametrize("way", [*WAYS, *MANY])
def test_what_a_claim_reads_does_not_grow_with_what_it_cannot_take(rows: Rows, session: Session, way: str) -> None:
    def pages() -> int:
        for _ in range(WARM):
            session.claim(**arguments)
        return max(session.pages_of("claim_tasks", **_claiming(arguments)) for _ in range(5))

    arguments = (WAYS | MANY)[way]
    rows.add_hindrances(2000)
    rows.add_work(200)
    rows.settle()
    few = pages()
    rows.empty()
    rows.add_hindrances(10_000)
    rows.add_work(200)
    rows.settle()
    many = pages()
    tasks = arguments.get("p_limit", 1)
    assert few < FEW * tasks
    assert many < few + 15 * tasks  # each index may have become one level deeper


def test_what_a_completion_reads_does_not_grow_with_the_history(rows: Rows, session: Session) -> None:
    def pages() -> int:
        read = []
        for _ in range(WARM + 5):
            claim = session.claim()
            read.append(
                session.pages_of("complete_task", p_task_id=claim["task"]["id"], p_claim_token=claim["claim_token"])
            )
        return max(read[WARM:])

    rows.add("finished", 2000)
    rows.add_work(30)
    few = pages()
    rows.add("finished", 20_000)
    rows.add_work(30)
    assert few < FEW
    assert pages() < few + 15


@pytest.mark.parametrize("way", WAYS)
def test_claims_planned_while_the_queue_was_empty_read_no_full_table(rows: Rows, session: Session, way: str) -> None:
    for _ in range(WARM):
        assert session.plans_of("claim_tasks", **_claiming(WAYS[way]))[1] == []
    rows.add_work(3000)
    with rows.read_by_index_only(session):
        for _ in range(WARM):
            session.claim(**WAYS[way])


def test_verbs_planned_while_the_queue_was_empty_read_no_full_table(rows: Rows, session: Session) -> None:
    for _ in range(WARM):
        _live(session)
    rows.add_work(3000)
    with rows.read_by_index_only(session):
        for _ in range(WARM):
            _live(session)


def _live(session: Session) -> None:
    """Two tasks, one after the other, in the verbs that clients and holders use."""
    first, second = str(uuid4()), str(uuid4())
    spec = {"task_type": "single_image", "params": {}, "project_id": LOCAL_PROJECT}
    session.plans_of("enqueue_tasks", p_tasks=Jsonb([{**spec, "id": first}]))
    session.plans_of("enqueue_tasks", p_tasks=Jsonb([{**spec, "id": second, "depends_on": [first]}]))
    claim = session.claim(p_task_ids=[first], p_request_id="{fresh}")
    holding = {"p_task_id": first, "p_claim_token": claim["claim_token"]}
    session.plans_of("dispatched_task", **holding, p_flow_run_id=str(uuid4()))
    held = session.plans_of("start_task", p_task_id=first, p_attempt=1, p_worker_id="w")[1]
    holding["p_claim_token"] = held["claim_token"]
    session.plans_of("renew_task", **holding, p_tick=1)
    session.plans_of("fail_task", **holding, p_error="no", p_retry=True, p_delay=0)
    holding["p_claim_token"] = session.claim(p_task_ids=[first])["claim_token"]
    session.plans_of("complete_task", **holding)
    holding = {"p_task_id": second, "p_claim_token": session.claim(p_task_ids=[second])["claim_token"]}
    session.plans_of("release_task", **holding)
    session.plans_of("cancel_task", p_task_id=second)
    session.plans_of("retry_task", p_task_id=second)


def test_counts_without_the_history_do_not_read_the_tasks(rows: Rows, session: Session) -> None:
    rows.add_hindrances(2000)
    rows.settle()
    few = max(session.pages_of("task_counts", p_history=False) for _ in range(WARM))
    rows.add("finished", 20_000)
    many = max(session.pages_of("task_counts", p_history=False) for _ in range(WARM))
    assert many <= few
    (answer,) = session.connection.execute("select public.task_counts(p_history => false)").fetchone() or (None,)
    assert answer["ready"] == 2000
