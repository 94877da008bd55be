"""Every caller × every table of the exposed schema and paths of the bucket × read, create, change, delete, over HTTP.

Edge functions have the same matrix in tests/edge/test_callers.py, SQL functions in `catalogue.functions_that_cross`.
What counts is what happened to the rows, not the status; the owner and the service show that a denial is none for all.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import jwt
import psycopg
import pytest

from deployments.local.stack import LocalSupabase

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("supabase")]

#: table: (what the owner of a row may do to it, what the service may): r(ead), c(reate), u(pdate), d(elete).
MAY = {
    "projects": ("rcud", "rcud"),
    "briefs": ("rcud", "rcud"),
    "tasks": ("rc", "rc"),
    "task_dependencies": ("r", "r"),
    "workers": ("", "rcu"),
    "user_api_token": ("", "rcu"),
    "jobs": ("r", "r"),
    "active_jobs": ("r", "r"),
    "pending_jobs_queue": ("r", "r"),
    "job_stats": ("r", "r"),
}
OUTSIDERS = ("nobody", "the publishable key", "the anon key", "B", "A's token", "a worker's token", "forged", "expired")
CALLERS = ("A", "the secret key", "the service_role key", *OUTSIDERS)


@dataclass(frozen=True)
class Row:
    """A row of A's in a table: how to find it, a copy of it to create, a change."""

    where: str
    create: dict[str, Any]
    change: dict[str, Any]


class World:
    def __init__(self, supabase: LocalSupabase) -> None:
        self.supabase = supabase
        self.db = psycopg.connect(supabase.admin_database_url, autocommit=True)
        self.http = httpx.Client(base_url=supabase.url, timeout=30, trust_env=False)
        self.db.execute("truncate public.projects, public.tasks, public.workers, public.user_api_token cascade")
        self.a, self.b = str(uuid4()), str(uuid4())
        self.project, self.brief, self.task = str(uuid4()), str(uuid4()), str(uuid4())
        self.db.execute("insert into auth.users (id) values (%s), (%s)", [self.a, self.b])
        self.db.execute("insert into public.projects (id, user_id) values (%s, %s)", [self.project, self.a])
        self.db.execute("insert into public.projects (user_id) values (%s)", [self.b])
        self.db.execute(
            "insert into public.briefs (id, user_id, project_id, title) values (%s, %s, %s, 'b')",
            [self.brief, self.a, self.project],
        )
        for task, before in ((self.task, []), (uuid4(), [self.task])):
            self.db.execute(
                "insert into public.tasks (id, task_type, params, project_id, depends_on)"
                " values (%s, 'analysis', '{}', %s, %s::uuid[])",
                [task, self.project, before],
            )
        self.db.execute(
            "insert into public.tasks (task_type, params, project_id, status, worker_id, lease_expires_at, attempts)"
            " values ('analysis', '{}', %s, 'In Progress', 'w', now() + interval '1 hour', 1)",
            [self.project],
        )
        self.db.execute("insert into public.workers (id) values ('w')")
        self.pat, self.worker_pat = self._token(self.a), self._token(None)

    def _token(self, user: str | None) -> str:
        text = f"lt_{secrets.token_urlsafe(32)}"
        self.db.execute(
            "insert into public.user_api_token (user_id, jti_hash, label, prefix)"
            " values (%s, encode(sha256(%s::bytea), 'hex'), 'x', 'lt_')",
            [user, text],
        )
        return text

    def headers(self, caller: str) -> dict[str, str]:
        supabase, sign = self.supabase, self.supabase.sign_user_jwt
        claims = {"sub": self.a, "aud": "authenticated", "role": "authenticated", "exp": int(time.time()) + 600}

        def session(token: str) -> dict[str, str]:
            return {"apikey": supabase.publishable_key, "authorization": f"Bearer {token}"}

        match caller:
            case "nobody":
                return {}
            case "the publishable key":
                return {"apikey": supabase.publishable_key}
            case "the anon key":
                return {"apikey": supabase.anon_key, "authorization": f"Bearer {supabase.anon_key}"}
            case "the secret key":
                return {"apikey": supabase.secret_key}
            case "the service_role key":
                return {"apikey": supabase.service_role_key, "authorization": f"Bearer {supabase.service_role_key}"}
            case "A":
                return session(sign(self.a))
            case "B":
                return session(sign(self.b, app_metadata={"role": "service_role"}))
            case "A's token":
                return session(self.pat)
            case "a worker's token":
                return session(self.worker_pat)
            case "forged":
                return session(jwt.encode({**claims, "role": "service_role"}, "x" * 40, "HS256"))
            case "expired":
                return session(sign(self.a, exp=int(time.time()) - 60))
        raise AssertionError(caller)

    def row(self, table: str) -> Row:
        match table:
            case "projects":
                return Row(f"id=eq.{self.project}", {"name": "new"}, {"name": "changed"})
            case "briefs":
                create = {"project_id": self.project, "title": "new", "user_id": self.a}
                return Row(f"id=eq.{self.brief}", create, {"title": "changed"})
            case "tasks":
                create = {"project_id": self.project, "task_type": "analysis", "params": {}}
                return Row(f"id=eq.{self.task}", create, {"status": "Complete"})
            case "task_dependencies":
                create = {"task_id": str(uuid4()), "depends_on": self.task, "user_id": self.a, "position": 0}
                return Row(f"depends_on=eq.{self.task}", create, {"position": 5})
            case "workers":
                return Row("id=eq.w", {"id": f"w{uuid4()}"}, {"status": "gone"})
            case "user_api_token":
                create = {"label": "new", "prefix": "lt_", "jti_hash": "ab" * 32, "user_id": self.b}
                return Row(f"user_id=eq.{self.a}", create, {"label": "changed"})
            case "job_stats":
                return Row("type=eq.analysis", {"type": "x"}, {"type": "x"})
            case "jobs" | "active_jobs" | "pending_jobs_queue":
                return Row(f"user_id=eq.{self.a}", {"type": "analysis"}, {"status": "completed"})
        raise AssertionError(f"{table}: say what a row of it is, and in MAY who may do what")

    def state(self) -> list[Any]:
        tables = [
            table for table, _ in MAY.items() if table not in ("jobs", "active_jobs", "pending_jobs_queue", "job_stats")
        ]
        hidden = "- 'last_used_at' - 'updated_at'"
        return [
            self.db.execute(f"select to_jsonb(t) {hidden} from public.{one} t order by 1").fetchall() for one in tables
        ]

    def tries(self, caller: str, table: str, verb: str) -> bool:
        """Whether it came to pass. Afterwards everything is as it was."""
        row, headers, path = self.row(table), self.headers(caller), f"/rest/v1/{table}"
        if verb == "r":
            answer = self.http.get(f"{path}?{row.where}", headers=headers)
            return answer.is_success and len(answer.json()) > 0
        before = self.state()
        match verb:
            case "c":
                create = dict(row.create)
                if table == "projects" and caller in ("the secret key", "the service_role key"):
                    create["user_id"] = self.a
                if table == "briefs" and caller not in ("the secret key", "the service_role key"):
                    del create["user_id"]
                self.http.post(path, json=create, headers=headers)
            case "u":
                self.http.patch(f"{path}?{row.where}", json=row.change, headers=headers)
            case "d":
                self.http.delete(f"{path}?{row.where}", headers=headers)
        return self.state() != before


