from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import httpx
import psycopg
import pytest

from blocks.queue.model import LOCAL_USER
from deployments.cli.exits import ExitCode
from deployments.cli.main import run
from deployments.local.stack import LocalSupabase
from deployments.local.state import State

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("supabase")]


@pytest.fixture
def project(supabase: LocalSupabase, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> LocalSupabase:
    monkeypatch.setenv("LONGTAKE_HOME", str(tmp_path))
    monkeypatch.setenv("LONGTAKE_SUPABASE_URL", supabase.url)
    monkeypatch.setenv("LONGTAKE_SUPABASE_KEY", supabase.secret_key)
    return supabase


def document(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    run(["token", *arguments, "--json"])
    answer: dict[str, object] = json.loads(capsys.readouterr().out)
    return answer


def counts(project: LocalSupabase, token: object) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.post(f"{project.url}/functions/v1/task-counts", json={}, headers=headers).status_code


def test_a_token_is_shown_once_and_only_its_hash_is_kept(
    project: LocalSupabase, capsys: pytest.CaptureFixture[str]
) -> None:
    made = document(capsys, "create", "--label", "gpu-7", "--worker")
    assert str(made["token"]).startswith("lt_")
    with psycopg.connect(project.admin_database_url) as connection:
        kept = connection.execute("select * from public.user_api_token where id = %s", [made["id"]]).fetchone()
    assert str(made["token"]) not in str(kept)
    assert hashlib.sha256(str(made["token"]).encode()).hexdigest() in (kept or ())
    assert str(made["token"]) not in json.dumps(document(capsys, "list"))


def test_a_token_works_until_it_is_revoked(project: LocalSupabase, capsys: pytest.CaptureFixture[str]) -> None:
    made = document(capsys, "create", "--label", "gpu-7", "--worker")
    assert counts(project, made["token"]) == 200
    assert document(capsys, "revoke", str(made["id"])[:13])["revoked_at"]
    assert counts(project, made["token"]) == 403


def test_a_user_makes_tokens_for_himself_and_sees_no_others(
    project: LocalSupabase, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    others = document(capsys, "create", "--label", "of the operator", "--worker")
    user = project.create_user("token-maker@example.com", "a good password")
    monkeypatch.setenv("LONGTAKE_SUPABASE_KEY", project.sign_user_jwt(user))
    monkeypatch.setenv("LONGTAKE_SUPABASE_PUBLISHABLE_KEY", project.publishable_key)
    made = document(capsys, "create", "--label", "laptop", "--scope", "enqueue", "--days", "3")
    assert (made["user_id"], made["scopes"]) == (user, ["enqueue"])
    assert [row["label"] for row in document(capsys, "list")["tokens"]] == ["laptop"]  # type: ignore[attr-defined]
    assert run(["token", "revoke", str(others["id"])]) == ExitCode.NOT_FOUND


def test_the_service_must_say_whose_tasks_a_token_is_for(project: LocalSupabase) -> None:
    assert run(["token", "create", "--label", "x"]) == ExitCode.INVALID


def test_people_see_the_token_once_with_what_to_do_with_it(
    project: LocalSupabase, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["token", "create", "--label", "gpu-8", "--worker"]) == ExitCode.OK
    token, *said = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"lt_[A-Za-z0-9_-]{43}", token)
    assert "cannot be shown again" in " ".join(said)
    run(["token", "list"])
    listed = capsys.readouterr().out
    assert "gpu-8" in listed
    assert token not in listed
    assert hashlib.sha256(token.encode()).hexdigest() not in listed


def test_a_beginning_that_several_ids_have_revokes_none(
    project: LocalSupabase, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = [f"{'ab' * 4}-0000-4000-8000-00000000000{number}" for number in range(2)]
    with psycopg.connect(project.admin_database_url, autocommit=True) as connection:
        for number, token_id in enumerate(ids):
            insert = "insert into public.user_api_token (id, jti_hash) values (%s, %s) on conflict do nothing"
            connection.execute(insert, [token_id, f"{number:064x}"])
    assert document(capsys, "revoke", "abab")["error"]["code"] == "ambiguous_id"  # type: ignore[index]
    assert document(capsys, "revoke", ids[0].upper())["id"] == ids[0]
    listed = {row["id"]: row for row in document(capsys, "list")["tokens"]}  # type: ignore[attr-defined]
    assert listed[ids[1]]["revoked_at"] is None


@pytest.mark.parametrize(
    "options", [("--days", "0"), ("--days", "9999"), ("--scope", "everything"), ("--user", "nobody"), ("--label", " ")]
)
def test_what_no_token_can_have_is_refused(project: LocalSupabase, options: tuple[str, str]) -> None:
    label = () if "--label" in options else ("--label", "x")
    assert (
        run(["token", "create", *label, *options, *(() if "--user" in options else ("--worker",))]) == ExitCode.INVALID
    )


def test_a_token_for_somebody_and_for_everybody_is_none(project: LocalSupabase) -> None:
    assert run(["token", "create", "--label", "x", "--worker", "--user", LOCAL_USER]) == ExitCode.INVALID


def test_a_token_for_a_user_who_is_not_there_is_refused(project: LocalSupabase) -> None:
    stranger = "12345678-0000-4000-8000-000000000000"
    assert run(["token", "create", "--label", "x", "--user", stranger]) == ExitCode.INVALID


def test_the_key_may_stand_in_a_file(
    project: LocalSupabase, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("LONGTAKE_SUPABASE_KEY")
    (tmp_path / "key").write_text(project.secret_key + "\n")
    assert "tokens" in document(capsys, "list", "--supabase-key-file", str(tmp_path / "key"))
    assert run(["token", "list", "--supabase-key-file", str(tmp_path / "nowhere")]) == ExitCode.INVALID


def test_the_stack_of_this_home_is_found_without_settings(
    project: LocalSupabase, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("LONGTAKE_SUPABASE_URL")
    monkeypatch.delenv("LONGTAKE_SUPABASE_KEY")
    keys = {"secret": project.secret_key, "publishable": project.publishable_key}
    (tmp_path / "supabase").mkdir()
    State(project.url, keys, "", None, "", {}).write(tmp_path / "supabase")
    assert "tokens" in document(capsys, "list")


def test_a_token_makes_no_tokens(
    project: LocalSupabase, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = document(capsys, "create", "--label", "gpu-7", "--worker")
    monkeypatch.setenv("LONGTAKE_SUPABASE_KEY", str(made["token"]))
    assert document(capsys, "create", "--label", "another")["error"]["code"] == "forbidden"  # type: ignore[index]


def test_without_a_project_the_command_says_what_to_set(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LONGTAKE_HOME", str(tmp_path))
    assert run(["token", "list"]) == ExitCode.FAILED
    assert "LONGTAKE_SUPABASE_URL" in capsys.readouterr().err
