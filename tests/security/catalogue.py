"""What the database's own catalogue says about who may do what. Each check answers with findings; none is good.

They take a connection of the owner, so that a mutant can be planted and rolled back around them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import psycopg

Connection = psycopg.Connection[Any]
Check = Callable[[Connection], list[str]]

_OURS = "n.nspname in ('public', 'private')"


def unprotected_tables(db: Connection) -> list[str]:
    """Row-level security is on and forced for every table, exposed or not."""
    return _strings(
        db,
        f"""select format('%I.%I: row-level security is not forced', n.nspname, c.relname)
            from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where {_OURS} and c.relkind in ('r', 'p') and not (c.relrowsecurity and c.relforcerowsecurity)""",
    )


def rights_of_nobody(db: Connection) -> list[str]:
    """Neither anon nor PUBLIC has a right on anything of ours, columns included. No acl of a function means PUBLIC."""
    return _strings(
        db,
        f"""
        with granted as (
          select format('%I.%I', n.nspname, c.relname) as thing, a.grantee, a.privilege_type
            from pg_class c join pg_namespace n on n.oid = c.relnamespace, aclexplode(c.relacl) a where {_OURS}
          union all
          select format('%I.%I.%I', n.nspname, c.relname, k.attname), a.grantee, a.privilege_type
            from pg_attribute k join pg_class c on c.oid = k.attrelid join pg_namespace n on n.oid = c.relnamespace,
              aclexplode(k.attacl) a where {_OURS}
          union all
          select p.oid::regprocedure::text, a.grantee, a.privilege_type
            from pg_proc p join pg_namespace n on n.oid = p.pronamespace,
              aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a where {_OURS})
        select format('%s may %s %s', case grantee when 0 then 'PUBLIC' else grantee::regrole::text end, privilege_type,
          thing)
        from granted where grantee = 0 or grantee = 'anon'::regrole order by 1""",
    )


def loose_functions(db: Connection) -> list[str]:
    """Every function pins an empty search_path and runs no SQL that it puts together itself."""
    return _strings(
        db,
        f"""
        select format('%s: search_path is not pinned', p.oid::regprocedure) from pg_proc p
          join pg_namespace n on n.oid = p.pronamespace
          where {_OURS} and not coalesce(p.proconfig, '{{}}') @> array['search_path=""']
        union all
        select format('%s: dynamic SQL', p.oid::regprocedure) from pg_proc p
          join pg_namespace n on n.oid = p.pronamespace
          where {_OURS} and p.prosrc ~* '\\mexecute\\M'
        union all
        select format('%s: runs with the rights of %s', p.oid::regprocedure, p.proowner::regrole) from pg_proc p
          join pg_namespace n on n.oid = p.pronamespace
          where {_OURS} and p.prosecdef and p.proowner <> 'postgres'::regrole
        order by 1""",
    )


def views_with_rights_of_their_own(db: Connection) -> list[str]:
    return _strings(
        db,
        f"""select format('%I.%I: not security_invoker', n.nspname, c.relname)
            from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where {_OURS} and c.relkind in ('v', 'm')
              and not coalesce(c.reloptions, '{{}}') @> array['security_invoker=true']""",
    )


def links_across_owners(db: Connection) -> list[str]:
    """A foreign key between two tables that have an owner carries the owner."""
    return _strings(
        db,
        """
        select format('%s.%s does not carry user_id', f.conrelid::regclass, f.conname) from pg_constraint f
        where f.contype = 'f' and f.connamespace = 'public'::regnamespace and f.confrelid <> 'auth.users'::regclass
          and not exists (select from unnest(array[f.conrelid, f.confrelid]) t (id) where not exists (
            select from pg_attribute k where k.attrelid = t.id and k.attname = 'user_id'))
          and not exists (select from pg_attribute k
            where k.attrelid = f.conrelid and k.attnum = any (f.conkey) and k.attname = 'user_id')
        """,
    )


def rights(db: Connection) -> list[str]:
    """All that the API roles may do, one line each: what `rights.txt` holds is what we mean."""
    return _strings(
        db,
        f"""
        with granted as (
          select format('%I.%I', n.nspname, c.relname) as thing, a.grantee, lower(a.privilege_type) as may
            from pg_class c join pg_namespace n on n.oid = c.relnamespace, aclexplode(c.relacl) a where {_OURS}
          union all
          select format('%I.%I (%s)', n.nspname, c.relname, string_agg(k.attname, ', ' order by k.attname)),
              a.grantee, lower(a.privilege_type)
            from pg_attribute k join pg_class c on c.oid = k.attrelid join pg_namespace n on n.oid = c.relnamespace,
              aclexplode(k.attacl) a where {_OURS} group by n.nspname, c.relname, a.grantee, a.privilege_type
          union all
          select format('%I.%I', n.nspname, p.proname), a.grantee, lower(a.privilege_type)
            from pg_proc p join pg_namespace n on n.oid = p.pronamespace,
              aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a where {_OURS}
          union all
          select format('schema %I', n.nspname), a.grantee, lower(a.privilege_type)
            from pg_namespace n, aclexplode(n.nspacl) a where n.nspname = 'private')
        select format('%s: %s %s', grantee::regrole, may, thing) from granted
          where grantee in ('anon'::regrole, 'authenticated'::regrole, 'service_role'::regrole)
        union all
        select format('policy %s on %I.%I for %s to %s using (%s) check (%s)', policyname, schemaname, tablename,
            lower(cmd), array_to_string(roles, ','), regexp_replace(qual, '\\s+', ' ', 'g'),
            regexp_replace(with_check, '\\s+', ' ', 'g'))
          from pg_policies where schemaname in ('public', 'private') or policyname like 'image_uploads%'
        order by 1""",
    )


def a_role_claim_that_decides(db: Connection) -> list[str]:
    """A user's token may say what it likes: the database role decides, and the subject names the user."""
    findings = []
    with db.transaction(force_rollback=True):
        victim, stranger = _tenant(db), _tenant(db)
        _enqueue(db, victim)
        for claims in (
            '"role": "service_role"',
            '"app_metadata": {"role": "service_role"}',
            '"user_role": "supabase_admin"',
        ):
            said = f'{{"sub": "{stranger}", "aud": "authenticated", {claims}}}'
            _become(db, "authenticated", said)
            try:
                with db.transaction(force_rollback=True):
                    if db.execute("select public.list_tasks()").fetchone() != ([],):
                        findings.append(f"list_tasks believes {claims}")
                    if db.execute("select public.claim_tasks('w')").fetchone() != ([],):
                        findings.append(f"claim_tasks believes {claims}")
                    db.execute("select public.rescue_tasks()")
                    findings.append(f"rescue_tasks believes {claims}")
            except psycopg.errors.InsufficientPrivilege:
                pass  # rescue_tasks is not executable: as it should be
            db.execute("reset role")
    return findings


