"""Each weakness that somebody could build in by mistake, planted and rolled back: a check has to find it."""

from __future__ import annotations

import pytest

from deployments.local.stack import LocalSupabase
from tests.security import catalogue, crossing
from tests.security.calls import CALLS
from tests.security.catalogue import Check, Connection

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("supabase")]

#: The body of a function as it is, with one thing changed.
_TRUSTING = """
create or replace function private.acting_user(p_user_id uuid) returns uuid language plpgsql stable
set search_path = '' as $$
begin
  if 'service_role' in ((select auth.jwt()) ->> 'role', (select auth.jwt()) -> 'app_metadata' ->> 'role') then
    return p_user_id;
  end if;
  return (select auth.uid());
end $$
"""
_UNFILTERED = """
create or replace function public.get_task(p_task_id text, p_user_id uuid default null) returns json
language plpgsql stable security definer set search_path = '' as $$
begin
  return (select row_to_json(t) from public.tasks t where t.id = private.as_uuid(p_task_id));
end $$
"""
_DYNAMIC = """
create function public.count_of(p_table text) returns bigint language plpgsql set search_path = '' as $$
declare n bigint;
begin
  execute 'select count(*) from ' || p_table into n;
  return n;
end $$;
revoke execute on function public.count_of from public
"""
_SIMPLE_LINK = """
alter table public.tasks drop constraint parent_of_same_owner;
alter table public.tasks add constraint parent_of_same_owner foreign key (parent_id) references public.tasks (id)
"""
#: Every user passes for the service.
_BLIND = """
create or replace function private.acting_user(p_user_id uuid) returns uuid language sql stable set search_path = ''
as $$ select p_user_id $$
"""
_OBEDIENT = """
create or replace function private.acting_user(p_user_id uuid) returns uuid language sql stable set search_path = ''
as $$ select coalesce(p_user_id, (select auth.uid())) $$
"""
_FROM_XML = """
create function public.count_of(p_table text) returns xml language sql set search_path = ''
as $$ select query_to_xml('select count(*) from ' || p_table, true, true, '') $$;
revoke execute on function public.count_of from public
"""
_CLIMBING = """
drop policy image_uploads_owner_adds_inputs on storage.objects;
create policy image_uploads_owner_adds_inputs on storage.objects for insert to authenticated
  with check (bucket_id = 'image_uploads' and name like (select auth.uid()) || '/inputs/%')
"""
_OPEN_BUCKET = """
drop policy image_uploads_owner_adds_inputs on storage.objects;
create policy image_uploads_owner_adds_inputs on storage.objects for insert to authenticated
  with check (bucket_id = 'image_uploads')
"""

