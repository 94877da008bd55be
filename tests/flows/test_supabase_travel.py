"""The same travel on a Supabase project: rows under SQL, files in Storage, the key in one block."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from blocks.queue.model import LOCAL_PROJECT, LOCAL_USER, Status, Task, TaskSpec
from deployments.doctor_supabase import supabase_checks
from deployments.local.stack import LocalSupabase
from deployments.settings import Settings
from deployments.site import input_keeper
from deployments.stack.stack import Stack
from tasks.travel import travel_spec
from tests.conftest import private_home
from tests.flows.lab import SMALL, Lab, film_length

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("supabase_lab")]


@pytest.fixture(scope="module")
def project() -> Iterator[LocalSupabase]:
    with private_home() as folder, LocalSupabase(folder / "home") as running:
        yield running


@pytest.fixture(scope="module")
def lab(project: LocalSupabase) -> Iterator[Lab]:
    settings = Settings.load(home=project.folder.parent, supabase_url="local", stop_grace_seconds=0)
    with Stack(settings, durable=False):
        yield Lab(settings, project.folder.parent)


@pytest.fixture(scope="module")
def finished(lab: Lab) -> Task:
    keep = input_keeper(lab.settings)
    spec = travel_spec([keep(Path(picture)) for picture in lab.pictures(3)], **SMALL)
    task = lab.wait(lab.enqueue(spec))
    lab.until_run(task, "Completed")
    return task


def test_the_film_is_in_storage_and_plays(finished: Task, tmp_path: Path) -> None:
    assert finished.status is Status.COMPLETE, finished.error_message
    film = tmp_path / "film.mp4"
    film.write_bytes(httpx.get(str(finished.output_location)).raise_for_status().content)
    assert film_length(str(film)) == 17 + 17 - 4


def test_every_output_lies_below_its_owner_task_and_attempt(lab: Lab, finished: Task, project: LocalSupabase) -> None:
    for part in lab.queue.children(finished.id):
        folder = f"{project.url}/storage/v1/object/public/image_uploads/{LOCAL_USER}/{part.id}/{part.attempts}/"
        assert str(part.output_location).startswith(folder)


def test_the_rows_are_as_the_contracts_say(finished: Task, project: LocalSupabase) -> None:
    with psycopg.connect(project.database_url) as connection:
        rows = connection.execute(
            "select task_type, status::text, project_id::text, parent_id::text, params ->> 'segment_index', attempts"
            " from public.tasks order by order_key"
        ).fetchall()
        left = connection.execute("select count(*) from private.queue").fetchone()
    assert rows == [
        ("travel_orchestrator", "Complete", LOCAL_PROJECT, None, None, 1),
        ("travel_segment", "Complete", LOCAL_PROJECT, finished.id, "0", 1),
        ("travel_segment", "Complete", LOCAL_PROJECT, finished.id, "1", 1),
        ("travel_stitch", "Complete", LOCAL_PROJECT, finished.id, None, 1),
    ]
    assert left == (0,)


def test_the_key_is_in_no_parameter_log_or_artifact(lab: Lab, finished: Task, project: LocalSupabase) -> None:
    told = [lab.runs(), lab.api("/artifacts/filter", {"limit": 200}), lab.api("/logs/filter", {"limit": 200})]
    assert finished.id in str(told)
    assert project.secret_key not in str(told)
    for log in lab.settings.logs_dir.iterdir():
        assert project.secret_key not in log.read_text(errors="replace")


def test_doctor_finds_the_project_as_it_should_be(lab: Lab) -> None:
    found = {check.name: check for check in supabase_checks(lab.settings)}
    assert [name for name, check in found.items() if not check.ok] == []
    assert {"supabase key", "edge functions", "schema", "row security", "bucket", "project"} <= set(found)


def test_doctor_says_what_is_wrong_with_a_key(lab: Lab) -> None:
    wrong = Settings.load(home=lab.settings.home, supabase_url="local", supabase_key="sb_secret_" + "x" * 30)
    [*_, last] = supabase_checks(wrong)
    assert not last.ok
    assert "LONGTAKE_SUPABASE_KEY" in last.fix


def test_a_task_may_name_no_folder_of_the_workers_machine(lab: Lab, tmp_path: Path) -> None:
    keep = input_keeper(lab.settings)
    image = TaskSpec("single_image", {"prompt": "a boat", "model": str(tmp_path)})
    travel = travel_spec([keep(Path(picture)) for picture in lab.pictures(2)], **SMALL, model_name=str(tmp_path))
    for task in [lab.enqueue(spec) for spec in (image, travel)]:
        refused = lab.wait(task)
        assert (refused.status, refused.attempts) == (Status.FAILED, 1)
        assert "tasks of this queue may not name" in str(refused.error_message)
        assert lab.queue.children(task.id) == []
