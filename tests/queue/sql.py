"""The queue's functions called directly in SQL, as nobody does in production: what they promise needs no HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import psycopg
from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool

from blocks.queue import wire
from blocks.queue.errors import QueueUnavailable
from blocks.queue.model import LOCAL_PROJECT, LOCAL_USER

#: Deadlock, serialization failure, statement cancelled, connection terminated.
_PASSING = ("40P01", "40001", "57014", "57P01")
_JSON = {"p_tasks", "p_lost", "p_result", "p_metadata"}
_TABLES = (
    "public.tasks",
    "public.task_dependencies",
    "public.projects",
    "public.workers",
    "public.briefs",
    "public.user_api_token",
    "private.queue",
    "private.cursors",
    "private.latecomers",
    "private.claim_requests",
)
#: Pages of tasks and queue from which on it is quicker to truncate (28 ms) than to delete (0.2 ms for a few rows).
_MANY_PAGES = 64


class SqlTransport:
    def __init__(self, url: str, role: str = "service_role", connections: int = 16) -> None:
        self._pool = ConnectionPool(
            url, min_size=1, max_size=connections, kwargs={"autocommit": True}, configure=_become(role), open=True
        )

    def call(self, function: str, arguments: Mapping[str, Any]) -> Any:
        named = ", ".join(f"{name} => %({name})s" for name in arguments)
        values = {
            name: Jsonb(value) if name in _JSON and value is not None else value for name, value in arguments.items()
        }
        try:
            with self._pool.connection() as connection:
                row = connection.execute(f"select public.{function}({named})", values).fetchone()
        except psycopg.Error as error:
            diagnostic = error.diag
            refusal = wire.refusal(
                diagnostic.sqlstate or "",
                diagnostic.message_primary or str(error),
                diagnostic.message_hint or "",
                diagnostic.message_detail,
            )
            if refusal is not None:
                raise refusal from None
            if diagnostic.sqlstate in _PASSING or isinstance(error, psycopg.OperationalError):
                raise QueueUnavailable(str(error)) from error
            raise
        assert row is not None
        return row[0]

    def address(self) -> Mapping[str, Any] | None:
        return None

    def close(self) -> None:
        self._pool.close()


def _become(role: str) -> Any:
    def configure(connection: psycopg.Connection[Any]) -> None:
        connection.execute(f"set role {role}")

    return configure


class TestDatabase:
    """A migrated database whose clock, jitter and content belong to a test."""

    __test__ = False

    def __init__(self, owner_url: str) -> None:
        self.connection = psycopg.connect(owner_url, autocommit=True)
        self.run(
            """
            create schema if not exists testing;
            create table if not exists testing.clock (at timestamptz);
            grant usage on schema testing to postgres;
            grant select on testing.clock to postgres;
            create or replace function private.now() returns timestamptz language sql volatile set search_path = '' as
              $$ select coalesce((select at from testing.clock), pg_catalog.clock_timestamp()) $$;
            create or replace function private.jitter() returns double precision
              language sql volatile set search_path = '' as
              $$ select case when exists (select from testing.clock) then 0.5 else pg_catalog.random() end $$;
            """
        )

    def run(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        cursor = self.connection.execute(statement, values or None)  # type: ignore[call-overload]
        return cursor.fetchall() if cursor.description else []

    def set_clock(self, now: datetime) -> None:
        self.run("delete from testing.clock")
        self.run("insert into testing.clock values (%s)", now)

    def empty(self) -> None:
        """As after the migrations, with one user and one project."""
        pages = "(pg_relation_size('public.tasks') + pg_relation_size('private.queue')) / 8192"
        if self.run(f"select {pages}")[0][0] > _MANY_PAGES:
            self.run(f"truncate {', '.join(_TABLES)}")
        else:  # nothing is left that a trigger or a foreign key could look after
            everything = "; ".join(f"delete from {table}" for table in _TABLES)
            self.run(f"begin; set local session_replication_role = replica; {everything}; commit")
        self.run("update private.horizon set settled = 0, drawn = 0, xid = '0'; delete from testing.clock")
        self.run("insert into auth.users (id) values (%s) on conflict do nothing", LOCAL_USER)
        self.new_project(LOCAL_PROJECT)

    def new_project(self, project_id: str, user_id: str = LOCAL_USER) -> str:
        self.run("insert into public.projects (id, user_id) values (%s, %s)", project_id, user_id)
        return project_id

    def close(self) -> None:
        self.connection.close()