MUTANTS: dict[str, tuple[str, Check]] = {
    "a dropped policy": (
        "drop policy tasks_are_read_by_their_owner on public.tasks",
        crossing.rows_that_cross,
    ),
    "a policy for everybody": (
        "alter policy tasks_are_read_by_their_owner on public.tasks using (true)",
        crossing.rows_that_cross,
    ),
    "row-level security off": ("alter table public.briefs disable row level security", catalogue.unprotected_tables),
    "row-level security not forced": (
        "alter table private.queue no force row level security",
        catalogue.unprotected_tables,
    ),
    "a right of anon": ("grant select on public.projects to anon", catalogue.rights_of_nobody),
    "a right of anon on one column": ("grant select (id) on public.tasks to anon", catalogue.rights_of_nobody),
    "a function for anon": ("grant execute on function public.claim_tasks to anon", catalogue.rights_of_nobody),
    "a function that comes later": (
        "create function public.another() returns text language sql set search_path = '' as $$ select 'x' $$",
        catalogue.rights_of_nobody,
    ),
    "a function for everybody": (
        "grant execute on function public.rescue_tasks to public",
        catalogue.rights_of_nobody,
    ),
    "an unpinned search_path": ("alter function public.claim_tasks reset search_path", catalogue.loose_functions),
    "dynamic SQL": (_DYNAMIC, catalogue.loose_functions),
    "a view with rights of its own": (
        "alter view public.jobs set (security_invoker = false)",
        catalogue.views_with_rights_of_their_own,
    ),
    "a link without its owner": (_SIMPLE_LINK, catalogue.links_across_owners),
    "a role claim that is believed": (_TRUSTING, crossing.a_role_claim_that_decides),
    "a function that forgets the owner": (_UNFILTERED, crossing.functions_that_cross),
    "a function nobody thought about": (
        "create function public.another() returns text language sql set search_path = '' as $$ select 'x' $$;"
        " grant execute on function public.another to authenticated",
        crossing.functions_that_cross,
    ),
    "a user who acts for whom he names": (_OBEDIENT, crossing.functions_that_cross),
    "a policy for everybody's projects": (
        "create policy also on public.projects for select to authenticated using (true)",
        crossing.rows_that_cross,
    ),
    "a view that passes the policies": (
        "create view public.all_tasks as select * from public.tasks; grant select on public.all_tasks to authenticated",
        crossing.rows_that_cross,
    ),
    "SQL from a text, by another name": (_FROM_XML, catalogue.loose_functions),
    "a trigger that is off": (
        "alter table public.tasks disable trigger zz_keep_sound",
        catalogue.loose_functions,
    ),
    "a schema where everybody may make things": (
        "grant create on schema private to public",
        catalogue.rights_of_nobody,
    ),
    "a bucket that all may read": (
        "alter policy image_uploads_owner_reads on storage.objects using (bucket_id = 'image_uploads')",
        crossing.files_that_cross,
    ),
    "a name that climbs out of its folder": (_CLIMBING, crossing.files_that_cross),
    "a bucket where all may write": (_OPEN_BUCKET, crossing.files_that_cross),
}
#: These change only what is written in rights.txt.
STATED: dict[str, str] = {
    "a granted UPDATE": "grant update (status) on public.tasks to authenticated",
    "an INSERT of what is the server's": "grant insert (worker_id) on public.tasks to authenticated",
    "a service that writes behind the functions": "grant update on public.tasks to service_role",
    "a private function": "grant execute on function private.end_badly to service_role",
    "a policy with another condition": "alter policy projects_are_their_owners on public.projects with check (true)",
    "a right that can be handed on": "grant select on public.tasks to authenticated with grant option",
    "a new column, readable at once": "alter table public.tasks add column secret text",
    "a new policy for files": "create policy more on storage.objects for select to anon using (bucket_id = 'other')",
    "a new bucket": "insert into storage.buckets (id, name, public) values ('other', 'other', true)",
    "a bucket that takes everything": "update storage.buckets set allowed_mime_types = null",
    "a function without its owner's rights": "alter function public.get_task security invoker",
    "a second function of a name": "create function public.get_task(p_task_id uuid) returns json language sql"
    " set search_path = '' as $$ select null::json $$;"
    " grant execute on function public.get_task(uuid) to authenticated",
    "rights for what is made later": "alter default privileges in schema public grant select on tables to anon",
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_planted_weakness_is_found(owner: Connection, mutant: str) -> None:
    statements, check = MUTANTS[mutant]
    assert check(owner) == []
    owner.execute(statements)  # type: ignore[call-overload]
    assert check(owner) != []


@pytest.mark.parametrize("mutant", STATED)
def test_a_right_that_nobody_stated_is_found(owner: Connection, mutant: str) -> None:
    before = catalogue.rights(owner)
    owner.execute(STATED[mutant])  # type: ignore[call-overload]
    assert catalogue.rights(owner) != before


def test_without_the_question_who_is_acting_every_function_is_found(owner: Connection) -> None:
    """So each denial that the check sees is the work of that question, and of nothing that would refuse anybody."""
    owner.execute(_BLIND)
    findings = crossing.functions_that_cross(owner)
    assert {finding.split(" ")[0].rstrip(":") for finding in findings} == set(CALLS)


def test_a_mutant_is_gone_with_its_test(supabase: LocalSupabase, owner: Connection) -> None:
    assert owner.execute("select 1 from pg_proc where proname in ('count_of', 'another')").fetchone() is None
