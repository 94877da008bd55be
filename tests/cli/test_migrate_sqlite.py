from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from blocks.queue.errors import QueueUnavailable
from blocks.queue.model import LOCAL_PROJECT, LOCAL_USER, Status, TaskFilter, TaskSpec
from blocks.queue.protocol import TaskQueue
from blocks.queue.sqlite import SqliteQueue
from blocks.queue.supabase_rpc import RpcTransport
from blocks.storage.local import LocalStorage
from deployments.cli.exits import ExitCode
from deployments.cli.main import run
from deployments.local.stack import LocalSupabase
from deployments.settings import Settings
from deployments.site import supabase_site
from tests.queue.acts import complete, enqueue, fail, fresh_id, hold, spec, waiting_parent

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("supabase")]


@pytest.fixture
def project(supabase: LocalSupabase, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> LocalSupabase:
    """The stack, empty but for the local user and project, as the project of these settings."""
    with psycopg.connect(supabase.admin_database_url, autocommit=True) as connection:
        connection.execute("truncate public.tasks, public.projects cascade")
        connection.execute("insert into auth.users (id) values (%s) on conflict do nothing", [LOCAL_USER])
        connection.execute("insert into public.projects (id, user_id) values (%s, %s)", [LOCAL_PROJECT, LOCAL_USER])
    for name, value in {
        "HOME": str(tmp_path / "home"),
        "SUPABASE_URL": supabase.url,
        "SUPABASE_KEY": supabase.secret_key,
        "SUPABASE_PROJECT": LOCAL_PROJECT,
    }.items():
        monkeypatch.setenv(f"LONGTAKE_{name}", value)
    return supabase


@pytest.fixture
def source(tmp_path: Path) -> SqliteQueue:
    return SqliteQueue(tmp_path / "home" / "queue.db")


def stored(tmp_path: Path, name: str, task_id: str | None = None) -> str:
    path = tmp_path / name
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + name.encode())
    storage = LocalStorage(tmp_path / "home" / "storage")
    if task_id is None:
        return storage.put_input(path, owner=LOCAL_USER).location
    return storage.put(path, owner=LOCAL_USER, task_id=task_id, attempt=1, name=name).location


def migrate(*options: str) -> int:
    return run(["migrate-sqlite", *options])


def there(project: LocalSupabase) -> dict[str, tuple[object, ...]]:
    with psycopg.connect(project.admin_database_url) as connection:
        rows = connection.execute("select id::text, status::text, attempts, error_message, output_location from tasks")
        return {str(row[0]): row[1:] for row in rows.fetchall()}


def test_every_task_arrives_with_what_has_happened_to_it(project: LocalSupabase, source: SqliteQueue) -> None:
    done, broken, cancelled = enqueue(source), enqueue(source), enqueue(source)
    fallen = enqueue(source, depends_on=(broken,))
    ready, blocked = enqueue(source), fresh_id()
    enqueue(source, id=blocked, depends_on=(done, ready))
    complete(source, done, "https://example.com/out.png")
    fail(source, broken, "no more memory")
    source.cancel(cancelled)
    assert migrate() == ExitCode.OK
    rows = there(project)
    assert rows[done] == ("Complete", 1, None, "https://example.com/out.png")
    assert rows[broken] == ("Failed", 1, "no more memory", "no more memory")
    assert (rows[cancelled][0], rows[fallen][0]) == ("Cancelled", "Failed")
    assert broken in str(rows[fallen][2])
    site = supabase_site(Settings.load())
    assert site
    queue = site.queue()
    assert [claim.task.id for claim in queue.claim("gpu-1", limit=9)] == [ready]
    assert queue.get(blocked).depends_on == (done, ready)


#: What is another elsewhere, or says who worked on it here.
_OF_THE_PLACE = {"project_id", "user_id", "flow_run_id", "lease_expires_at", "brief_id"}


def kept(queue: TaskQueue) -> list[dict[str, object]]:
    tasks = [asdict(task) for task in queue.list(TaskFilter(limit=200))]
    return [{name: value for name, value in task.items() if name not in _OF_THE_PLACE} for task in tasks]