@pytest.fixture
def world(supabase: LocalSupabase) -> Iterator[World]:
    world = World(supabase)
    yield world
    world.http.close()
    world.db.close()


def test_every_table_of_the_exposed_schema_has_an_expectation(world: World) -> None:
    found = world.db.execute(
        "select relname from pg_class"
        " where relnamespace = 'public'::regnamespace and relkind in ('r', 'v', 'm', 'p', 'f')"
    ).fetchall()
    assert {row[0] for row in found} == set(MAY)


@pytest.mark.parametrize("table", MAY)
@pytest.mark.parametrize("caller", CALLERS)
def test_a_caller_can_do_to_a_row_of_a_what_is_stated_and_no_more(
    supabase: LocalSupabase, caller: str, table: str
) -> None:
    may = "" if caller in OUTSIDERS else MAY[table][0 if caller == "A" else 1]
    if (caller, table) == ("B", "projects"):
        may = "c"  # one of B's own
    for verb in "rcud":
        world = World(supabase)
        try:
            assert world.tries(caller, table, verb) == (verb in may), verb
        finally:
            world.http.close()
            world.db.close()


#: path: who of A and B may write it, beside the service.
PATHS = {
    "{a}/inputs/x/picture.png": "A",
    "{b}/inputs/x/picture.png": "B",
    "{a}/{task}/1/film.png": "",
    "{task}.png": "",
}
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 64


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("path", PATHS)
def test_a_caller_writes_into_the_bucket_where_it_is_stated_and_nowhere_else(
    world: World, caller: str, path: str
) -> None:
    where = path.format(a=world.a, b=world.b, task=world.task)
    may = caller in ("the secret key", "the service_role key", PATHS[path])
    headers = {**world.headers(caller), "content-type": "image/png", "x-upsert": "true"}
    url = f"{world.supabase.url}/storage/v1/object/image_uploads/{where}"
    written = httpx.Client(trust_env=False).post(url, content=PNG, headers=headers)
    assert written.is_success == may, written.text
    stored = world.db.execute("select count(*) from storage.objects where name = %s", [where]).fetchone()
    assert (stored == (1,)) == may


@pytest.mark.parametrize("caller", CALLERS)
def test_a_caller_removes_from_the_bucket_what_is_its_own_and_nothing_else(world: World, caller: str) -> None:
    path = f"{world.a}/inputs/x/{uuid4()}.png"
    secret = {**world.headers("the secret key"), "content-type": "image/png"}
    world.http.post(f"/storage/v1/object/image_uploads/{path}", content=PNG, headers=secret).raise_for_status()
    world.http.delete(f"/storage/v1/object/image_uploads/{path}", headers=world.headers(caller))
    left = world.db.execute("select count(*) from storage.objects where name = %s", [path]).fetchone()
    assert (left == (0,)) == (caller not in OUTSIDERS)


@pytest.mark.parametrize("caller", OUTSIDERS)
def test_a_stranger_cannot_list_the_files_of_another(world: World, caller: str) -> None:
    secret = {**world.headers("the secret key"), "content-type": "image/png"}
    path = f"{world.a}/inputs/x/listed.png"
    world.http.post(f"/storage/v1/object/image_uploads/{path}", content=PNG, headers=secret)
    body = {"prefix": f"{world.a}/inputs/x", "limit": 10}
    answer = world.http.post("/storage/v1/object/list/image_uploads", json=body, headers=world.headers(caller))
    assert not answer.is_success or answer.json() == []
    owner = world.http.post("/storage/v1/object/list/image_uploads", json=body, headers=world.headers("A"))
    assert [one["name"] for one in owner.json()] == ["listed.png"]
