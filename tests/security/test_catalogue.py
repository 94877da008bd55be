"""Who may do what, read from the catalogue: so what is added later is checked too, or has to be stated."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from deployments.local.project import OURS, Project
from deployments.local.stack import LocalSupabase
from tests.conftest import private_home
from tests.edge.callers import FUNCTIONS
from tests.security import schema
from tests.security.catalogue import Check, Connection, rights, strings
from tests.security.crossing import CHECKS

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("supabase")]

STATED = Path(__file__).parent / "rights.txt"
POSTGRES_15 = Path("/usr/lib/postgresql/15/bin")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_database_holds_what_it_promises(owner: Connection, check: Check) -> None:
    assert check(owner) == []


def test_everybody_may_do_exactly_what_is_stated(owner: Connection) -> None:
    """After a change that is meant, `rights.txt` is written anew: the reviewer sees each right that comes or goes."""
    found, stated = rights(owner), STATED.read_text().splitlines()
    assert [f"+ {line}" for line in found if line not in stated] == []
    assert [f"- {line}" for line in stated if line not in found] == []
    assert len(found) == len(stated)  # two functions of one name have two lines


def test_public_is_the_only_schema_that_is_exposed(owner: Connection) -> None:
    made = "select nspname from pg_namespace where nspowner = 'postgres'::regrole"
    assert set(strings(owner, made)) == {"private", "supabase_migrations"}
    assert Project.read(OURS).schemas == ["public"]


def test_every_edge_function_is_among_those_that_the_tenants_are_tried_on() -> None:
    folders = {path.parent.name for path in (OURS / "functions").glob("*/index.ts")}
    assert {name.replace("_", "-") for name in folders} == set(FUNCTIONS)


def test_the_migrations_run_as_a_role_that_is_no_superuser(owner: Connection) -> None:
    assert owner.execute("select current_user, rolsuper from pg_roles where rolname = current_user").fetchone() == (
        "postgres",
        False,
    )


def test_a_project_that_once_granted_everything_by_default_ends_up_the_same(owner: Connection) -> None:
    """As hosted projects did until 2026: whatever was made in public belonged to anon and users at once."""
    wanted = _apart_from_defaults(rights(owner))
    _drop_all(owner)
    for kind in ("tables", "functions", "sequences"):
        granted = f"grant all on {kind} to anon, authenticated, service_role"
        owner.execute(f"alter default privileges in schema public {granted}")  # type: ignore[call-overload]
    _migrate(owner)
    assert _apart_from_defaults(rights(owner)) == wanted
    for check in CHECKS:
        assert check(owner) == []


def test_what_an_app_has_in_the_same_project_keeps_its_rights(owner: Connection) -> None:
    _drop_all(owner)
    owner.execute(
        """create table public.notes (id integer); grant select on public.notes to anon, authenticated;
           create function public.hello() returns text language sql as $$ select 'hello' $$"""
    )
    before = [line for line in rights(owner) if "public.notes" in line or "public.hello" in line]
    assert len(before) == 3
    _migrate(owner)
    assert set(before) <= set(rights(owner))


def _drop_all(owner: Connection) -> None:
    owner.execute("drop schema private cascade; drop schema public cascade; create schema public")
    for policy in strings(owner, "select policyname from pg_policies where schemaname = 'storage'"):
        owner.execute(f"drop policy {policy} on storage.objects")  # type: ignore[call-overload]


def _migrate(owner: Connection) -> None:
    for migration in Project.read(OURS).migrations():
        owner.execute(migration.path.read_bytes())


def _apart_from_defaults(lines: list[str]) -> list[str]:
    return [line for line in lines if "by default what" not in line and "usage schema public" not in line]


@pytest.mark.parametrize("binaries", [None, POSTGRES_15], ids=["newest", "15"])
def test_two_builds_from_empty_agree(binaries: Path | None) -> None:
    if binaries and not (binaries / "postgres").exists():
        pytest.skip("no PostgreSQL 15 on this machine")
    with private_home() as home, LocalSupabase(home, binaries=binaries) as stack:
        first = schema.described(stack.database_url)
        stack.reset()
        second = schema.described(stack.database_url)
    assert len(first) > 300
    assert first == second


def test_migrations_applied_already_are_not_applied_again(supabase: LocalSupabase) -> None:
    with psycopg.connect(supabase.database_url) as connection:
        applied = connection.execute("select version from supabase_migrations.schema_migrations order by 1").fetchall()
    assert [row[0] for row in applied] == sorted(
        path.name.split("_")[0] for path in (OURS / "migrations").glob("*.sql")
    )