def rows_that_cross(db: Connection) -> list[str]:
    """What a stranger sees of a user's rows, and whether the user sees them: a denial to all would prove nothing."""
    findings = []
    with db.transaction(force_rollback=True):
        owner, stranger = _tenant(db), _user(db)  # with nothing of his own
        first = _enqueue(db, owner)
        _enqueue(db, owner, first)
        _claim(db, _enqueue(db, owner))
        project = db.execute("select id from public.projects where user_id = %s", [owner]).fetchone()
        assert project
        db.execute("insert into public.briefs (user_id, project_id, title) values (%s, %s, 'b')", [owner, project[0]])
        tables = _strings(
            db,
            """select c.relname from pg_class c
               where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'v')
                 and has_table_privilege('authenticated', c.oid, 'select') order by 1""",
        )
        for table in tables:
            for user in (owner, stranger):
                _become(db, "authenticated", f'{{"sub": "{user}"}}')
                count = db.execute(f"select count(*) from public.{table}").fetchone()
                db.execute("reset role")
                assert count
                if (count[0] > 0) != (user == owner):
                    findings.append(f"{table}: {'its owner' if user == owner else 'a stranger'} sees {count[0]} rows")
    return findings


def files_that_cross(db: Connection) -> list[str]:
    """Below whose folder of the bucket a user reads and writes."""
    findings = []
    with db.transaction(force_rollback=True):
        owner, stranger = _tenant(db), _tenant(db)
        for user, name, may in [
            (owner, f"{owner}/inputs/a.png", True),
            (owner, f"{owner}/{uuid4()}/1/a.png", False),
            (stranger, f"{owner}/inputs/b.png", False),
            (owner, "a.png", False),
        ]:
            if (
                _may(db, user, "insert into storage.objects (bucket_id, name) values ('image_uploads', %s)", [name])
                != may
            ):
                findings.append(
                    f"{'its owner' if user == owner else 'a stranger'} {'cannot' if may else 'can'} write {name}"
                )
        kept = f"{owner}/inputs/kept.png"
        db.execute("insert into storage.objects (bucket_id, name) values ('image_uploads', %s)", [kept])
        for user, seen in [(owner, 1), (stranger, 0)]:
            _become(db, "authenticated", f'{{"sub": "{user}"}}')
            found = db.execute("select count(*) from storage.objects where name = %s", [kept]).fetchone()
            db.execute("reset role")
            if found != (seen,):
                findings.append(f"{'its owner' if user == owner else 'a stranger'} sees {found} of {kept}")
    return findings


