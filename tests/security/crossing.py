"""What one user gets of another's, tried out in SQL. Each check answers with findings; none is good.

Each tries the owner of the rows too: a denial to everybody would prove nothing. All is rolled back.
"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import psycopg

from tests.security.calls import CALLS, HARMLESS, SERVICE_CALLS, filled, tells
from tests.security.catalogue import (
    Check,
    Connection,
    links_across_owners,
    loose_functions,
    rights_of_nobody,
    strings,
    unprotected_tables,
    views_with_rights_of_their_own,
)
from tests.security.family import acting, call, family, tenant

_CALLABLE = """select p.proname from pg_proc p where p.pronamespace = 'public'::regnamespace
               and has_function_privilege('{role}', p.oid, 'execute') order by 1"""


def a_role_claim_that_decides(db: Connection) -> list[str]:
    """A user's token may say what it likes: the database role decides, and the subject names the user."""
    findings = []
    with db.transaction(force_rollback=True):
        ids = family(db)
        for claims in (
            {"role": "service_role"},
            {"app_metadata": {"role": "service_role", "claims_admin": True}},
            {"user_metadata": {"role": "service_role"}},
            {"user_role": "supabase_admin"},
        ):
            stranger, _ = tenant(db)
            with acting(db, stranger, aud="authenticated", **claims):
                asked = {name: CALLS[name] for name in ("list_tasks", "claim_tasks")} | SERVICE_CALLS
                findings += [
                    f"{function} believes {claims}"
                    for function, arguments in asked.items()
                    if _answer(db, function, filled(arguments, ids))
                ]
    return findings


def rows_that_cross(db: Connection) -> list[str]:
    """What a stranger sees of a user's rows in any table or view, and whether the user sees them."""
    findings = []
    with db.transaction(force_rollback=True):
        owner, stranger = family(db)["a"], str(uuid4())
        tables = strings(
            db,
            """select c.relname from pg_class c
               where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'v', 'm', 'p', 'f')
                 and has_any_column_privilege('authenticated', c.oid, 'select') order by 1""",
        )
        for table in tables:
            for who in (owner, stranger):
                with acting(db, who):
                    count = db.execute(f"select count(*) from public.{table}").fetchone()
                assert count
                if (count[0] > 0) != (who == owner):
                    findings.append(f"{table}: {'its owner' if who == owner else 'a stranger'} sees {count[0]} rows")
    return findings


def files_that_cross(db: Connection) -> list[str]:
    """Below whose folder of the bucket a user reads and writes."""
    findings = []
    with db.transaction(force_rollback=True):
        (owner, _), (stranger, _) = tenant(db), tenant(db)
        kept = f"{owner}/inputs/kept.png"
        put = "insert into storage.objects (bucket_id, name) values ('image_uploads', %s)"
        db.execute(put, [kept])
        change = "update storage.objects set metadata = '{}' where name = %s"
        tries: list[tuple[str, str, list[str], bool]] = [
            (owner, put, [f"{owner}/inputs/a.png"], True),
            (owner, put, [f"{owner}/{uuid4()}/1/a.png"], False),
            (owner, put, [f"{owner}/inputs/../../{stranger}/inputs/a.png"], False),
            (owner, put, ["a.png"], False),
            (stranger, put, [f"{owner}/inputs/b.png"], False),
            (owner, change, [kept], True),
            (stranger, change, [kept], False),
            (owner, "update storage.objects set name = %s where name = %s", [f"{stranger}/inputs/a.png", kept], False),
            (owner, "select from storage.objects where name = %s", [kept], True),
            (stranger, "select from storage.objects where name = %s", [kept], False),
            (owner, "delete from storage.objects where name = %s", [kept], True),
            (stranger, "delete from storage.objects where name = %s", [kept], False),
        ]
        for who, statement, values, may in tries:
            if _touches(db, who, statement, values) != may:
                name = "its owner" if who == owner else "a stranger"
                findings.append(f"{name} {'cannot' if may else 'can'}: {statement} {values}")
    return findings


def functions_that_cross(db: Connection) -> list[str]:
    """Every function that a user may call, called by a stranger with a user's ids: refused or empty, nothing changes.

    Also when the stranger says outright for whom or as whom he acts. A function without a call is a finding.
    """
    findings = []
    for function in strings(db, _CALLABLE.format(role="authenticated")):
        if function in HARMLESS:
            continue
        if function not in CALLS:
            findings.append(f"{function}: no expectation is stated")
            continue
        with db.transaction(force_rollback=True):
            ids, (stranger, _) = family(db), tenant(db)
            asked = filled(CALLS[function], ids)
            for more in _pretences(db, function, ids["a"]):
                answer, changed = _came_of_it(db, stranger, function, asked | more)
                if answer or changed:
                    findings.append(f"{function} {more or ''}: a stranger gets {str(answer)[:200]}")
            if not any(_came_of_it(db, ids["a"], function, asked)):
                findings.append(f"{function}: refused to its owner too")
    return findings


CHECKS: tuple[Check, ...] = (
    unprotected_tables,
    rights_of_nobody,
    loose_functions,
    views_with_rights_of_their_own,
    links_across_owners,
    a_role_claim_that_decides,
    rows_that_cross,
    files_that_cross,
    functions_that_cross,
)


def parameters(db: Connection, function: str) -> set[str]:
    rows = db.execute(
        """select unnest(p.proargnames) from pg_proc p
           where p.pronamespace = 'public'::regnamespace and p.proname = %s""",
        [function],
    ).fetchall()
    return {row[0] for row in rows}


def state(db: Connection) -> list[Any]:
    """Every row of ours, but for stamps of time that reading leaves."""
    return db.execute(
        """select 'tasks', to_jsonb(t) from public.tasks t union all
           select 'queue', to_jsonb(t) from private.queue t union all
           select 'workers', to_jsonb(t) from public.workers t union all
           select 'projects', to_jsonb(t) from public.projects t union all
           select 'briefs', to_jsonb(t) from public.briefs t union all
           select 'dependencies', to_jsonb(t) from public.task_dependencies t union all
           select 'tokens', to_jsonb(t) - 'last_used_at' from public.user_api_token t
           order by 1, 2"""
    ).fetchall()


def _pretences(db: Connection, function: str, user_id: str) -> list[dict[str, str]]:
    takes = parameters(db, function)
    said = {"p_user_id": user_id, "p_holder": f"user:{user_id}"}
    return [{}, *({name: value} for name, value in said.items() if name in takes)]


def _came_of_it(db: Connection, who: str, function: str, arguments: dict[str, Any]) -> tuple[Any, bool]:
    """What the call tells, and whether it changes a row. It is undone."""
    before = state(db)
    with db.transaction(force_rollback=True):
        with acting(db, who):
            answer = _answer(db, function, arguments)
        return answer, state(db) != before


def _answer(db: Connection, function: str, arguments: dict[str, Any]) -> Any:
    """What a call tells; None when it is refused or tells nothing."""
    try:
        with db.transaction():
            answer = call(db, function, arguments)
    except psycopg.Error as error:
        refused = isinstance(error, psycopg.errors.InsufficientPrivilege)
        if not refused and not (error.sqlstate or "").startswith("LT"):
            raise
        return None
    return answer if tells(function, answer) else None


def _touches(db: Connection, who: str, statement: str, values: list[str]) -> bool:
    """Whether it concerns a row at all and is allowed."""
    with acting(db, who):
        try:
            with db.transaction(force_rollback=True):
                return db.execute(statement, values).rowcount > 0  # type: ignore[call-overload]
        except psycopg.errors.InsufficientPrivilege:
            return False
