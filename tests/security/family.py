"""Users and their rows, made in SQL by the owner of the tables; and how a role of the API calls a function."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from psycopg.types.json import Jsonb

from tests.security.catalogue import Connection

#: Hex of the SHA-256 of no token.
TOKEN_HASH = "cd" * 32


def user(db: Connection) -> str:
    made = str(uuid4())
    db.execute("insert into auth.users (id) values (%s)", [made])
    return made


def tenant(db: Connection) -> tuple[str, str]:
    """A user and a project."""
    made = user(db)
    return made, _one(db, "insert into public.projects (user_id) values (%s) returning id::text", [made])


def enqueue(
    db: Connection,
    project: str,
    *before: str,
    parent: str | None = None,
    kind: str = "analysis",
    params: Mapping[str, Any] | None = None,
) -> str:
    return _one(
        db,
        """insert into public.tasks (task_type, params, project_id, depends_on, parent_id)
           values (%s, %s, %s, %s::uuid[], %s) returning id::text""",
        [kind, Jsonb(params or {}), project, list(before), parent],
    )


def claim(db: Connection, task_id: str, *, start: bool = True) -> str:
    """Its claim token."""
    taken = "select public.claim_tasks('w', p_task_ids => array[%s], p_lease => 3600, p_start => %s) -> 0"
    return _one(db, f"{taken} ->> 'claim_token'", [task_id, start])


def family(db: Connection) -> dict[str, str]:
    """User `a` with tasks in every situation, a brief and a token, by the names that calls use.

    `own` is held by the user's session, `lent` by the service: neither by a token that anybody shows.
    """
    a, project = tenant(db)
    ids = {"a": a, "project": project, "fresh": str(uuid4())}
    for name in ("ready", "held", "own", "lent", "failed", "dispatched"):
        ids[name] = enqueue(db, project)
    ids["child"] = enqueue(db, project, ids["ready"], parent=ids["held"])
    run = {"orchestrator_run_id": "run", "segment_index": 0}
    ids["segment"] = enqueue(db, project, kind="travel_segment", params=run)
    ids["token"] = claim(db, ids["held"])
    ids["dispatch_token"] = claim(db, ids["dispatched"], start=False)
    claim(db, ids["lent"])
    db.execute("select public.complete_task(%s, %s, 'x')", [ids["segment"], claim(db, ids["segment"])])
    db.execute("select public.fail_task(%s, %s, 'x', false)", [ids["failed"], claim(db, ids["failed"])])
    with acting(db, a):
        claim(db, ids["own"])
    made = "select public.create_token(%s, 'x', 'lt_', p_user_id => %s) ->> 'id'"
    ids["user_token"] = _one(db, made, [TOKEN_HASH, a])
    title = "insert into public.briefs (user_id, project_id, title) values (%s, %s, 'b') returning id::text"
    ids["brief"] = _one(db, title, [a, project])
    return ids


@contextmanager
def acting(db: Connection, user_id: str, **claims: Any) -> Iterator[None]:
    """Statements run as this user's session runs them."""
    db.execute("select set_config('request.jwt.claims', %s, false)", [json.dumps({"sub": user_id, **claims})])
    db.execute("set role authenticated")
    try:
        yield
    finally:
        db.execute("reset role")


def call(db: Connection, function: str, arguments: Mapping[str, Any]) -> Any:
    """The answer: a value, or of a set of rows the first."""
    named = ", ".join(f"{name} => %({name})s" for name in arguments)
    values = {name: Jsonb(value) if _is_json(name, value) else value for name, value in arguments.items()}
    row = db.execute(f"select * from public.{function}({named})", values).fetchone()  # type: ignore[call-overload]
    return row[0] if row and len(row) == 1 else row


def _is_json(name: str, value: Any) -> bool:
    return isinstance(value, dict) or name in ("p_tasks", "p_lost")


def _one(db: Connection, statement: str, values: list[Any]) -> str:
    row = db.execute(statement, values).fetchone()  # type: ignore[call-overload]
    assert row
    return str(row[0])
