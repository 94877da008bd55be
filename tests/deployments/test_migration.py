"""What becomes of a row, and in which pieces rows travel: without a project."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from blocks.queue.sqlite import SqliteQueue
from deployments.migration import source as source_module
from deployments.migration.batches import batches, groups, needed_first
from deployments.migration.older import as_uuid, translated
from deployments.migration.paths import LocalFiles, texts_of, with_files
from deployments.migration.source import SourceRefused, read
from deployments.migration.transform import planned
from deployments.migration.verify import compare
from tests.queue.acts import complete, enqueue, fail, fresh_id, hold, waiting_parent

PROJECT = "00000000-0000-4000-8000-00000000abcd"


@pytest.fixture
def queue(tmp_path: Path) -> SqliteQueue:
    return SqliteQueue(tmp_path / "queue.db")


@pytest.fixture
def source_file(tmp_path: Path) -> Path:
    return tmp_path / "queue.db"


def arrived(path: Path) -> dict[str, dict[str, Any]]:
    plan = planned(read(path).rows, PROJECT)
    assert plan.refused == []
    return {row["id"]: row for row in plan.rows}


def older(**row: Any) -> dict[str, Any]:
    return {"id": "one", "params": "{}", "task_type": "single_image", "status": "Queued"} | row


def row(task_id: str, *depends_on: str, **more: Any) -> dict[str, Any]:
    return {"id": task_id, "depends_on": list(depends_on), "status": "Queued", "task_type": "analysis"} | more


# -- ours


def test_what_has_ended_keeps_everything(queue: SqliteQueue, source_file: Path) -> None:
    done, broken = enqueue(queue, priority=3, correlation_id="c"), enqueue(queue)
    complete(queue, done, "https://example.com/a.png")
    fail(queue, broken, "no more memory")
    rows = arrived(source_file)
    assert (rows[done]["status"], rows[done]["attempts"], rows[done]["worker_id"]) == ("Complete", 1, "gpu-1")
    assert (rows[done]["priority"], rows[done]["correlation_id"], rows[done]["project_id"]) == (3, "c", PROJECT)
    assert (rows[broken]["status"], rows[broken]["error_message"]) == ("Failed", "no more memory")
    assert rows[broken]["generation_processed_at"] == queue.get(broken).generation_processed_at.isoformat()  # type: ignore[union-attr]


def test_what_is_running_begins_again_with_its_attempt_returned(queue: SqliteQueue, source_file: Path) -> None:
    task_id = enqueue(queue)
    hold(queue, task_id)
    moved = arrived(source_file)[task_id]
    assert (moved["status"], moved["attempts"]) == ("Queued", 0)
    assert not {"worker_id", "lease_expires_at", "claim_token", "generation_started_at"} & moved.keys()
    assert read(source_file).held == (task_id,)


def test_a_parent_that_waits_goes_on_waiting(queue: SqliteQueue, source_file: Path) -> None:
    parent, (child,) = waiting_parent(queue, {})
    rows = arrived(source_file)
    assert (rows[parent]["status"], rows[parent]["waiting"], rows[child]["parent_id"]) == ("In Progress", True, parent)


def test_dependencies_keep_their_order(queue: SqliteQueue, source_file: Path) -> None:
    first, second = enqueue(queue), enqueue(queue)
    both = enqueue(queue, depends_on=(second, first))
    assert arrived(source_file)[both]["depends_on"] == [second, first]


# -- the source stays as it is


def test_a_source_that_is_written_to_all_the_time_is_refused(
    queue: SqliteQueue, source_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enqueue(queue)
    copyfile = source_module.shutil.copyfile

    def copied_while_written(there: Path, here: Path) -> None:
        copyfile(there, here)
        enqueue(queue)

    monkeypatch.setattr(source_module.shutil, "copyfile", copied_while_written)
    with pytest.raises(SourceRefused, match="changes while it is copied"):
        read(source_file)


def test_one_write_during_the_copy_is_waited_out(
    queue: SqliteQueue, source_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, late = enqueue(queue), fresh_id()
    copyfile = source_module.shutil.copyfile

    def copied_while_written(there: Path, here: Path) -> None:
        copyfile(there, here)
        enqueue(queue, id=late)  # the second time it is there already

    monkeypatch.setattr(source_module.shutil, "copyfile", copied_while_written)
    assert {row["id"] for row in read(source_file).rows} == {first, late}


def test_a_transaction_that_was_cut_off_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "tasks.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table tasks (id, params, task_type, status)")
        rows = [(number, json.dumps({"prompt": "x" * 2000})) for number in range(99)]
        connection.executemany("insert into tasks values (?, ?, 'analysis', 'Queued')", rows)
    connection.execute("pragma cache_size = 1")  # what does not fit is written before the commit
    connection.execute("update tasks set status = 'Complete'")
    assert {row["status"] for row in read(path).rows} == {"Queued"}
    connection.close()


# -- an older worker's


def test_ids_that_are_no_uuids_become_the_same_ones_each_time() -> None:
    first, second = translated([older(id="one"), older(id="two", dependant_on="one")])
    assert first["id"] == as_uuid("one") == str(as_uuid("one"))
    assert second["depends_on"] == [first["id"]]


def test_a_numbered_row_is_known_by_its_task_id() -> None:
    ours = str(uuid4())
    first, second = translated([older(id=1, task_id=ours), older(id=2, task_id="b", dependant_on=ours)])
    assert (first["id"], second["depends_on"]) == (ours, [ours])


@pytest.mark.parametrize(
    ("said", "status"),
    [("queued", "Queued"), ("In_Progress", "In Progress"), ("completed", "Complete"), ("FAILED", "Failed")],
)
def test_statuses_are_known_in_all_spellings(said: str, status: str) -> None:
    (only,) = translated([older(status=said)])
    assert only["status"] == status


@pytest.mark.parametrize(
    ("said", "moment"),
    [
        ("2025-07-09 10:00:00", "2025-07-09T10:00:00+00:00"),
        ("2025-07-09T10:00:00+02:00", "2025-07-09T10:00:00+02:00"),
        (0, "1970-01-01T00:00:00+00:00"),
        ("yesterday", None),
        (None, None),
    ],
)
def test_moments_without_a_zone_are_utc_and_unreadable_ones_unknown(said: object, moment: str | None) -> None:
    (only,) = translated([older(created_at=said)])
    assert only["created_at"] == moment


def test_a_failure_that_stands_where_an_output_would_be_is_the_error() -> None:
    plan = planned(translated([older(status="Failed", output_location="out of memory\0")]), PROJECT)
    assert plan.rows[0]["error_message"] == plan.rows[0]["output_location"] == "out of memory\N{REPLACEMENT CHARACTER}"


def test_what_waits_for_a_failure_ends_with_it_and_says_so() -> None:
    rows = [
        older(id="a", status="Failed", output_location="out of memory"),
        older(id="b", dependant_on="a"),
        older(id="c", dependant_on="b", status="In Progress"),
    ]
    plan = planned(translated(rows), PROJECT)
    assert [each["status"] for each in plan.rows] == ["Failed"] * 3
    assert [each.get("root_task_id") for each in plan.rows] == [None, as_uuid("a"), as_uuid("a")]
    assert [task_id for task_id, _ in plan.fell] == [as_uuid("b"), as_uuid("c")]
    assert all("out of memory" in why for _, why in plan.fell)


def family(*parts: Mapping[str, Any]) -> list[dict[str, Any]]:
    reference = '{"orchestrator_task_id_ref": "journey"}'
    parent = older(id="journey", task_type="travel_orchestrator", status="In Progress")
    segments = [older(id=f"part {n}", task_type="travel_segment", params=reference) for n in range(len(parts))]
    return translated([parent, *(segment | part for segment, part in zip(segments, parts, strict=True))])


def test_an_orchestrator_with_parts_under_way_waits_for_them() -> None:
    parent, done, open_ = planned(family({"status": "Complete"}, {"status": "Queued"}), PROJECT).rows
    assert (parent["status"], parent["waiting"], parent["attempts"]) == ("In Progress", True, 1)
    assert done["parent_id"] == open_["parent_id"] == parent["id"]
    assert open_["params"]["orchestrator_task_id_ref"] == parent["id"]


def test_an_orchestrator_whose_part_has_failed_ends_with_it() -> None:
    parent, _, other = planned(family({"status": "Failed"}, {"status": "Queued"}), PROJECT).rows
    assert (parent["status"], other["status"], parent["waiting"]) == ("Failed", "Failed", False)


def test_an_orchestrator_without_open_parts_begins_again() -> None:
    (parent,) = planned(family(), PROJECT).rows
    assert (parent["status"], parent["waiting"]) == ("Queued", False)


def test_traces_of_a_former_status_do_not_come_along() -> None:
    rows = [
        older(id="a", generation_processed_at="2025-07-09", output_location="half done"),
        older(id="b", status="Complete", error_message="tried twice"),
    ]
    queued, done = planned(translated(rows), PROJECT).rows
    assert not {"generation_processed_at", "output_location"} & queued.keys()
    assert "error_message" not in done


@pytest.mark.parametrize(
    ("odd", "why"),
    [
        ({"status": "Weird"}, "'Weird'"),
        ({"status": None}, "status"),
        ({"id": None}, "no id"),
        ({"params": "not json"}, "not a JSON object"),
        ({"params": 5}, "not a JSON object"),
        ({"params": b"\xff"}, "not a JSON object"),
        ({"params": "[" * 100_000}, "not a JSON object"),
        ({"params": '{"a":' * 500 + "1" + "}" * 500}, "levels"),
        ({"params": '{"x": NaN}'}, "params.x"),
        ({"params": '{"x": 1e999}'}, "params.x"),
        ({"params": '{"x": "\\u0000"}'}, "params.x"),
        ({"params": '{"x": "\\ud800"}'}, "params.x"),
        ({"params": '{"api_key": "sk-1"}'}, "secret"),
    ],
)
def test_what_no_project_could_store_is_named_and_the_rest_goes_on(odd: dict[str, Any], why: str) -> None:
    rows = translated([older(id="fine"), older(id="one") | odd])
    plan = planned(rows, PROJECT)
    assert [each["id"] for each in plan.rows] == [as_uuid("fine")]
    ((_, reason),) = plan.refused
    assert why in reason


def test_of_two_rows_with_one_id_the_second_is_refused() -> None:
    task_id = str(uuid4())
    plan = planned(translated([older(id=task_id), older(id=task_id.upper())]), PROJECT)
    assert (len(plan.rows), [each for each, _ in plan.refused]) == (1, [task_id])


def test_bytes_that_are_no_text_do_not_stop_the_reading(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "tasks.db") as connection:
        connection.execute("create table tasks (id, params, task_type, status, output_location)")
        connection.execute(
            "insert into tasks values ('a', '{}', 'single_image', 'Failed', cast(x'6f6fff' as text)),"
            " ('b', '{}', 'single_image', 'Failed', x'6f6fff')"
        )
    assert [each["output_location"] for each in read(tmp_path / "tasks.db").rows] == ["oo\N{REPLACEMENT CHARACTER}"] * 2


# -- files


@pytest.fixture
def files(tmp_path: Path) -> LocalFiles:
    (tmp_path / "storage" / "inputs").mkdir(parents=True)
    (tmp_path / "storage" / "inputs" / "a.png").write_bytes(b"a")
    (tmp_path / "storage" / "notes.txt").write_bytes(b"n")
    (tmp_path / "elsewhere.png").write_bytes(b"e")
    (tmp_path / "secret.txt").write_bytes(b"s")
    return LocalFiles(tmp_path / "storage")


def test_files_are_known_by_absolute_and_by_storage_path(files: LocalFiles, tmp_path: Path) -> None:
    inside, outside = tmp_path / "storage" / "inputs" / "a.png", tmp_path / "elsewhere.png"
    said = [str(inside), f"file://{inside}", "inputs/a.png", str(outside), str(tmp_path / "storage" / "notes.txt")]
    assert [files.find(each) for each in said] == [inside, inside, inside, outside, tmp_path / "storage" / "notes.txt"]


@pytest.mark.parametrize(
    "said", ["", "a.png", "https://e.com/inputs/a.png", "inputs/b.png", "../elsewhere.png", "x\0/a.png", "/" * 5000]
)
def test_other_texts_name_no_file(files: LocalFiles, said: str) -> None:
    assert files.find(said) is None


def test_only_media_leave_the_rest_of_the_machine(files: LocalFiles, tmp_path: Path) -> None:
    (tmp_path / "storage" / "way_out.txt").symlink_to(tmp_path / "secret.txt")
    assert files.find(str(tmp_path / "secret.txt")) is None
    assert files.find(str(tmp_path / "storage" / "way_out.txt")) is None


def test_a_media_file_that_should_be_there_is_missed(files: LocalFiles, tmp_path: Path) -> None:
    said = [str(tmp_path / "gone.mp4"), "outputs/gone.mp4", "inputs/a.png", "https://e.com/a.mp4", "one / two.png"]
    assert [files.misses(each) for each in said] == [True, True, False, False, False]


def test_paths_become_addresses_wherever_they_stand() -> None:
    moved = with_files(
        row(
            "t", status="Complete", output_location="/o.mp4", params={"a": [{"b": "/i.png"}, 1]}, result={"c": "/o.mp4"}
        ),
        lambda said: Path(said) if said.startswith("/") else None,
        lambda path: f"output:{path}",
        lambda path: f"other:{path}",
    )
    assert moved["output_location"] == "output:/o.mp4"
    assert (moved["params"], moved["result"]) == ({"a": [{"b": "other:/i.png"}, 1]}, {"c": "other:/o.mp4"})


def test_an_error_text_is_no_output() -> None:
    failed = row("t", status="Failed", output_location="/o.mp4", params={"a": ["/i.png"]})
    assert list(texts_of(failed)) == ["/i.png"]


# -- batches


def test_a_batch_ends_where_no_row_names_one_after_it() -> None:
    rows = [row("a"), row("b", "d"), row("c"), row("d"), row("e", "a", parent_id="f"), row("f"), row("g")]
    assert [[each["id"] for each in group] for group in groups(rows)] == [["a"], ["b", "c", "d"], ["e", "f"], ["g"]]
    assert [len(batch) for batch in batches(rows, most=3)] == [1, 3, 3]


def test_a_batch_is_no_larger_than_a_project_takes() -> None:
    rows = [row(str(number), params={"prompt": "x" * 1000}) for number in range(10)]
    assert [len(batch) for batch in batches(rows, largest=2500)] == [2, 2, 2, 2, 2]


def test_within_a_group_what_is_needed_comes_first() -> None:
    assert [each["id"] for each in needed_first([row("a", "b"), row("b", "c"), row("c")])] == ["c", "b", "a"]
    ring = [row("a", "b"), row("b", "a")]
    assert needed_first(ring) == ring


# -- the comparison


def there(**statuses: str) -> dict[str, dict[str, Any]]:
    return {task_id: {"status": status, "task_type": "analysis"} for task_id, status in statuses.items()}


def test_a_row_that_is_not_there_is_told_by_its_status_and_type() -> None:
    assert compare([row("a"), row("b")], there(a="Queued"), {"a", "b"}).differs == [
        "Queued analysis: 1 there, 2 should be"
    ]


def test_what_went_on_there_is_no_difference() -> None:
    rows = [row("a"), row("b", status="Failed")]
    comparison = compare(rows, there(a="Complete", b="Queued"), imported={"a"})
    assert comparison.differs == []
    assert comparison.went_on == {("Queued", "Complete"): 1, ("Failed", "Queued"): 1}


def test_a_finished_row_that_is_another_there_is_a_difference() -> None:
    assert compare([row("a", status="Complete")], there(a="Queued"), set()).differs
    assert compare([row("a", status="Failed")], there(a="Complete"), {"a"}).differs