def test_nothing_about_a_task_is_lost(project: LocalSupabase, source: SqliteQueue) -> None:
    first = enqueue(source, priority=5, correlation_id="film 1", mandate="be kind", params={"é": [1.5, None, "\u2028"]})
    enqueue(source, depends_on=(first, enqueue(source, max_attempts=7)), max_ticks=9)
    enqueue(source, scheduled_at=datetime(2099, 1, 1, tzinfo=UTC))
    broken = enqueue(source)
    enqueue(source, depends_on=(broken,))
    fail(source, broken, "no more memory")
    tried, done, cancelled = enqueue(source), enqueue(source), enqueue(source)
    source.fail(tried, hold(source, tried).token, "once more", retry=True, delay=0)
    source.complete(done, hold(source, done).token, result={"words": ["sea"]})
    source.cancel(cancelled)
    waiting_parent(source, {}, {"task_type": "analysis"})
    assert migrate() == ExitCode.OK
    site = supabase_site(Settings.load())
    assert site
    queue = site.queue()
    assert kept(queue) == kept(source)
    assert queue.counts() == source.counts()


def test_rows_that_name_later_rows_of_their_batch_arrive_in_their_order(
    project: LocalSupabase, source: SqliteQueue
) -> None:
    first, last = fresh_id(), fresh_id()
    between = [spec() for _ in range(120)]
    source.enqueue(spec(id=first, depends_on=(last,)), *between, spec(id=last))
    assert migrate() == ExitCode.OK
    site = supabase_site(Settings.load())
    assert site
    queue = site.queue()
    assert [each["id"] for each in kept(queue)] == [each["id"] for each in kept(source)]


def test_one_row_that_is_refused_holds_up_none_but_those_that_need_it(
    project: LocalSupabase, source: SqliteQueue, capsys: pytest.CaptureFixture[str]
) -> None:
    site = supabase_site(Settings.load())
    assert site
    enqueue(site.queue(), correlation_id="film 1")
    twin, fine, late = enqueue(source, correlation_id="film 1"), enqueue(source), fresh_id()
    needy = enqueue(source, depends_on=(twin,))
    early = fresh_id()
    source.enqueue(spec(id=early, depends_on=(late,)), spec(id=late))
    assert migrate("--json") == ExitCode.FAILED
    document = json.loads(capsys.readouterr().out)
    assert [each["id"] for each in document["refused"]] == [twin, needy]
    assert "film 1" in document["refused"][0]["reason"]
    assert there(project).keys() >= {fine, early, late}


def test_what_went_on_in_the_project_is_no_difference(
    project: LocalSupabase, source: SqliteQueue, capsys: pytest.CaptureFixture[str]
) -> None:
    task_id = enqueue(source)
    migrate()
    site = supabase_site(Settings.load())
    assert site
    complete(site.queue(), task_id, "https://example.com/a.png")
    capsys.readouterr()
    assert migrate("--json") == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["went_on"] == [{"from": "Queued", "to": "Complete", "tasks": 1}]
    assert there(project)[task_id][0] == "Complete"


def test_a_task_of_another_project_is_not_taken_for_ours(
    project: LocalSupabase, source: SqliteQueue, capsys: pytest.CaptureFixture[str]
) -> None:
    task_id, other = enqueue(source), fresh_id()
    migrate()
    with psycopg.connect(project.admin_database_url, autocommit=True) as connection:
        connection.execute("insert into public.projects (id, user_id) values (%s, %s)", [other, LOCAL_USER])
    capsys.readouterr()
    assert migrate("--json", "--supabase-project", other) == ExitCode.FAILED
    (refused,) = json.loads(capsys.readouterr().out)["refused"]
    assert (refused["id"], LOCAL_PROJECT in refused["reason"]) == (task_id, True)


