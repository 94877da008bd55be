"""The life of a local stack."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from deployments.local.cluster import Cluster
from deployments.local.migrations import MigrationFailed
from deployments.local.project import ProjectError
from deployments.local.stack import LocalSupabase
from deployments.stack.errors import HomeInUse, StackError
from deployments.stack.leftovers import wait_gone
from tests.supabase_stack import SMALL_PROJECT
from tests.supabase_stack import small_supabase as small_supabase

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("supabase")]

OLDER = Path("/usr/lib/postgresql/15/bin")


@pytest.fixture
def project(home: Path) -> Path:
    """A project of its own, to be changed."""
    return Path(shutil.copytree(SMALL_PROJECT, home / "project"))


def titles(stack: LocalSupabase) -> list[str]:
    rows = httpx.get(f"{stack.url}/rest/v1/notes?select=title", headers={"apikey": stack.secret_key}).json()
    return [row["title"] for row in rows]


def add(stack: LocalSupabase, title: str) -> None:
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        user = connection.execute("select id from auth.users limit 1").fetchone()
        assert user is not None
        connection.execute("insert into notes (user_id, title) values (%s, %s)", (user[0], title))


def test_data_are_kept_and_keys_are_new_at_the_next_start(home: Path) -> None:
    with LocalSupabase(home, project=SMALL_PROJECT) as first:
        add(first, "kept")
    with LocalSupabase(home, project=SMALL_PROJECT) as second:
        assert titles(second) == ["from the seed", "kept"]
        assert httpx.get(f"{second.url}/rest/v1/notes", headers={"apikey": first.secret_key}).status_code == 401


def test_a_reset_drops_rows_and_files_and_keeps_url_and_keys(home: Path) -> None:
    with LocalSupabase(home, project=SMALL_PROJECT) as stack:
        url, key = stack.url, stack.secret_key
        add(stack, "dropped")
        httpx.post(f"{url}/storage/v1/object/films/a", content=b"x", headers={"apikey": key})
        stack.reset()
        assert (stack.url, stack.secret_key, titles(stack)) == (url, key, ["from the seed"])
        assert not [path for path in (stack.folder / "objects").rglob("*") if path.is_file()]


def test_only_new_migrations_are_applied(home: Path, project: Path) -> None:
    with LocalSupabase(home, project=project) as stack:
        add(stack, "kept")
    (project / "migrations" / "20260102000000_add_colour.sql").write_text("alter table notes add colour text;")
    with LocalSupabase(home, project=project) as stack, psycopg.connect(stack.database_url) as connection:
        applied = connection.execute("select version, name from supabase_migrations.schema_migrations order by 1")
        assert applied.fetchall()[-1] == (stack.schema_version, "add_colour") == ("20260102000000", "add_colour")
        assert titles(stack) == ["from the seed", "kept"]


def test_a_migration_that_fails_is_named_with_its_line_and_leaves_nothing(home: Path, project: Path) -> None:
    broken = project / "migrations" / "20260102000000_break.sql"
    broken.write_text("create table half (id int);\n\nselect absent from notes;\n")
    stack = LocalSupabase(home, project=project)
    with pytest.raises(MigrationFailed, match=r"20260102000000_break.sql, line 3: column .absent. does not exist"):
        stack.start()
    assert not list(processes_of(stack))
    broken.write_text("select 1;")
    with stack, psycopg.connect(stack.database_url) as connection:
        assert connection.execute("select to_regclass('half')").fetchone() == (None,)


def processes_of(stack: LocalSupabase) -> list[psutil.Process]:
    data = str((stack.folder / "postgres").resolve() / "data")
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == data or process.environ().get("LONGTAKE_STACK") == str(stack.folder):
                found.append(process)
        except psutil.Error:
            continue
    return [process for process in found if process.status() != psutil.STATUS_ZOMBIE]


def test_migrations_run_without_the_rights_of_a_superuser(small_supabase: LocalSupabase) -> None:
    with psycopg.connect(small_supabase.database_url, autocommit=True) as connection:
        rights = connection.execute(
            "select rolsuper, rolcreaterole, rolbypassrls from pg_roles where rolname = current_user"
        )
        assert rights.fetchone() == (False, True, True)
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"must be owner of table storage\.objects"):
            connection.execute("alter table storage.objects disable row level security")


def test_the_helpers_of_hosted_projects_are_there(small_supabase: LocalSupabase) -> None:
    with psycopg.connect(small_supabase.database_url) as connection:
        row = connection.execute(
            """select storage.foldername(n), storage.filename(n), storage.extension(n), auth.uid(), auth.role()
               from (values ('a/b/c.tar.gz')) names(n)"""
        ).fetchone()
    assert row == (["a", "b"], "c.tar.gz", "gz", None, None)


@pytest.mark.skipif(not OLDER.exists(), reason="no older PostgreSQL is installed here")
def test_another_postgresql_serves_as_well(home: Path) -> None:
    with LocalSupabase(home, project=SMALL_PROJECT, binaries=OLDER) as stack:
        assert titles(stack) == ["from the seed"]
        with psycopg.connect(stack.database_url) as connection:
            assert connection.info.server_version // 10000 == 15
    with pytest.raises(StackError, match=r"written by PostgreSQL 15.*longtake supabase reset"):
        LocalSupabase(home, project=SMALL_PROJECT).start()


def test_a_home_has_one_stack_at_a_time(home: Path) -> None:
    with LocalSupabase(home, project=SMALL_PROJECT), pytest.raises(HomeInUse, match="longtake supabase stop"):
        LocalSupabase(home, project=SMALL_PROJECT).start()


def test_a_fixed_port_is_used_or_told_to_be_taken(home: Path, small_supabase: LocalSupabase) -> None:
    taken = int(small_supabase.url.rsplit(":", 1)[1])
    with pytest.raises(StackError, match=f"Port {taken} is taken"):
        LocalSupabase(home, project=SMALL_PROJECT, port=taken).start()


def test_what_holds_keys_is_readable_by_nobody_else(small_supabase: LocalSupabase) -> None:
    for name in ("state.json", "service.json"):
        assert stat.S_IMODE((small_supabase.folder / name).stat().st_mode) == 0o600
    for name in ("logs", "functions", "objects", "uploads"):
        assert stat.S_IMODE((small_supabase.folder / name).stat().st_mode) == 0o700


def test_everything_listens_on_the_loopback_only(small_supabase: LocalSupabase) -> None:
    processes = [psutil.Process(pid) for pid in small_supabase.state().pids.values() if pid != os.getpid()]
    addresses = {
        connection.laddr.ip
        for process in processes
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert addresses == {"127.0.0.1"}


def test_a_killed_owner_leaves_no_process_behind(home: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from deployments.local.stack import LocalSupabase\n"
        "stack = LocalSupabase(Path(sys.argv[1]), project=Path(sys.argv[2])); stack.start()\n"
        "print(*stack.state().pids.values(), flush=True); sys.stdin.read()"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", script, str(home), str(SMALL_PROJECT)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    started = [psutil.Process(int(pid)) for pid in owner.stdout.readline().split()]
    owner.kill()
    owner.wait()
    assert wait_gone(started, patience=15) == []
    with LocalSupabase(home, project=SMALL_PROJECT) as successor:
        assert titles(successor) == ["from the seed"]


def test_the_second_cluster_is_copied_from_the_first(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalSupabase(home, project=SMALL_PROJECT):
        pass
    monkeypatch.setattr("deployments.stack.postgres.Postgres.create", lambda _self: pytest.fail("initdb ran again"))
    cluster = Cluster(home / "second", home / "log", dict(os.environ), binaries=None, port=0, durable=False)
    assert not cluster.exists
    assert cluster._copied_template().data_dir.exists()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "Cannot read .*config.toml"),
        ("[api", "no valid TOML"),
        ("[api]\nauto_expose_new_tables = true", "does not emulate"),
    ],
)
def test_a_project_that_cannot_be_served_is_refused(
    home: Path, project: Path, config: str | None, message: str
) -> None:
    (project / "config.toml").unlink()
    if config:
        (project / "config.toml").write_text(config)
    with pytest.raises(ProjectError, match=message):
        LocalSupabase(home, project=project).start()
