"""Linters that others wrote for row-level security, on the database as the migrations leave it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from deployments.local.stack import LocalSupabase

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("supabase")]


def test_pgrls_finds_no_error(supabase: LocalSupabase) -> None:
    program = Path(sys.executable).with_name("pgrls")
    command = [program, "lint", "--database-url", supabase.database_url, "--schemas", "public,private"]
    done = subprocess.run([*command, "--fail-on", "error", "--format", "json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    found = json.loads(done.stdout)
    assert "SEC015" in str(found)  # it has looked: it would rather see pg_temp named last, beside qualified names


def test_rlsautotest_finds_no_stranger_who_sees_a_row(supabase: LocalSupabase, tmp_path: Path) -> None:
    """It plants rows of its own for each policy and tries every role on them.

    `--no-fail`: it takes service_role for anon, since anon has no right here at all, and then calls that unreliable.
    """
    program = Path(sys.executable).with_name("rlsautotest")
    report = tmp_path / "report.json"
    command = [program, "--schema", "public", "--db-url", supabase.database_url, "--report", "--report-json", report]
    command += ["--no-fail", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    tables = json.loads(report.read_text())["tables"]
    assert {"tasks", "projects", "briefs", "task_dependencies"} <= {table["table"] for table in tables}
    for table in tables:
        leaks = [*table.get("leak_cells", []), *table.get("transition_leaks", [])]
        assert leaks == [], table["table"]
        for verb, identities in table.get("idgrid", {}).items():
            wrong = {who: seen for who, seen in identities.items() if who != "service_role" and not seen["pass"]}
            assert wrong == {}, (table["table"], verb)
            assert not identities.get("other", {"exp": False})["exp"], (table["table"], verb)
