"""REST and RPC of the local stack, through supabase-py and plain HTTP."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psycopg
import pytest
from postgrest.exceptions import APIError
from supabase import Client, ClientOptions, create_client

from deployments.local.stack import LocalSupabase
from tests.supabase_stack import small_supabase as small_supabase

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("supabase")]


@pytest.fixture
def service(small_supabase: LocalSupabase) -> Client:
    return create_client(small_supabase.url, small_supabase.secret_key)


@pytest.fixture
def user(small_supabase: LocalSupabase) -> str:
    return small_supabase.create_user(f"{uuid.uuid4()}@example.com", "a password")


@pytest.fixture
def client_of(small_supabase: LocalSupabase) -> Callable[[str], Client]:
    """A client that is signed in as this user."""

    def make(user_id: str) -> Client:
        bearer = {"Authorization": f"Bearer {small_supabase.sign_user_jwt(user_id)}"}
        return create_client(small_supabase.url, small_supabase.publishable_key, ClientOptions(headers=bearer))

    return make


def http(stack: LocalSupabase, **headers: str) -> httpx.Client:
    return httpx.Client(base_url=f"{stack.url}/rest/v1", headers={"apikey": stack.secret_key, **headers})


def test_a_user_sees_and_changes_only_own_rows(service: Client, client_of: Any, user: str) -> None:
    stranger = service.table("notes").insert({"user_id": user, "title": "mine"}).execute().data[0]
    other = client_of(str(uuid.uuid4()))
    assert client_of(user).table("notes").select("title").eq("id", stranger["id"]).execute().data == [{"title": "mine"}]
    assert other.table("notes").select("*").eq("id", stranger["id"]).execute().data == []
    assert other.table("notes").update({"title": "theirs"}).eq("id", stranger["id"]).execute().data == []


def test_a_new_table_is_granted_to_nobody(service: Client) -> None:
    with pytest.raises(APIError) as refused:
        service.table("ungranted").select("*").execute()
    assert refused.value.code == "42501"


def test_anonymous_callers_are_asked_to_sign_in(small_supabase: LocalSupabase) -> None:
    with http(small_supabase, apikey=small_supabase.publishable_key) as anyone:
        assert anyone.get("/notes").status_code == 401


@pytest.mark.parametrize(("kind", "role", "timeout"), [("secret", "service_role", "8s"), ("anon", "anon", "3s")])
def test_role_and_time_limit_hold_for_the_transaction(
    small_supabase: LocalSupabase, kind: str, role: str, timeout: str
) -> None:
    key = small_supabase.secret_key if kind == "secret" else small_supabase.anon_key
    with http(small_supabase, apikey=key) as caller:
        assert caller.post("/rpc/whoami").json() == {"role": role, "uid": None, "timeout": timeout}


def test_a_slow_statement_of_an_anonymous_caller_is_ended(small_supabase: LocalSupabase) -> None:
    with http(small_supabase, apikey=small_supabase.publishable_key) as anyone:
        answer = anyone.post("/rpc/sleep", json={"p_seconds": 20}, timeout=15)
    assert (answer.status_code, answer.json()["code"]) == (500, "57014")


FILTERED: list[tuple[Callable[[Any], Any], list[int]]] = [
    (lambda rows: rows.eq("pages", 2), [2]),
    (lambda rows: rows.neq("pages", 2), [1, 3, 4]),
    (lambda rows: rows.gt("pages", 3), [4]),
    (lambda rows: rows.gte("pages", 3).lt("pages", 4), [3]),
    (lambda rows: rows.lte("pages", 1), [1]),
    (lambda rows: rows.like("title", "%b_"), [2]),
    (lambda rows: rows.ilike("title", "*AB*"), [1, 2]),
    (lambda rows: rows.in_("title", ['a,"b', "abc"]), [2, 4]),
    (lambda rows: rows.is_("slug", "null").eq("pages", 1), [1]),
    (lambda rows: rows.not_.in_("pages", [1, 2]), [3, 4]),
    (lambda rows: rows.or_("pages.eq.1,and(pages.gt.2,title.not.eq.c)"), [1, 4]),
    (lambda rows: rows.or_('title.eq."a,\\"b",pages.in.(1,2)'), [1, 2, 4]),
    (lambda rows: rows.eq("tags->>kind", "x"), [3]),
    (lambda rows: rows.contains("tags", {"kind": "x"}), [3]),
    (lambda rows: rows.order("title", desc=True).limit(2), [3, 2]),
    (lambda rows: rows.order("pages").range(1, 2), [2, 3]),
]


@pytest.fixture(scope="module")
def shelf(small_supabase: LocalSupabase) -> str:
    """A user with four notes, told apart by their pages."""
    owner = small_supabase.create_user(f"{uuid.uuid4()}@example.com", "a password")
    titles: list[tuple[str, dict[str, str]]] = [("ab", {}), ("abc", {}), ("c", {"kind": "x"}), ('a,"b', {})]
    rows = [
        {"user_id": owner, "pages": pages, "title": title, "tags": tags}
        for pages, (title, tags) in enumerate(titles, 1)
    ]
    create_client(small_supabase.url, small_supabase.secret_key).table("notes").insert(rows).execute()
    return owner


@pytest.mark.parametrize(("narrow", "pages"), FILTERED)
def test_filters_mean_what_they_mean_on_hosted(service: Client, shelf: str, narrow: Any, pages: list[int]) -> None:
    rows = narrow(service.table("notes").select("pages").eq("user_id", shelf)).execute().data
    found = [row["pages"] for row in rows]
    assert found == pages if pages == [3, 2] else sorted(found) == pages


def test_columns_are_renamed_cast_and_reached_into(service: Client, shelf: str) -> None:
    query = service.table("notes").select("name:title,pages::text,kind:tags->>kind,tags->kind")
    row = query.eq("user_id", shelf).eq("pages", 3).single().execute().data
    assert row == {"name": "c", "pages": "3", "kind": "x"}


def test_an_exact_count_comes_with_the_page(service: Client, shelf: str) -> None:
    answer = service.table("notes").select("id", count="exact").eq("user_id", shelf).limit(1).execute()
    assert (len(answer.data), answer.count) == (1, 4)
    assert service.table("notes").select("*", count="exact", head=True).eq("user_id", shelf).execute().count == 4


def test_a_range_header_is_a_page(small_supabase: LocalSupabase, shelf: str) -> None:
    with http(small_supabase, range="1-2", prefer="count=exact") as caller:
        page = caller.get("/notes", params={"user_id": f"eq.{shelf}", "order": "pages", "select": "pages"})
        beyond = caller.get("/notes", params={"user_id": f"eq.{shelf}", "offset": 9})
    assert (page.status_code, page.headers["content-range"], page.json()) == (
        206,
        "1-2/4",
        [{"pages": 2}, {"pages": 3}],
    )
    assert (beyond.status_code, beyond.json()["code"]) == (416, "PGRST103")


def test_the_projects_row_limit_holds(small_supabase: LocalSupabase) -> None:
    with http(small_supabase) as caller:
        assert len(caller.get("/notes", params={"limit": 1000}).json()) <= 50


def test_one_row_is_demanded_and_got(service: Client, shelf: str) -> None:
    query = service.table("notes").select("title").eq("user_id", shelf).eq("pages", 1)
    assert query.single().execute().data == {"title": "ab"}


def test_no_row_where_one_is_demanded_is_refused(service: Client) -> None:
    with pytest.raises(APIError) as refused:
        service.table("notes").select("title").eq("id", -1).single().execute()
    assert refused.value.code == "PGRST116"
    assert service.table("notes").select("title").eq("id", -1).maybe_single().execute() is None


def test_many_rows_are_inserted_and_shown_as_asked(service: Client, user: str) -> None:
    rows = [{"user_id": user, "title": str(number)} for number in range(3)]
    assert [row["title"] for row in service.table("notes").insert(rows).execute().data] == ["0", "1", "2"]
    assert service.table("notes").insert(rows[0], returning="minimal").execute().data == []


def test_rows_with_unequal_keys_need_their_columns_named(small_supabase: LocalSupabase, user: str) -> None:
    rows = [{"user_id": user, "title": "a"}, {"user_id": user, "title": "b", "slug": str(uuid.uuid4())}]
    with http(small_supabase, prefer="return=representation") as caller:
        assert caller.post("/notes", json=rows).json()["code"] == "PGRST102"
        named = caller.post("/notes", params={"columns": "user_id,title,slug"}, json=rows)
    assert (named.status_code, named.json()[0]["slug"]) == (201, None)


def test_an_upsert_merges_or_ignores(small_supabase: LocalSupabase, user: str) -> None:
    row = {"user_id": user, "title": "first", "slug": str(uuid.uuid4())}
    statuses = []
    with http(small_supabase) as caller:
        for resolution, title in (("merge", "first"), ("merge", "second"), ("ignore", "third")):
            prefer = {"prefer": f"resolution={resolution}-duplicates"}
            answer = caller.post("/notes?on_conflict=slug", json={**row, "title": title}, headers=prefer)
            statuses.append(answer.status_code)
        found = caller.get("/notes", params={"slug": f"eq.{row['slug']}", "select": "title"}).json()
    assert (statuses[:2], found) == ([201, 200], [{"title": "second"}])


def test_update_and_delete_answer_with_what_they_changed(service: Client, user: str) -> None:
    row = service.table("notes").insert({"user_id": user, "title": "old"}).execute().data[0]
    changed = service.table("notes").update({"title": "new"}).eq("id", row["id"]).execute().data
    gone = service.table("notes").delete().eq("id", row["id"]).execute().data
    assert [changed[0]["title"], gone[0]["title"]] == ["new", "new"]


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_changing_every_row_at_once_is_refused(small_supabase: LocalSupabase, method: str) -> None:
    with http(small_supabase) as caller:
        answer = caller.request(method, "/notes", json={"title": "x"})
    assert (answer.status_code, answer.json()["message"][-23:]) == (400, "requires a WHERE clause")


def test_what_only_commit_finds_out_is_an_error_and_changes_nothing(service: Client, user: str) -> None:
    with pytest.raises(APIError) as refused:  # the foreign key is deferred
        service.table("notes").insert({"user_id": user, "title": "orphan", "follows": -1}).execute()
    assert refused.value.code == "23503"
    assert service.table("notes").select("id").eq("user_id", user).execute().data == []


def test_functions_are_called_by_post_and_get_and_overload(small_supabase: LocalSupabase) -> None:
    with http(small_supabase) as caller:
        assert caller.post("/rpc/add", json={"p_left": 2, "p_right": 3}).json() == 5
        assert caller.get("/rpc/add", params={"p_left": 2}).json() == 3
        assert caller.post("/rpc/add", json={"p_words": ["a", "b c"]}).json() == "a b c"
        unknown = caller.post("/rpc/add", json={"left": 2})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "PGRST202")


def test_rows_of_a_function_are_filtered_like_a_table(service: Client, shelf: str) -> None:
    query = service.rpc("notes_like", {"p_title": "a%"}).select("title,pages").eq("user_id", shelf)
    assert query.order("pages", desc=True).limit(1).execute().data == [{"title": 'a,"b', "pages": 4}]


def test_a_function_without_result_answers_204(small_supabase: LocalSupabase, user: str) -> None:
    with http(small_supabase) as caller:
        answer = caller.post("/rpc/write_note", json={"p_user": user, "p_title": "x"})
    assert (answer.status_code, answer.content) == (204, b"")


def test_a_function_that_promises_not_to_write_may_not(small_supabase: LocalSupabase, user: str) -> None:
    with http(small_supabase) as caller:
        get = caller.get("/rpc/write_note", params={"p_user": user, "p_title": "x"})
    assert (get.status_code, get.json()["code"]) == (405, "25006")


@pytest.mark.parametrize(("state", "status"), [("LT001", 400), ("PT418", 418), ("P0001", 400), ("23505", 409)])
def test_a_refusal_of_a_function_keeps_its_code_and_words(
    small_supabase: LocalSupabase, state: str, status: int
) -> None:
    with http(small_supabase) as caller:
        answer = caller.post("/rpc/refuse", json={"p_state": state})
    said = {"code": state, "message": "No.", "details": '{"field": "x"}', "hint": "Ask again."}
    assert (answer.status_code, answer.json()) == (status, said)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/nots", "PGRST205"),
        ("/notes?pages=eq.many", "22P02"),
        ("/notes?pages=is.odd", "PGRST100"),
        ("/notes?pages=2", "PGRST100"),
        ("/notes?or=(pages.eq.1", "PGRST100"),
        ("/notes?order=pages.upwards", "PGRST100"),
        ("/notes?title=eq.%00", "22P05"),
        ("/notes?select=absent", "42703"),
        ('/notes?select="); drop table notes; --"', "42703"),
    ],
)
def test_malformed_requests_are_told_apart(small_supabase: LocalSupabase, path: str, code: str) -> None:
    with http(small_supabase) as caller:
        answer = caller.get(path)
    assert (answer.json()["code"], answer.is_client_error) == (code, True)


@pytest.mark.parametrize("body", [b"{", b"[1]", b'"text"', b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_row_is_refused(small_supabase: LocalSupabase, body: bytes) -> None:
    with http(small_supabase, **{"content-type": "application/json"}) as caller:
        answer = caller.post("/notes", content=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "PGRST102")


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/notes?select=*,users(*)", {}),
        ("/notes?select=pages.sum()", {}),
        ("/notes?title=fts.word", {}),
        ("/notes?users.id=eq.1", {}),
        ("/notes", {"accept": "text/csv"}),
        ("/notes", {"prefer": "count=planned"}),
        ("/", {}),
    ],
)
def test_what_is_not_emulated_is_an_error(small_supabase: LocalSupabase, path: str, headers: dict[str, str]) -> None:
    with http(small_supabase, **headers) as caller:
        answer = caller.get(path)
    assert (answer.status_code, answer.json()["code"]) == (501, "not_emulated")


@pytest.mark.parametrize("path", ["realtime/v1/websocket", "graphql/v1", "storage/v1/render/image/public/a/b", "x"])
def test_absent_services_are_an_error(small_supabase: LocalSupabase, path: str) -> None:
    answer = httpx.get(f"{small_supabase.url}/{path}", headers={"apikey": small_supabase.secret_key})
    assert (answer.status_code, answer.json()["code"]) == (501, "not_emulated")


def test_a_change_of_the_schema_is_noticed(small_supabase: LocalSupabase) -> None:
    name = f"added_{uuid.uuid4().hex}"
    with psycopg.connect(small_supabase.database_url, autocommit=True) as connection, http(small_supabase) as caller:
        connection.execute(f"create function public.{name}() returns int language sql as 'select 7'")
        answers = (caller.post(f"/rpc/{name}") for _ in range(100))
        assert next(answer.json() for answer in answers if answer.is_success) == 7


def test_more_callers_than_connections_all_get_their_own_answer(small_supabase: LocalSupabase) -> None:
    with http(small_supabase) as caller, ThreadPoolExecutor(40) as callers:
        answers = callers.map(lambda number: caller.post("/rpc/add", json={"p_left": number}).json(), range(200))
        assert list(answers) == list(range(1, 201))


def test_a_connection_that_was_ended_is_replaced(small_supabase: LocalSupabase) -> None:
    with http(small_supabase) as caller, psycopg.connect(small_supabase.admin_database_url, autocommit=True) as admin:
        caller.post("/rpc/whoami")
        admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'authenticator'")
        statuses = [caller.post("/rpc/whoami").status_code for _ in range(30)]
    assert statuses[-1] == 200
