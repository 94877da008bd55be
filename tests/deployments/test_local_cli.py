"""`longtake supabase …`, as a person or a script types it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from deployments.stack.leftovers import wait_gone
from tests.supabase_stack import SMALL_PROJECT

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("supabase")]


class Longtake:
    """The program, each call a process of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        argv = [sys.executable, "-m", "deployments.cli", "supabase", *arguments, "--home", str(self.home)]
        return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *arguments: str) -> tuple[int, str, str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def document(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json")[1])


@pytest.fixture
def longtake(home: Path) -> Iterator[Longtake]:
    program = Longtake(home)
    yield program
    program.run("stop")


@pytest.fixture
def project(home: Path) -> str:
    return str(shutil.copytree(SMALL_PROJECT, home / "project"))


def count(document: dict[str, Any]) -> int:
    headers = {"apikey": document["keys"]["secret"]}
    return len(httpx.get(f"{document['url']}/rest/v1/notes", headers=headers).json())


def test_it_is_left_running_told_about_reset_and_stopped(longtake: Longtake, project: str) -> None:
    started = longtake.document("start", "--detach", "--project", project)
    assert longtake.document("status") == started
    headers = {"apikey": started["keys"]["secret"]}
    user = {"email": "a@example.com", "password": "a password"}
    httpx.post(f"{started['url']}/auth/v1/admin/users", json=user, headers=headers).raise_for_status()
    assert longtake.document("reset") == {"reset": True, "running": True}
    users = httpx.get(f"{started['url']}/auth/v1/admin/users", headers=headers).json()["users"]
    assert [one["email"] for one in users] == ["seed@example.com"]
    processes = [psutil.Process(pid) for pid in longtake.document("status")["pids"].values()]
    assert longtake.document("stop") == {"stopped": True}
    assert wait_gone(processes, patience=5) == []
    assert longtake.document("stop") == {"stopped": False}


def test_in_the_foreground_it_shows_address_and_keys_and_ends_with_ctrl_c(longtake: Longtake, project: str) -> None:
    process = longtake.start("start", "--project", project)
    assert process.stdout is not None
    shown = "".join(process.stdout.readline() for _ in range(8))
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=30)
    assert all(word in shown for word in ("http://127.0.0.1:", "sb_publishable_", "sb_secret_", "postgresql://"))
    assert (process.returncode, rest, errors) == (0, "Stopped.\n", "")


def test_status_keeps_the_keys_to_itself_unless_asked(longtake: Longtake, project: str) -> None:
    longtake.run("start", "-d", "--project", project)
    plain, shown = longtake.run("status")[1], longtake.run("status", "--show-keys")[1]
    assert "20260101000000" in plain
    assert "sb_secret_" not in plain
    assert "postgresql://" not in plain
    assert "sb_secret_" in shown


def test_a_status_of_nothing_says_how_to_start(longtake: Longtake) -> None:
    code, _, errors = longtake.run("status")
    assert code == 5
    assert "longtake supabase start" in errors


def test_a_stopped_one_is_reset_as_well(longtake: Longtake, project: str, home: Path) -> None:
    first = longtake.document("start", "-d", "--project", project)
    assert count(first) == 1
    longtake.run("stop")
    (Path(project) / "seed.sql").write_text("select 1;")
    assert longtake.document("reset", "--project", project) == {"reset": True, "running": False}
    assert count(longtake.document("start", "-d", "--project", project)) == 0


@pytest.mark.parametrize("command", [("start", "-d"), ("start",), ("reset",)])
def test_a_migration_that_fails_is_told_wherever_it_fails(
    longtake: Longtake, project: str, command: tuple[str, ...]
) -> None:
    (Path(project) / "migrations" / "20260102000000_break.sql").write_text("select absent from notes;")
    code, _, errors = longtake.run(*command, "--project", project)
    assert code == 1
    assert "20260102000000_break.sql, line 1" in errors


def test_a_reset_of_a_running_one_that_fails_is_told_and_ends_it(longtake: Longtake, project: str) -> None:
    longtake.run("start", "-d", "--project", project)
    (Path(project) / "migrations" / "20260102000000_break.sql").write_text("select absent from notes;")
    code, _, errors = longtake.run("reset")
    assert (code, "20260102000000_break.sql, line 1" in errors) == (1, True)
    assert longtake.run("status")[0] == 5


def test_a_second_start_is_refused(longtake: Longtake, project: str) -> None:
    longtake.run("start", "-d", "--project", project)
    code, _, errors = longtake.run("start", "--project", project)
    assert (code, "already runs" in errors) == (1, True)
    assert longtake.run("status")[0] == 0


def test_help_is_quick_to_load() -> None:
    heavy = "print({'psycopg', 'httpx', 'pydantic', 'starlette', 'jwt'} & set(sys.modules), file=sys.stderr)"
    script = f"import sys; from deployments.cli.main import run; run(['supabase', 'start', '--help']); {heavy}"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=dict(os.environ))
    assert ran.stderr == "set()\n"
