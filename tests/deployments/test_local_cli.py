"""`longtake supabase …`, as a person or a script types it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from deployments.cli.main import run
from deployments.local.stack import LocalSupabase
from deployments.stack.leftovers import wait_gone
from tests.supabase_stack import SMALL_PROJECT
from tests.supabase_stack import small_supabase as small_supabase

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("supabase")]


@dataclass(frozen=True)
class Longtake:
    """The program for one home: called in this process, or `start`ed as one of its own."""

    home: Path
    capture: pytest.CaptureFixture[str]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        argv = [sys.executable, "-m", "deployments.cli", *self._tokens(arguments)]
        return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *arguments: str) -> tuple[int, str, str]:
        self.capture.readouterr()
        code = run(self._tokens(arguments))
        return int(code), *self.capture.readouterr()

    def document(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json")[1])

    def _tokens(self, arguments: tuple[str, ...]) -> list[str]:
        return ["supabase", *arguments, "--home", str(self.home)]


@pytest.fixture
def longtake(home: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[Longtake]:
    program = Longtake(home, capfd)
    yield program
    program.run("stop")


@pytest.fixture
def shared(small_supabase: LocalSupabase, capfd: pytest.CaptureFixture[str]) -> Longtake:
    """The program for the home of a stack that runs already and is other tests' too."""
    return Longtake(small_supabase.folder.parent, capfd)


@pytest.fixture
def project(home: Path) -> str:
    return str(shutil.copytree(SMALL_PROJECT, home / "project"))


def count(stack: LocalSupabase) -> int:
    return len(httpx.get(f"{stack.url}/rest/v1/notes", headers={"apikey": stack.secret_key}).json())


def test_it_is_left_running_told_about_reset_and_stopped(longtake: Longtake, project: str) -> None:
    launcher = longtake.start("start", "--detach", "--project", project, "--json")
    started = json.loads(launcher.communicate(timeout=60)[0])
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


def test_status_keeps_the_keys_to_itself_unless_asked(shared: Longtake) -> None:
    plain, shown = shared.run("status")[1], shared.run("status", "--show-keys")[1]
    assert "20260101000000" in plain
    assert "sb_secret_" not in plain
    assert "postgresql://" not in plain
    assert "sb_secret_" in shown


def test_a_status_of_nothing_says_how_to_start(longtake: Longtake) -> None:
    code, _, errors = longtake.run("status")
    assert code == 5
    assert "longtake supabase start" in errors


def test_a_stopped_one_is_reset_as_well(longtake: Longtake, project: str, home: Path) -> None:
    with LocalSupabase(home, project=Path(project)) as first:
        assert count(first) == 1
    (Path(project) / "seed.sql").write_text("select 1;")
    assert longtake.document("reset", "--project", project) == {"reset": True, "running": False}
    with LocalSupabase(home, project=Path(project)) as second:
        assert count(second) == 0


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


def test_a_second_start_is_refused(shared: Longtake) -> None:
    code, _, errors = shared.run("start", "--project", str(SMALL_PROJECT))
    assert (code, "already runs" in errors) == (1, True)
    assert shared.run("status")[0] == 0


def test_help_is_quick_to_load() -> None:
    heavy = "print({'psycopg', 'httpx', 'pydantic', 'starlette', 'jwt'} & set(sys.modules), file=sys.stderr)"
    script = f"import sys; from deployments.cli.main import run; run(['supabase', 'start', '--help']); {heavy}"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=dict(os.environ))
    assert ran.stderr == "set()\n"
