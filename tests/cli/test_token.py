from __future__ import annotations

import hashlib
import json
from pathlib import Path

import httpx
import psycopg
import pytest

from deployments.cli.exits import ExitCode
from deployments.cli.main import run
from deployments.local.stack import LocalSupabase

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
