"""The local stack as supabase-js sees it, in the real Deno."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import pytest

from deployments.local.functions.process import deno
from deployments.local.stack import LocalSupabase
from tests.supabase_stack import SMALL_PROJECT
from tests.supabase_stack import small_supabase as small_supabase

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("supabase")]


@pytest.fixture(scope="module")
def seen(small_supabase: LocalSupabase) -> dict[str, Any]:
    """What a script of a user of supabase-js found. The first run fetches the package."""
    argv = [deno(), "run", "--quiet", "--no-lock", "--no-prompt", "--allow-env", "--allow-net=127.0.0.1"]
    argv.append(str(SMALL_PROJECT / "client.ts"))
    env = {
        **os.environ,
        "DENO_TLS_CA_STORE": "mozilla,system",
        "NO_COLOR": "1",
        "STACK_URL": small_supabase.url,
        "PUBLISHABLE_KEY": small_supabase.publishable_key,
        "SECRET_KEY": small_supabase.secret_key,
    }
    ran = subprocess.run(
        [*argv, str(SMALL_PROJECT / "client.ts")], env=env, capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def test_a_user_signs_up_inserts_and_reads(seen: dict[str, Any]) -> None:
    assert seen["inserted"]["user_id"] == seen["user"]
    assert (seen["counted"]["count"], seen["counted"]["data"]) == (1, [{"title": "from js"}])


def test_a_user_is_told_that_there_is_no_such_row(seen: dict[str, Any]) -> None:
    assert (seen["missing"]["status"], seen["missing"]["error"]["code"]) == (406, "PGRST116")


def test_functions_of_the_database_and_of_the_edge_answer(seen: dict[str, Any]) -> None:
    assert (seen["sum"], seen["edge"]["greeting"]) == (5, "hello")


def test_a_refusal_carries_details_and_hint(seen: dict[str, Any]) -> None:
    assert seen["refused"] == {"code": "LT001", "message": "No.", "details": '{"field": "x"}', "hint": "Ask again."}


def test_files_go_up_and_down(seen: dict[str, Any]) -> None:
    assert (seen["downloaded"], seen["signed"], seen["listed"]) == ("frames", "frames", ["film.mp4"])


def test_a_signed_upload_is_stored(seen: dict[str, Any]) -> None:
    assert seen["signedUpload"] == "by token"


def test_claims_are_verified_and_an_admin_lists_users(seen: dict[str, Any]) -> None:
    assert seen["claims"] == seen["user"]
    assert seen["user"] in seen["users"]


def test_what_is_not_emulated_is_an_error(seen: dict[str, Any]) -> None:
    assert (seen["otp"], seen["embedded"]["status"]) == (501, 501)