def test_only_the_secret_key_imports(
    project: LocalSupabase, source: SqliteQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enqueue(source, params={"image_refs_paths": [stored(tmp_path, "picture.png")]})
    monkeypatch.setenv("LONGTAKE_SUPABASE_KEY", project.sign_user_jwt(LOCAL_USER))
    monkeypatch.setenv("LONGTAKE_SUPABASE_PUBLISHABLE_KEY", project.publishable_key)
    assert migrate() == ExitCode.INVALID


def test_a_film_that_a_broken_off_run_brought_up_is_not_brought_up_again(
    project: LocalSupabase, source: SqliteQueue, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task_id = enqueue(source)
    complete(source, task_id, stored(tmp_path, "film.png", task_id))
    migrate()
    with psycopg.connect(project.admin_database_url, autocommit=True) as connection:
        connection.execute("truncate public.tasks cascade")  # as if it had ended between the file and the row
    capsys.readouterr()
    assert migrate("--json") == ExitCode.OK
    document = json.loads(capsys.readouterr().out)
    assert (document["imported"], document["files"]) == (1, 0)
    assert httpx.get(str(there(project)[task_id][3])).is_success


def test_a_file_that_is_gone_is_named(
    project: LocalSupabase, source: SqliteQueue, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = stored(tmp_path, "picture.png")
    task_id = enqueue(source, params={"image_refs_paths": [picture]})
    Path(picture).unlink()
    assert migrate("--json") == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["missing_files"] == [{"id": task_id, "path": picture}]


def test_files_go_along_and_their_paths_become_addresses(
    project: LocalSupabase, source: SqliteQueue, tmp_path: Path
) -> None:
    picture = stored(tmp_path, "picture.png")
    task_id = enqueue(source, params={"image_refs_paths": [picture], "prompt": "the sea, /etc/hostname"})
    output = stored(tmp_path, "film.png", task_id)
    complete(source, task_id, output)
    assert migrate() == ExitCode.OK
    site = supabase_site(Settings.load())
    assert site
    task = site.queue().get(task_id)
    assert httpx.get(str(task.output_location)).content == Path(output).read_bytes()
    assert f"/{LOCAL_USER}/{task_id}/1/" in str(task.output_location)
    assert httpx.get(task.params["image_refs_paths"][0]).content == Path(picture).read_bytes()
    assert task.params["prompt"] == "the sea, /etc/hostname"


def test_a_second_run_imports_nothing_twice(
    project: LocalSupabase, source: SqliteQueue, capsys: pytest.CaptureFixture[str]
) -> None:
    first = enqueue(source)
    migrate()
    enqueue(source, depends_on=(first,))
    capsys.readouterr()
    assert migrate("--json") == ExitCode.OK
    document = json.loads(capsys.readouterr().out)
    assert (document["imported"], document["already_there"]) == (1, 1)


def test_a_run_that_was_broken_off_is_continued(
    project: LocalSupabase, source: SqliteQueue, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source.enqueue(*[spec() for _ in range(150)])
    call = RpcTransport.call

    def cut_off(transport: RpcTransport, function: str, arguments: Mapping[str, Any]) -> object:
        call(transport, function, arguments)  # done, and the answer lost
        raise QueueUnavailable("cut off", maybe_done=True)

    with monkeypatch.context() as patched:
        patched.setattr(RpcTransport, "call", cut_off)
        assert migrate() == ExitCode.UNAVAILABLE
    capsys.readouterr()
    assert migrate("--json") == ExitCode.OK
    document = json.loads(capsys.readouterr().out)
    assert (document["imported"], document["already_there"], len(there(project))) == (50, 100, 150)


def test_the_function_takes_no_task_without_an_id(project: LocalSupabase) -> None:
    with psycopg.connect(project.database_url) as connection, pytest.raises(psycopg.Error) as refused:
        connection.execute('select public.import_tasks(\'[{"task_type": "analysis", "params": {}}]\')')
    assert refused.value.sqlstate == "LT001"


def test_nothing_in_the_source_changes(project: LocalSupabase, source: SqliteQueue, tmp_path: Path) -> None:
    complete(source, enqueue(source))  # not merged yet: it stands in the write-ahead log
    before = snapshot(tmp_path / "home")
    assert migrate() == ExitCode.OK
    assert snapshot(tmp_path / "home") == before


def snapshot(folder: Path) -> dict[str, tuple[int, str]]:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith("-shm")]
    return {str(path): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files}


def test_a_queue_that_is_worked_on_is_refused_unless_forced(project: LocalSupabase, tmp_path: Path) -> None:
    source = SqliteQueue(tmp_path / "home" / "queue.db")
    task_id = enqueue(source)
    hold(source, task_id)
    assert migrate() == ExitCode.CONFLICT
    assert there(project) == {}
    assert migrate("--force") == ExitCode.OK
    assert there(project)[task_id][:2] == (Status.QUEUED, 0)


def test_a_travel_under_way_goes_on_there(project: LocalSupabase, source: SqliteQueue) -> None:
    parent = enqueue(source, task_type="travel_orchestrator")
    claim = hold(source, parent, "control-1")
    first, second = fresh_id(), fresh_id()
    source.enqueue(
        TaskSpec("travel_segment", {"segment_index": 0}, first, parent_id=parent),
        TaskSpec("travel_stitch", {}, second, parent_id=parent, depends_on=(first,)),
    )
    source.wait(parent, claim.token)
    complete(source, first, "https://example.com/0.mp4")
    assert migrate() == ExitCode.OK
    site = supabase_site(Settings.load())
    assert site
    queue = site.queue()
    complete(queue, second, "https://example.com/film.mp4")
    assert queue.get(parent).output_location == "https://example.com/film.mp4"


def test_an_older_workers_table_is_read_too(
    project: LocalSupabase, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    older = tmp_path / "tasks.db"
    with sqlite3.connect(older) as connection:
        connection.execute(
            "create table tasks (id text primary key, params text, task_type text, status text, created_at text,"
            " output_location text, dependant_on text)"
        )
        connection.executemany(
            "insert into tasks values (?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    "one",
                    '{"prompt": "a"}',
                    "single_image",
                    "Complete",
                    "2025-07-09 10:00:00",
                    "https://e.com/a.png",
                    None,
                ),
                ("two", '{"prompt": "b"}', "single_image", "Failed", "2025-07-09 10:00:01", "it broke", None),
                ("three", '{"prompt": "c"}', "single_image", "Queued", "2025-07-09 10:00:02", None, "one"),
                ("four", "{}", "no such type", "Queued", None, None, None),
                ("five", "not json", "single_image", "Queued", None, None, None),
            ],
        )
    assert migrate("--queue", str(older), "--json") == ExitCode.FAILED
    document = json.loads(capsys.readouterr().out)
    assert (document["imported"], len(document["refused"]), document["differs"]) == (3, 2, [])
    assert "no such type" in str(document["refused"])
    assert sorted(row[0] for row in there(project).values()) == ["Complete", "Failed", "Queued"]


def test_a_dry_run_says_what_there_is_and_imports_nothing(
    project: LocalSupabase, source: SqliteQueue, capsys: pytest.CaptureFixture[str]
) -> None:
    enqueue(source)
    assert migrate("--dry-run", "--json") == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["by_status"] == {"Queued": 1}
    assert there(project) == {}


def test_a_dry_run_needs_no_project_and_minds_no_worker(
    source: SqliteQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LONGTAKE_HOME", str(tmp_path / "home"))
    task_id = enqueue(source, params={"image_refs_paths": [stored(tmp_path, "picture.png")]})
    hold(source, task_id)
    assert migrate("--dry-run", "--json") == ExitCode.OK
    document = json.loads(capsys.readouterr().out)
    assert (document["held"], document["files"]) == ([task_id], 1)


def test_a_file_that_is_no_queue_is_refused(project: LocalSupabase, tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("no database")
    assert migrate("--queue", str(tmp_path / "x.db")) == ExitCode.FAILED
    assert migrate("--queue", str(tmp_path / "nowhere.db")) == ExitCode.FAILED
