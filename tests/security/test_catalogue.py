"""Who may do what, read from the catalogue: so what is added later is checked too, or has to be stated."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from deployments.local.project import OURS
from deployments.local.stack import LocalSupabase
from tests.conftest import private_home
from tests.edge.callers import FUNCTIONS
from tests.security import schema
from tests.security.catalogue import CHECKS, Check, Connection, rights

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("supabase")]

STATED = Path(__file__).parent / "rights.txt"
POSTGRES_15 = Path("/usr/lib/postgresql/15/bin")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_database_holds_what_it_promises(owner: Connection, check: Check) -> None:
    assert check(owner) == []


def test_the_api_roles_may_do_exactly_what_is_stated(owner: Connection) -> None:
    assert rights(owner) == STATED.read_text().splitlines()


def test_every_edge_function_is_among_those_that_the_tenants_are_tried_on() -> None:
    folders = {path.parent.name for path in (OURS / "functions").glob("*/index.ts")}
    assert {name.replace("_", "-") for name in folders} == set(FUNCTIONS)


def test_the_migrations_run_as_a_role_that_is_no_superuser(owner: Connection) -> None:
    assert owner.execute("select current_user, rolsuper from pg_roles where rolname = current_user").fetchone() == (
        "postgres",
        False,
    )


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