def functions_that_cross(db: Connection) -> list[str]:
    """Every function that a user may call, called by a stranger with a user's ids: refused or empty, nothing changes.

    Then by the user: what is refused to everybody would be no protection. A function that `CALLS` lacks is a finding.
    """
    findings = []
    callable_by_users = _strings(
        db,
        """select p.proname from pg_proc p where p.pronamespace = 'public'::regnamespace
           and has_function_privilege('authenticated', p.oid, 'execute') order by 1""",
    )
    for function in callable_by_users:
        if function in HARMLESS:
            continue
        if function not in CALLS:
            findings.append(f"{function}: no expectation is stated")
            continue
        for by_owner in (False, True):
            with db.transaction(force_rollback=True):
                owner, stranger = _tenant(db), _tenant(db)
                ids = _family(db, owner)
                before = _state(db)
                _become(db, "authenticated", f'{{"sub": "{owner if by_owner else stranger}"}}')
                answer = _answer(db, CALLS[function].format(**ids, owner=owner))
                db.execute("reset role")
                if by_owner and answer is None:
                    findings.append(f"{function}: refused to its owner too")
                elif not by_owner and (answer is not None or _state(db) != before):
                    findings.append(f"{function}: a stranger gets {str(answer)[:200]}")
    return findings


#: They show and change no row of anybody.
HARMLESS = {
    "queue_pulse",
    "longtake_schema_version",
    "func_initialize_tasks_table",
    "func_migrate_tasks_for_task_type",
}
_HELD = "p_task_id => '{held}', p_claim_token => '{token}'"
#: A call that concerns a user's rows; it answers null, or nothing, to who may not.
CALLS = {
    "enqueue_tasks": "select public.enqueue_tasks("
    """'[{{"task_type": "analysis", "params": {{}}, "project_id": "{project}"}}]')""",
    "func_add_task": "select public.func_add_task('{fresh}', '{{}}', 'analysis', '{project}')",
    "claim_tasks": "select nullif(public.claim_tasks('w')::text, '[]')",
    "claim_job": "select id from public.claim_job('w', array['analysis'])",
    "func_claim_available_task": "select id from public.func_claim_available_task('w')",
    "func_claim_task": "select task_id_out from public.func_claim_task('tasks', 'w')",
    "func_claim_user_task": "select task_id_out from public.func_claim_user_task('tasks', 'w', '{owner}')",
    "start_task": "select public.start_task('{dispatched}', 1, 'w')",
    "dispatched_task": "select 'noted' from public.dispatched_task('{dispatched}', '{dispatch_token}', '{fresh}')",
    "renew_task": f"select public.renew_task({_HELD})",
    "wait_task": f"select public.wait_task({_HELD})",
    "complete_task": f"select public.complete_task({_HELD})",
    "fail_task": f"select public.fail_task({_HELD}, p_error => 'x')",
    "release_task": f"select public.release_task({_HELD})",
    "upload_target": f"select public.upload_target({_HELD})",
    "func_update_task_status": "select public.func_update_task_status('{own}', 'Complete')",
    "complete_task_with_timing": "select public.complete_task_with_timing('{own}', 'x')",
    "func_mark_task_failed": "select public.func_mark_task_failed('{own}', 'x')",
    "complete_job": "select public.complete_job('{own}')",
    "fail_job": "select public.fail_job('{own}')",
    "cancel_task": "select public.cancel_task('{ready}')",
    "retry_task": "select public.retry_task('{failed}')",
    "get_task": "select public.get_task('{ready}')",
    "task_children": "select nullif(public.task_children('{held}')::text, '[]')",
    "list_tasks": "select nullif(public.list_tasks()::text, '[]')",
    "task_counts": "select nullif(public.task_counts() ->> 'ready', '0')",
    "task_predecessors": "select public.task_predecessors('{child}')",
    "completed_segments": "select nullif(public.completed_segments('run')::text, '[]')",
    "func_get_completed_generation_segments_for_stitch": "select segment_index from"
    " public.func_get_completed_generation_segments_for_stitch('run')",
    "create_token": "select public.create_token(repeat('ab', 32), 'x', 'lt_', p_user_id => '{owner}')",
    "list_tokens": "select nullif(public.list_tokens()::text, '[]')",
    "revoke_token": "select public.revoke_token('{user_token}')",
}

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


def _family(db: Connection, owner: str) -> dict[str, str]:
    """A user's tasks in every situation, a token, and ids and tokens to name them by."""
    project = db.execute("select id::text from public.projects where user_id = %s", [owner]).fetchone()
    assert project
    ids = {"project": project[0], "fresh": str(uuid4()), "ready": _enqueue(db, owner)}
    for name in ("held", "own", "failed", "dispatched"):
        ids[name] = _enqueue(db, owner)
    ids["child"] = _enqueue(db, owner, ids["ready"], parent=ids["held"])
    segment = _enqueue(db, owner, kind="travel_segment", params='{"orchestrator_run_id": "run", "segment_index": 0}')
    ids["token"] = _claim(db, ids["held"])
    ids["dispatch_token"] = _claim(db, ids["dispatched"], start=False)
    db.execute("select public.complete_task(%s, %s, 'x')", [segment, _claim(db, segment)])
    db.execute("select public.fail_task(%s, %s, 'x', false)", [ids["failed"], _claim(db, ids["failed"])])
    _become(db, "authenticated", f'{{"sub": "{owner}"}}')
    db.execute("select public.claim_tasks('mine', p_task_ids => array[%s], p_start => true)", [ids["own"]])
    db.execute("reset role")
    row = db.execute(
        "select public.create_token(repeat('cd', 32), 'x', 'lt_', p_user_id => %s) ->> 'id'", [owner]
    ).fetchone()
    assert row
    return ids | {"user_token": row[0]}


def _claim(db: Connection, task_id: str, *, start: bool = True) -> str:
    claim = "select public.claim_tasks('w', p_task_ids => array[%s], p_start => %s) -> 0 ->> 'claim_token'"
    row = db.execute(claim, [task_id, start]).fetchone()
    assert row
    return str(row[0])


def _user(db: Connection) -> str:
    user = str(uuid4())
    db.execute("insert into auth.users (id) values (%s)", [user])
    return user


def _tenant(db: Connection) -> str:
    user = _user(db)
    db.execute("insert into public.projects (user_id) values (%s)", [user])
    return user


def _enqueue(
    db: Connection, owner: str, *before: str, parent: str | None = None, kind: str = "analysis", params: str = "{}"
) -> str:
    row = db.execute(
        """insert into public.tasks (task_type, params, project_id, depends_on, parent_id)
           select %s, %s::jsonb, p.id, %s::uuid[], %s::uuid from public.projects p where p.user_id = %s
           returning id::text""",
        [kind, params, list(before), parent, owner],
    ).fetchone()
    assert row
    return str(row[0])


def _state(db: Connection) -> list[Any]:
    return [
        db.execute("select to_jsonb(t) - 'updated_at' from public.tasks t order by id").fetchall(),
        db.execute("select to_jsonb(q) from private.queue q order by task_id").fetchall(),
        db.execute("select to_jsonb(k) from public.user_api_token k order by id").fetchall(),
    ]


def _answer(db: Connection, call: str) -> Any:
    """What a call answers; None when it is refused or answers nothing."""
    try:
        with db.transaction():
            row = db.execute(call).fetchone()  # type: ignore[call-overload]
    except psycopg.Error as error:
        if not (error.sqlstate or "").startswith("LT"):
            raise
        return None
    return None if row is None else row[0]


def _may(db: Connection, user: str, statement: str, values: list[Any]) -> bool:
    _become(db, "authenticated", f'{{"sub": "{user}"}}')
    try:
        with db.transaction(force_rollback=True):
            db.execute(statement, values)  # type: ignore[call-overload]
    except psycopg.errors.InsufficientPrivilege:
        return False
    finally:
        db.execute("reset role")
    return True


def _become(db: Connection, role: str, claims: str) -> None:
    db.execute("select set_config('request.jwt.claims', %s, true)", [claims])
    db.execute(f"set local role {role}")


def _strings(db: Connection, query: str) -> list[str]:
    return [row[0] for row in db.execute(query).fetchall()]  # type: ignore[call-overload]
